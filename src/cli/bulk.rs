//! `switchboard bulk`: one job for many devices.

use super::collected::{Collected, Summary};
use super::payload::Payload;
use super::progress::Progress;
use super::report::{self, Answer};
use super::requester::{MARGIN, Requester};
use super::settings::{Queue, Settings};
use super::{BadUsage, FAILED, INTERRUPTED, print, runtime, say, signals, targets, values, verdict};
use crate::amqp::ReplyQueue;
use crate::bulk::Targets;
use crate::config::Config;
use crate::deadline::Now;
use crate::job::{self, Abort, BulkResults, Guarantee, Job, Mode};
use crate::wire::native;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Results held in memory while they are shown; the others wait in the broker.
const HELD: u16 = 1000;

/// Options of `bulk`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).multiple(true).args(["devices", "device"]))]
pub struct Args {
    /// The command's name
    pub command: String,
    /// JSON, @FILE, or - for standard input
    #[arg(allow_negative_numbers = true)]
    pub payload: Option<Payload>,
    /// A file with one device a line, by its id or as {"device": …, "payload": …}; - is standard input
    #[arg(long, value_name = "FILE")]
    pub devices: Option<PathBuf>,
    /// A device's id; may be repeated
    #[arg(long, value_name = "D")]
    pub device: Vec<String>,
    /// How many devices to begin with per second; as fast as they go where it is not given
    #[arg(long, value_name = "N", value_parser = values::rate)]
    pub rate: Option<f64>,
    /// How many devices to command at a time
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub concurrency: Option<usize>,
    /// Give up when more than this share of the answers are failures, after so many answers
    #[arg(long, value_name = "20%:100", value_parser = values::abort)]
    pub abort_at: Option<Abort>,
    /// How long to wait for each device's answer
    #[arg(long, value_name = "5s", value_parser = values::time)]
    pub timeout: Option<Duration>,
    /// The device profile
    #[arg(long)]
    pub profile: Option<String>,
    /// What a crash may cost
    #[arg(long, value_parser = values::guarantee())]
    pub guarantee: Option<Guarantee>,
    /// The queue of jobs
    #[command(flatten)]
    pub queue: Queue,
    /// Print one result a line as JSON, and the summary last
    #[arg(long)]
    pub json: bool,
}

/// Enqueues the job and shows its results as they come.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let config = settings.load(args.queue.flags())?;
    if args.payload == Some(Payload::Stdin) && args.devices.as_deref() == Some(Path::new("-")) {
        let problem = "standard input cannot be both the payload and --devices; right is a file for one of them";
        return Err(BadUsage(problem.to_owned()).into());
    }
    let payload = Payload::of(args.payload.as_ref())?;
    let limits =
        native::Limits { max_payload_bytes: config.worker.max_payload_bytes, max_devices: config.worker.max_devices };
    let Targets { targets, repeated, .. } = targets::read(&args.device, args.devices.as_deref(), limits)?;
    if repeated > 0 {
        say(format_args!("devices are named {repeated} times more than once; each is commanded once"));
    }
    let collected = Collected::new(targets.iter().map(|target| target.device.clone()));
    let job = Job {
        id: ulid::Ulid::generate().to_string().into(),
        targets: job::Targets::Many(job::Bulk {
            targets,
            rate_per_second: args.rate,
            concurrency: args.concurrency,
            abort: args.abort_at,
            results: BulkResults::Stream,
        }),
        command: args.command.as_str().into(),
        payload,
        mode: Mode::Request,
        profile: args.profile.as_deref().unwrap_or("default").into(),
        timeout: args.timeout,
        expires_at: None,
        not_before: None,
        guarantee: args.guarantee,
        enqueued_at: Some(Now::read().unix_ms),
    };
    runtime()?.block_on(bulk(&config, &args, job, collected))
}

async fn bulk(config: &Config, args: &Args, job: Job, mut collected: Collected) -> anyhow::Result<ExitCode> {
    let requester = Requester::connect(config).await?;
    if let Some(warning) = requester.warning() {
        say(warning);
    }
    let mut replies = requester.replies(HELD).await?;
    requester.enqueue(&job, Some(replies.name())).await?;
    let id = job.id.clone();
    // The list of devices may be large, and only their ids are needed from here on.
    drop(job);
    let pace = args.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
    let patience = args.timeout.unwrap_or(config.worker.default_timeout).saturating_add(pace).saturating_add(MARGIN);
    let progress = Progress::new(collected.waiting(), args.json);
    let waited = tokio::select! {
        biased;
        () = signals::interrupt() => {
            drop(progress);
            say(format_args!("interrupted; the job {id} goes on without us, with {} devices to go", collected.waiting()));
            return Ok(INTERRUPTED.into());
        }
        waited = gather(&mut replies, &mut collected, &progress, patience, args.json) => waited,
    };
    drop(progress);
    let end = waited.with_context(|| format!("the job {id} is enqueued, but its results cannot reach us"))?;
    if !args.json && collected.has_failures() {
        print(collected.failures());
    }
    let code = match end {
        End::Summary(summary) => {
            if !args.json {
                print(summary.table());
            }
            verdict(summary.succeeded())
        }
        End::Refused(answer) => {
            if !args.json {
                print(&answer);
            }
            FAILED.into()
        }
        End::Silence => {
            let (seconds, left) = (patience.as_secs_f64(), collected.waiting());
            let advice = requester.advice();
            say(format_args!("nothing more of the job {id} for {seconds} s, with {left} devices to go: {advice}"));
            FAILED.into()
        }
    };
    requester.close().await;
    Ok(code)
}

/// How the results of a bulk ended.
enum End {
    /// With the summary, as they should.
    Summary(Summary),
    /// The job as a whole was refused.
    Refused(Answer),
    /// Nothing came for longer than any device may take.
    Silence,
}

async fn gather(
    replies: &mut ReplyQueue,
    collected: &mut Collected,
    progress: &Progress,
    patience: Duration,
    json: bool,
) -> anyhow::Result<End> {
    while let Some(reply) = replies.next_within(patience).await? {
        if json {
            print(report::one_line(&reply.body));
        }
        if reply.kind.as_deref() == Some(native::SUMMARY) {
            let summary = serde_json::from_slice(&reply.body).context("the summary cannot be read")?;
            return Ok(End::Summary(summary));
        }
        let answer = Answer::read(&reply.body)?;
        if answer.device.is_none() {
            return Ok(End::Refused(answer));
        }
        if collected.take(&answer) {
            progress.advance(collected.failed());
        }
    }
    Ok(End::Silence)
}

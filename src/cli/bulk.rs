//! `switchboard bulk`: one job for many devices.

use super::collected::Collected;
use super::payload::Payload;
use super::report::Plain;
use super::requester::{MARGIN, Requester};
use super::settings::{Queue, Settings};
use super::watch::{self, Bulk, End, Watched};
use super::{BadUsage, FAILED, INTERRUPTED, print, runtime, say, standing, targets, values, verdict};
use crate::bulk::Targets;
use crate::config::Config;
use crate::deadline::Now;
use crate::job::{self, Abort, Guarantee, Job};
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
    /// The job's id, made where it is not given; a job that is sent again with its id is not run again while it is remembered
    #[arg(long, value_name = "ID", value_parser = values::id)]
    pub id: Option<String>,
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
    let limits = native::Limits {
        max_payload_bytes: config.worker.max_payload_bytes,
        max_devices: config.worker.max_devices,
        no_devices: false,
        repeats: false,
    };
    let Targets { targets, repeated, .. } = targets::read(&args.device, args.devices.as_deref(), limits)?;
    if repeated > 0 {
        say(named_again(repeated));
    }
    let collected = Collected::new(targets.iter().map(|target| target.device.clone()));
    let id = args.id.clone().unwrap_or_else(|| ulid::Ulid::generate().to_string());
    let targets = job::Targets::Many(job::Bulk {
        rate_per_second: args.rate,
        concurrency: args.concurrency,
        abort: args.abort_at,
        ..job::Bulk::new(targets)
    });
    let job = Job {
        payload,
        profile: args.profile.as_deref().unwrap_or("default").into(),
        timeout: args.timeout,
        guarantee: args.guarantee,
        enqueued_at: Some(Now::read().unix_ms),
        ..Job::new(id, targets, args.command.as_str())
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
    let devices = collected.waiting();
    let watched = Bulk { config, requester: &requester, id: &id, devices, patience, json: args.json };
    let watched = watch::watch(&watched, &mut replies, &mut collected).await;
    let end = match watched.with_context(|| format!("the job {id} is enqueued, but its results cannot reach us"))? {
        Watched::Ended(end) => end,
        Watched::Left { cancelled } => {
            say(left(&id, cancelled, collected.waiting(), args.queue.queue.as_deref()));
            return Ok(INTERRUPTED.into());
        }
    };
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
        End::Silence(ended) => {
            let (seconds, left) = (patience.as_secs_f64(), collected.waiting());
            let advice = match ended {
                None => requester.advice(),
                Some(state) => format!("its coordinator says that it is {}", standing::name(state)),
            };
            say(format_args!("nothing more of the job {id} for {seconds} s, with {left} devices to go: {advice}"));
            FAILED.into()
        }
    };
    requester.close().await;
    Ok(code)
}

/// What is said of devices that are named so often once more.
fn named_again(repeated: usize) -> String {
    match repeated {
        1 => "a device is named twice; it is commanded once".to_owned(),
        _ => format!("devices are named again, {repeated} times in all; each is commanded once"),
    }
}

/// What becomes of a bulk that nobody watches any longer, and how to look at it.
fn left(id: &str, cancelled: bool, waiting: usize, queue: Option<&str>) -> String {
    let id = Plain(id);
    let queue = queue.map(|queue| format!(" --queue {}", Plain(queue))).unwrap_or_default();
    let look = format!("`switchboard bulk-status {id}` says how it stands");
    match cancelled {
        true => format!("interrupted; the job {id} is being cancelled, with {waiting} devices to go; {look}"),
        false => format!(
            "interrupted; the job {id} goes on without us, with {waiting} devices to go; {look}, \
             `switchboard cancel {id}{queue}` calls it off"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_named_again_are_counted_in_words_that_fit() {
        assert_eq!(named_again(1), "a device is named twice; it is commanded once");
        assert_eq!(named_again(12), "devices are named again, 12 times in all; each is commanded once");
    }

    #[test]
    fn who_leaves_is_told_how_to_look_and_how_to_call_it_off_there() {
        let text = left("b\n", false, 7, Some("mine"));
        assert!(text.contains("`switchboard bulk-status b\\n`") && text.contains("with 7 devices to go"), "{text}");
        assert!(text.ends_with("`switchboard cancel b\\n --queue mine` calls it off"), "{text}");
        assert!(left("b", false, 7, None).contains("`switchboard cancel b`"));
        assert!(!left("b", true, 7, None).contains("switchboard cancel"), "that was done");
    }
}

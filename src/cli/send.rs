//! `switchboard send`: one job through the queue, and its result.

use super::request::Request;
use super::requester::{MARGIN, Requester};
use super::settings::{Queue, Settings};
use super::{FAILED, INTERRUPTED, print, report, runtime, say, signals, values, verdict};
use crate::config::Config;
use crate::deadline::Now;
use crate::job::{Guarantee, Job};
use anyhow::Context;
use std::process::ExitCode;

/// Results held in memory: a repeated one may follow the one that is waited for.
const HELD: u16 = 2;

/// Options of `send`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is asked of the device.
    #[command(flatten)]
    pub request: Request,
    /// What a crash may cost
    #[arg(long, value_parser = values::guarantee())]
    pub guarantee: Option<Guarantee>,
    /// The queue of jobs
    #[command(flatten)]
    pub queue: Queue,
    /// Print the job's id and do not wait for the result
    #[arg(long)]
    pub no_wait: bool,
    /// Print the result as it came, in one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Enqueues the job and prints its result.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let config = settings.load(args.queue.flags())?;
    let job = args.request.job(args.guarantee, Some(Now::read().unix_ms))?;
    runtime()?.block_on(send(&config, &args, &job))
}

async fn send(config: &Config, args: &Args, job: &Job) -> anyhow::Result<ExitCode> {
    let requester = Requester::connect(config).await?;
    if let Some(warning) = requester.warning() {
        say(warning);
    }
    let code = if args.no_wait {
        requester.enqueue(job, None).await?;
        print(&job.id);
        ExitCode::SUCCESS
    } else {
        let mut replies = requester.replies(HELD).await?;
        requester.enqueue(job, Some(replies.name())).await?;
        let patience = args.request.timeout.unwrap_or(config.worker.default_timeout).saturating_add(MARGIN);
        let waited = tokio::select! {
            biased;
            () = signals::interrupt() => {
                say(format_args!("interrupted; the job {} goes on without us", job.id));
                return Ok(INTERRUPTED.into());
            }
            waited = replies.next_within(patience) => waited,
        };
        match waited.with_context(|| format!("the job {} is enqueued, but its result cannot reach us", job.id))? {
            Some(result) => verdict(report::result(&result.body, args.json)?),
            None => {
                let patience = patience.as_secs_f64();
                say(format_args!("no result of the job {} within {patience} s: {}", job.id, requester.advice()));
                FAILED.into()
            }
        }
    };
    requester.close().await;
    Ok(code)
}

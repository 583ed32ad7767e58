//! `switchboard send`: one job through the queue, and its result.

use super::payload::Payload;
use super::settings::{Queue, Settings};
use super::{NotServed, values};
use crate::job::Guarantee;
use std::process::ExitCode;
use std::time::Duration;

/// Options of `send`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device's id
    pub device: String,
    /// The command's name
    pub command: String,
    /// JSON, @FILE, or - for standard input
    #[arg(allow_negative_numbers = true)]
    pub payload: Option<Payload>,
    /// Do not wait for the device's answer: done when the broker took the command
    #[arg(long)]
    pub one_way: bool,
    /// How long to wait for the device's answer
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
    /// Print the job's id and do not wait for the result
    #[arg(long)]
    pub no_wait: bool,
    /// Print the result as it came, in one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Enqueues the job and prints its result.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    settings.load(args.queue.flags())?;
    Err(NotServed("send").into())
}

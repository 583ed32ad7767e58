//! `switchboard bulk`: one job for many devices.

use super::payload::Payload;
use super::settings::{Queue, Settings};
use super::{NotServed, values};
use crate::job::{Abort, Guarantee};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    settings.load(args.queue.flags())?;
    Err(NotServed("bulk").into())
}

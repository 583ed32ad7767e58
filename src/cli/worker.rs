//! `switchboard worker`: the main job.

use super::NotServed;
use super::settings::{Settings, Work};
use std::process::ExitCode;

/// Options of `worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How it works.
    #[command(flatten)]
    pub work: Work,
}

/// Runs a worker until it is told to stop.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    settings.load(args.work.flags())?;
    Err(NotServed("worker").into())
}

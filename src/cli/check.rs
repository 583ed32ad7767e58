//! `switchboard check`: would a worker run here?

use super::NotServed;
use super::settings::{Settings, Work};
use std::process::ExitCode;

/// Options of `check`: those of the worker that is asked about.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How the worker would work.
    #[command(flatten)]
    pub work: Work,
}

/// Says what it found, line by line.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    settings.load(args.work.flags())?;
    Err(NotServed("check").into())
}

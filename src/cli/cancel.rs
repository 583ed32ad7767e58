//! `switchboard cancel`: known, and not served by this version.

use super::NotServed;
use super::settings::Settings;
use std::process::ExitCode;

/// Options of `cancel`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job's id
    pub job_id: String,
}

/// Says that this version cannot.
pub fn run(_settings: &Settings, _args: Args) -> anyhow::Result<ExitCode> {
    Err(NotServed("cancel").into())
}

//! `switchboard schedule`: known, and not served by this version.

use super::NotServed;
use super::settings::Settings;
use std::process::ExitCode;

/// What to do with the schedules.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them
    List,
    /// When each fires next
    Next,
    /// Fire one now
    Run {
        /// The schedule's name
        name: String,
    },
}

/// Says that this version cannot.
pub fn run(_settings: &Settings, _command: Command) -> anyhow::Result<ExitCode> {
    Err(NotServed("schedule").into())
}

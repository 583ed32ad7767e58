//! `switchboard schedule`: one is fired; the rest is known, and not served by this version.

use super::settings::Settings;
use super::{NotServed, fire};
use std::process::ExitCode;

/// What to do with the schedules.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them
    List,
    /// When each fires next
    Next,
    /// Fire one now
    Run(fire::Args),
}

/// Fires one; says of everything else that this version cannot.
pub fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        // The configuration takes no schedules yet.
        Command::Run(args) => fire::run(settings, &args, |_config| Vec::new()),
        Command::List | Command::Next => Err(NotServed("schedule").into()),
    }
}

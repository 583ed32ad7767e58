//! `switchboard dead-letters`: known, and not served by this version.

use super::NotServed;
use super::settings::Settings;
use std::process::ExitCode;

/// What to do with the dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, each with its reason
    List,
    /// Show one whole
    Show {
        /// Its id
        id: String,
    },
    /// Put them back where they came from: these, or all
    Replay {
        /// Their ids
        ids: Vec<String>,
    },
    /// Throw them away: these, or all
    Discard {
        /// Their ids
        ids: Vec<String>,
    },
}

/// Says that this version cannot.
pub fn run(_settings: &Settings, _command: Command) -> anyhow::Result<ExitCode> {
    Err(NotServed("dead-letters").into())
}

//! `switchboard demo`: everything at work, in under a minute.

use super::NotServed;
use super::settings::Settings;
use std::process::ExitCode;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the demonstration, which ends by itself.
pub fn run(_settings: &Settings, _args: Args) -> anyhow::Result<ExitCode> {
    Err(NotServed("demo").into())
}

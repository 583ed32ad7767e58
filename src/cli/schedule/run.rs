//! `switchboard schedule run`: known, and not served by this version.

use super::Run;
use crate::cli::NotServed;
use crate::cli::settings::Settings;
use std::process::ExitCode;

/// Says that this version cannot.
pub fn run(_settings: &Settings, _args: &Run) -> anyhow::Result<ExitCode> {
    Err(NotServed("schedule run").into())
}

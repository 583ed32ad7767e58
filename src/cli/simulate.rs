//! `switchboard simulate`: a fleet of devices that are not there.

use super::settings::Settings;
use super::{NotServed, values};
use std::process::ExitCode;

/// Options of `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many devices
    #[arg(long, value_name = "N", default_value = "100", value_parser = values::number)]
    pub devices: usize,
    /// What their ids begin with; the rest is a number from 0
    #[arg(long, default_value = "dev-")]
    pub prefix: String,
    /// How long each takes to answer
    #[arg(long, value_name = "20ms..200ms", default_value = "20ms..200ms", value_parser = values::range)]
    pub latency: values::Range,
    /// The share of commands that get no answer
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub silent: f64,
    /// The share of commands that are answered with an error
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub reject: f64,
    /// The share of commands that are answered twice
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub duplicate: f64,
    /// The share of commands that are answered when nobody waits any more
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub late: f64,
    /// The device profile
    #[arg(long, default_value = "default")]
    pub profile: String,
}

/// Plays the fleet until it is told to stop.
pub fn run(settings: &Settings, _args: Args) -> anyhow::Result<ExitCode> {
    settings.load(Vec::new())?;
    Err(NotServed("simulate").into())
}

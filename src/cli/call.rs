//! `switchboard call`: a command straight over MQTT, without a queue.

use super::payload::Payload;
use super::settings::Settings;
use super::{NotServed, values};
use std::process::ExitCode;
use std::time::Duration;

/// Options of `call`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device's id
    pub device: String,
    /// The command's name
    pub command: String,
    /// JSON, @FILE, or - for standard input
    #[arg(allow_negative_numbers = true)]
    pub payload: Option<Payload>,
    /// Do not wait for the device's answer: done when the broker took the command
    #[arg(long)]
    pub one_way: bool,
    /// How long to wait for the device's answer
    #[arg(long, value_name = "5s", value_parser = values::time)]
    pub timeout: Option<Duration>,
    /// The device profile
    #[arg(long)]
    pub profile: Option<String>,
    /// Print the result in one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Commands the device and prints its answer.
pub fn run(settings: &Settings, _args: Args) -> anyhow::Result<ExitCode> {
    settings.load(Vec::new())?;
    Err(NotServed("call").into())
}

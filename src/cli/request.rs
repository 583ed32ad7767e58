//! What `send` and `call` ask of one device: the same words, whichever way the command goes.

use super::payload::Payload;
use super::values;
use crate::job::{Guarantee, Job, Mode, Targets};
use std::time::Duration;

/// One command to one device.
#[derive(Debug, clap::Args)]
pub struct Request {
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
}

impl Request {
    /// The job that it is, with an id of its own.
    ///
    /// # Errors
    ///
    /// The payload cannot be read.
    pub fn job(&self, guarantee: Option<Guarantee>, enqueued_at: Option<u64>) -> anyhow::Result<Job> {
        let (id, device) = (ulid::Ulid::generate().to_string(), Targets::One(self.device.as_str().into()));
        Ok(Job {
            payload: Payload::of(self.payload.as_ref())?,
            mode: if self.one_way { Mode::Publish } else { Mode::Request },
            profile: self.profile.as_deref().unwrap_or("default").into(),
            timeout: self.timeout,
            guarantee,
            enqueued_at,
            ..Job::new(id, device, self.command.as_str())
        })
    }
}

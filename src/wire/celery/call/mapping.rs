//! How a task of the application's own stands for a command: as it is configured, before it is compiled.

use super::Returns;
use crate::job::{Abort, Guarantee, Mode};
use serde_json::Value;
use std::time::Duration;

/// The keys of `[celery.tasks."NAME"]`.
pub const KEYS: [&str; 14] = [
    "args",
    "kwargs",
    "defaults",
    "ignore",
    "command",
    "device",
    "devices",
    "payload",
    "profile",
    "mode",
    "timeout",
    "guarantee",
    "result",
    "bulk",
];

/// One mapping. Texts may have gaps, `{name}`, for arguments.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// The names of the arguments that may come by position, in their order; `device` and, optional, `payload` where absent.
    pub args: Option<Vec<String>>,
    /// The names of the arguments that come by name alone.
    pub kwargs: Vec<String>,
    /// What stands in for arguments that a call leaves out.
    pub defaults: Vec<(String, Value)>,
    /// Arguments that a call may have and that mean nothing.
    pub ignore: Vec<String>,
    /// The command.
    pub command: String,
    /// The device; `{device}` where neither this nor `devices` is there.
    pub device: Option<String>,
    /// The argument that holds many devices, as `{name}`.
    pub devices: Option<String>,
    /// The payload; the argument `payload` where absent, if there is one.
    pub payload: Option<Value>,
    /// The device profile.
    pub profile: Option<String>,
    /// Whether an answer is awaited.
    pub mode: Mode,
    /// How long to wait for the device.
    pub timeout: Option<Wait>,
    /// What a crash may cost.
    pub guarantee: Option<Guarantee>,
    /// What the caller gets; the answer, or the summary of many, where absent.
    pub returns: Option<Returns>,
    /// Devices a second, for many.
    pub rate: Option<f64>,
    /// Devices at a time, for many.
    pub concurrency: Option<usize>,
    /// When to give up on the rest, for many.
    pub abort: Option<Abort>,
}

/// How long to wait for a device.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// As long as this.
    Fixed(Duration),
    /// As long as the argument says, in seconds; written `{name}`.
    Argument(String),
}

/// Something wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key within the mapping, `payload.speed`; empty where it concerns the mapping as a whole.
    pub key: String,
    /// What is wrong and what would be right: a sentence whose subject is the key.
    pub problem: String,
}

impl Problem {
    /// A problem of one key.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// Reads `20%:100`: give up when more than 20 percent have failed, of 100 or more.
pub fn abort(text: &str) -> Option<Abort> {
    super::argument::abort_text(text)
}

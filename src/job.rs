//! A job: what a producer asked for, valid in form, before anybody looked at a device profile.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A decoded job of CONTRACT section "A job", whichever protocol it came by.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The idempotency key, and the id under which results are known.
    pub id: Arc<str>,
    /// Who is to be commanded.
    pub targets: Targets,
    /// The command's name.
    pub command: Arc<str>,
    /// What goes with the command to every device that has no payload of its own.
    pub payload: Payload,
    /// Whether an answer is awaited.
    pub mode: Mode,
    /// The name of the device profile; `default` where the job names none.
    pub profile: Arc<str>,
    /// How long to wait for the device's answer; the worker's default where the job says nothing.
    pub timeout: Option<Duration>,
    /// Never sent to the device after this: milliseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// Not sent before this: milliseconds since the Unix epoch.
    pub not_before: Option<u64>,
    /// What a crash may cost; the profile's or worker's default where the job says nothing.
    pub guarantee: Option<Guarantee>,
    /// When the producer made it, as far as it says: milliseconds since the Unix epoch.
    pub enqueued_at: Option<u64>,
}

impl Job {
    /// A request without payload, and without a word about anything else.
    pub fn new(id: impl Into<Arc<str>>, targets: Targets, command: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            targets,
            command: command.into(),
            payload: Payload::Empty,
            mode: Mode::Request,
            profile: "default".into(),
            timeout: None,
            expires_at: None,
            not_before: None,
            guarantee: None,
            enqueued_at: None,
        }
    }
}

/// One device, or many with the rules of a bulk.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// `device`.
    One(Arc<str>),
    /// `devices` or `targets`.
    Many(Bulk),
}

/// Many devices and how to go through them.
#[derive(Clone, Debug, PartialEq)]
pub struct Bulk {
    /// Each device once, in the order in which the job named them first.
    pub targets: Vec<Target>,
    /// Devices started per second; as fast as they go where absent.
    pub rate_per_second: Option<f64>,
    /// Devices commanded at one time; the worker's own limit where absent.
    pub concurrency: Option<usize>,
    /// When to give up on the rest.
    pub abort: Option<Abort>,
    /// What the requester gets.
    pub results: BulkResults,
}

impl Bulk {
    /// These devices as fast as they go, each with its result.
    pub fn new(targets: Vec<Target>) -> Self {
        Self { targets, rate_per_second: None, concurrency: None, abort: None, results: BulkResults::Stream }
    }
}

/// One device of a bulk.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The device's id.
    pub device: Arc<str>,
    /// Its own payload, instead of the job's.
    pub payload: Option<Payload>,
}

/// Abort when more than this share of the answers so far are failures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Abort {
    /// Percentage of failures, above 0 and up to 100.
    pub failed_percent: f64,
    /// Not before this many devices have an outcome.
    pub after: usize,
}

/// What the requester of a bulk gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BulkResults {
    /// One result per device, then the summary.
    #[default]
    Stream,
    /// The summary alone.
    Summary,
}

/// What goes with a command.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Payload {
    /// No payload: an empty MQTT message.
    #[default]
    Empty,
    /// JSON text, exactly as the producer wrote it.
    Json(Bytes),
    /// Bytes that are no JSON (`{"$base64": "…"}`).
    Bytes(Bytes),
}

/// Whether an answer is awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Wait for the device's answer.
    #[default]
    Request,
    /// One-way: done when the broker took it.
    Publish,
}

/// What may happen to a command when something breaks after it may have been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Guarantee {
    /// Never sent again: the outcome is `unknown` instead.
    #[default]
    AtMostOnce,
    /// Sent again while there is time, with the same command id.
    AtLeastOnce,
}

impl From<serde_json::Value> for Payload {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value.to_string().into())
    }
}

impl From<()> for Payload {
    fn from((): ()) -> Self {
        Self::Empty
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl Mode {
    /// Its name in jobs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Publish => "publish",
        }
    }
}

impl Guarantee {
    /// Its name in jobs and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at_most_once",
            Self::AtLeastOnce => "at_least_once",
        }
    }
}

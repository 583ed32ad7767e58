//! What became of a command: the closed set of statuses, and whether the device can have acted.

use bytes::Bytes;
use std::borrow::Cow;
use std::time::Duration;

/// How a command ended. The meaning of each is in the contract's table of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The device answered and its profile reads the answer as success; or one-way and the broker took it.
    Succeeded,
    /// The device answered with an error.
    Rejected,
    /// Sent, and no answer in time.
    TimedOut,
    /// Surely nobody received it.
    Undeliverable,
    /// Its time had passed before it was sent.
    Expired,
    /// Cancelled by the requester.
    Cancelled,
    /// A crash or a lost connection makes it impossible to say.
    Unknown,
    /// The job itself is wrong.
    Invalid,
}

impl Status {
    /// Every status, in the order of the contract; the index of each is `self as usize`.
    pub const ALL: [Self; 8] = [
        Self::Succeeded,
        Self::Rejected,
        Self::TimedOut,
        Self::Undeliverable,
        Self::Expired,
        Self::Cancelled,
        Self::Unknown,
        Self::Invalid,
    ];

    /// Whether it means that the command surely did not reach its device, so that a new submission may try again.
    pub fn is_certain_no(self) -> bool {
        matches!(self, Self::Expired | Self::Undeliverable | Self::Invalid)
    }

    /// Its name in results, summaries and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::Undeliverable => "undeliverable",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }
}

/// Whether the device can have acted: `Yes` and `No` are certain, everything else is `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Executed {
    /// The device answered.
    Yes,
    /// The command surely never reached it.
    No,
    /// Neither is certain.
    Unknown,
}

impl Executed {
    /// Its name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of one command to one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Whether the device can have acted.
    pub executed: Executed,
    /// What the device answered, as it came; `None` where it did not answer.
    pub response: Option<Bytes>,
    /// What went wrong, where something did.
    pub failure: Option<Failure>,
    /// Which MQTT attempt this speaks of, counted from 1; 0 where nothing was attempted, or nobody can say.
    pub attempt: u32,
    /// Whether an earlier outcome of the same command said `timed_out` or `unknown`.
    pub late: bool,
    /// How long it waited for its turn (lane, subscription, connection).
    pub waiting: Duration,
    /// From the publish to the answer, or to the end of waiting for it; zero where nothing was sent.
    pub device: Duration,
}

/// What went wrong, for a program (`code`, from a closed set except where a device chose it) and for a person (`message`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A short name.
    pub code: Cow<'static, str>,
    /// What is wrong, where, and what would be right.
    pub message: String,
}

impl Failure {
    /// A failure with a code of our own.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), message: message.into() }
    }
}

impl Outcome {
    /// An outcome without answer, timing or attempt.
    pub fn new(status: Status, executed: Executed, failure: Option<Failure>) -> Self {
        Self {
            status,
            executed,
            response: None,
            failure,
            attempt: 0,
            late: false,
            waiting: Duration::ZERO,
            device: Duration::ZERO,
        }
    }

    /// The command was never sent, for this reason.
    pub fn not_sent(status: Status, failure: Failure) -> Self {
        Self::new(status, Executed::No, Some(failure))
    }
}

//! Placeholders: what may stand in braces in a template, and the values that take their place.

use super::Call;
use jiff::Timestamp;
use std::fmt::Write;

/// A placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The device's id.
    Device,
    /// The command's name.
    Command,
    /// The unguessable inbox of this run of this worker.
    Inbox,
    /// The attempt in decimal.
    Seq,
    /// The attempt as 32 hex digits.
    Attempt,
    /// The job's id.
    Job,
    /// In an answer's topic: a level that the device chooses, which says how it went.
    Code,
    /// The instant after which the command must not run, RFC 3339 in UTC; absent where there is none.
    ExpiresAt,
    /// The same, as milliseconds since the Unix epoch.
    ExpiresAtMs,
    /// The job's payload; absent where the job has none.
    Payload,
}

/// Which placeholders a request topic takes.
pub(super) const IN_REQUEST: &[Slot] = &[Slot::Device, Slot::Command, Slot::Inbox, Slot::Seq, Slot::Attempt, Slot::Job];
/// Which placeholders an answer topic takes.
pub(super) const IN_RESPONSE: &[Slot] =
    &[Slot::Device, Slot::Command, Slot::Inbox, Slot::Seq, Slot::Attempt, Slot::Job, Slot::Code];
/// Which placeholders a user property takes.
pub(super) const IN_PROPERTY: &[Slot] = &[
    Slot::Device,
    Slot::Command,
    Slot::Inbox,
    Slot::Seq,
    Slot::Attempt,
    Slot::Job,
    Slot::ExpiresAt,
    Slot::ExpiresAtMs,
];
/// Which placeholders a JSON payload takes.
pub(super) const IN_PAYLOAD: &[Slot] = &[
    Slot::Device,
    Slot::Command,
    Slot::Inbox,
    Slot::Seq,
    Slot::Attempt,
    Slot::Job,
    Slot::ExpiresAt,
    Slot::ExpiresAtMs,
    Slot::Payload,
];

impl Slot {
    /// Its name between the braces.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Command => "command",
            Self::Inbox => "inbox",
            Self::Seq => "seq",
            Self::Attempt => "attempt",
            Self::Job => "job",
            Self::Code => "code",
            Self::ExpiresAt => "expires_at",
            Self::ExpiresAtMs => "expires_at_ms",
            Self::Payload => "payload",
        }
    }

    /// The placeholder of that name, if it may stand here; the error lists those that may.
    pub(super) fn named(name: &str, allowed: &[Self]) -> Result<Self, String> {
        allowed.iter().copied().find(|slot| slot.name() == name).ok_or_else(|| {
            let names: Vec<String> = allowed.iter().map(|slot| format!("{{{}}}", slot.name())).collect();
            format!("has the placeholder {{{name}}}; here {} are known", names.join(", "))
        })
    }
}

/// The values of one command. An empty `device` stands for a topic that belongs to no device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) device: &'a str,
    pub(super) command: &'a str,
    pub(super) inbox: &'a str,
    pub(super) job: &'a str,
    pub(super) attempt: u128,
    pub(super) expires_at: Option<u64>,
}

impl<'a> Values<'a> {
    pub(super) fn of(call: &Call<'a>) -> Self {
        Self {
            device: call.device,
            command: call.command,
            inbox: call.inbox,
            job: call.job_id,
            attempt: call.attempt,
            expires_at: call.expires_at,
        }
    }

    /// Appends the text of a value; false, and nothing appended, where the command has none.
    pub(super) fn write(&self, slot: Slot, out: &mut String) -> bool {
        match slot {
            Slot::Device => out.push_str(self.device),
            Slot::Command => out.push_str(self.command),
            Slot::Inbox => out.push_str(self.inbox),
            Slot::Job => out.push_str(self.job),
            Slot::Seq => out.push_str(itoa::Buffer::new().format(self.attempt)),
            // Writing to a String cannot fail.
            Slot::Attempt => drop(write!(out, "{:032x}", self.attempt)),
            // What the device will choose is not known before it answers.
            Slot::Code => out.push('-'),
            Slot::ExpiresAt => match self.expires_at.and_then(rfc3339) {
                Some(time) => out.push_str(&time),
                None => return false,
            },
            Slot::ExpiresAtMs => match self.expires_at {
                Some(ms) => drop(write!(out, "{ms}")),
                None => return false,
            },
            Slot::Payload => return false,
        }
        true
    }
}

/// Absent in the last days of the year 9999 and beyond it, which is no deadline at all.
fn rfc3339(unix_ms: u64) -> Option<String> {
    Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok().map(|time| time.to_string())
}

/// A text with placeholders anywhere in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    Slot(Slot),
}

impl Text {
    /// Reads a text; `{` and `}` always mean a placeholder.
    pub(super) fn parse(text: &str, allowed: &[Slot]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| format!("has a '{{' without its '}}' in {text:?}"))?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            pieces.push(Piece::Slot(Slot::named(name, allowed)?));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The placeholder, where the text is nothing else.
    pub(super) fn alone(&self) -> Option<Slot> {
        match self.0.as_slice() {
            [Piece::Slot(slot)] => Some(*slot),
            _ => None,
        }
    }

    /// Whether it has this placeholder.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.0.contains(&Piece::Slot(slot))
    }

    /// The text for these values; `None` where the command has no value for one of its placeholders.
    pub(super) fn render(&self, values: &Values<'_>) -> Option<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => out.push_str(literal),
                Piece::Slot(slot) if values.write(*slot, &mut out) => {}
                Piece::Slot(_) => return None,
            }
        }
        Some(out)
    }
}

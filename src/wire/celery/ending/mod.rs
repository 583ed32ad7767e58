//! What the end of a command is to its Celery caller: a result, an exception, or revoked.

use super::call::Returns;
use super::{End, Exception, Json};
use crate::excerpt::{Excerpt, truncate};
use crate::outcome::{Executed, Failure, Outcome, Status};
use crate::wire::native::{FAILED_LISTED, Summary};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

/// The module of our exceptions: what an application calls the module in which it catches them by class.
pub const MODULE: &str = "switchboard.exceptions";
/// The longest name that details repeat, in bytes.
const NAME_BYTES: usize = 255;

/// What a command was, for the details of an exception.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The task's id.
    pub id: &'a str,
    /// The device; empty where it is not known.
    pub device: &'a str,
    /// The command; empty where it is not known.
    pub command: &'a str,
}

/// The end of a task whose command came to this outcome.
///
/// `returns` is what the task gives back where it succeeds; `success` makes the result of a device's answer.
pub fn end(outcome: &Outcome, about: &About<'_>, returns: Returns, success: impl FnOnce(Option<&[u8]>) -> Json) -> End {
    let kind = match outcome.status {
        Status::Succeeded if returns == Returns::Answer => {
            return End::Success(success(outcome.response.as_deref()));
        }
        Status::Succeeded => return End::Success(RawValue::NULL.to_owned()),
        Status::Expired => return End::Revoked(Exception::revoked("expired")),
        Status::Cancelled if outcome.executed == Executed::No => return End::Revoked(Exception::revoked("revoked")),
        Status::Cancelled => return End::Revoked(Exception::revoked("terminated")),
        Status::Rejected => "DeviceRejected",
        Status::TimedOut => "DeviceTimeout",
        Status::Undeliverable => "DeviceUnreachable",
        Status::Unknown => "OutcomeUnknown",
        Status::Invalid => "InvalidCommand",
    };
    let device = truncate(about.device, NAME_BYTES);
    let command = truncate(about.command, NAME_BYTES);
    let what = match (device, command) {
        ("", _) | (_, "") => String::new(),
        _ => match outcome.status {
            Status::Rejected => format!("{} refused {}", Excerpt(device), Excerpt(command)),
            Status::TimedOut => format!("{} did not answer {}", Excerpt(device), Excerpt(command)),
            Status::Undeliverable => format!("{} did not receive {}", Excerpt(device), Excerpt(command)),
            Status::Unknown => format!("{} may have executed {}", Excerpt(device), Excerpt(command)),
            _ => format!("{} cannot be sent to {}", Excerpt(command), Excerpt(device)),
        },
    };
    let why = outcome.failure.as_ref().map_or("", |failure| failure.message.as_str());
    let text = match (what.as_str(), why) {
        ("", "") => outcome.status.as_str().to_owned(),
        ("", why) => why.to_owned(),
        (what, "") => what.to_owned(),
        (what, why) => format!("{what}: {why}"),
    };
    End::Failure(exception(kind, text, details(outcome, about)))
}

/// The exception of a task that asks for something wrong, before anything was sent.
pub fn invalid(about: &About<'_>, failure: &Failure) -> Exception {
    let outcome = Outcome::not_sent(Status::Invalid, failure.clone());
    exception("InvalidCommand", failure.message.clone(), details(&outcome, about))
}

/// The device and the command that an exception of ours is about, as far as it knows them.
pub fn named(exception: &Exception) -> [Option<&str>; 2] {
    let details = exception.args.get(1);
    ["device", "command"].map(|name| details?.get(name)?.as_str())
}

/// The end of a bulk: its summary, as in the native format. A bulk that was aborted or cancelled has one too.
pub fn summary_end(id: &str, command: &str, summary: &Summary) -> End {
    let counts: Map<String, Value> = Status::ALL
        .iter()
        .zip(summary.counts)
        .map(|(status, count)| (status.as_str().to_owned(), count.into()))
        .collect();
    let value = json!({
        "id": id,
        "command": command,
        "status": summary.status.as_str(),
        "total": summary.total,
        "counts": counts,
        "failed": summary.failed.iter().take(FAILED_LISTED).map(|device| &**device).collect::<Vec<_>>(),
        "duration_ms": summary.duration.as_secs_f64() * 1_000.0,
    });
    // Names and numbers are JSON.
    End::Success(to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}

/// The soft time limit passed. Celery gives it no arguments.
pub fn soft_limit() -> Exception {
    Exception { module: "billiard.exceptions".into(), kind: "SoftTimeLimitExceeded".into(), args: Vec::new() }
}

/// The hard time limit, of so many seconds, passed.
pub fn hard_limit(seconds: f64) -> Exception {
    // Python shows 30 for what the caller wrote as 30.
    let limit = match seconds.fract() == 0.0 && seconds.abs() < 9e15 {
        true => Value::from(seconds as i64),
        false => Value::from(seconds),
    };
    Exception { module: "billiard.exceptions".into(), kind: "TimeLimitExceeded".into(), args: vec![limit] }
}

fn exception(kind: &'static str, text: String, details: Value) -> Exception {
    Exception { module: MODULE.into(), kind: kind.into(), args: vec![text.into(), details] }
}

fn details(outcome: &Outcome, about: &About<'_>) -> Value {
    let name = |name: &str| match name {
        "" => Value::Null,
        name => truncate(name, NAME_BYTES).into(),
    };
    let mut details = json!({
        "id": name(about.id),
        "device": name(about.device),
        "command": name(about.command),
        "status": outcome.status.as_str(),
        "executed": outcome.executed.as_str(),
        "code": outcome.failure.as_ref().map(|failure| &*failure.code),
        "attempt": outcome.attempt,
    });
    if let Some(response) = &outcome.response {
        details["response"] = harmless(response);
    }
    details
}

/// What a device said, as a value that every client can read: JSON as it is, unless kombu would see a typed value in it and
/// stumble, which it does in the `get()` of whatever task; then, and where it is no JSON, as text.
fn harmless(response: &[u8]) -> Value {
    match serde_json::from_slice::<Value>(response) {
        Ok(value) if !is_typed(&value) => value,
        _ => String::from_utf8_lossy(response).into(),
    }
}

fn is_typed(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(is_typed),
        Value::Object(members) => members.contains_key("__type__") || members.values().any(is_typed),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

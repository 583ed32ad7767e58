//! From a task's end to the result that Celery's client reads, over rpc and from Redis.

mod response;
mod stored;

pub use response::success;
pub use stored::{native_words, read_end};

use super::{End, Exception, Head, Json};
use crate::envelope::Envelope;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::fmt::Write;

/// What a task has sent, as its result lists it: `AsyncResult.children`.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// One task.
    Task(String),
    /// A group by its id, with its members.
    Group(String, Vec<Child>),
}

impl Child {
    /// Celery's tuple: `[[id, parent], members]`.
    pub(super) fn write(&self, json: &mut String) {
        match self {
            Self::Task(id) => {
                json.push_str("[[");
                string(json, id);
                json.push_str(", null], null]");
            }
            Self::Group(id, members) => {
                json.push_str("[[");
                string(json, id);
                json.push_str(", null], ");
                list(json, members);
                json.push(']');
            }
        }
    }
}

/// The text of a result: the body of an rpc message, and the value of a Redis key.
///
/// A value is put in as it stands, so it must be one that [`response::success`] has let pass, or that came from a task.
pub fn result(head: &Head, end: &End, children: &[Child], now_unix_ms: u64) -> Bytes {
    let value = match end {
        End::Success(value) => value.get().to_owned(),
        End::Failure(why) | End::Revoked(why) => exception(why).get().to_owned(),
    };
    let mut json = String::with_capacity(256 + value.len() + head.id.len() + 48 * children.len());
    let _ = write!(json, "{{\"status\": \"{}\", \"result\": {value}, \"traceback\": null, \"children\": ", end.state());
    list(&mut json, children);
    let _ = write!(json, ", \"date_done\": \"{}\"", instant(now_unix_ms));
    for (name, id) in [("group_id", &head.group), ("parent_id", &head.parent_id)] {
        if let Some(id) = id {
            let _ = write!(json, ", \"{name}\": ");
            string(&mut json, id);
        }
    }
    json.push_str(", \"task_id\": ");
    string(&mut json, &head.id);
    json.push('}');
    sent(json)
}

/// The rpc message of a result, for the default exchange with the client's queue for its routing key.
pub fn reply(head: &Head, body: Bytes, message_id: String) -> Envelope {
    let correlation_id = match head.correlation_id.as_str() {
        "" => &*head.id,
        given => given,
    };
    Envelope {
        body,
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        correlation_id: Some(correlation_id.to_owned()),
        message_id: Some(message_id),
        priority: Some(0),
        // As Celery: the client's queue does not outlive the client either.
        persistent: false,
        ..Envelope::default()
    }
}

/// An exception as the client reads it.
///
/// An argument of which the client's decoder would make something else, or fail, becomes the text of it.
pub fn exception(exception: &Exception) -> Json {
    let mut json = String::from("{\"exc_type\": ");
    string(&mut json, &exception.kind);
    json.push_str(", \"exc_message\": [");
    for (index, argument) in exception.args.iter().enumerate() {
        json.push_str(if index > 0 { ", " } else { "" });
        let argument = argument.to_string();
        match response::is_harmless(&argument) {
            true => json.push_str(&argument),
            false => string(&mut json, &argument),
        }
    }
    json.push_str("], \"exc_module\": ");
    string(&mut json, &exception.module);
    json.push('}');
    RawValue::from_string(json).expect("strings, and JSON values in a list")
}

/// An instant as Python's `isoformat()` writes it, in UTC.
pub(super) fn instant(unix_ms: u64) -> String {
    let time = Timestamp::from_millisecond(i64::try_from(unix_ms).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
    let text = format!("{time:.6}");
    format!("{}+00:00", text.trim_end_matches('Z'))
}

/// JSON text as bytes for others: the numbers that stand masked in it become Python's words again.
pub(super) fn sent(text: String) -> Bytes {
    match super::unmask(&text) {
        std::borrow::Cow::Owned(unmasked) => unmasked.into(),
        std::borrow::Cow::Borrowed(_) => text.into(),
    }
}

/// A text as a JSON string.
pub(super) fn string(json: &mut String, text: &str) {
    json.push_str(&serde_json::to_string(text).expect("a string is JSON"));
}

fn list(json: &mut String, children: &[Child]) {
    json.push('[');
    for (index, child) in children.iter().enumerate() {
        json.push_str(if index > 0 { ", " } else { "" });
        child.write(json);
    }
    json.push(']');
}

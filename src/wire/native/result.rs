//! From an outcome to the result that the requester gets.

use super::checked;
use super::message_id::{Class, message_id};
use crate::envelope::Envelope;
use crate::outcome::{Failure, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::time::Duration;

/// What every answer to a job repeats of it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The job's id, made where it could not be read.
    pub id: Arc<str>,
    /// The command; empty where it could not be read.
    pub command: Arc<str>,
    /// What the requester knows the job by; the job's id where empty.
    pub correlation_id: String,
    /// The name of the worker that answers.
    pub worker: Arc<str>,
    /// Whether the broker delivered the job before.
    pub redelivered: bool,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From the producer to the delivery.
    pub queued: Duration,
    /// From the delivery to the publish.
    pub waiting: Duration,
    /// From the publish to the answer.
    pub device: Duration,
    /// From the producer, or the delivery where that is unknown, to the answer.
    pub total: Duration,
}

/// The result of one device, ready to be published to the reply queue.
///
/// An empty device or command is one that could not be read, and is written as `null`.
pub fn result(origin: &Origin, device: &str, outcome: &Outcome, timing: &Timing) -> Envelope {
    let response = outcome.response.as_deref().unwrap_or_default();
    let mut json = Json::new(384 + origin.id.len() + device.len() + origin.command.len() + response.len());
    json.raw("{\"id\":").text(&origin.id);
    json.raw(",\"device\":").name(device);
    json.raw(",\"command\":").name(&origin.command);
    json.raw(",\"status\":").text(outcome.status.as_str());
    json.raw(",\"executed\":").text(outcome.executed.as_str());
    json.raw(",\"response\":").response(response);
    json.raw(",\"error\":").failure(outcome.failure.as_ref());
    json.raw(",\"attempt\":").number(outcome.attempt.into());
    json.raw(",\"late\":").flag(outcome.late);
    json.raw(",\"redelivered\":").flag(origin.redelivered);
    json.raw(",\"worker\":").text(&origin.worker);
    json.raw(",\"timing_ms\":{\"queued\":").milliseconds(timing.queued);
    json.raw(",\"waiting\":").milliseconds(timing.waiting);
    json.raw(",\"device\":").milliseconds(timing.device);
    json.raw(",\"total\":").milliseconds(timing.total);
    json.raw("}}");
    let class = if outcome.late { Class::Late } else { Class::Final };
    reply(origin, super::RESULT, message_id(&origin.id, device, class), json)
}

/// The same result, said again for a job that was delivered to somebody else meanwhile; as it is where it says so already.
pub fn redelivered(mut result: Envelope) -> Envelope {
    // The last one is ours: behind it nothing but the worker's name is text, and that cannot hold a bare quote.
    const FLAG: &str = r#","redelivered":"#;
    let body = std::str::from_utf8(&result.body).ok();
    if let Some((head, tail)) = body.and_then(|body| body.rsplit_once(FLAG))
        && let Some(tail) = tail.strip_prefix("false")
    {
        result.body = [head, FLAG, "true", tail].concat().into();
    }
    result
}

/// A persistent JSON message to the requester.
pub(super) fn reply(origin: &Origin, kind: &str, message_id: String, json: Json) -> Envelope {
    let correlation_id = match origin.correlation_id.as_str() {
        "" => &*origin.id,
        given => given,
    };
    Envelope {
        body: json.0.into(),
        content_type: Some("application/json".to_owned()),
        kind: Some(kind.to_owned()),
        message_id: Some(message_id),
        correlation_id: Some(correlation_id.to_owned()),
        persistent: true,
        ..Envelope::default()
    }
}

/// Whether a JSON string of this text is at most twice as long, its quotes aside.
fn is_short(text: &str) -> bool {
    let more = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    });
    more.sum::<usize>() <= text.len()
}

/// JSON text being written into one buffer.
pub(super) struct Json(Vec<u8>);

impl Json {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) {
        // Neither a string nor a Vec can fail.
        serde_json::to_writer(&mut self.0, text).expect("a string is JSON, and memory takes it");
    }

    pub(super) fn name(&mut self, name: &str) {
        match name {
            "" => drop(self.raw("null")),
            _ => self.text(name),
        }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.raw(if flag { "true" } else { "false" });
    }

    /// To the microsecond, with at least one digit after the point.
    pub(super) fn milliseconds(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (whole, part) = (micros / 1000, (micros % 1000) as u16);
        self.number(whole);
        let digits = [part / 100, part / 10 % 10, part % 10].map(|digit| b'0' + digit as u8);
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
        self.0.push(b'.');
        self.0.extend_from_slice(&digits[..=last]);
    }

    /// JSON as it is, other text as a string, other bytes in base64, nothing as `null`. Text with so many control characters
    /// that its string would be more than twice as long is bytes too.
    fn response(&mut self, response: &[u8]) {
        match std::str::from_utf8(response) {
            Ok("") => drop(self.raw("null")),
            Ok(text) if checked::check(text).is_ok() => drop(self.raw(text.trim_ascii())),
            Ok(text) if is_short(text) => self.text(text),
            _ => {
                self.raw("{\"$base64\":").text(&STANDARD.encode(response));
                self.raw("}");
            }
        }
    }

    fn failure(&mut self, failure: Option<&Failure>) {
        match failure {
            None => drop(self.raw("null")),
            Some(failure) => {
                self.raw("{\"code\":").text(&failure.code);
                self.raw(",\"message\":").text(&failure.message);
                self.raw("}");
            }
        }
    }
}

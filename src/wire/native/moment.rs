//! Instants in a job: RFC 3339 texts, and what the AMQP properties say about time.

use super::value::wrong;
use crate::envelope::{Envelope, Value};
use jiff::SignedDuration;
use jiff::civil::{DateTime, datetime};
use jiff::fmt::temporal::Pieces;
use serde_json::value::RawValue;

/// Where a job that waited in the broker says when it expires: milliseconds since the Unix epoch.
pub(super) const EXPIRES_AT: &str = "x-switchboard-expires-at";

const EPOCH: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);
/// The last instant that can be written: later ones count as it.
const LAST: u64 = 253_402_300_799_999;

const RIGHT: &str = "RFC 3339 with its offset, like \"2026-11-22T10:00:05Z\",";

/// An RFC 3339 instant in any offset, as milliseconds since the Unix epoch; one before the epoch is the epoch.
pub(super) fn instant(field: &str, value: &RawValue) -> Result<u64, String> {
    serde_json::from_str::<&str>(value.get()).ok().and_then(parse).ok_or_else(|| wrong(field, value, RIGHT))
}

/// The same from plain text; `None` where it is no such instant.
///
/// By the calendar and the offset, since an instant of the library's own ends two days before the year 9999 does, whose last
/// second is how many write "never".
pub(super) fn parse(text: &str) -> Option<u64> {
    let pieces = Pieces::parse(is_rfc3339(text).then_some(text)?).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?).duration_since(EPOCH);
    let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
    Some(u64::try_from((local - offset).as_millis()).unwrap_or(0).min(LAST))
}

/// An instant as the contract writes it: RFC 3339 in UTC, with milliseconds.
pub(super) fn text(unix_ms: u64) -> String {
    let since = SignedDuration::from_millis(unix_ms.min(LAST).cast_signed());
    let time = EPOCH.checked_add(since).unwrap_or(DateTime::MAX);
    format!("{time:.3}Z")
}

/// The parser takes more of ISO 8601 than producers of other languages could write or read back.
fn is_rfc3339(text: &str) -> bool {
    let at = |index: usize| text.as_bytes().get(index).copied().unwrap_or(0);
    let date_and_time =
        at(4) == b'-' && at(7) == b'-' && matches!(at(10), b'T' | b't' | b' ') && at(13) == b':' && at(16) == b':';
    let zulu = text.ends_with(['Z', 'z']);
    let offset = text.len() > 24 && matches!(at(text.len() - 6), b'+' | b'-') && at(text.len() - 3) == b':';
    date_and_time && (zulu || offset)
}

/// When the producer made the message, in milliseconds since the Unix epoch: by RabbitMQ's own header to the
/// millisecond, where the broker is set to write it, else by the `timestamp` property to the second.
pub(super) fn made_at(envelope: &Envelope) -> Option<u64> {
    match envelope.headers.get("timestamp_in_ms") {
        Some(Value::Int(ms)) if *ms > 0 => Some(*ms as u64),
        _ => envelope.timestamp.map(|seconds| seconds.saturating_mul(1000)),
    }
}

/// Ends a message's time to live where nobody else will: one that does not say when it was made was made before it was
/// `delivered`, and so nothing is sent after that and its time to live together. Delivered again, it may begin its time anew.
pub fn lives_from(envelope: &mut Envelope, delivered: u64) {
    // Zero asks for a consumer that is there, and was met with one.
    let lives = envelope.expiration.as_deref().and_then(|text| text.parse().ok()).filter(|ms: &u64| *ms > 0);
    // Most have none, and are not looked through.
    let Some(ms) = lives else { return };
    if envelope.headers.get(EXPIRES_AT).is_none() && made_at(envelope).is_none() {
        let end = delivered.saturating_add(ms);
        envelope.headers.set(EXPIRES_AT, Value::Int(i64::try_from(end).unwrap_or(i64::MAX)));
    }
}

/// A copy of a job that is to wait in the broker: its time to live becomes a header, or the broker would end the wait
/// with it.
pub fn parked(envelope: &Envelope) -> Envelope {
    let mut copy = envelope.clone();
    if let Ok(Some(at)) = time_to_live_ends(envelope) {
        copy.headers.set(EXPIRES_AT, Value::Int(i64::try_from(at).unwrap_or(i64::MAX)));
    }
    copy.expiration = None;
    copy
}

/// The same for one that waits in the delay queues, perhaps not for the first time: the broker drops, without a word, what
/// its own account says was there before.
pub fn parked_again(envelope: &Envelope) -> Envelope {
    let mut copy = parked(envelope);
    copy.headers.0.retain(|(name, _)| name != "x-death" && !name.starts_with("x-first-death-"));
    copy
}

/// When the message's own time to live ends, in milliseconds since the Unix epoch.
///
/// A message that does not say when it was made has no such instant, unless its delivery gave it one: until then the broker
/// has counted for it, and nobody knows how far.
pub(super) fn time_to_live_ends(envelope: &Envelope) -> Result<Option<u64>, String> {
    if let Some(Value::Int(at)) = envelope.headers.get(EXPIRES_AT) {
        return Ok(u64::try_from(*at).ok());
    }
    let Some(text) = envelope.expiration.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let ttl_ms: u64 = text.parse().map_err(|_| {
        let shown = crate::excerpt::Excerpt(text);
        format!("the AMQP property expiration is {shown}; a whole number of milliseconds is right")
    })?;
    // A timestamp names the second within which the message was made. Counted from its beginning, a short time to live
    // would be over before it began.
    let within = if envelope.headers.get("timestamp_in_ms").is_some() { 0 } else { 999 };
    Ok(made_at(envelope).map(|made| made.saturating_add(within).saturating_add(ttl_ms)))
}

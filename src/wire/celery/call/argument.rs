//! One argument of a call, read as what it stands for.

use super::fault::Fault;
use crate::job::{Abort, Guarantee, Payload, Target};
use crate::wire::celery::{typed, unmask};
use crate::wire::native::places::each_once;
use crate::wire::native::value::{self, number, whole, wrong};
use crate::wire::native::{Limits, MAX_TIMEOUT_MS};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The lowest rate, in devices a second, as in the native format.
const MIN_RATE: f64 = 0.001;

/// What `abort` may look like, for messages.
const ABORT: &str = "\"20%:100\" or {\"failed_percent\": 20, \"after\": 100}";

/// A value without the marks of Python's types: a UUID is its text. Only lists and objects can have any.
pub(super) fn plain(value: &RawValue) -> Result<Cow<'_, RawValue>, Fault> {
    match may_be_typed(value.get()) {
        true => Ok(Cow::Owned(typed::plain(&value.to_owned())?)),
        false => Ok(Cow::Borrowed(value)),
    }
}

fn may_be_typed(json: &str) -> bool {
    json.starts_with(['{', '[']) && json.contains("__type__")
}

/// Refuses a number that only Python knows where something else is right: masked, it would be taken for a string.
fn not_masked(field: impl fmt::Display, value: &RawValue, right: &str) -> Result<(), Fault> {
    let is_string = value.get().starts_with('"');
    match is_string.then(|| unmask(value.get())) {
        Some(Cow::Owned(number)) => Err(Fault::Said(format!("{field} is {number}; {right} is right"))),
        Some(Cow::Borrowed(_)) | None => Ok(()),
    }
}

/// A string.
pub(super) fn text(field: impl fmt::Display, value: &RawValue) -> Result<Arc<str>, Fault> {
    not_masked(&field, value, "a string")?;
    Ok(value::text(field, &plain(value)?)?.into())
}

/// The name of a profile.
pub(super) fn profile(value: &RawValue) -> Result<Arc<str>, Fault> {
    let name = text("profile", value)?;
    match name.is_empty() {
        true => Err(Fault::Said(wrong("profile", value, "a profile's name, like \"default\","))),
        false => Ok(name),
    }
}

/// A time in seconds, whole or not, to the millisecond.
pub(super) fn seconds(field: &str, value: &RawValue) -> Result<Duration, Fault> {
    let most = MAX_TIMEOUT_MS / 1_000;
    let right = format!("a number of seconds above 0 and up to {most}");
    not_masked(field, value, &right)?;
    let seconds = number(field, value, &right, |seconds| seconds > 0.0 && seconds <= most as f64)?;
    // The bounds above leave no room for a number that does not fit.
    Ok(Duration::from_millis(((seconds * 1_000.0).round() as u64).max(1)))
}

/// A guarantee's name.
pub(super) fn guarantee(value: &RawValue) -> Result<Guarantee, Fault> {
    let words = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce].map(|word| (word.as_str(), word));
    Ok(value::word("guarantee", value, &words)?)
}

/// Devices a second.
pub(super) fn rate(value: &RawValue) -> Result<f64, Fault> {
    let right = "a number of devices a second from 0.001";
    not_masked("rate", value, right)?;
    Ok(number("rate", value, right, |rate| rate >= MIN_RATE)?)
}

/// Devices at a time.
pub(super) fn concurrency(value: &RawValue) -> Result<usize, Fault> {
    Ok(whole("concurrency", value, 1, u32::MAX.into(), " of devices")? as usize)
}

/// When to give up on the rest of a bulk.
pub(super) fn abort(value: &RawValue) -> Result<Abort, Fault> {
    match value.get().as_bytes().first() {
        Some(b'"') => {
            let text = value::text("abort", value)?;
            Ok(abort_text(&text).ok_or_else(|| wrong("abort", value, ABORT))?)
        }
        Some(b'{') => {
            let members = members("abort", value, &["failed_percent", "after"])?;
            let member =
                |name: &str| members.get(name).ok_or_else(|| format!("abort has no {name:?}; {ABORT} is right"));
            let right = "a number above 0 and up to 100";
            let is_share = |percent| percent > 0.0 && percent <= 100.0;
            Ok(Abort {
                failed_percent: number("abort['failed_percent']", member("failed_percent")?, right, is_share)?,
                after: whole("abort['after']", member("after")?, 1, u32::MAX.into(), " of devices")? as usize,
            })
        }
        _ => Err(Fault::Said(wrong("abort", value, ABORT))),
    }
}

/// `20%:100`: more than 20 percent of failures among 100 or more.
pub(super) fn abort_text(text: &str) -> Option<Abort> {
    let (percent, after) = text.split_once("%:")?;
    let failed_percent = percent.trim().parse::<f64>().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0)?;
    let after = after.trim().parse::<u32>().ok().filter(|after| *after > 0)? as usize;
    Some(Abort { failed_percent, after })
}

/// A payload: `None` is none, bytes are bytes, all else is its JSON as it was written.
pub(super) fn payload(field: impl fmt::Display, value: &RawValue, limits: &Limits) -> Result<Payload, Fault> {
    let payload = match value.get() {
        "null" => return Ok(Payload::Empty),
        json if may_be_typed(json) => match typed::bytes(&value.to_owned()) {
            Some(bytes) => Payload::Bytes(bytes?),
            None => Payload::Json(written(value)?.into()),
        },
        _ => Payload::Json(written(value)?.into()),
    };
    bounded(field, payload, limits)
}

/// A value as the text that goes to a device: without marks, and with Python's numbers that JSON does not know.
pub(super) fn written(value: &RawValue) -> Result<String, Fault> {
    Ok(unmask(plain(value)?.get()).into_owned())
}

/// The payload, where it is not too large.
pub(super) fn bounded(field: impl fmt::Display, payload: Payload, limits: &Limits) -> Result<Payload, Fault> {
    let most = limits.max_payload_bytes;
    match &payload {
        Payload::Json(bytes) | Payload::Bytes(bytes) if bytes.len() > most => Err(Fault::Said(format!(
            "{field} has {} bytes; at most {most} (worker.max_payload_bytes) are right",
            bytes.len()
        ))),
        _ => Ok(payload),
    }
}

/// A list of devices: ids, or objects of an id and a payload of its own; an own payload of `None` is none of its own.
pub(super) fn devices(field: &str, value: &RawValue, limits: &Limits) -> Result<Vec<Target>, Fault> {
    let items = value::list(field, value, limits)?;
    let target = |(index, item): (usize, &RawValue)| {
        let here = format_args!("{field}[{index}]");
        // A marked value, such as a UUID, is an id and no device with a payload.
        let is_object =
            item.get().starts_with('{') && (!may_be_typed(item.get()) || plain(item)?.get().starts_with('{'));
        if !is_object {
            return Ok(Target { device: text(here, item)?, payload: None });
        }
        let members = members(here, item, &["device", "payload"])?;
        let device = members.get("device").ok_or_else(|| {
            format!("{here} has no \"device\"; {{\"device\": \"garage-7\", \"payload\": …}} is right")
        })?;
        let own = members.get("payload").filter(|own| own.get() != "null");
        Ok(Target {
            device: text(format_args!("{here}['device']"), device)?,
            payload: own.map(|own| payload(format_args!("{here}['payload']"), own, limits)).transpose()?,
        })
    };
    each_once(field, items.into_iter().enumerate().map(target), limits)
}

/// The members of an object of these names. Of a name that stands twice the last value counts, as in Python.
fn members<'a>(
    field: impl fmt::Display,
    value: &'a RawValue,
    names: &[&str],
) -> Result<BTreeMap<Cow<'a, str>, &'a RawValue>, Fault> {
    let mut reader = serde_json::Deserializer::from_str(value.get());
    let members = BTreeMap::<Cow<'a, str>, &'a RawValue>::deserialize(&mut reader)
        .map_err(|problem| format!("{field} cannot be read: {problem}"))?;
    match members.keys().find(|name| !names.contains(&&***name)) {
        Some(unknown) => {
            let unknown = crate::excerpt::Excerpt(unknown);
            Err(Fault::Said(format!("{field} has the unknown key {unknown}; the keys are {}", names.join(", "))))
        }
        None => Ok(members),
    }
}

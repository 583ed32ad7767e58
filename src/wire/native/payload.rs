//! A payload: JSON passed on untouched, or bytes in base64.

use super::checked;
use super::value::wrong;
use crate::job::Payload;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The member that makes an object bytes, where it is the only one.
const BASE64: &str = "$base64";

/// Reads a payload out of the body that it is part of, whose memory it shares.
pub(super) fn payload(
    field: impl fmt::Display,
    value: &RawValue,
    body: &Bytes,
    max_bytes: usize,
) -> Result<Payload, String> {
    let json = value.get();
    let payload = match base64_member(json) {
        Some(text) => Payload::Bytes(decode(&field, text)?),
        None => Payload::Json(body.slice_ref(json.as_bytes())),
    };
    let (Payload::Json(bytes) | Payload::Bytes(bytes)) = &payload else { return Ok(payload) };
    if bytes.len() > max_bytes {
        return Err(format!(
            "{field} has {} bytes; at most {max_bytes} (worker.max_payload_bytes) are right",
            bytes.len()
        ));
    }
    if matches!(payload, Payload::Json(_)) {
        checked::check(json).map_err(|problem| format!("{field} is JSON that not every reader can read: {problem}"))?;
    }
    Ok(payload)
}

fn decode(field: impl fmt::Display, value: &RawValue) -> Result<Bytes, String> {
    let text = serde_json::from_str::<String>(value.get())
        .map_err(|_| wrong(format_args!("{field}.{BASE64}"), value, "a string in base64"))?;
    STANDARD.decode(&text).map(Bytes::from).map_err(|problem| {
        format!("{field}.{BASE64} is no base64 ({problem}); the standard alphabet with its padding is right")
    })
}

/// The value of `$base64`, where that is the object's only member.
fn base64_member(json: &str) -> Option<&RawValue> {
    // Nearly every payload is told apart by its first letters; a name may also be written with an escape.
    let name = json.strip_prefix('{')?.trim_start().strip_prefix('"')?;
    if !name.starts_with(['$', '\\']) {
        return None;
    }
    serde_json::Deserializer::from_str(json).deserialize_map(OnlyMember).ok()?
}

struct OnlyMember;

impl<'de> Visitor<'de> for OnlyMember {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = 0;
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            members += 1;
            if name == BASE64 {
                found = Some(map.next_value::<&RawValue>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.filter(|_| members == 1))
    }
}

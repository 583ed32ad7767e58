//! Values that JSON has no kind for, as kombu writes them: `{"__type__": KIND, "__value__": …}`.

use super::dates;
use super::refusal::undecodable;
use crate::excerpt::Excerpt;
use crate::wire::celery::nonfinite::end_of_string;
use crate::wire::celery::{Exception, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

const TYPE: &str = "\"__type__\"";
const VALUE: &str = "\"__value__\"";

/// The value with kombu's envelopes turned into plain JSON, as a device reads it: dates, times, decimals and UUIDs as
/// their text, bytes that are text as that text, and other bytes in base64. Everything else stays as it was written.
///
/// # Errors
///
/// `DecodeError` where a kind is unknown or its value is none of that kind; in a task's own arguments that was refused
/// when the task was decoded.
pub fn plain(value: &Json) -> Result<Json, Exception> {
    if !may_have(value.get()) {
        return Ok(value.clone());
    }
    let text = rewrite(value.get())?;
    RawValue::from_string(text).map_err(|problem| undecodable(format!("an argument is no JSON: {problem}")))
}

/// The bytes of a value that is `bytes` in Python; `None` where it is anything else.
///
/// # Errors
///
/// `DecodeError` where it claims to be bytes and is not.
pub fn bytes(value: &Json) -> Option<Result<Bytes, Exception>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Envelope<'a> {
        __type__: &'a str,
        #[serde(borrow)]
        __value__: &'a RawValue,
    }
    let text = Some(value.get()).filter(|text| may_have(text))?;
    let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
    let wrong = || wrong(envelope.__type__, envelope.__value__.get());
    match envelope.__type__ {
        "bytes" => Some(string(envelope.__value__.get()).map(Bytes::from).ok_or_else(wrong)),
        "base64" => Some(base64(envelope.__value__.get()).map(Bytes::from).ok_or_else(wrong)),
        _ => None,
    }
}

/// Checks every envelope within a JSON text; one without any costs a search.
pub(super) fn check(text: &str) -> Result<(), Exception> {
    if may_have(text) { rewrite(text).map(drop) } else { Ok(()) }
}

fn may_have(text: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), TYPE.as_bytes()).is_some()
}

/// An object or a list that is being copied.
struct Open {
    /// Where it begins in what is written.
    start: usize,
    /// The last value of `__type__` and of `__value__` in it, as a part of the text.
    kind: Option<(usize, usize)>,
    value: Option<(usize, usize)>,
    /// It has another member, or it is a list.
    other: bool,
    /// The member that is being copied, and where its value begins.
    member: Option<(Member, usize)>,
}

#[derive(Clone, Copy)]
enum Member {
    Kind,
    Value,
    Other,
}

impl Open {
    /// The value of the current member ends here.
    fn end_of_member(&mut self, end: usize) {
        match self.member.take() {
            Some((Member::Kind, start)) => self.kind = Some((start, end)),
            Some((Member::Value, start)) => self.value = Some((start, end)),
            Some((Member::Other, _)) => self.other = true,
            None => {}
        }
    }
}

/// Copies a JSON text whose syntax was checked, each envelope as its plain value. One pass, whatever is within what.
fn rewrite(text: &str) -> Result<String, Exception> {
    let bytes = text.as_bytes();
    let mut written = String::with_capacity(text.len());
    let mut open: Vec<Open> = Vec::new();
    let mut name = Member::Other;
    let (mut at, mut copied) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let begun = at;
        at += 1;
        match byte {
            b'"' => {
                at = end_of_string(bytes, begun);
                name = match &text[begun..at] {
                    TYPE => Member::Kind,
                    VALUE => Member::Value,
                    _ => Member::Other,
                };
            }
            b':' => {
                if let Some(object) = open.last_mut() {
                    object.member = Some((name, at));
                }
            }
            b',' => {
                if let Some(object) = open.last_mut() {
                    object.end_of_member(begun);
                }
            }
            b'{' | b'[' => {
                written.push_str(&text[copied..begun]);
                copied = begun;
                open.push(Open { start: written.len(), kind: None, value: None, other: byte == b'[', member: None });
            }
            b'}' | b']' => {
                let Some(mut object) = open.pop() else { continue };
                object.end_of_member(begun);
                if let (Some(kind), Some(value), false) = (object.kind, object.value, object.other) {
                    written.truncate(object.start);
                    written.push_str(&plain_text(text[kind.0..kind.1].trim(), text[value.0..value.1].trim())?);
                    copied = at;
                }
            }
            _ => {}
        }
    }
    written.push_str(&text[copied..]);
    Ok(written)
}

/// The plain JSON of an envelope's value, both parts as they are written.
fn plain_text(kind: &str, value: &str) -> Result<String, Exception> {
    let named = string(kind);
    let text = string(value);
    let good = match (named.as_deref(), &text) {
        (Some("datetime" | "date"), Some(text)) => dates::instant(text).is_some(),
        (Some("time"), Some(text)) => dates::is_time(text),
        (Some("decimal"), Some(text)) => is_decimal(text),
        // Python makes a decimal of a number as well.
        (Some("decimal"), None) if value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            return Ok(format!("\"{value}\""));
        }
        (Some("bytes"), Some(_)) => true,
        (Some("base64"), Some(_)) => base64(value).is_some(),
        (Some("uuid"), None) => match uuid(value) {
            Some(uuid) => return Ok(format!("\"{uuid}\"")),
            None => false,
        },
        (Some("datetime" | "date" | "time" | "decimal" | "bytes" | "base64" | "uuid"), _) => false,
        _ => {
            let kind = named.as_deref().unwrap_or(kind);
            return Err(undecodable(format!(
                "an argument has the unknown __type__ {}; datetime, date, time, decimal, uuid, bytes or base64 is right",
                Excerpt(kind)
            )));
        }
    };
    if good { Ok(value.to_owned()) } else { Err(wrong(named.as_deref().unwrap_or_default(), value)) }
}

fn wrong(kind: &str, value: &str) -> Exception {
    let right = match kind {
        "datetime" | "date" | "time" => "ISO 8601, as Python's isoformat writes it,",
        "decimal" => "a decimal number as text",
        "uuid" => "an object with 32 hexadecimal digits named hex",
        "base64" => "text in base64 with its padding",
        _ => "text",
    };
    let shown = string(value);
    let shown = Excerpt(shown.as_deref().unwrap_or(value));
    undecodable(format!("an argument of __type__ {kind} has the value {shown}; {right} is right"))
}

fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn base64(json: &str) -> Option<Vec<u8>> {
    STANDARD.decode(string(json)?).ok()
}

/// What Python's `Decimal` takes.
fn is_decimal(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix(['+', '-']).unwrap_or(text).replace('_', "").to_ascii_lowercase();
    let diagnostic = text.strip_prefix("nan").or_else(|| text.strip_prefix("snan"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if matches!(text.as_str(), "inf" | "infinity") || diagnostic.is_some_and(digits) {
        return true;
    }
    let (number, exponent) = text.split_once('e').map_or((text.as_str(), "0"), |(number, exponent)| (number, exponent));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let some = |parts: [&str; 2]| parts.iter().all(|part| digits(part)) && parts.iter().any(|part| !part.is_empty());
    some([whole, fraction]) && some([exponent, ""])
}

/// The canonical text of a UUID. Python's `UUID` takes its digits with hyphens, braces and as a URN too.
fn uuid(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Digits {
        hex: String,
    }
    let digits: Digits = serde_json::from_str(json).ok()?;
    let hex = digits.hex.replace("urn:", "").replace("uuid:", "");
    let hex = hex.trim_matches(['{', '}']).replace('-', "").to_ascii_lowercase();
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests;

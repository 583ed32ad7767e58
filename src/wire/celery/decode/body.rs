//! From the bytes of a task's message to the JSON text of its body.

use super::compression::Compression;
use super::members::{self, Parts};
use super::refusal::{disallowed, invalid, undecodable};
use super::{Bounds, msgpack, typed};
use crate::envelope::{Envelope, Value};
use crate::excerpt::Excerpt;
use crate::wire::celery::Exception;
use crate::wire::celery::nonfinite::{self, end_of_string};
use std::borrow::Cow;

#[derive(Clone, Copy)]
enum Format {
    Json,
    MessagePack,
}

/// The format that a content type stands for. Python compares it as it is, and so does this.
fn format(content_type: Option<&str>) -> Result<Format, Exception> {
    let why = match content_type.unwrap_or_default() {
        "application/json" => return Ok(Format::Json),
        "application/x-msgpack" => return Ok(Format::MessagePack),
        "" => return Err(disallowed(format!("the message has no content type; {RIGHT}"))),
        "application/x-python-serialize" => "pickle can run any code and is never read",
        "application/x-yaml" => "YAML is not read",
        "application/data" => "signed and raw content is not read",
        _ => "it is not known",
    };
    Err(disallowed(format!("content type {}: {why}; {RIGHT}", Excerpt(content_type.unwrap_or_default()))))
}

const RIGHT: &str = "application/json (task_serializer = \"json\") or application/x-msgpack is right";

/// The body as JSON text, inflated and in UTF-8. Neither its syntax nor its depth is checked.
pub(super) fn text<'a>(
    envelope: &'a Envelope,
    compression: Option<&Value>,
    bounds: &Bounds,
) -> Result<Cow<'a, str>, Exception> {
    let format = format(envelope.content_type.as_deref())?;
    let body: Cow<'a, [u8]> = match compression {
        None | Some(Value::Null) => Cow::Borrowed(&envelope.body),
        Some(Value::Text(name)) => {
            Cow::Owned(Compression::required(name)?.inflate(&envelope.body, bounds.max_body_bytes)?)
        }
        Some(_) => return Err(disallowed("the header compression is no text; the name of a compression is right")),
    };
    let most = bounds.max_body_bytes;
    if body.len() > most {
        return Err(undecodable(format!("the body has {} bytes; at most {most} are right", body.len())));
    }
    match format {
        // What is no list will be refused for its shape; MessagePack has nothing to read there.
        Format::MessagePack if body.is_empty() => Ok(Cow::Borrowed("")),
        Format::MessagePack => msgpack::to_json(&body, bounds.deepest(), most).map(Cow::Owned).map_err(undecodable),
        Format::Json => {
            let text = match body {
                Cow::Borrowed(body) => std::str::from_utf8(body).map(Cow::Borrowed),
                Cow::Owned(body) => String::from_utf8(body).map(Cow::Owned).map_err(|problem| problem.utf8_error()),
            };
            let text = text.map_err(|problem| {
                undecodable(format!(
                    "the body is no UTF-8 from byte {} on; JSON in UTF-8 is right",
                    problem.valid_up_to()
                ))
            })?;
            Ok(text)
        }
    }
}

/// The body's parts; where Python's own numbers are in it, `masked` becomes the text that they are parts of.
///
/// # Errors
///
/// `DecodeError` where it is no JSON as Python reads it, or has a typed value that is none; `InvalidTaskError` where it is
/// an object of too many members.
pub(super) fn parts<'a>(
    text: &'a str,
    masked: &'a mut Option<String>,
    bounds: &Bounds,
) -> Result<Parts<'a>, Exception> {
    // Python's decoder is not asked about nothing, and takes it for a body of the wrong shape.
    if text.is_empty() {
        return Ok(Parts::Other);
    }
    typed::check(text)?;
    let problem = match members::parts(text, bounds.max_items) {
        Ok(parts) => return Ok(parts),
        Err(problem) if problem.is_data() => return Err(invalid(format!("the body: {problem}"))),
        Err(problem) => problem,
    };
    let no_json = |problem: serde_json::Error| {
        undecodable(match text.starts_with('\u{FEFF}') {
            true => "the body begins with a byte order mark; JSON from the first byte on is right".to_owned(),
            false => format!("the body is no JSON: {problem}"),
        })
    };
    *masked = nonfinite::mask(text);
    match masked {
        Some(masked) => members::parts(masked, bounds.max_items).map_err(no_json),
        None => Err(no_json(problem)),
    }
}

/// How deep a text nests.
///
/// # Errors
///
/// `DecodeError` where it is deeper than `most`.
pub(super) fn depth(text: &str, most: usize) -> Result<usize, Exception> {
    let bytes = text.as_bytes();
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = end_of_string(bytes, at - 1),
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
                if depth > most {
                    return Err(undecodable(format!(
                        "the body nests deeper than {most} levels; at most those are right"
                    )));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(deepest)
}

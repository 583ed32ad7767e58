//! Whether a message claims to be what a job must be: JSON in UTF-8, not compressed.

use crate::envelope::Envelope;
use crate::excerpt::Excerpt;

/// Checks content type and content encoding; both may be absent.
pub(super) fn check(envelope: &Envelope) -> Result<(), String> {
    let given =
        |property: &'static str, text: &Option<String>, right: &str, good: fn(&str) -> bool| match text.as_deref() {
            None | Some("") => Ok(()),
            Some(text) if good(text) => Ok(()),
            Some(text) => Err(format!("{property} is {}; {right:?} is right", Excerpt(text))),
        };
    given("content_type", &envelope.content_type, "application/json", is_json)?;
    given("content_encoding", &envelope.content_encoding, "utf-8", is_utf8)
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    media_type
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => is_utf8(value.trim_matches('"')),
            _ => true,
        })
}

fn is_utf8(encoding: &str) -> bool {
    encoding.eq_ignore_ascii_case("utf-8") || encoding.eq_ignore_ascii_case("utf8")
}

/// The body as text.
pub(super) fn text(body: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(body).map_err(|problem| {
        format!("body is no UTF-8 from byte {} on; JSON in UTF-8 is right", problem.valid_up_to())
    })?;
    match text {
        "" => Err("body is empty; a JSON object is right".to_owned()),
        _ if text.starts_with('\u{FEFF}') => {
            Err("body begins with a byte order mark; a JSON object from the first byte on is right".to_owned())
        }
        _ => Ok(text),
    }
}

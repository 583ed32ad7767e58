//! Whether a message is meant as a task of Celery's: asked of every message, native jobs included.

use super::compression::Compression;
use crate::envelope::{Envelope, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Whether this is a task of Celery's rather than a native job.
///
/// It is by the header `task`, whatever that holds; by a compression that only Celery's producers name; or, in protocol 1, by a body that has a member `task` and none of those that make a native job. A job whose body has no
/// text `"task"` in it costs the search for that.
pub fn is_task(envelope: &Envelope) -> bool {
    if envelope.headers.get("task").is_some() {
        return true;
    }
    match envelope.headers.get("compression") {
        Some(Value::Text(name)) if Compression::named(name).is_some() => true,
        _ => is_protocol_1(&envelope.body),
    }
}

fn is_protocol_1(body: &[u8]) -> bool {
    if memchr::memmem::find(body, b"\"task\"").is_none() {
        return false;
    }
    let mut names = Names::default();
    // What comes first decides: a broken body that began as a task is answered as one.
    let _ = (&mut names).deserialize(&mut serde_json::Deserializer::from_slice(body));
    names.task && !names.native
}

/// Which names of members an object has.
#[derive(Default)]
struct Names {
    task: bool,
    native: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Names {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Names {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match name.as_ref() {
                "task" => self.task = true,
                "device" | "devices" | "targets" | "command" => {
                    self.native = true;
                    return Err(A::Error::custom("a native job"));
                }
                _ => {}
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::celery::vectors;

    fn body(text: &str) -> bool {
        is_task(&Envelope { body: text.to_owned().into(), ..Envelope::default() })
    }

    #[test]
    fn every_captured_task_is_one_and_what_is_none_is_none() {
        for name in ["v1-", "v2-", "delayed-", "bad-"].into_iter().flat_map(vectors::names) {
            let expected = !name.starts_with("bad-no-headers");
            assert_eq!(is_task(&vectors::load(&name).envelope), expected, "{name}");
        }
    }

    #[test]
    fn a_body_decides_by_its_own_members() {
        assert!(body(r#"{"args": [], "task": "a"}"#));
        assert!(body(r#"{"ta\u0073k": "a", "a": ["task"], "task": 1}"#));
        assert!(body(r#"{"task": "a", "args": ["#), "broken, but begun as a task");
        assert!(body(r#"{"task": "a", "args": [{"device": "d"}]}"#));
        for text in [
            "",
            "\"task\"",
            r#"["task"]"#,
            r#"{"a": "task"}"#,
            r#"{"a": {"task": 1}}"#,
            r#"{"task": "a", "device": "d"}"#,
            r#"{"command": "open", "task": "a"}"#,
            r#"{"devices": [], "task": "a""#,
        ] {
            assert!(!body(text), "{text}");
        }
        assert!(!body(&format!("{{\"a\": {}\"task\"", "[".repeat(100_000))));
    }

    #[test]
    fn what_only_celerys_producers_name_is_a_task() {
        let mut envelope = Envelope { content_type: Some("application/x-yaml".to_owned()), ..Envelope::default() };
        assert!(!is_task(&envelope), "a native job may have a wrong content type, and is told so as one");
        envelope.headers.set("compression", "application/x-gzip".into());
        assert!(is_task(&envelope));
        envelope.headers.set("compression", "deflate".into());
        assert!(!is_task(&envelope));
        envelope.headers.set("task", Value::Null);
        assert!(is_task(&envelope));
    }
}

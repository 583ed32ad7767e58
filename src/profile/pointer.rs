//! JSON pointers into an answer: one value found by a borrowed walk, without building the document.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A JSON pointer (RFC 6901) with at least one token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// Reads `/a/b`, with `~1` for a slash and `~0` for a tilde within a token.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix('/') {
            Some(tokens) => Ok(Self(tokens.split('/').map(|t| t.replace("~1", "/").replace("~0", "~")).collect())),
            None => Err(format!("is the JSON pointer {text:?}; one that begins with '/' is right, as \"/id\"")),
        }
    }

    /// The pointer of these tokens, outermost first.
    pub(super) fn of(tokens: Vec<String>) -> Self {
        Self(tokens)
    }

    /// Its tokens, outermost first.
    pub(super) fn tokens(&self) -> &[String] {
        &self.0
    }

    /// The value there, as the text that it has in the document; `None` where it is absent or the document is no JSON.
    ///
    /// Of a member that occurs twice the last one counts, as most readers of JSON have it. Values that are passed over
    /// are checked for their syntax without recursion, so depth costs nothing.
    pub(super) fn find<'a>(&self, json: &'a [u8]) -> Option<&'a RawValue> {
        // A scalar has no members, and this spares parsing a long one.
        let first = json.iter().find(|b| !b.is_ascii_whitespace())?;
        if !matches!(first, b'{' | b'[') {
            return None;
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        let found = Walk(&self.0).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        found
    }
}

struct Walk<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => <&RawValue>::deserialize(reader).map(Some),
            [token, rest @ ..] => reader.deserialize_any(Step { token, rest }),
        }
    }
}

struct Step<'p> {
    token: &'p str,
    rest: &'p [String],
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(here) = map.next_key_seed(KeyIs(self.token))? {
            if here {
                found = map.next_value_seed(Walk(self.rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let index = self.token.parse::<usize>().ok();
        let mut found = None;
        let mut at = 0;
        loop {
            if index == Some(at) {
                match seq.next_element_seed(Walk(self.rest))? {
                    Some(value) => found = value,
                    None => return Ok(found),
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

struct KeyIs<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// The text of a string, number, boolean or null; `None` for an object or array, and for a string that is no Unicode.
pub(super) fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'{' | b'[' => None,
        b'"' => match serde_json::from_str::<&str>(text) {
            Ok(plain) => Some(Cow::Borrowed(plain)),
            Err(_) => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
        },
        _ => Some(Cow::Borrowed(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pointer: &str, json: &str) -> Option<String> {
        Pointer::parse(pointer).unwrap().find(json.as_bytes()).map(|value| value.get().to_owned())
    }

    #[test]
    fn a_value_is_found_where_the_pointer_says() {
        for (pointer, json, expected) in [
            ("/id", r#"{"a": 1, "id": "x"}"#, Some(r#""x""#)),
            ("/a/b", r#"{"a": {"b": [1, 2]}}"#, Some("[1, 2]")),
            ("/a/1/c", r#"{"a": [0, {"c": null}, 2]}"#, Some("null")),
            ("/1", "[1, 2, 3]", Some("2")),
            ("/9", "[1, 2, 3]", None),
            ("/a~1b/~0", r#"{"a/b": {"~": 5}}"#, Some("5")),
            ("/error", r#"{"\u0065rror": 1}"#, Some("1")),
            ("/id", r#"{"id": 1, "id": 2}"#, Some("2")),
            ("/a/b", r#"{"a": "text"}"#, None),
            ("/a/b", r#"{"a": -1.5}"#, None),
            ("/id", r#"{"id": 1"#, None),
            ("/id", r#"{"id": 1} x"#, None),
            ("/id", "id", None),
            ("/id", "", None),
        ] {
            assert_eq!(find(pointer, json).as_deref(), expected, "{pointer} {json}");
        }
        assert!(Pointer::parse("id").unwrap_err().contains("\"/id\""));
    }

    #[test]
    fn depth_beside_the_value_costs_no_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        assert_eq!(find("/id", &format!(r#"{{"x": {deep}, "id": 1}}"#)).as_deref(), Some("1"));
    }
}

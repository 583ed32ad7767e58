//! A device's answer as the value of a result, so that no answer can harm the client that waits.

use crate::wire::celery::Json;
use crate::wire::native::checked;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;

/// Digits that Python makes an integer of; more raise `ValueError` in the client (`sys.set_int_max_str_digits`).
const MOST_DIGITS: usize = 4300;

/// A device's answer as the value of a result.
///
/// JSON passes as it stands, other text is a string, other bytes are what kombu decodes to `bytes`, and nothing is null.
/// JSON that the client would not read, or would take for a Python value, is the string of its text: kombu decodes an
/// object of exactly `__type__` and `__value__`, wherever it stands, and raises where it knows no such type, in
/// whichever `get()` is waiting.
pub fn success(response: Option<&[u8]>) -> Json {
    let value = match response {
        None | Some(b"") => return RawValue::NULL.to_owned(),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => {
                let trimmed = text.trim_ascii();
                if checked::check(trimmed).is_ok() && is_harmless(trimmed) {
                    return RawValue::from_string(trimmed.to_owned()).expect("it was checked");
                }
                to_raw_value(text)
            }
            Err(_) => {
                let text = STANDARD.encode(bytes);
                let json = format!("{{\"__type__\": \"base64\", \"__value__\": \"{text}\"}}");
                RawValue::from_string(json)
            }
        },
    };
    value.expect("a text is JSON, and so is an object of two")
}

/// Whether Python makes of this JSON what it says, and nothing more. The text is known to be JSON.
pub(super) fn is_harmless(json: &str) -> bool {
    !has_long_number(json) && (!may_have_types(json) || serde_json::from_str::<Untyped>(json).is_ok())
}

/// Whether a typed value can be in it at all: its key in so many letters, or escaped.
fn may_have_types(json: &str) -> bool {
    json.contains("__type__") || json.contains("\\u")
}

/// Whether there are more digits in a row than Python takes; those within a string do no harm, and are rare enough.
fn has_long_number(json: &str) -> bool {
    json.len() > MOST_DIGITS
        && json.as_bytes().split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > MOST_DIGITS)
}

/// JSON in which nothing is an object of exactly `__type__` and `__value__`.
struct Untyped;

impl<'de> Deserialize<'de> for Untyped {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Untyped;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Untyped, A::Error> {
        // Of a key that stands twice Python keeps one, so they are looked at as a set.
        let (mut is_typed, mut has_value, mut others) = (false, false, false);
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match &*key {
                "__type__" => is_typed = true,
                "__value__" => has_value = true,
                _ => others = true,
            }
            map.next_value::<Untyped>()?;
        }
        match is_typed && has_value && !others {
            true => Err(serde::de::Error::custom("an object that kombu decodes")),
            false => Ok(Untyped),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Untyped, A::Error> {
        while seq.next_element::<Untyped>()?.is_some() {}
        Ok(Untyped)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Untyped, E> {
        Ok(Untyped)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Untyped, E> {
        Ok(Untyped)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Untyped, E> {
        Ok(Untyped)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Untyped, E> {
        Ok(Untyped)
    }

    fn visit_str<E>(self, _: &str) -> Result<Untyped, E> {
        Ok(Untyped)
    }

    fn visit_unit<E>(self) -> Result<Untyped, E> {
        Ok(Untyped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(response: &str) -> String {
        success(Some(response.as_bytes())).get().to_owned()
    }

    #[test]
    fn json_passes_as_it_stands() {
        for json in [r#"{"b":1,"a":[1.50,123456789012345678901234567890,"é\u00e9"]}"#, "null", "0", "\"x\"", "[]"] {
            assert_eq!(value(json), json);
        }
        assert_eq!(value(" {\"a\":1}\n"), "{\"a\":1}");
        assert_eq!(success(None).get(), "null");
        assert_eq!(success(Some(b"")).get(), "null");
    }

    #[test]
    fn other_text_is_a_string_and_other_bytes_are_pythons_bytes() {
        assert_eq!(value("OK\n"), r#""OK\n""#);
        assert_eq!(value("NaN"), r#""NaN""#);
        assert_eq!(value("\u{feff}{}"), "\"\u{feff}{}\"");
        assert_eq!(success(Some(b"\xff\x00")).get(), r#"{"__type__": "base64", "__value__": "/wA="}"#);
    }

    #[test]
    fn an_answer_that_kombu_would_decode_or_refuse_is_its_text() {
        for json in [
            r#"{"__type__":"foo","__value__":1}"#,
            r#"{"a":[{"__value__":"x","__type__":"datetime"}]}"#,
            r#"{"\u005f_type__":"foo","__value__":1}"#,
            r#"{"__type__":"a","__type__":"b","__value__":1}"#,
            r#"["\ud800"]"#,
        ] {
            assert_eq!(serde_json::from_str::<String>(&value(json)).unwrap(), json);
        }
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert_eq!(serde_json::from_str::<String>(&value(&deep)).unwrap(), deep);
        let long = "1".repeat(5000);
        assert_eq!(serde_json::from_str::<String>(&value(&long)).unwrap(), long);
    }

    #[test]
    fn an_object_with_more_or_less_than_the_two_keys_means_nothing_to_kombu() {
        for json in
            [r#"{"__type__":"foo"}"#, r#"{"__type__":"foo","__value__":1,"x":2}"#, r#"["__type__","__value__"]"#]
        {
            assert_eq!(value(json), json);
        }
    }
}

//! A MessagePack body, turned into the JSON text that kombu would have written of the same values.

use crate::wire::celery::nonfinite;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmp::Marker;

/// The JSON of one MessagePack value: bytes become kombu's envelope `base64`, numbers that JSON does not know are masked.
///
/// No tree is built, so the text is all that is held: at most `max_bytes` and one value more.
///
/// # Errors
///
/// What is wrong, and at which byte: not MessagePack, more behind it, deeper than `max_depth`, longer than `max_bytes`
/// as JSON, a name of a member that is no text, or one of the extension types, which JSON has nothing for.
pub(super) fn to_json(body: &[u8], max_depth: usize, max_bytes: usize) -> Result<String, String> {
    let mut reader = Reader { body, rest: body, json: String::with_capacity(body.len() * 2), max_bytes };
    reader.value(max_depth)?;
    match reader.rest {
        [] => Ok(reader.json),
        _ => Err(reader.wrong("there is more behind the value; one value is right")),
    }
}

struct Reader<'a> {
    body: &'a [u8],
    rest: &'a [u8],
    json: String,
    max_bytes: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: impl std::fmt::Display) -> String {
        format!("the body is no MessagePack that can be read: at byte {}: {what}", self.body.len() - self.rest.len())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.wrong("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number in so many bytes, most significant first.
    fn unsigned(&mut self, bytes: usize) -> Result<u64, String> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, String> {
        Ok(self.unsigned(bytes)? as usize)
    }

    fn marker(&mut self) -> Result<Marker, String> {
        Ok(Marker::from_u8(self.take(1)?[0]))
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        if self.json.len() > self.max_bytes {
            return Err(self.wrong(format_args!("it has more than {} bytes as JSON", self.max_bytes)));
        }
        let marker = self.marker()?;
        match marker {
            Marker::Null => self.json.push_str("null"),
            Marker::True => self.json.push_str("true"),
            Marker::False => self.json.push_str("false"),
            Marker::FixPos(number) => self.write(number),
            Marker::FixNeg(number) => self.write(number),
            Marker::U8 => self.whole(1)?,
            Marker::U16 => self.whole(2)?,
            Marker::U32 => self.whole(4)?,
            Marker::U64 => self.whole(8)?,
            Marker::I8 => self.signed(1)?,
            Marker::I16 => self.signed(2)?,
            Marker::I32 => self.signed(4)?,
            Marker::I64 => self.signed(8)?,
            Marker::F32 => {
                let bits = self.unsigned(4)? as u32;
                self.float(f64::from(f32::from_bits(bits)));
            }
            Marker::F64 => {
                let bits = self.unsigned(8)?;
                self.float(f64::from_bits(bits));
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => self.text(marker)?,
            Marker::Bin8 => self.bytes(1)?,
            Marker::Bin16 => self.bytes(2)?,
            Marker::Bin32 => self.bytes(4)?,
            Marker::FixArray(length) => self.list(usize::from(length), depth)?,
            Marker::Array16 => self.list_of(2, depth)?,
            Marker::Array32 => self.list_of(4, depth)?,
            Marker::FixMap(length) => self.map(usize::from(length), depth)?,
            Marker::Map16 => self.map_of(2, depth)?,
            Marker::Map32 => self.map_of(4, depth)?,
            _ => return Err(self.wrong(format_args!("a value of kind {marker:?}; a value that JSON has is right"))),
        }
        Ok(())
    }

    fn write(&mut self, number: impl std::fmt::Display) {
        self.json.push_str(&number.to_string());
    }

    fn whole(&mut self, bytes: usize) -> Result<(), String> {
        let number = self.unsigned(bytes)?;
        self.write(number);
        Ok(())
    }

    fn signed(&mut self, bytes: usize) -> Result<(), String> {
        let unused = 64 - 8 * bytes as u32;
        let number = (self.unsigned(bytes)? << unused) as i64 >> unused;
        self.write(number);
        Ok(())
    }

    fn float(&mut self, number: f64) {
        match serde_json::Number::from_f64(number) {
            Some(number) => self.write(number),
            None if number.is_nan() => nonfinite::push(&mut self.json, "NaN"),
            None => nonfinite::push(&mut self.json, if number > 0.0 { "Infinity" } else { "-Infinity" }),
        }
    }

    fn text(&mut self, marker: Marker) -> Result<(), String> {
        let length = match marker {
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 => self.length(1)?,
            Marker::Str16 => self.length(2)?,
            Marker::Str32 => self.length(4)?,
            _ => return Err(self.wrong(format_args!("a member is named by {marker:?}; text is right"))),
        };
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.wrong("a text before it is not UTF-8"))?;
        let json = serde_json::to_string(text).map_err(|problem| self.wrong(problem))?;
        self.json.push_str(&json);
        Ok(())
    }

    fn bytes(&mut self, length: usize) -> Result<(), String> {
        let length = self.length(length)?;
        let bytes = self.take(length)?;
        self.json.push_str(r#"{"__type__": "base64", "__value__": ""#);
        STANDARD.encode_string(bytes, &mut self.json);
        self.json.push_str("\"}");
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Result<usize, String> {
        depth.checked_sub(1).ok_or_else(|| self.wrong("it nests too deep"))
    }

    fn list_of(&mut self, length: usize, depth: usize) -> Result<(), String> {
        let length = self.length(length)?;
        self.list(length, depth)
    }

    /// The length is what the message claims: nothing is set aside for it.
    fn list(&mut self, length: usize, depth: usize) -> Result<(), String> {
        let depth = self.deeper(depth)?;
        self.json.push('[');
        for index in 0..length {
            if index > 0 {
                self.json.push_str(", ");
            }
            self.value(depth)?;
        }
        self.json.push(']');
        Ok(())
    }

    fn map_of(&mut self, length: usize, depth: usize) -> Result<(), String> {
        let length = self.length(length)?;
        self.map(length, depth)
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<(), String> {
        let depth = self.deeper(depth)?;
        self.json.push('{');
        for index in 0..length {
            if index > 0 {
                self.json.push_str(", ");
            }
            let name = self.marker()?;
            self.text(name)?;
            self.json.push_str(": ");
            self.value(depth)?;
        }
        self.json.push('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(body: &[u8]) -> Result<String, String> {
        to_json(body, 4, 1000)
    }

    #[test]
    fn every_kind_of_value() {
        let all: &[(&[u8], &str)] = &[
            (&[0xc0], "null"),
            (&[0xc2], "false"),
            (&[0xc3], "true"),
            (&[0x7f], "127"),
            (&[0xff], "-1"),
            (&[0xcc, 0xff], "255"),
            (&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "18446744073709551615"),
            (&[0xd0, 0x80], "-128"),
            (&[0xd1, 0xff, 0x00], "-256"),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (&[0xca, 0x3f, 0xc0, 0, 0], "1.5"),
            (&[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], "1.0"),
            (&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], r#""\uE000NaN""#),
            (&[0xcb, 0xff, 0xf0, 0, 0, 0, 0, 0, 0], r#""\uE000-Infinity""#),
            (b"\xa3a\"\n", r#""a\"\n""#),
            (b"\xd9\x02\xc3\xbc", "\"ü\""),
            (b"\xc4\x02\x00\xff", r#"{"__type__": "base64", "__value__": "AP8="}"#),
            (b"\x92\x01\x90", "[1, []]"),
            (b"\x82\xa1a\x01\xa1b\x80", r#"{"a": 1, "b": {}}"#),
            (&[0xdc, 0, 1, 0xc0], "[null]"),
            (&[0xde, 0, 1, 0xa0, 0xc0], r#"{"": null}"#),
        ];
        for (body, expected) in all {
            assert_eq!(json(body).as_deref(), Ok(*expected), "{body:x?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let all: &[(&[u8], &str)] = &[
            (b"", "at byte 0: it ends too early"),
            (b"\x92\x01", "at byte 2: it ends too early"),
            (b"\x01\x01", "at byte 1: there is more behind"),
            (b"\xdd\xff\xff\xff\xff\xc0", "it ends too early"),
            (b"\xdb\xff\xff\xff\xff", "it ends too early"),
            (b"\x91\x91\x91\x91\x91\x01", "it nests too deep"),
            (b"\x81\x01\x01", "a member is named by FixPos(1); text is right"),
            (b"\xa1\xff", "not UTF-8"),
            (b"\xd4\x00\x00", "a value of kind FixExt1"),
            (b"\xc1", "a value of kind Reserved"),
        ];
        for (body, expected) in all {
            let said = json(body).unwrap_err();
            assert!(said.contains(expected), "{body:x?} said: {said}");
        }
        let long: Vec<u8> = [&[0xdc, 0x0f, 0xff][..], &[0xc0; 4095][..]].concat();
        assert!(json(&long).unwrap_err().contains("more than 1000 bytes as JSON"));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_json(body in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(json) = json(&body) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
            }
        }
    }
}

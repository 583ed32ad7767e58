//! Typed values, as kombu writes them and as nobody should.

use super::*;
use crate::wire::celery::vectors;
use proptest::prelude::*;

fn json(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn plainly(text: &str) -> Result<String, String> {
    match plain(&json(text)) {
        Ok(plain) => Ok(plain.get().to_owned()),
        Err(exception) => {
            assert_eq!((&*exception.module, &*exception.kind), ("kombu.exceptions", "DecodeError"));
            Err(exception.args[0].as_str().unwrap().to_owned())
        }
    }
}

fn envelope(kind: &str, value: &str) -> String {
    format!(r#"{{"__type__": "{kind}", "__value__": {value}}}"#)
}

#[test]
fn a_device_reads_plain_json() {
    let body = vectors::load("v2-typed-values").envelope.body;
    let (_, kwargs, _): (Json, Json, Json) = serde_json::from_slice(&body).unwrap();
    let expected = r#"{"dt_utc": "2026-01-02T03:04:05.678901+00:00", "dt_naive": "2026-01-02T03:04:05", "dt_off": "2026-01-02T03:04:05+05:30", "date": "2026-01-02", "time": "03:04:05.000006", "dec": "12.3400", "uuid": "12345678-1234-5678-1234-567812345678", "bytes_text": "hello", "bytes_bin": "//4AAQ==", "tuple": [1, 2], "nested": {"l": ["gA=="]}}"#;
    assert_eq!(plainly(kwargs.get()).unwrap(), expected);
}

#[test]
fn what_is_no_envelope_stays_as_it_was_written() {
    for text in [
        "1",
        r#""__type__""#,
        r#"["__type__", "__value__"]"#,
        r#"{"__type__": "datetime"}"#,
        r#"{"__value__": 1 }"#,
        r#"{"__type__": "datetime", "__value__": "x", "more": 1}"#,
        r#"{"more": {}, "__value__": "x" ,"__type__": "datetime"}"#,
        r#"{"a": "{\"__type__\": \"x\", \"__value__\": 1}", "__type__": [ ]}"#,
        r#"[{"a":{"__type__":1e999}},18446744073709551616 , "\ud800"]"#,
    ] {
        assert_eq!(plainly(text).as_deref(), Ok(text));
    }
}

#[test]
fn each_kind_takes_what_python_takes() {
    for (kind, value, expected) in [
        ("datetime", r#""2026-01-02T03:04:05""#, r#""2026-01-02T03:04:05""#),
        ("datetime", r#""20260102""#, r#""20260102""#),
        ("date", r#""2026-01-02""#, r#""2026-01-02""#),
        ("time", r#""03:04""#, r#""03:04""#),
        ("decimal", r#""1E+5""#, r#""1E+5""#),
        ("decimal", r#"" -.5 ""#, r#"" -.5 ""#),
        ("decimal", r#""NaN""#, r#""NaN""#),
        ("decimal", r#""-Infinity""#, r#""-Infinity""#),
        ("decimal", "12", r#""12""#),
        ("uuid", r#"{"hex": "{12345678-1234-5678-1234-56781234567A}"}"#, r#""12345678-1234-5678-1234-56781234567a""#),
        ("bytes", r#""\u00fc""#, r#""\u00fc""#),
        ("base64", r#""AP8=""#, r#""AP8=""#),
    ] {
        assert_eq!(plainly(&envelope(kind, value)).as_deref(), Ok(expected));
        let within = format!("[1, {{\"a\":{}}} ]", envelope(kind, value));
        assert_eq!(plainly(&within), Ok(format!("[1, {{\"a\":{expected}}} ]")));
        let turned = format!(r#"{{"__value__":{value},"__type__":"{kind}"}}"#);
        assert_eq!(plainly(&turned).as_deref(), Ok(expected), "in the other order");
    }
}

#[test]
fn what_is_none_of_its_kind_is_refused() {
    for (kind, value, said) in [
        ("datetime", r#""yesterday""#, "__type__ datetime has the value \"yesterday\"; ISO 8601"),
        ("datetime", "5", "ISO 8601"),
        ("time", r#""noon""#, "ISO 8601"),
        ("decimal", r#""""#, "a decimal number"),
        ("decimal", r#""1,5""#, "a decimal number"),
        ("decimal", r#""1e""#, "a decimal number"),
        ("decimal", "null", "a decimal number"),
        ("uuid", r#"{"hex": "12"}"#, "32 hexadecimal digits"),
        ("uuid", r#"{"hex": "üüüüüüüüüüüüüüüü"}"#, "32 hexadecimal digits"),
        ("uuid", r#""12345678123456781234567812345678""#, "32 hexadecimal digits"),
        ("base64", r#""?""#, "text in base64"),
        ("bytes", r#""\ud800""#, "text is right"),
        ("bytes", "[]", "text is right"),
        ("foo", "1", "unknown __type__ \"foo\"; datetime, date"),
    ] {
        let error = plainly(&format!("[{}]", envelope(kind, value))).unwrap_err();
        assert!(error.contains(said), "{kind} {value} said: {error}");
        check(&envelope(kind, value)).unwrap_err();
    }
    assert!(plainly(r#"{"__type__": 5, "__value__": 1}"#).unwrap_err().contains("unknown __type__"));
    let within = envelope("datetime", &envelope("date", r#""2026-01-02""#));
    assert!(plainly(&within).unwrap_err().contains("ISO 8601"), "one within another");
}

#[test]
fn bytes_become_bytes() {
    let read = |text: &str| bytes(&json(text)).map(|read| read.map_err(|exception| exception.kind.into_owned()));
    assert_eq!(read(&envelope("base64", r#""//4AAQ==""#)), Some(Ok(Bytes::from_static(b"\xff\xfe\0\x01"))));
    assert_eq!(read(&envelope("bytes", r#""\u00fc""#)), Some(Ok(Bytes::from_static("ü".as_bytes()))));
    assert_eq!(read(&envelope("base64", r#""?""#)), Some(Err("DecodeError".to_owned())));
    for text in [&envelope("date", r#""2026-01-02""#), "\"text\"", "{}", &format!("[{}]", envelope("bytes", "\"a\""))] {
        assert_eq!(read(text), None, "{text}");
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(serde_json::Value::from),
        "[a\"\\\\{}\\[\\]:,_]{0,6}".prop_map(serde_json::Value::from),
        Just(serde_json::json!("__type__")),
        Just(serde_json::json!("datetime")),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let name = prop_oneof![Just("__type__".to_owned()), Just("__value__".to_owned()), "[a\"]{0,2}".boxed()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What Python's `object_hook` does, on a tree.
fn naive(value: &serde_json::Value) -> Option<serde_json::Value> {
    use serde_json::Value as Any;
    Some(match value {
        Any::Array(items) => Any::Array(items.iter().map(naive).collect::<Option<_>>()?),
        Any::Object(members) => {
            let inner = members.iter().map(|(name, value)| Some((name.clone(), naive(value)?)));
            let inner: serde_json::Map<String, Any> = inner.collect::<Option<_>>()?;
            match inner.len() == 2 && inner.contains_key("__type__") && inner.contains_key("__value__") {
                // No text of the strategy is a date, and there is no other kind in it.
                true => return None,
                false => Any::Object(inner),
            }
        }
        leaf => leaf.clone(),
    })
}

proptest! {
    #[test]
    fn an_envelope_is_found_wherever_it_is(value in value()) {
        let text = value.to_string();
        let written = rewrite(&text).ok().map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
        prop_assert_eq!(written, naive(&value));
    }

    #[test]
    fn any_text_is_walked(text in ".{0,80}") {
        let _ = rewrite(&text);
        let _ = check(&format!("{TYPE}{text}"));
    }
}

//! JSON as Python's encoder writes it, with everything that other readers of JSON stumble over.

use super::*;
use crate::wire::celery::typed;
use proptest::prelude::*;

fn args(body: &str) -> String {
    work(&taken(body, &with_body(body)))
}

#[test]
fn numbers_that_json_does_not_know_come_through() {
    let body = r#"[[NaN, {"a": [-Infinity, "NaN", "\"NaN"]}], {"b": Infinity}, {"callbacks": null}]"#;
    assert_eq!(args(body), r#"[NaN, {"a": [-Infinity, "NaN", "\"NaN"]}] {"b": Infinity}"#);
    let task = taken(body, &with_body(body));
    assert!(task.args.iter().all(|arg| serde_json::from_str::<serde_json::Value>(arg.get()).is_ok()));
}

#[test]
fn values_are_what_was_written() {
    for (body, expected) in [
        ("[ [ 1e400 , -0 ] , {} , null ]\n", "[1e400, -0] {}"),
        (r#"[["\ud800", "\u0000"], {}, null]"#, r#"["\ud800", "\u0000"] {}"#),
        (r#"[["ü"], {"\u00fc": 1, "ü": 2}, []]"#, r#"["ü"] {"ü": 2}"#),
        (r#"[[{"b": 1, "a": 2, "b": 3}], {}, {}]"#, r#"[{"b": 1, "a": 2, "b": 3}] {}"#),
        (r#"[[1], {}, {"chain": 5, "chain": null}]"#, "[1] {}"),
    ] {
        assert_eq!(args(body), expected, "{body}");
    }
}

#[test]
fn bytes_of_messagepack_become_bytes() {
    let task = good("v2-msgpack");
    assert_eq!(typed::bytes(&task.args[1]).unwrap().unwrap(), &b"\0\xff"[..]);
    assert_eq!(typed::plain(&task.args[1]).unwrap().get(), "\"AP8=\"");
}

/// A value of Python's, with the kinds that its encoder knows.
#[derive(Clone, Debug)]
enum Python {
    Word(&'static str),
    Integer(String),
    Float(f64),
    Text(String),
    List(Vec<Python>),
    Dict(Vec<(String, Python)>),
}

impl Python {
    /// What `json.dumps` writes.
    fn write(&self, out: &mut String) {
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Integer(digits) => out.push_str(digits),
            Self::Float(number) if number.is_nan() => out.push_str("NaN"),
            Self::Float(number) if number.is_infinite() => {
                out.push_str(if *number > 0.0 { "Infinity" } else { "-Infinity" });
            }
            Self::Float(number) => out.push_str(&format!("{number:?}")),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Dict(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    write_text(name, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    fn json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
}

fn python() -> impl Strategy<Value = Python> {
    let text = prop_oneof!["\\PC{0,8}", "[NaIfinty\"\\\\:{}\\[\\], -]{0,12}", any::<String>()];
    let leaf = prop_oneof![
        prop::sample::select(&["null", "true", "false"][..]).prop_map(Python::Word),
        "-?[1-9][0-9]{0,40}".prop_map(Python::Integer),
        prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Python::Float),
        text.clone().prop_map(Python::Text),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Python::List),
            prop::collection::vec((text.clone(), inner), 0..5).prop_map(Python::Dict),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_python_writes_is_read(args in prop::collection::vec(python(), 0..4), kwarg in python()) {
        let body = Python::List(vec![
            Python::List(args.clone()),
            Python::Dict(vec![("kwarg".to_owned(), kwarg.clone())]),
            Python::Word("null"),
        ]);
        let body = body.json();
        let task = decode(&with_body(&body), &bounds());
        let task = task.map_err(|refusal| TestCaseError::fail(format!("{body}: {refusal:?}")))?;
        let read: Vec<String> = task.args.iter().map(|arg| unmask(arg.get()).into_owned()).collect();
        let written: Vec<String> = args.iter().map(Python::json).collect();
        prop_assert_eq!(read, written);
        prop_assert_eq!(unmask(task.kwargs[0].1.get()).into_owned(), kwarg.json());
    }
}

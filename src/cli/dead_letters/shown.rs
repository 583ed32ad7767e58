//! One dead letter, whole: for a person as text, for a program as JSON.

use super::letter::Letter;
use super::table::time;
use crate::cli::report::{self, Plain};
use crate::envelope::{Envelope, Headers, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};
use std::fmt::Write;

const RFC3339: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

/// What a line of `list --json` says.
pub fn line(letter: &Letter) -> Map<String, Json> {
    let mut line = Map::new();
    let cause = &letter.cause;
    for (name, value) in [
        ("id", json!(letter.id)),
        ("reason", json!(cause.reason)),
        ("detail", json!(cause.detail)),
        ("at", json!(cause.at.map(|at| time(at, RFC3339)))),
        ("queue", json!(cause.queue)),
        ("device", json!(letter.device)),
        ("command", json!(letter.command)),
        ("expires_at", json!(letter.end.map(|at| time(at, RFC3339)))),
        ("by_broker", json!(cause.by_broker)),
        ("count", json!(cause.count)),
        ("replays", json!(letter.replays)),
    ] {
        line.insert(name.to_owned(), value);
    }
    line
}

/// The same with properties, headers and body. A body that is no JSON is `body_text`, or `body_base64` where it is no text.
pub fn whole(letter: &Letter) -> impl Serialize {
    let envelope = &letter.envelope;
    let text = std::str::from_utf8(&envelope.body).ok();
    // As it is written: numbers and order are part of what a person may have to look at.
    let json = text.filter(|text| serde_json::from_str::<Json>(text).is_ok());
    let body = json.and_then(|json| RawValue::from_string(report::one_line(json.as_bytes())).ok());
    Whole {
        line: line(letter),
        properties: properties(envelope).collect(),
        headers: table(&envelope.headers),
        body_text: text.filter(|_| body.is_none()).map(str::to_owned),
        body_base64: text.is_none().then(|| STANDARD.encode(&envelope.body)),
        body,
    }
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    line: Map<String, Json>,
    properties: Map<String, Json>,
    headers: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// For a person: what is there and what it says, line by line, the body last.
pub fn text(letter: &Letter) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: &Json| {
        let value = value.as_str().map_or_else(|| value.to_string(), |text| Plain(text).to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<18}{}", value.trim_end());
    };
    for (name, value) in line(letter).iter().filter(|(_, value)| !value.is_null() && *value != "") {
        add(name, value);
    }
    for (name, value) in properties(&letter.envelope) {
        add(&name, &value);
    }
    for (name, value) in &letter.envelope.headers.0 {
        add("header", &Json::from(format!("{name}: {}", plain(&json_of(value)))));
    }
    let body = &letter.envelope.body;
    let _ = write!(text, "body              {} bytes\n{}", body.len(), shown(body));
    text
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else { return body.escape_ascii().to_string() };
    match serde_json::from_str::<Json>(text) {
        Ok(_) => report::pretty(text),
        Err(_) => text.lines().map(|line| Plain(line).to_string()).collect::<Vec<_>>().join("\n"),
    }
}

/// The properties that are there, by their names in AMQP.
fn properties(envelope: &Envelope) -> impl Iterator<Item = (String, Json)> {
    let texts = [
        ("content_type", &envelope.content_type),
        ("content_encoding", &envelope.content_encoding),
        ("type", &envelope.kind),
        ("message_id", &envelope.message_id),
        ("correlation_id", &envelope.correlation_id),
        ("reply_to", &envelope.reply_to),
        ("expiration", &envelope.expiration),
        ("user_id", &envelope.user_id),
        ("app_id", &envelope.app_id),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, json!(text.as_ref()?))));
    let others = [
        ("priority", envelope.priority.map(Json::from)),
        ("timestamp", envelope.timestamp.map(Json::from)),
        ("persistent", Some(Json::from(envelope.persistent))),
    ];
    let others = others.into_iter().filter_map(|(name, value)| Some((name, value?)));
    texts.chain(others).map(|(name, value)| (name.to_owned(), value))
}

fn table(headers: &Headers) -> Json {
    Json::Object(headers.0.iter().map(|(name, value)| (name.clone(), json_of(value))).collect())
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Decimal(mantissa, decimals) => Json::from(format!("{mantissa}e-{decimals}")),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => json!({"$base64": STANDARD.encode(bytes)}),
        Value::Time(seconds) => Json::from(time(seconds.saturating_mul(1000), RFC3339)),
        Value::List(list) => list.iter().map(json_of).collect(),
        Value::Table(headers) => table(headers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dead_letter::{Cause, marked};

    fn letter(body: &[u8]) -> Letter {
        let cause = Cause {
            reason: "invalid".to_owned(),
            detail: "device is\n missing".to_owned(),
            queue: Some("jobs".to_owned()),
            at: Some(1_700_000_000_123),
            ..Cause::default()
        };
        let deaths = Headers(vec![("time".to_owned(), Value::Time(1_700_000_000))]);
        let headers = Headers(vec![
            ("raw".to_owned(), Value::Bytes(vec![0xff].into())),
            ("x-death".to_owned(), Value::List(vec![Value::Table(deaths)])),
        ]);
        let envelope = Envelope {
            body: body.to_vec().into(),
            message_id: Some("m".to_owned()),
            reply_to: Some("r".to_owned()),
            priority: Some(3),
            headers,
            ..Envelope::default()
        };
        Letter::read(marked(&envelope, &cause))
    }

    #[test]
    fn a_program_gets_everything_and_the_body_as_what_it_is() {
        let as_read = |body: &[u8]| serde_json::to_value(whole(&letter(body))).unwrap();
        let json = as_read(br#"{"device": "d"}"#);
        assert_eq!((&json["id"], &json["at"]), (&json!("m"), &json!("2023-11-14T22:13:20.123Z")));
        assert_eq!(json["properties"]["reply_to"], "r");
        assert_eq!(json["headers"]["raw"]["$base64"], "/w==");
        assert_eq!(json["headers"]["x-death"][0]["time"], "2023-11-14T22:13:20.000Z");
        assert_eq!(json["body"]["device"], "d");
        assert_eq!(as_read(b"{nonsense")["body_text"], "{nonsense");
        assert_eq!(as_read(b"\xff")["body_base64"], "/w==");
        let exact = serde_json::to_string(&whole(&letter(b"{\"z\": 1.10,\n\"a\": 12345678901234567890123}"))).unwrap();
        assert!(exact.ends_with("\"body\":{\"z\": 1.10, \"a\": 12345678901234567890123}}"), "{exact}");
    }

    #[test]
    fn a_person_sees_everything_and_no_control_reaches_the_terminal() {
        let said = text(&letter(br#"{"device":"d"}"#));
        for wanted in
            ["reason            invalid\n", "detail            device is\\n missing\n", "priority          3\n"]
        {
            assert!(said.contains(wanted), "{said}");
        }
        assert!(said.contains("header            raw: {\"$base64\":\"/w==\"}\n"), "{said}");
        assert!(said.ends_with("body              14 bytes\n{\n  \"device\": \"d\"\n}"), "{said}");
        assert!(text(&letter(b"a\x1b[2J\nb")).ends_with("bytes\na\\u{1b}[2J\nb"));
        assert!(text(&letter(b"\xff\x00")).ends_with("bytes\n\\xff\\x00"));
    }
}

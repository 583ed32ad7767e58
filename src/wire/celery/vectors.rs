//! Messages that real Celery programs sent, read from `tests/celery/vectors/` for the tests here.

use crate::envelope::{Envelope, Headers, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Any;
use std::path::{Path, PathBuf};

/// One captured message.
pub(crate) struct Vector {
    /// The message as the rest of the program sees one.
    pub(crate) envelope: Envelope,
    /// The exchange it was published to.
    pub(crate) exchange: String,
    /// Its routing key.
    pub(crate) routing_key: String,
    /// The whole file: what it is, and what Celery's own worker did with it.
    pub(crate) json: Any,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/celery/vectors")
}

/// Every vector whose name begins so, sorted. None at all is a mistake of the test.
pub(crate) fn names(prefix: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = files.filter_map(|file| file.strip_suffix(".json").map(str::to_owned));
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    assert!(!names.is_empty(), "no vector's name begins with {prefix}");
    names.sort();
    names
}

/// The vector of that name.
pub(crate) fn load(name: &str) -> Vector {
    let file = folder().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
    let json: Any = serde_json::from_str(&text).unwrap();
    let properties = &json["properties"];
    let text = |field: &str| properties[field].as_str().map(str::to_owned);
    let envelope = Envelope {
        body: STANDARD.decode(json["body_base64"].as_str().unwrap()).unwrap().into(),
        content_type: text("content_type"),
        content_encoding: text("content_encoding"),
        correlation_id: text("correlation_id"),
        reply_to: text("reply_to"),
        priority: properties["priority"].as_u64().map(|priority| priority as u8),
        expiration: text("expiration"),
        persistent: properties["delivery_mode"] == 2,
        headers: table(&json["headers_typed"]),
        ..Envelope::default()
    };
    let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
    Vector { envelope, exchange: text("exchange"), routing_key: text("routing_key"), json }
}

/// The AMQP client hands tables over sorted by name, which is how `serde_json` keeps them too.
fn table(json: &Any) -> Headers {
    let entries = json.as_object().into_iter().flatten();
    Headers(entries.map(|(name, typed)| (name.clone(), value(typed))).collect())
}

fn value(typed: &Any) -> Value {
    let json = &typed["v"];
    match typed["t"].as_str().unwrap() {
        "V" => Value::Null,
        "S" => Value::Text(json.as_str().unwrap().to_owned()),
        "I" | "L" | "l" => Value::Int(json.as_i64().unwrap()),
        "d" => Value::Float(json.as_f64().unwrap()),
        "t" => Value::Bool(json.as_bool().unwrap()),
        "T" => Value::Time(json.as_u64().unwrap()),
        "F" => Value::Table(table(json)),
        "A" => Value::List(json.as_array().unwrap().iter().map(value).collect()),
        kind => panic!("a header of kind {kind}"),
    }
}

#[test]
fn a_vector_is_the_message_that_was_captured() {
    let vector = load("v2-stamped");
    assert_eq!((vector.exchange.as_str(), vector.routing_key.as_str()), ("", "commands"));
    assert_eq!(vector.envelope.headers.text("task"), Some("mqtt.request"));
    assert_eq!(vector.envelope.reply_to.as_deref(), Some("64a721e1-58f8-36f4-bcbf-e33720a77d1d"));
    assert!(vector.envelope.body.starts_with(b"[[], {\"device\": \"d\"}"));
    assert_eq!(vector.json["name"], "v2-stamped");
    assert!(names("v1-").contains(&"v1-basic".to_owned()));
    for name in names("") {
        load(&name);
    }
}

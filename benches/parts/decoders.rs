//! What comes in from outside, read: native jobs, Celery's messages, and the answers of devices; and the result, written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, Throughput};
use serde_json::Value as Json;
use std::hint::black_box;
use std::path::Path;
use switchboard::envelope::{Envelope, Headers, Value};
use switchboard::profile::{Answer, Profile, builtin};
use switchboard::wire::{celery, native};

/// Messages of the real Celery, in `tests/celery/vectors`: JSON, JSON that is compressed, MessagePack, protocol 1.
const CELERY: [&str; 4] = ["v2-kwargs", "v2-gzip", "v2-msgpack", "v1-basic"];

pub(crate) fn bench(criterion: &mut Criterion) {
    jobs(criterion);
    tasks(criterion);
    answers(criterion);
}

/// A native job as a producer writes it.
fn job(payload: &str) -> Envelope {
    let body = format!(
        r#"{{"id": "01JE0000000000000000000000", "device": "dev-17", "command": "set", "payload": {payload}, "timeout_ms": 5000}}"#
    );
    Envelope {
        body: body.into(),
        content_type: Some("application/json".to_owned()),
        correlation_id: Some("01JE0000000000000000000000".to_owned()),
        reply_to: Some("amq.gen-abc".to_owned()),
        ..Envelope::default()
    }
}

fn jobs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/native");
    let limits = native::Limits::default();
    let large = format!("[{}]", vec!["1234567"; 2_000].join(","));
    for (name, payload) in [("small", r#"{"level": 3}"#), ("16KiB", large.as_str())] {
        let envelope = job(payload);
        assert!(native::decode(&envelope, &limits).is_ok());
        group.throughput(Throughput::Bytes(envelope.body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| native::decode(black_box(&envelope), &limits)));
    }
    group.finish();
}

fn tasks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/celery");
    let bounds = celery::Bounds::default();
    for name in CELERY {
        let envelope = captured(name).expect("a captured message can be read");
        assert!(celery::decode(&envelope, &bounds).is_ok(), "{name}");
        group.throughput(Throughput::Bytes(envelope.body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| celery::decode(black_box(&envelope), &bounds)));
    }
    group.finish();
}

/// Whose answer it is, and what it means: once for each message that comes from a device.
fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    let (topic, inbox) = ("devices/dev-17/responses/0a1b2c3d/123456789", "0a1b2c3d");
    let payload = br#"{"ok": true, "level": 3, "took_ms": 12.5}"#;
    let (_, table) = builtin().into_iter().find(|(name, _)| name == "default").expect("there is a profile default");
    let profile = Profile::compile("default", &table).expect("the built-in profile compiles");
    assert!(profile.identify(inbox, topic, payload, None).is_some_and(|answer| answer.device == Some("dev-17")));
    group.bench_function("identify", |bencher| {
        bencher.iter(|| profile.identify(black_box(inbox), black_box(topic), black_box(payload), None).is_some());
    });
    group.bench_function("judge", |bencher| {
        bencher.iter(|| profile.judge(&Answer { payload: black_box(payload), ..Answer::default() }));
    });
    group.finish();
}

/// A captured message, with those of its properties and headers that a decoder looks at.
fn captured(name: &str) -> Option<Envelope> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/celery/vectors").join(format!("{name}.json"));
    let json: Json = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let text = |field: &str| json["properties"][field].as_str().map(str::to_owned);
    Some(Envelope {
        body: STANDARD.decode(json["body_base64"].as_str()?).ok()?.into(),
        content_type: text("content_type"),
        content_encoding: text("content_encoding"),
        correlation_id: text("correlation_id"),
        reply_to: text("reply_to"),
        headers: table(&json["headers"]),
        ..Envelope::default()
    })
}

fn table(json: &Json) -> Headers {
    Headers(json.as_object().into_iter().flatten().map(|(name, json)| (name.clone(), value(json))).collect())
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(0.0)), Value::Int)
        }
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(list) => Value::List(list.iter().map(value).collect()),
        Json::Object(_) => Value::Table(table(json)),
    }
}

//! Celery tasks under the same breaks: a chain of two, each of whose tasks has to be answered, whatever broke.

use super::{QUEUE, REPLIES, TIMEOUT_MS};
use crate::envelope::{Envelope, Headers};
use crate::node::Book;
use crate::wire::celery::{Bounds, Calls, Target};
use crate::worker::CeleryOptions;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn options() -> CeleryOptions {
    let calls = Arc::new(Calls::default());
    CeleryOptions {
        book: Book::new(calls.names()),
        calls,
        bounds: Bounds::default(),
        backend: None,
        node: "switchboard@test".into(),
        route: Arc::new(|_| Target { exchange: String::new(), routing_key: QUEUE.to_owned() }),
        beat_results: false,
    }
}

/// Two tasks, the second of which follows on the first.
pub(super) fn chain(guarantee: &str) -> Vec<Value> {
    let task = |id: &str, after: Value| json!({"kind": "celery", "id": id, "device": format!("d-{id}"), "guarantee": guarantee, "after": after});
    vec![task("a", Value::Null), task("b", json!("a"))]
}

/// A task of a chain as a client sends it, with the one that follows on it.
pub(super) fn task(job: &Value, jobs: &[Value]) -> Envelope {
    let id = job["id"].as_str().unwrap();
    let rest: Vec<Value> = jobs.iter().filter(|job| job["after"] == id).map(signature).collect();
    let embed = json!({"callbacks": null, "errbacks": null, "chain": rest, "chord": null});
    let mut headers = Headers::default();
    headers.set("task", "switchboard.request".into());
    headers.set("id", id.into());
    Envelope {
        body: json!([arguments(job), named(job), embed]).to_string().into(),
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        correlation_id: Some(id.to_owned()),
        reply_to: Some(REPLIES.to_owned()),
        persistent: true,
        headers,
        ..Envelope::default()
    }
}

fn signature(job: &Value) -> Value {
    json!({
        "task": "switchboard.request", "args": arguments(job), "kwargs": named(job), "immutable": true,
        "subtask_type": null, "options": {"task_id": job["id"], "reply_to": REPLIES},
    })
}

fn arguments(job: &Value) -> Value {
    json!([job["device"], "open", {"job": job["id"]}])
}

fn named(job: &Value) -> Value {
    json!({"timeout": TIMEOUT_MS as f64 / 1000.0, "guarantee": job["guarantee"]})
}

/// A Celery result in the words of a native one, for the checker. It does not say whether its task was delivered before, so
/// it may have been; and of a task that failed with the one before it nothing is known.
pub(super) fn as_native(result: &Value) -> Value {
    let id = result["task_id"].as_str().unwrap();
    let details = &result["result"]["exc_message"][1];
    let (status, executed) = match result["status"].as_str().unwrap() {
        "SUCCESS" => (json!("succeeded"), json!("yes")),
        _ if details["id"] == id => (details["status"].clone(), details["executed"].clone()),
        _ => (json!("unknown"), json!("unknown")),
    };
    let response = if status == "succeeded" { result["result"].clone() } else { Value::Null };
    json!({
        "id": id, "device": format!("d-{id}"), "status": status, "executed": executed, "response": response,
        "error": null, "attempt": 1, "late": false, "redelivered": true,
    })
}

//! What is left of a bulk as a task of its own: the worker stops, and another goes on.

use super::{Head, Json, Task};
use crate::job::{Bulk, Job, Payload, Target};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

/// The built-in task that commands many devices.
const BULK: &str = "switchboard.bulk";

/// The same task for the devices that are left. It goes by the built-in name, whatever it was called before, with what its
/// job came to be; id, headers and all that follows on its end stay.
pub fn rest(task: &Task, job: &Job, left: &Bulk) -> Task {
    let mut kwargs = Vec::new();
    let mut add = |name: &str, value: Option<Json>| kwargs.extend(value.map(|value| (name.to_owned(), value)));
    add("devices", raw(&left.targets.iter().map(one).collect::<Vec<_>>()));
    add("command", raw(&job.command));
    add("payload", payload(&job.payload));
    add("profile", raw(&job.profile));
    add("rate", left.rate_per_second.and_then(|rate| raw(&rate)));
    add("concurrency", left.concurrency.and_then(|most| raw(&most)));
    let abort = left.abort.map(|abort| json!({"failed_percent": abort.failed_percent, "after": abort.after}));
    add("abort", abort.and_then(|abort| raw(&abort)));
    add("timeout", job.timeout.and_then(|timeout| raw(&timeout.as_secs_f64())));
    add("guarantee", job.guarantee.and_then(|guarantee| raw(guarantee.as_str())));
    let head = Head { name: BULK.into(), ..task.head.clone() };
    Task { head, args: Vec::new(), kwargs, ..task.clone() }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Device<'a> {
    Plain(&'a str),
    Own { device: &'a str, payload: Json },
}

fn one(target: &Target) -> Device<'_> {
    let device = &*target.device;
    match target.payload.as_ref().and_then(payload) {
        Some(payload) => Device::Own { device, payload },
        None => Device::Plain(device),
    }
}

fn raw<T: Serialize + ?Sized>(value: &T) -> Option<Json> {
    to_raw_value(value).ok()
}

/// `None` for no payload at all. Bytes go as Celery's own serializer writes them.
fn payload(payload: &Payload) -> Option<Json> {
    match payload {
        Payload::Empty => None,
        Payload::Json(text) => RawValue::from_string(String::from_utf8_lossy(text).into_owned()).ok(),
        Payload::Bytes(bytes) => raw(&json!({"__type__": "base64", "__value__": STANDARD.encode(bytes)})),
    }
}

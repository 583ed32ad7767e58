//! A job as a producer writes it: the other direction of the decoder.

use super::moment;
use crate::envelope::{Envelope, Headers, Value};
use crate::job::{BulkResults, Job, Payload, Target, Targets};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, json};

/// A job as a message for the command queue: persistent, its id as `message_id`; `reply_to` and `correlation_id` are left
/// to whoever sends it.
///
/// What [`super::decode`] makes of it is the same job.
pub fn encode(job: &Job) -> Envelope {
    let mut fields = Fields::default();
    fields.set("id", &job.id);
    match &job.targets {
        Targets::One(device) => fields.set("device", device),
        Targets::Many(bulk) => {
            // The shorter list where there is a choice: what was within the broker's limit stays so.
            if bulk.targets.iter().any(|target| target.payload.is_some()) {
                fields.set("targets", bulk.targets.iter().map(target).collect::<Vec<_>>());
            } else {
                fields.set("devices", bulk.targets.iter().map(|target| &*target.device).collect::<Vec<_>>());
            }
            let mut rules = Map::new();
            rules.extend(bulk.rate_per_second.map(|rate| ("rate_per_second".to_owned(), json!(rate))));
            rules.extend(bulk.concurrency.map(|most| ("concurrency".to_owned(), json!(most))));
            let abort = bulk.abort.map(|abort| json!({"failed_percent": abort.failed_percent, "after": abort.after}));
            rules.extend(abort.map(|abort| ("abort".to_owned(), abort)));
            let results = match bulk.results {
                BulkResults::Stream => "stream",
                BulkResults::Summary => "summary",
            };
            rules.insert("results".to_owned(), json!(results));
            fields.set("bulk", rules);
        }
    }
    fields.set("command", &job.command);
    fields.put("payload", payload(&job.payload));
    fields.set("mode", job.mode.as_str());
    fields.set("profile", &job.profile);
    if let Some(timeout) = job.timeout {
        fields.set("timeout_ms", timeout.as_millis() as u64);
    }
    for (name, at) in [("expires_at", job.expires_at), ("not_before", job.not_before)] {
        if let Some(at) = at {
            fields.set(name, moment::text(at));
        }
    }
    if let Some(guarantee) = job.guarantee {
        fields.set("guarantee", guarantee.as_str());
    }
    let mut headers = Headers::default();
    if let Some(at) = job.enqueued_at {
        // The property counts whole seconds; this is the header in which RabbitMQ itself writes milliseconds.
        headers.set("timestamp_in_ms", Value::Int(at as i64));
    }
    Envelope {
        body: serde_json::to_vec(&fields.0).unwrap_or_default().into(),
        content_type: Some("application/json".to_owned()),
        message_id: Some(job.id.to_string()),
        timestamp: job.enqueued_at.map(|ms| ms / 1000),
        persistent: true,
        headers,
        ..Envelope::default()
    }
}

#[derive(Default)]
struct Fields(std::collections::BTreeMap<&'static str, Box<RawValue>>);

impl Fields {
    fn set(&mut self, name: &'static str, value: impl serde::Serialize) {
        self.put(name, to_raw_value(&value).ok());
    }

    fn put(&mut self, name: &'static str, value: Option<Box<RawValue>>) {
        if let Some(value) = value {
            self.0.insert(name, value);
        }
    }
}

/// `None` for no payload at all.
fn payload(payload: &Payload) -> Option<Box<RawValue>> {
    match payload {
        Payload::Empty => None,
        // Checked when it was read; passed on as it was written.
        Payload::Json(text) => RawValue::from_string(String::from_utf8_lossy(text).into_owned()).ok(),
        Payload::Bytes(bytes) => to_raw_value(&json!({"$base64": STANDARD.encode(bytes)})).ok(),
    }
}

#[derive(serde::Serialize)]
struct TargetText<'a> {
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
}

fn target(target: &Target) -> TargetText<'_> {
    TargetText { device: &target.device, payload: target.payload.as_ref().and_then(payload) }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, decode};
    use super::*;
    use crate::job::{Abort, Bulk, Guarantee, Mode};
    use std::time::Duration;

    #[test]
    fn what_is_written_is_read_as_the_same_job() {
        let limits = Limits { max_payload_bytes: 1000, max_devices: 10, no_devices: false, repeats: false };
        let one = Job {
            id: "01J".into(),
            targets: Targets::One("garage-7".into()),
            command: "open".into(),
            payload: Payload::Json(r#"{"n":12345678901234567890123}"#.into()),
            mode: Mode::Publish,
            profile: "json".into(),
            timeout: Some(Duration::from_millis(1500)),
            expires_at: Some(4_102_444_800_123),
            not_before: Some(4_102_444_700_000),
            guarantee: Some(Guarantee::AtLeastOnce),
            enqueued_at: Some(1_700_000_000_123),
        };
        let plain = Job {
            payload: Payload::Empty,
            timeout: None,
            expires_at: None,
            not_before: None,
            guarantee: None,
            enqueued_at: None,
            ..one.clone()
        };
        let own = Some(Payload::Json(r#"{"b":1.10,"a":2}"#.into()));
        let targets = vec![Target { device: "a".into(), payload: own }, Target { device: "b".into(), payload: None }];
        let abort = Some(Abort { failed_percent: 20.0, after: 100 });
        let bulk =
            Bulk { targets, rate_per_second: Some(0.5), concurrency: Some(7), abort, results: BulkResults::Summary };
        let many = Job {
            targets: Targets::Many(bulk),
            payload: Payload::Bytes(vec![0, 255].into()),
            mode: Mode::Request,
            ..one.clone()
        };
        let Targets::Many(mut bulk) = many.targets.clone() else { panic!("many") };
        bulk.targets.iter_mut().for_each(|target| target.payload = None);
        let alike = Job { targets: Targets::Many(bulk.clone()), ..many.clone() };
        bulk.targets.clear();
        let ended = Job { targets: Targets::Many(bulk), ..alike.clone() };
        for job in [one, plain, many, alike] {
            assert_eq!(decode(&encode(&job), &limits).unwrap(), job);
        }
        let wrong = decode(&encode(&ended), &limits).unwrap_err();
        assert_eq!(wrong.failure.message, "devices is an empty list; at least one device is right");
        assert_eq!(decode(&encode(&ended), &Limits { no_devices: true, ..limits }).unwrap(), ended);
    }
}

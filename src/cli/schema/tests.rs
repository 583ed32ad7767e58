//! The schemas against examples, and against the code that reads jobs and writes results.

use super::validator::takes;
use super::{JOB, RESULT};
use crate::envelope::Envelope;
use crate::outcome::{Executed, Failure, Outcome, Status};
use crate::wire::native::{Limits, Origin, Summary, SummaryStatus, Timing, decode, result, summary};
use serde_json::{Value, json};
use std::time::Duration;

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_job_schema_takes_just_the_jobs_that_are_read() {
    let schema = schema(JOB);
    for (job, right) in [
        (json!({"device": "d", "command": "c"}), true),
        (
            json!({
                "id": "01J", "device": "garage-7", "command": "open", "payload": {"speed": 2}, "mode": "request",
                "profile": "default", "timeout_ms": 5000, "expires_at": "2126-11-22T10:00:05Z",
                "not_before": "2026-11-22T09:00:00+01:00", "guarantee": "at_most_once",
            }),
            true,
        ),
        (
            json!({
                "devices": ["a", "b"], "command": "c",
                "bulk": {"rate_per_second": 200, "concurrency": 1000, "abort": {"failed_percent": 20, "after": 100}, "results": "stream"},
            }),
            true,
        ),
        (
            json!({"targets": [{"device": "a", "payload": {}}, {"device": "b"}], "command": "c", "bulk": {"results": "summary"}}),
            true,
        ),
        (json!({"device": "d", "command": "c", "payload": {"$base64": "AAE="}}), true),
        (json!({"device": "d", "command": "c", "payload": {"$base64": 1, "x": 2}}), true),
        (json!({"device": "d", "command": "c", "payload": null, "mode": "publish"}), true),
        (json!({"device": "d", "command": "c", "payload": {"$base64": 1}}), false),
        (json!({"device": "d"}), false),
        (json!({"command": "c"}), false),
        (json!({"device": 1, "command": "c"}), false),
        (json!({"device": "d", "devices": ["e"], "command": "c"}), false),
        (json!({"device": "d", "command": "c", "bulk": {}}), false),
        (json!({"device": "d", "command": "c", "comand": "c"}), false),
        (json!({"device": "d", "command": "c", "id": ""}), false),
        (json!({"device": "d", "command": "c", "profile": ""}), false),
        (json!({"device": "d", "command": "c", "mode": "both"}), false),
        (json!({"device": "d", "command": "c", "guarantee": "exactly_once"}), false),
        (json!({"device": "d", "command": "c", "timeout_ms": 0}), false),
        (json!({"device": "d", "command": "c", "timeout_ms": "5s"}), false),
        (json!({"device": "d", "command": "c", "timeout_ms": 99999999999u64}), false),
        (json!({"device": "d", "command": "c", "expires_at": 5}), false),
        (json!({"devices": [], "command": "c"}), false),
        (json!({"targets": [{"payload": 1}], "command": "c"}), false),
        (json!({"targets": [{"device": "a", "x": 1}], "command": "c"}), false),
        (json!({"devices": ["a"], "command": "c", "bulk": {"rate": 1}}), false),
        (json!({"devices": ["a"], "command": "c", "bulk": {"rate_per_second": 0}}), false),
        (json!({"devices": ["a"], "command": "c", "bulk": {"concurrency": 0}}), false),
        (json!({"devices": ["a"], "command": "c", "bulk": {"abort": {"failed_percent": 0, "after": 1}}}), false),
        (json!({"devices": ["a"], "command": "c", "bulk": {"abort": {"failed_percent": 20}}}), false),
        (json!({"devices": ["a"], "command": "c", "bulk": {"results": "none"}}), false),
        (json!([]), false),
    ] {
        assert_eq!(takes(&schema, &schema, &job), right, "the schema on {job}");
        let envelope = Envelope {
            body: job.to_string().into(),
            content_type: Some("application/json".into()),
            ..Envelope::default()
        };
        assert_eq!(decode(&envelope, &Limits::default()).is_ok(), right, "the reader on {job}");
    }
}

fn origin() -> Origin {
    Origin {
        id: "01J".into(),
        command: "open".into(),
        correlation_id: String::new(),
        worker: "switchboard-x".into(),
        redelivered: false,
    }
}

#[test]
fn the_result_schema_takes_what_is_written() {
    let schema = schema(RESULT);
    for status in Status::ALL {
        for (response, failure) in [
            (None, None),
            (Some("{\"door\": \"open\"}".into()), None),
            (None, Some(Failure::new("no_answer", "nothing came"))),
        ] {
            let outcome = Outcome { response, failure, ..Outcome::new(status, Executed::Unknown, None) };
            let timing = Timing { total: Duration::from_micros(45_200), ..Timing::default() };
            let body: Value = serde_json::from_slice(&result(&origin(), "garage-7", &outcome, &timing).body).unwrap();
            assert!(takes(&schema, &schema, &body), "{body}");
        }
    }
    let unreadable = Origin { id: "".into(), command: "".into(), ..origin() };
    let outcome = Outcome::not_sent(Status::Invalid, Failure::new("invalid_job", "no JSON"));
    let body: Value = serde_json::from_slice(&result(&unreadable, "", &outcome, &Timing::default()).body).unwrap();
    assert!(takes(&schema, &schema, &body), "{body}");

    for (member, wrong) in [
        ("status", json!("done")),
        ("executed", json!(true)),
        ("error", json!({})),
        ("late", json!(null)),
        ("x", json!(1)),
    ] {
        let mut body = body.clone();
        body[member] = wrong;
        assert!(!takes(&schema, &schema, &body), "{body}");
    }
}

#[test]
fn the_summary_schema_takes_what_is_written() {
    let schema = schema(RESULT);
    for status in [SummaryStatus::Completed, SummaryStatus::Aborted, SummaryStatus::Cancelled] {
        let counts = [1, 0, 2, 0, 0, 0, 0, 0];
        let failed = vec!["a".into(), "b".into()];
        let summary =
            summary(&origin(), &Summary { status, total: 3, counts, failed, duration: Duration::from_secs(1) });
        let mut body: Value = serde_json::from_slice(&summary.body).unwrap();
        assert!(takes(&schema, &schema["$defs"]["summary"], &body), "{body}");
        body["counts"]["done"] = 1.into();
        assert!(!takes(&schema, &schema["$defs"]["summary"], &body), "{body}");
    }
}

//! Our events against those that Celery's own programs sent.

use super::*;
use crate::wire::celery::Head;
use crate::wire::celery::vectors::load;
use serde_json::{Value, json};

/// The captured event as JSON, and the fields that belong to whoever sent it.
fn captured(name: &str) -> (Envelope, Value, Sender) {
    let envelope = load(name).envelope;
    let mut event: Value = serde_json::from_slice(&envelope.body).unwrap();
    if let Some(list) = event.as_array_mut() {
        event = list.remove(0);
    }
    // What we leave out, for the reason in the file's head.
    event.as_object_mut().unwrap().remove("utcoffset");
    let sender =
        Sender { node: event["hostname"].as_str().unwrap().into(), pid: event["pid"].as_u64().unwrap() as u32 };
    (envelope, event, sender)
}

fn assert_told(name: &str, what: What) {
    let (envelope, event, sender) = captured(name);
    let happening = Happening {
        id: event["uuid"].as_str().unwrap().into(),
        at: event["timestamp"].as_f64().unwrap(),
        clock: event["clock"].as_u64().unwrap(),
        what,
    };
    let ours = tasks(&sender, &[happening]);
    assert_eq!(serde_json::from_slice::<Value>(&ours.body).unwrap(), json!([event]), "{name}");
    assert_eq!(Envelope { body: envelope.body.clone(), ..ours }, envelope, "{name}");
}

#[test]
fn events_of_tasks_are_those_of_celery_but_for_the_offset_of_time() {
    let received = captured("evt-task-received").1;
    let text = |name: &str| received[name].as_str().unwrap().to_owned();
    let task = Task {
        head: Head {
            id: text("uuid").into(),
            name: text("name").into(),
            root_id: Some(text("root_id")),
            ..Head::default()
        },
        args_repr: text("args"),
        kwargs_repr: text("kwargs"),
        ..Task::default()
    };
    assert_told("evt-task-received", What::Received(Arc::new(task)));
    assert_told("evt-task-started", What::Started);
    let succeeded = captured("evt-task-succeeded").1;
    let result =
        serde_json::value::RawValue::from_string(r#"{"args": ["dev-1"], "kwargs": {"timeout": 5}}"#.to_owned());
    let runtime = succeeded["runtime"].as_f64().unwrap();
    assert_told("evt-task-succeeded", What::end(&End::Success(result.unwrap()), runtime, None));
    let failed = captured("evt-task-failed").1;
    let exception =
        Exception { args: vec!["bad thing".into(), 42.into()], ..Exception::new("builtins", "ValueError", "") };
    let What::Failed { exception, traceback } = What::end(&End::Failure(exception), 0.1, None) else { panic!() };
    assert_eq!(traceback, "builtins.ValueError: ('bad thing', 42)\n");
    assert_told(
        "evt-task-failed",
        What::Failed { exception, traceback: failed["traceback"].as_str().unwrap().to_owned() },
    );
    assert_told("evt-task-revoked", What::end(&End::Revoked(Exception::revoked("revoked")), 0.0, Some(15)));
}

#[test]
fn what_was_called_off_says_how() {
    let end = |reason| What::end(&End::Revoked(Exception::revoked(reason)), 0.0, Some(9));
    assert!(matches!(end("terminated"), What::Revoked { terminated: true, signum: Some(9), expired: false }));
    assert!(matches!(end("expired"), What::Revoked { terminated: false, signum: None, expired: true }));
}

#[test]
fn events_of_workers_are_those_of_celery_but_for_the_offset_of_time() {
    for kind in ["worker-online", "worker-heartbeat", "worker-offline"] {
        let name = format!("evt-{kind}");
        let (envelope, event, sender) = captured(&name);
        let loadavg = [0, 1, 2].map(|place| event["loadavg"][place].as_f64().unwrap());
        let condition = Condition {
            freq: event["freq"].as_f64().unwrap(),
            active: event["active"].as_u64().unwrap(),
            processed: event["processed"].as_u64().unwrap(),
            loadavg,
            sw_ident: "py-celery",
            sw_ver: "5.7.0",
            sw_sys: "Linux",
        };
        let (clock, at) = (event["clock"].as_u64().unwrap(), event["timestamp"].as_f64().unwrap());
        let (routing_key, ours) = worker(&sender, kind, clock, at, &condition);
        assert_eq!(serde_json::from_slice::<Value>(&ours.body).unwrap(), event, "{name}");
        assert_eq!(
            (routing_key, Envelope { body: envelope.body.clone(), ..ours }),
            (load(&name).routing_key, envelope)
        );
    }
}

#[test]
fn a_moment_is_written_as_python_writes_it() {
    assert_eq!(moment(1_795_331_009_025), "2026-11-22T07:03:29.025000+00:00");
    assert_eq!(moment(0), "1970-01-01T00:00:00+00:00");
    assert!(moment(u64::MAX).starts_with("9999-"));
}

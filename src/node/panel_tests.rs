//! Every command, asked as Celery asks it, and answered as Celery answers.

use super::*;
use crate::node::Via;
use crate::node::tests::task;
use crate::wire::celery::control::request;
use crate::wire::celery::vectors::load;
use crate::wire::celery::{Head, Task};
use serde_json::value::RawValue;
use std::time::Duration;

const NODE: &str = "ctl@lab";

fn panel() -> Panel {
    let book = Book::new(["mqtt.request", "mqtt.add"]);
    let conf = vec![
        ("broker_url".to_owned(), json!("amqp://guest:secret@127.0.0.1:26672//")),
        ("task_default_queue".to_owned(), json!("commands")),
    ];
    Panel::new(book, Options { conf, queues: vec![Queue::direct("commands")], concurrency: 4, ..Options::new(NODE) })
}

/// The answer to a captured request.
fn answer(panel: &Panel, name: &str) -> Answer {
    let request = request(&load(&format!("ctl-{name}-request")).envelope, NODE, 0.0).unwrap().unwrap();
    panel.answer(&request).unwrap()
}

fn ask(panel: &Panel, method: &str, arguments: Value) -> Value {
    let request = Request {
        method: method.to_owned(),
        arguments: arguments.as_object().unwrap().clone(),
        reply_to: None,
        ticket: None,
        clock: 0,
        is_stale: false,
    };
    value(panel.answer(&request).unwrap())
}

fn value(answer: Answer) -> Value {
    match answer {
        Answer::Value(value) => serde_json::from_str(value.get()).unwrap(),
        other => panic!("no value but {other:?}"),
    }
}

/// What a Celery worker answered to it.
fn captured(name: &str) -> Value {
    let body: Value = serde_json::from_slice(&load(&format!("ctl-{name}-reply")).envelope.body).unwrap();
    body[NODE].clone()
}

/// A value with everything but its shape taken out.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(list) => list.iter().map(shape).collect(),
        Value::Number(_) => json!(0),
        Value::String(_) => json!(""),
        other => other.clone(),
    }
}

fn entered(panel: &Panel, id: &str, task: Task) -> crate::node::Entry {
    let head = Head { id: id.into(), name: "mqtt.request".into(), ..Head::default() };
    let via = Via { routing_key: "commands".to_owned(), priority: Some(0), ..Via::default() };
    panel.book.receive(&Arc::new(Task { head, ..task }), via)
}

fn json_text(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn what_celery_answers_in_fixed_words_we_answer_in_the_same() {
    let panel = panel();
    for name in
        ["ping", "ping-pattern", "active_queues", "autoscale", "unknown", "bad-args2", "revoke-reply", "reserved"]
    {
        assert_eq!(value(answer(&panel, name)), captured(name), "{name}");
    }
    assert_eq!(value(answer(&panel, "revoke_by_stamped_headers")), captured("revoke_by_stamped_headers"));
    assert_eq!(value(answer(&panel, "time_limit")), captured("time_limit"));
    assert_eq!(panel.book.limits("mqtt.request"), (Some(5.0), Some(10.0)));
    ask(&panel, "time_limit", json!({"task_name": "mqtt.request", "soft": 0, "hard": "7.5"}));
    assert_eq!(panel.book.limits("mqtt.request"), (None, Some(7.5)));
    assert_eq!(ask(&panel, "time_limit", json!({"task_name": "nope"})), json!({"error": "unknown task"}));
    let wrong = ask(&panel, "time_limit", json!({"task_name": "mqtt.request", "soft": -1}));
    assert_eq!(wrong, json!({"error": "time_limit(): soft is -1; a number of seconds is right"}));
    assert_eq!(ask(&panel, "pool_restart", json!({})), captured("pool_restart"));
    assert_eq!(value(answer(&panel, "bad-args")), json!({"ok": "pong"}), "unknown arguments are ignored");
    for name in ["pool_grow", "pool_shrink"] {
        assert!(value(answer(&panel, name))["error"].as_str().unwrap().contains("worker.concurrency"));
    }
    for name in ["objgraph", "memsample", "memdump", "election"] {
        assert!(ask(&panel, name, json!({}))["error"].as_str().unwrap().contains(name));
    }
}

#[test]
fn tasks_are_shown_in_the_state_they_are_in() {
    let panel = panel();
    let whole = Task {
        args: vec![json_text("\"dev\"")],
        kwargs: vec![("sleep".to_owned(), json_text("4"))],
        args_repr: "('dev',)".to_owned(),
        ..task()
    };
    let running = entered(&panel, "a", whole.clone());
    running.acknowledged();
    running.start();
    let waiting = entered(&panel, "b", Task { eta: Some(1_795_331_009_025), ..task() });
    waiting.schedule();
    let reserved = entered(&panel, "c", whole);
    let active = value(answer(&panel, "active"));
    assert_eq!(shape(&active), shape(&captured("active")));
    assert_eq!((&active[0]["args"], &active[0]["kwargs"]), (&json!(["dev"]), &json!({"sleep": 4})));
    assert_eq!((&active[0]["id"], &active[0]["acknowledged"]), (&json!("a"), &json!(true)));
    assert_eq!(value(answer(&panel, "active-safe"))[0]["args"], "('dev',)");
    let scheduled = value(answer(&panel, "scheduled"));
    assert_eq!(shape(&scheduled), shape(&captured("scheduled")));
    assert_eq!(
        (&scheduled[0]["eta"], &scheduled[0]["priority"]),
        (&json!("2026-11-22T07:03:29.025000+00:00"), &json!(6))
    );
    assert_eq!(value(answer(&panel, "reserved"))[0]["id"], "c");
    let found = ask(&panel, "query_task", json!({"ids": ["a", "b", "c", "d"]}));
    let states = ["a", "b", "c"].map(|id| found[id][0].as_str().unwrap().to_owned());
    assert_eq!((states, found.get("d")), (["active", "scheduled", "reserved"].map(str::to_owned), None));
    assert_eq!(ask(&panel, "query_task", json!({"ids": "a"}))["a"][1]["id"], "a");
    running.end(&crate::wire::celery::End::Success(json_text("1")), Duration::ZERO);
    assert_eq!(
        (value(answer(&panel, "active")), value(answer(&panel, "stats"))["total"].clone()),
        (json!([]), json!({"mqtt.request": 1}))
    );
    drop((waiting, reserved));
}

#[test]
fn arguments_too_large_to_be_shown_whole_are_shown_cut() {
    let panel = panel();
    let large = json_text(&format!("\"{}\"", "x".repeat(20_000)));
    let running = entered(&panel, "a", Task { args: vec![large], args_repr: "('xxx...',)".to_owned(), ..task() });
    running.start();
    assert_eq!(value(answer(&panel, "active"))[0]["args"], "('xxx...',)");
}

#[test]
fn the_node_shows_itself_without_its_secrets() {
    let panel = panel();
    let stats = value(answer(&panel, "stats"));
    let captured_stats = captured("stats");
    for name in ["total", "pid", "clock", "uptime", "pool", "broker", "prefetch_count", "rusage"] {
        assert_eq!(std::mem::discriminant(&stats[name]), std::mem::discriminant(&captured_stats[name]), "{name}");
    }
    assert!(stats["rusage"]["maxrss"].as_u64().is_some_and(|peak| peak > 1000), "{stats}");
    let conf = value(answer(&panel, "conf"));
    assert_eq!(conf["broker_url"], captured("conf")["broker_url"]);
    let report = value(answer(&panel, "report"))["ok"].as_str().unwrap().to_owned();
    assert!(report.contains("broker_url: 'amqp://guest:********@127.0.0.1:26672//'") && !report.contains("secret"));
    assert_eq!(value(answer(&panel, "registered")), json!(["mqtt.add", "mqtt.request"]));
    assert!(value(answer(&panel, "clock"))["clock"].is_u64());
}

#[test]
fn secrets_are_masked_by_their_names_and_in_urls() {
    let conf = [
        (
            "broker_url",
            json!("amqp://u:p@w@h1//;amqps://u:p2@h2/v"),
            json!("amqp://u:********@h1//;amqps://u:********@h2/v"),
        ),
        ("result_backend", json!("redis://:p@h:6379/0"), json!("redis://:********@h:6379/0")),
        ("without", json!(["amqp://h/v@x", "rpc://"]), json!(["amqp://h/v@x", "rpc://"])),
        ("redis_password", json!("p"), json!("********")),
        ("task_default_routing_key", json!("k"), json!("k")),
        ("nested", json!({"api_key": "k", "n": 1}), json!({"api_key": "********", "n": 1})),
    ];
    for (name, given, expected) in conf {
        assert_eq!(masked(&[(name.to_owned(), given)])[name], expected, "{name}");
    }
}

#[test]
fn rates_are_set_for_names_we_serve_and_shown_with_them() {
    let panel = panel();
    assert_eq!(value(answer(&panel, "rate_limit")), json!({"ok": "new rate limit set successfully"}));
    assert_eq!(value(answer(&panel, "registered")), json!(["mqtt.add", "mqtt.request [rate_limit=10/m]"]));
    assert_eq!(panel.book.turn("mqtt.request"), None);
    assert!(panel.book.turn("mqtt.request").is_some());
    assert_eq!(value(answer(&panel, "rate_limit-unknown")), json!({"error": "unknown task"}));
    let set = |rate| ask(&panel, "rate_limit", json!({"task_name": "mqtt.request", "rate_limit": rate}));
    assert_eq!(set("10/y"), captured("rate_limit-bad"));
    assert_eq!(set("0"), captured("rate_limit-off"));
    assert_eq!(panel.book.turn("mqtt.request"), None);
}

#[test]
fn revokes_are_remembered_told_and_end_what_runs_only_on_demand() {
    let panel = panel();
    let running = entered(&panel, "id-1", task());
    running.start();
    value(answer(&panel, "revoke-noreply"));
    assert_eq!(value(answer(&panel, "revoke-reply")), captured("revoke-reply"));
    assert!(!running.terminated().is_cancelled());
    let terminate = |ids| ask(&panel, "revoke", json!({"task_id": ids, "terminate": true, "signal": "SIGKILL"}));
    assert_eq!(terminate(json!(["id-1", "id-3"])), json!({"ok": "terminate: id-1"}));
    assert!(running.terminated().is_cancelled());
    assert_eq!(terminate(json!("id-9")), json!({"ok": "terminate: tasks unknown"}));
    assert_eq!(
        ask(&panel, "terminate", json!({"signal": "TERM", "task_id": ["id-1"]})),
        json!({"ok": "terminate: id-1"})
    );
    assert_eq!(ask(&panel, "revoke", json!({"task_id": null})), json!({"ok": "tasks set() flagged as revoked"}));
    let missing = ask(&panel, "terminate", json!({}));
    let words = "TypeError(\"terminate() missing 2 required positional arguments: 'signal' and 'task_id'\")";
    assert_eq!(missing, json!({"error": words}));
    let wrong = ask(&panel, "revoke", json!({"task_id": "x", "terminate": true, "signal": "SIGNONE"}));
    assert!(wrong["error"].as_str().unwrap().contains("SIGTERM is right"));
    let revoked = value(panel.answer(&Request { method: "revoked".to_owned(), ..asked() }).unwrap());
    assert!(revoked.as_array().unwrap().contains(&json!("id-3")));
}

fn asked() -> Request {
    Request {
        method: String::new(),
        arguments: Default::default(),
        reply_to: None,
        ticket: None,
        clock: 0,
        is_stale: false,
    }
}

#[test]
fn nodes_that_start_tell_each_other_what_is_called_off() {
    let panel = panel();
    assert_eq!(ask(&panel, "hello", json!({"from_node": NODE, "revoked": ["x"]})), Value::Null);
    let told = ask(&panel, "hello", json!({"from_node": "other@lab", "revoked": ["x", "y"]}));
    assert_eq!(told["revoked"], json!(["x", "y"]));
    assert!(told["clock"].is_u64());
    let task = Task { head: Head { id: "y".into(), ..Head::default() }, ..task() };
    assert!(panel.book.is_revoked(&task));
}

#[test]
fn events_are_switched_and_say_what_they_were() {
    let panel = panel();
    let set = |method: &str| ask(&panel, method, json!({}))["ok"].as_str().unwrap().to_owned();
    assert_eq!(json!({"ok": set("disable_events")}), captured("disable_events"));
    assert_eq!(set("enable_events"), "task events enabled");
    assert_eq!(json!({"ok": set("enable_events")}), captured("enable_events"));
    assert_eq!(set("disable_events"), "task events disabled");
    assert!(matches!(answer(&panel, "heartbeat"), Answer::Heartbeat));
}

#[test]
fn what_only_the_worker_can_do_is_handed_on_with_all_it_needs() {
    let panel = panel();
    let Answer::Order(command, words) = answer(&panel, "cancel_consumer") else { panic!() };
    assert_eq!(
        (&command, json!({"ok": words})),
        (&Command::CancelConsumer { queue: "extra".to_owned() }, captured("cancel_consumer"))
    );
    let request = Request {
        method: "add_consumer".to_owned(),
        arguments: json!({"queue": "extra", "exchange": null}).as_object().unwrap().clone(),
        ..asked()
    };
    let Some(Answer::Order(command, words)) = panel.answer(&request) else { panic!() };
    assert_eq!(words, "add consumer extra");
    panel.note(&command);
    // Added once more, in whatever words, it stays as it is.
    let Command::AddConsumer { queue, exchange_type, routing_key, .. } = command else { panic!() };
    panel.note(&Command::AddConsumer { queue, exchange: "other".to_owned(), exchange_type, routing_key });
    assert_eq!(value(answer(&panel, "active_queues2")), captured("active_queues2"));
    panel.note(&Command::CancelConsumer { queue: "extra".to_owned() });
    assert_eq!(value(answer(&panel, "active_queues")), captured("active_queues"));
    assert!(matches!(answer(&panel, "shutdown"), Answer::Shutdown));
}

#[test]
fn a_question_that_nobody_waits_for_is_not_answered_and_a_late_revoke_still_counts() {
    let panel = panel();
    let late = |method: &str, arguments: Value| {
        let arguments = arguments.as_object().unwrap().clone();
        panel.answer(&Request { method: method.to_owned(), arguments, is_stale: true, ..asked() })
    };
    assert!(late("stats", json!({})).is_none());
    assert!(late("revoke", json!({"task_id": "id-1"})).is_some());
    assert_eq!(panel.book.revoked_ids(), [Arc::from("id-1")]);
}

//! What the caller of a task gets: its device's answer, an exception of a class of its own, or nothing.

use crate::celery_scene::CeleryScene;
use crate::harness::celery::Said;
use crate::harness::device::Behaviour;
use crate::harness::eventually::eventually;
use crate::worker_scene::{self, SOON, job};
use serde_json::json;

/// A task of the application's own, and the command that it stands for.
const MAPPED: &str = r#"
[celery.tasks."garage.open_door"]
args = ["door", "speed"]
defaults = { speed = 1 }
device = "lamp-{door}"
command = "open"
payload = { speed = "{speed}", source = "web" }
timeout = "5s"
"#;

#[tokio::test]
async fn a_task_that_is_sent_by_its_name_gets_its_devices_answer() {
    let mut celery = CeleryScene::start().await.line(MAPPED);
    let _worker = celery.worker().await;
    let said = celery.app.run("answers.py", "by_name").await;
    said.value("positional", json!({"ok": true, "echo": {"speed": 2}}));
    said.value("named", json!({"ok": true, "echo": [1]}));
    said.value("without_payload", json!({"ok": true, "echo": null}));
    said.value("unicode", json!({"ok": true, "echo": {"größe": "ü\u{2028}"}}));
    said.value("mapped", json!({"ok": true, "echo": {"speed": 2, "source": "web"}}));
    said.value("mapped_default", json!({"ok": true, "echo": {"speed": 1, "source": "web"}}));
    said.expect("state", json!(["SUCCESS", true, true]));
}

#[tokio::test]
async fn a_publish_has_no_result_and_a_bulk_its_summary() {
    a_bulk_ends_with_its_summary("1000").await;
}

#[tokio::test]
async fn a_bulk_that_all_workers_share_ends_with_its_summary_too() {
    a_bulk_ends_with_its_summary("1").await;
}

async fn a_bulk_ends_with_its_summary(short: &str) {
    let mut celery = CeleryScene::start().await.line(MAPPED).set("BULK__SHORT", short);
    let _worker = celery.worker().await;
    let said = celery.app.run("answers.py", "by_name").await;
    said.value("one_way", json!(null));
    let summary = &said.found("bulk")["value"];
    assert_eq!((&summary["status"], &summary["total"]), (&json!("completed"), &json!(4)), "{summary}");
    assert_eq!(summary["counts"]["succeeded"], 3, "{summary}");
    assert_eq!((&summary["counts"]["rejected"], &summary["failed"]), (&json!(1), &json!(["blocked"])), "{summary}");
    assert_eq!(celery.sent_to("d3").last().unwrap(), "3");
}

#[tokio::test]
async fn bytes_and_pythons_values_pass_both_ways_and_no_answer_harms_its_caller() {
    let mut celery = CeleryScene::start().await;
    for (device, answer) in [
        ("says-text", &b"on"[..]),
        ("says-big", b"{\"big\": 123456789012345678901234567890}"),
        ("says-nan", b"{\"t\": NaN}"),
    ] {
        celery.scene.fleet.behave_as(device, Behaviour::Bytes(answer));
    }
    let _worker = celery.worker().await;
    let said = celery.app.run("answers.py", "values").await;
    let raw = celery.scene.fleet.executed().into_iter().find(|executed| executed.device == "bytes").unwrap();
    assert_eq!(raw.payload[..], *b"\x00\xff");
    assert_eq!(celery.sent_to("text"), ["on"]);
    assert_eq!(celery.sent_to("floats"), [r#"{"t": NaN, "i": Infinity, "n": -Infinity}"#]);
    assert_eq!(celery.sent_to("big"), [r#"{"n": 1180591620717411303424, "list": [-36893488147419103232]}"#]);
    let kinds = r#"{"id": "00000000-0000-0000-0000-000000000007", "price": "1.50", "at": "2026-01-02T03:04:05", "keys": {"1": null, "false": []}}"#;
    assert_eq!(celery.sent_to("kinds"), [kinds]);
    // As Python shows them.
    said.value("bytes_up", json!("b'\\xff\\x00\\xfe{\"'"));
    said.value("big_up", json!({"big": "123456789012345678901234567890"}));
    said.value("text_up", json!("on"));
    said.value("nan_up", json!("{\"t\": NaN}"));
    // kombu would raise at this one, in whichever `.get()` is waiting: its caller gets the text.
    let typed = said.found("typed_up")["value"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(typed).unwrap()["door"]["__type__"], "nobody knows");
}

/// Each failure, its class, and whether its device can have acted.
const FAILURES: [(&str, &str, &str); 5] = [
    ("rejected", "DeviceRejected", "yes"),
    ("timeout", "DeviceTimeout", "unknown"),
    ("unreachable", "DeviceUnreachable", "no"),
    ("invalid", "InvalidCommand", "no"),
    ("arguments", "InvalidCommand", "no"),
];

fn assert_failure(said: &Said, name: &str, class: &str, executed: &str) {
    let args = said.raised(name, class).as_array().unwrap();
    assert_eq!(args.len(), 2, "{args:?}");
    assert!(args[0].as_str().is_some_and(|text| !text.is_empty()), "{args:?}");
    assert_eq!(args[1]["executed"], executed, "{args:?}");
}

#[tokio::test]
async fn each_failure_is_an_exception_that_can_be_caught_by_its_class() {
    let mut celery = CeleryScene::start().await;
    let worker = celery.worker().await;
    let said = celery.app.run("answers.py", "failures").await;
    for (name, class, executed) in FAILURES {
        assert_failure(&said, name, &format!("switchboard.exceptions.{class}"), executed);
        // Without the module it is a class of the same name, made by Celery.
        assert_failure(&said, &format!("unknown_{name}"), &format!("celery.exceptions.{class}"), executed);
    }
    let caught = said.found("caught");
    assert_eq!((&caught[0], &caught[2], &caught[3]), (&json!(true), &json!("blocked"), &json!("yes")), "{caught}");
    assert!(caught[1].as_str().unwrap().contains("the door is blocked"), "{caught}");
    assert_eq!(caught[4]["error"]["code"], "busy", "{caught}");
    said.expect("returned", json!(["DeviceTimeout", "FAILURE", true]));
    // What its arguments say of it is told although they are wrong.
    assert_eq!(said.found("arguments")["args"][1]["device"], "d1");
    let log = worker.log();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("refused: ")).collect();
    assert!(!refused.is_empty() && refused.iter().all(|line| line.contains("d1")), "{refused:?}");
}

#[tokio::test]
async fn a_task_that_was_delivered_before_is_outcome_unknown() {
    let mut celery = CeleryScene::start().await;
    let app = celery.app.clone();
    let sent = tokio::spawn(async move { app.run("answers.py", "unknown").await });
    eventually("the task is in its queue", SOON, async || celery.scene.caller.depth(&celery.queue).await == Some(1))
        .await;
    celery.scene.caller.take_and_put_back(&celery.queue, 1).await;
    let _worker = celery.worker().await;
    let said = sent.await.unwrap();
    assert_failure(&said, "unknown", "switchboard.exceptions.OutcomeUnknown", "unknown");
    assert_eq!(celery.sent_to("d1").len(), 0);
}

#[tokio::test]
async fn a_task_that_wants_no_result_gets_none_not_even_a_failure() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("answers.py", "ignored").await;
    // Those of the two that want one.
    said.expect("replies", json!(2));
    assert_eq!((celery.sent_to("d1").len(), celery.sent_to("blocked").len()), (3, 2));
}

#[tokio::test]
async fn a_task_that_is_sent_twice_is_executed_once_and_both_callers_are_answered() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("answers.py", "twice").await;
    for name in ["first", "second"] {
        said.value(name, json!({"ok": true, "echo": "first"}));
    }
    assert_eq!(celery.sent_to("once"), [r#""first""#]);
}

#[tokio::test]
async fn a_task_of_a_killed_worker_runs_again_only_where_it_may() {
    let mut celery = CeleryScene::start().await;
    celery.scene.fleet.behave(Behaviour::Silent);
    let mut first = celery.worker().await;
    let app = celery.app.clone();
    let sent = tokio::spawn(async move { app.run("answers.py", "killed").await });
    celery.scene.fleet.wait_for(2, SOON).await;
    first.kill();
    celery.scene.fleet.behave(Behaviour::Echo);
    let _second = celery.worker().await;
    let said = sent.await.unwrap();
    assert_failure(&said, "once", "celery.exceptions.OutcomeUnknown", "unknown");
    said.value("again", json!({"ok": true, "echo": null}));
    assert_eq!((celery.sent_to("d1").len(), celery.sent_to("d2").len()), (1, 2));
}

#[tokio::test]
async fn native_jobs_and_celery_tasks_are_read_on_either_queue() {
    let mut celery = CeleryScene::start().await;
    celery.app = celery.app.with("NATIVE_QUEUE", &*celery.scene.options.queue);
    let _worker = celery.worker().await;
    let said = celery.app.run("answers.py", "on_the_native_queue").await;
    said.value("answer", json!({"ok": true, "echo": "among native jobs"}));
    celery.scene.caller.send(&celery.queue, &job("native", "d1")).await;
    assert_eq!(worker_scene::said(&celery.scene.result("native").await), ("succeeded", "yes"));
}

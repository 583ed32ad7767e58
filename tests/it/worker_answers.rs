//! Answers that come late, twice, from before, from a stranger, or make no sense: what is a result and what is only counted.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::eventually;
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, job, job_with, said};
use serde_json::json;
use std::time::Duration;

async fn counted(worker: &Worker, metric: &str, count: f64) {
    let name = format!("switchboard_{metric}_total");
    eventually(&format!("{name} is {count}"), SOON, async || worker.metric(&name, &[]).await >= count).await;
    assert_eq!(worker.metric(&name, &[]).await, count, "{name}");
}

#[tokio::test]
async fn an_answer_after_the_timeout_is_one_more_result() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(800)));
    let worker = scene.worker().await;
    let jobs: Vec<_> =
        (0..5).map(|n| job_with(&format!("j{n}"), &format!("d{n}"), json!({"timeout_ms": 100}))).collect();
    scene.send_all(jobs.clone()).await;
    for job in &jobs {
        let replies = scene.results(job["id"].as_str().unwrap(), 2).await;
        let (first, second) = (&replies[0], &replies[1]);
        assert_eq!((said(&first.body), &first.body["late"]), (("timed_out", "unknown"), &json!(false)));
        assert_eq!((said(&second.body), &second.body["late"]), (("succeeded", "yes"), &json!(true)));
        assert_eq!(second.body["response"]["ok"], true);
        assert_ne!(first.message_id, second.message_id);
        assert_eq!((&first.correlation_id, &first.kind), (&second.correlation_id, &second.kind));
        let took = second.body["timing_ms"]["device"].as_f64().unwrap();
        assert!(took >= 700.0 && second.body["timing_ms"]["total"].as_f64().unwrap() >= took, "{}", second.body);
    }
    scene.wait_idle(&worker).await;
    counted(&worker, "late_answers", 5.0).await;
    assert_eq!(scene.caller.replies().len(), 10);
    scene.check(&jobs);
}

#[tokio::test]
async fn an_answer_after_the_grace_is_counted_and_no_result() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__LATE_GRACE", "50ms");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(1000)));
    let worker = scene.worker().await;
    let result = scene.ask(job_with("j1", "d", json!({"timeout_ms": 100}))).await;
    assert_eq!(result["status"], "timed_out");
    counted(&worker, "unmatched_messages", 1.0).await;
    // One more job, to be sure that a result of the late answer would have come before its own.
    scene.fleet.behave(Behaviour::Echo);
    assert_eq!(scene.ask(job("j2", "d")).await["status"], "succeeded");
    counted(&worker, "late_answers", 0.0).await;
    assert_eq!(scene.caller.replies().len(), 2);
}

#[tokio::test]
async fn a_device_that_answers_late_does_not_answer_the_next_command() {
    for dialect in [(Dialect::Default, "default"), (Dialect::Json, "json"), (Dialect::Mqtt5, "mqtt5")] {
        let scene = Scene::start(dialect.0).await;
        let _worker = scene.worker().await;
        scene.fleet.behave(Behaviour::Slow(Duration::from_millis(700)));
        let fields = json!({"profile": dialect.1, "timeout_ms": 100});
        assert_eq!(scene.ask(job_with("j1", "d", fields)).await["status"], "timed_out");
        scene.fleet.behave(Behaviour::Silent);
        let fields = json!({"profile": dialect.1, "timeout_ms": 1500});
        let second = scene.ask(job_with("j2", "d", fields)).await;
        assert_eq!(second["status"], "timed_out", "{second}");
        let late = scene.results("j1", 2).await.remove(1).body;
        assert_eq!(late["late"], true);
        assert_eq!(scene.caller.replies().len(), 3);
    }
}

#[tokio::test]
async fn an_answer_that_comes_three_times_is_one_result() {
    for (dialect, profile) in [(Dialect::Default, "default"), (Dialect::Json, "json"), (Dialect::Mqtt5, "mqtt5")] {
        let scene = Scene::start(dialect).await;
        scene.fleet.behave(Behaviour::Duplicate(3));
        let worker = scene.worker().await;
        let jobs: Vec<_> = (0..10)
            .map(|number| job_with(&format!("j{number}"), &format!("d{}", number % 3), json!({"profile": profile})))
            .collect();
        scene.send_all(jobs.clone()).await;
        scene.caller.wait_for(10, SOON).await;
        // Where each device has a filter of its own, nobody reads it any more when its last command was answered.
        eventually("every other answer is counted", SOON, async || {
            let duplicates = worker.metric("switchboard_duplicate_answers_total", &[]).await;
            let unread = worker.metric("switchboard_unmatched_messages_total", &[]).await;
            duplicates + unread == 20.0 && (unread == 0.0 || dialect == Dialect::Json)
        })
        .await;
        scene.wait_idle(&worker).await;
        assert_eq!(scene.caller.replies().len(), 10);
        scene.check(&jobs);
    }
}

#[tokio::test]
async fn what_a_stranger_says_is_no_answer() {
    for (dialect, profile) in [(Dialect::Default, "default"), (Dialect::Mqtt5, "mqtt5")] {
        let scene = Scene::start(dialect).await;
        scene.fleet.behave(Behaviour::Spoof);
        let worker = scene.worker().await;
        let result = scene.ask(job_with("j1", "d", json!({"profile": profile, "timeout_ms": 1000}))).await;
        assert_eq!(said(&result), ("timed_out", "unknown"));
        counted(&worker, "unmatched_messages", 1.0).await;
        assert_eq!(scene.caller.replies().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_to_another_inbox_or_to_no_attempt_is_none() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    scene.send(&job_with("j1", "d", json!({"timeout_ms": 2000}))).await;
    let command = scene.fleet.wait_for(1, SOON).await.remove(0);
    let mut levels = command.topic.split('/').skip(4);
    let (inbox, attempt) = (levels.next().unwrap(), levels.next().unwrap());
    let other_inbox = "0".repeat(inbox.len());
    let ok = r#"{"ok": true}"#;
    for topic in [
        format!("devices/d/responses/{other_inbox}/{attempt}"),
        format!("devices/d/responses/{inbox}/{}", "0".repeat(attempt.len())),
        format!("devices/d/responses/{inbox}/nonsense"),
        format!("devices/intruder/responses/{inbox}/{attempt}"),
        format!("devices/{attempt}/responses/{inbox}/{attempt}"),
    ] {
        scene.fleet.publish(&topic, ok, false).await;
    }
    // Kept in the broker, and thus retained for whoever subscribes, but not for us, who are subscribed.
    let result = scene.result("j1").await;
    assert_eq!(result["status"], "timed_out", "{result}");
    // Of the five the first is not even subscribed.
    counted(&worker, "unmatched_messages", 4.0).await;
    assert_eq!(scene.caller.replies().len(), 1);
    // The right one is an answer, though late.
    scene.fleet.publish(&command.topic.replace("/commands/open/", "/responses/"), ok, false).await;
    assert_eq!(said(&scene.results("j1", 2).await[1].body), ("succeeded", "yes"));
}

#[tokio::test]
async fn an_answer_that_was_retained_before_the_command_is_none() {
    let scene = Scene::start(Dialect::Json).await;
    scene.fleet.behave(Behaviour::Silent);
    // Attempts of the json profile are in the body; this is what a device left behind, and its like with another id.
    for id in [json!(""), json!(null), json!(1), json!("0".repeat(32))] {
        scene.fleet.publish("devices/d/response", json!({"id": id, "ok": true}).to_string(), true).await;
    }
    let worker = scene.worker().await;
    let result = scene.ask(job_with("j1", "d", json!({"profile": "json", "timeout_ms": 500}))).await;
    assert_eq!(said(&result), ("timed_out", "unknown"));
    counted(&worker, "unmatched_messages", 1.0).await;
    // A device that sets the flag on its answers is answered for all the same: live subscribers do not see the flag.
    scene.fleet.behave(Behaviour::Retained);
    let result = scene.ask(job_with("j2", "d", json!({"profile": "json"}))).await;
    assert_eq!(said(&result), ("succeeded", "yes"));
    // The next worker finds it in the broker, and it answers nothing there.
    scene.fleet.behave(Behaviour::Silent);
    let second = scene.worker().await;
    drop(worker);
    let result = scene.ask(job_with("j3", "d", json!({"profile": "json", "timeout_ms": 500}))).await;
    assert_eq!(said(&result), ("timed_out", "unknown"));
    counted(&second, "unmatched_messages", 1.0).await;
}

#[tokio::test]
async fn garbage_on_the_answers_topic_harms_nobody() {
    let scene = Scene::start(Dialect::Json).await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    scene.send(&job_with("j1", "d", json!({"profile": "json", "timeout_ms": 1500}))).await;
    scene.fleet.wait_for(1, SOON).await;
    let deep = "[".repeat(50_000);
    for garbage in ["", "{", "null", "[]", "\u{0}", "{\"id\": {}}", "{\"id\": 1e999}", deep.as_str()] {
        scene.fleet.publish("devices/d/response", garbage.to_owned(), false).await;
    }
    scene.fleet.publish("devices/d/response", vec![0xFF; 2000], false).await;
    assert_eq!(said(&scene.result("j1").await), ("timed_out", "unknown"));
    counted(&worker, "unmatched_messages", 9.0).await;
    scene.fleet.behave(Behaviour::Echo);
    assert_eq!(scene.ask(job_with("j2", "d", json!({"profile": "json"}))).await["status"], "succeeded");
    assert_eq!(worker.metric("switchboard_mqtt_reconnects_total", &[]).await, 0.0);
    assert!(!worker.log().contains("panick"), "{}", worker.log());
}

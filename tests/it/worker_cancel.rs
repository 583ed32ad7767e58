//! Jobs that are called off: queued, held, in a lane, at their device, one of many; and what `switchboard cancel` says.

use crate::harness::caller::Reply;
use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::found;
use crate::harness::worker::run_in;
use crate::worker_scene::{SOON, Scene, at, job, job_with, said};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Far longer than anything here takes: what ends earlier was cancelled.
const LONG: u64 = 250_000;

impl Scene {
    async fn cancel_with(&self, id: &str, more: &[&str]) -> Output {
        let place = ["cancel", id, "--amqp-url", &self.options.amqp_url, "--queue", &self.options.queue];
        run_in(&self.options.environment, &[&place, more].concat(), SOON).await
    }

    /// Cancels a job, and holds exit code and outcome against these.
    async fn cancel(&self, id: &str, code: i32, outcome: &str) -> Value {
        // Longer than a worker takes on a machine that is busy; whoever knows the job is not waited for that long.
        let wait = if outcome == "recorded" { "300ms" } else { "30s" };
        let output = self.cancel_with(id, &["--json", "--wait", wait]).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{out}{err}");
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&said["id"], &said["outcome"]), (&json!(id), &json!(outcome)), "{said}");
        said
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn a_queued_job_is_not_run_and_a_later_one_with_its_id_is() {
    let scene = Scene::start(Dialect::Default).await;
    let queue = &scene.options.queue;
    scene.caller.declare(queue, "quorum").await;
    scene.send_all(["queued", "kept"].map(|id| job(id, "d"))).await;
    scene.send(&job("doubtful", "d")).await;
    // Nobody finished it, and nobody can say how far it got.
    let again = async |count: usize| scene.caller.take_and_put_back(queue, count).await;
    again(3).await;
    let recorded = scene.cancel("queued", 0, "recorded").await;
    assert_eq!((&recorded["answered"], &recorded["was_running"]), (&json!(0), &json!(false)));
    scene.cancel("later", 0, "recorded").await;
    let later = scene.caller.properties().with_timestamp(now_seconds() + 5);
    scene.caller.send_with(queue, job("later", "d").to_string().as_bytes(), later).await;
    scene.send(&job("fresh", "d")).await;
    scene.cancel("fresh", 0, "recorded").await;
    let worker = scene.worker().await;
    assert_eq!(said(&scene.result("fresh").await), ("cancelled", "no"));
    let redelivered = scene.result("queued").await;
    assert_eq!(said(&redelivered), ("cancelled", "unknown"), "{redelivered}");
    assert_eq!(redelivered["error"]["code"], "cancelled");
    assert_eq!(said(&scene.result("later").await), ("succeeded", "yes"));
    assert_eq!(said(&scene.result("kept").await), ("unknown", "unknown"), "it was delivered before, and not cancelled");
    scene.wait_idle(&worker).await;
    assert_eq!(scene.executions().keys().collect::<Vec<_>>(), ["later"]);
    assert_eq!(worker.metric("switchboard_jobs_total", &[("status", "cancelled")]).await, 2.0);
    assert!(!worker.log().contains("cancelled jobs run all the same"));
}

#[tokio::test]
async fn a_job_at_its_device_is_given_up_and_its_answer_comes_late() {
    let scene = Scene::start(Dialect::Default).await;
    let _worker = scene.worker().await;
    scene.fleet.behave_as("slow", Behaviour::Slow(Duration::from_secs(4)));
    scene.fleet.behave_as("silent", Behaviour::Silent);
    scene.send(&job_with("slow", "slow", json!({"timeout_ms": LONG}))).await;
    scene.send(&job_with("silent", "silent", json!({"timeout_ms": LONG}))).await;
    scene.send(&job_with("behind", "silent", json!({"timeout_ms": LONG}))).await;
    scene.fleet.wait_for(2, SOON).await;
    let slow = scene.cancel("slow", 0, "cancelled").await;
    assert_eq!((&slow["was_running"], &slow["executed"]), (&json!(true), &json!("unknown")), "{slow}");
    // It waits for its device's turn, so nothing of it was sent.
    let behind = scene.cancel("behind", 0, "cancelled").await;
    assert_eq!((&behind["was_running"], &behind["executed"]), (&json!(true), &json!("no")), "{behind}");
    assert_eq!(said(&scene.result("behind").await), ("cancelled", "no"));
    let output = scene.cancel_with("silent", &["--wait", "30s"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("silent: running -> cancelled; nobody knows whether it was executed; by "), "{text}");
    assert_eq!(said(&scene.result("silent").await), ("cancelled", "unknown"));
    let results = scene.results("slow", 2).await;
    assert_eq!((said(&results[0].body), &results[0].body["late"]), (("cancelled", "unknown"), &json!(false)));
    assert_eq!((said(&results[1].body), &results[1].body["late"]), (("succeeded", "yes"), &json!(true)));
    // Once more changes nothing, and is no failure.
    let again = scene.cancel("silent", 0, "cancelled").await;
    assert_eq!((&again["was_running"], &again["status"]), (&json!(false), &json!("cancelled")));
    assert_eq!(scene.fleet.executed().len(), 2);
}

#[tokio::test]
async fn what_has_ended_cannot_be_cancelled_any_more() {
    let scene = Scene::start(Dialect::Default).await;
    let (_one, _other) = (scene.worker().await, scene.worker().await);
    assert_eq!(said(&scene.ask(job("done", "d")).await), ("succeeded", "yes"));
    let done = scene.cancel("done", 1, "finished").await;
    assert_eq!((&done["status"], &done["executed"]), (&json!("succeeded"), &json!("yes")));
    let output = scene.cancel_with("nobodys", &["--wait", "3s"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("nobodys: recorded: whoever takes it from the queue will cancel it; "), "{text}");
    assert_eq!(output.status.code(), Some(0));
    let wrong = scene.cancel_with(&"x".repeat(256), &[]).await;
    assert_eq!(wrong.status.code(), Some(64));
}

#[tokio::test]
async fn a_job_that_waits_for_its_time_is_cancelled_when_it_comes() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    // Held by the worker, and in the broker: which of the two has it makes no difference.
    for (id, delay) in [("held", 4), ("parked", 34)] {
        scene.send(&job_with(id, "d", json!({"not_before": at(Duration::from_secs(delay))}))).await;
    }
    found("the worker has looked at both", SOON, async || {
        (scene.caller.depth("celery_delayed_5").await.unwrap_or(0) > 0).then_some(())
    })
    .await;
    scene.cancel("held", 0, "recorded").await;
    scene.cancel("parked", 0, "recorded").await;
    assert_eq!(said(&scene.result("held").await), ("cancelled", "no"));
    assert_eq!(said(&scene.result("parked").await), ("cancelled", "no"));
    scene.wait_idle(&worker).await;
    assert!(scene.fleet.executed().is_empty());
}

#[tokio::test]
async fn every_device_of_a_cancelled_bulk_is_accounted_for() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    let devices: Vec<_> = (0..200).map(|n| format!("d{n}")).collect();
    let bulk = |id: &str| {
        json!({"id": id, "devices": devices, "command": "open", "payload": {"job": id}, "timeout_ms": LONG,
               "bulk": {"concurrency": 5}})
    };
    scene.send(&bulk("running")).await;
    scene.fleet.wait_for(5, SOON).await;
    let cancelled = scene.cancel("running", 0, "cancelled").await;
    assert_eq!((&cancelled["was_running"], &cancelled["status"]), (&json!(true), &json!("cancelled")));
    let (executed, counts) = told(&scene, "running").await;
    assert_eq!(executed, (195, 5), "five were at their devices");
    assert_eq!(counts["cancelled"], 200);
    assert_eq!(worker.metric("switchboard_bulk_devices_total", &[("status", "cancelled")]).await, 200.0);

    scene.cancel("queued", 0, "recorded").await;
    // As a producer whose clock is behind: the cancel means it.
    let early = scene.caller.properties().with_timestamp(now_seconds() - 60);
    scene.caller.send_with(&scene.options.queue, bulk("queued").to_string().as_bytes(), early).await;
    let (executed, counts) = told(&scene, "queued").await;
    assert_eq!((executed, &counts["cancelled"]), ((200, 0), &json!(200)));
    assert_eq!(scene.fleet.executed().len(), 5);
}

/// Waits for the summary of a cancelled bulk: how many devices were told no and unknown, and the summary's counts.
async fn told(scene: &Scene, id: &str) -> ((usize, usize), Value) {
    let summary = found("the summary comes", SOON, async || {
        let replies = scene.caller.replies();
        replies.into_iter().find(|r| r.body["id"] == id && r.kind.as_deref() == Some("switchboard.summary"))
    })
    .await;
    assert_eq!((&summary.body["status"], &summary.body["total"]), (&json!("cancelled"), &json!(200)));
    let (mut devices, mut no, mut unknown) = (BTreeSet::new(), 0, 0);
    for reply in scene.caller.replies().iter().filter(|r| r.body["id"] == id && !r.body["device"].is_null()) {
        assert!(devices.insert(reply.body["device"].to_string()), "twice: {}", reply.body);
        match said(&reply.body) {
            ("cancelled", "no") => no += 1,
            ("cancelled", "unknown") => unknown += 1,
            other => panic!("{other:?}"),
        }
    }
    ((no, unknown), summary.body["counts"].clone())
}

#[tokio::test]
async fn a_worker_without_the_stream_works_and_cancel_says_why_it_cannot() {
    let scene = Scene::start(Dialect::Default).await;
    // Somebody else's queue has the stream's name.
    let name = format!("{}.control", scene.options.queue);
    scene.caller.declare(&name, "classic").await;
    let worker = scene.worker().await;
    assert_eq!(said(&scene.ask(job("j", "d")).await), ("succeeded", "yes"));
    assert!(worker.log().contains("cancelled jobs run all the same"), "{}", worker.log());
    let refused = scene.cancel_with("j", &[]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("jobs cannot be cancelled here") && said.contains(&name), "{said}");
    assert_eq!(scene.caller.depth(&name).await, Some(0), "nothing was written into it");
}

#[tokio::test]
async fn a_celery_task_is_called_off_by_its_id_like_any_job() {
    let scene = Scene::start(Dialect::Default).await;
    let _worker = scene.worker().await;
    scene.fleet.behave(Behaviour::Silent);
    let mut headers = FieldTable::default();
    for (name, value) in [("task", "switchboard.request"), ("id", "task-1")] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let body = json!([["d", "open"], {"timeout": LONG / 1000}, {}]).to_string();
    let task = scene.caller.properties().with_headers(headers).with_correlation_id("task-1".into());
    scene.caller.send_with(&scene.options.queue, body.as_bytes(), task).await;
    scene.fleet.wait_for(1, SOON).await;
    let called_off = scene.cancel("task-1", 0, "cancelled").await;
    assert_eq!(
        (&called_off["was_running"], &called_off["executed"]),
        (&json!(true), &json!("unknown")),
        "{called_off}"
    );
    let told = found("its caller is told", SOON, async || {
        scene.caller.replies().into_iter().find(|reply| reply.body["task_id"] == "task-1")
    });
    let told = told.await.body;
    assert_eq!(
        (&told["status"], &told["result"]["exc_message"]),
        (&json!("REVOKED"), &json!(["terminated"])),
        "{told}"
    );
}

#[tokio::test]
async fn of_a_bulk_that_a_killed_worker_had_before_no_device_is_said_to_be_uncommanded() {
    let scene = Scene::start(Dialect::Default).await;
    let mut first = scene.worker().await;
    let devices: Vec<_> = (0..60).map(|n| format!("d{n}")).collect();
    let bulk = json!({"rate_per_second": 20});
    scene
        .send(&json!({"id": "b", "devices": devices, "command": "open", "guarantee": "at_least_once", "bulk": bulk}))
        .await;
    scene.fleet.wait_for(20, SOON).await;
    first.kill();
    let second = scene.worker().await;
    let before = scene.fleet.executed().len();
    scene.fleet.wait_for(before + 3, SOON).await;
    scene.cancel("b", 0, "cancelled").await;
    let is_summary = |reply: &Reply| reply.kind.as_deref() == Some("switchboard.summary");
    let summary = found("the summary comes", SOON, async || scene.caller.replies().into_iter().find(is_summary)).await;
    assert_eq!((&summary.body["status"], &summary.body["total"]), (&json!("cancelled"), &json!(60)), "{summary:?}");
    let results: Vec<_> = scene.caller.replies().into_iter().filter(|reply| !is_summary(reply)).collect();
    let called_off = results.iter().filter(|reply| said(&reply.body) == ("cancelled", "unknown")).count();
    assert!(called_off > 20, "{called_off} of 60");
    assert!(results.iter().all(|reply| said(&reply.body).1 != "no"), "{results:?}");
    scene.wait_idle(&second).await;
}

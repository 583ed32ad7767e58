//! One job for many devices: every one is accounted for once, at the asked pace, whatever happens to the worker.

use crate::harness::caller::Reply;
use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::{eventually, found};
use crate::worker_scene::{SOON, Scene, job, said};
use lapin::BasicProperties;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn bulk(devices: usize, options: &Value) -> Value {
    let devices: Vec<_> = (0..devices).map(|n| format!("d{n}")).collect();
    json!({"id": "b", "devices": devices, "command": "open", "payload": {"job": "b"}, "bulk": options})
}

/// A bulk with devices of its own.
fn named_bulk(n: usize, devices: usize, options: &Value) -> Value {
    let devices: Vec<_> = (0..devices).map(|device| format!("b{n}-{device}")).collect();
    json!({"id": format!("b{n}"), "devices": devices, "command": "open", "bulk": options})
}

/// Which of those bulks a device is of.
fn of_bulk(device: &str) -> usize {
    device.trim_start_matches('b').split('-').next().unwrap().parse().unwrap()
}

/// Waits for the summary, and returns it with the results that came before it.
async fn summary(scene: &Scene) -> (Value, Vec<Reply>) {
    let summary = found("the summary comes", SOON, async || {
        scene.caller.replies().into_iter().find(|reply| reply.kind.as_deref() == Some("switchboard.summary"))
    })
    .await;
    let mut replies = scene.caller.replies();
    let last = replies.pop().unwrap();
    assert_eq!(last.body, summary.body, "the summary comes last, and once");
    assert_eq!((last.correlation_id.as_deref(), last.persistent), (Some("b"), true));
    let counts: u64 = last.body["counts"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(counts), last.body["total"].as_u64(), "{}", last.body);
    (last.body, replies)
}

/// How many results have each status, and that each device has one.
fn told(replies: &[Reply]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    let mut devices = BTreeSet::new();
    for reply in replies {
        assert_eq!(reply.kind.as_deref(), Some("switchboard.result"));
        assert!(devices.insert(reply.body["device"].to_string()), "twice: {}", reply.body);
        *counts.entry(said(&reply.body).0).or_default() += 1;
    }
    counts
}

fn each_at_most_once(scene: &Scene) {
    let executed = scene.fleet.executed();
    let devices: BTreeSet<_> = executed.iter().map(|executed| &executed.device).collect();
    assert_eq!(devices.len(), executed.len(), "a device was commanded twice");
}

#[tokio::test]
async fn a_bulk_that_is_wrong_for_every_device_is_a_dead_letter_where_nobody_hears_of_it() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let nobody = || BasicProperties::default().with_delivery_mode(2);
    let send = async |job: Value, properties: BasicProperties| {
        scene.caller.send_with(&scene.options.queue, job.to_string().as_bytes(), properties).await;
    };
    send(json!({"id": "x", "devices": ["d1", "d2"], "command": "a/b"}), nobody()).await;
    send(json!({"id": "y", "devices": ["d1"], "command": "open", "profile": "nope"}), nobody()).await;
    send(json!({"id": "z", "devices": ["a/b", "+"], "command": "open"}), nobody()).await;
    // A name that no topic can have is its device's alone.
    let one = json!({"id": "one", "devices": ["a/b", "d1"], "command": "open", "payload": {"job": "one"}});
    send(one, nobody()).await;
    scene.fleet.wait_for(1, SOON).await;
    eventually("the dead letters are there", SOON, async || scene.caller.depth(&scene.dead).await == Some(3)).await;
    // And whoever hears is told of each device.
    scene.send(&json!({"id": "b", "devices": ["d1", "d2"], "command": "a/b"})).await;
    let (summary, replies) = summary(&scene).await;
    assert_eq!((&summary["counts"]["invalid"], told(&replies)), (&json!(2), BTreeMap::from([("invalid", 2)])));
    scene.wait_idle(&worker).await;
    let letters = scene.caller.take_dead_letters(&scene.dead).await;
    assert!(letters.iter().all(|letter| letter.reason.as_deref() == Some("invalid")));
    let ids = letters.iter().map(|letter| serde_json::from_slice::<Value>(&letter.body).unwrap()["id"].to_string());
    assert_eq!(ids.collect::<BTreeSet<_>>(), BTreeSet::from(["\"x\"", "\"y\"", "\"z\""].map(str::to_owned)));
    assert_eq!(scene.fleet.executed().len(), 1);
}

#[tokio::test]
async fn every_device_of_a_bulk_is_told_of_and_counted_whatever_became_of_it() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let mut targets: Vec<_> = (0..60).map(|n| json!({"device": format!("d{n}"), "payload": {"n": n}})).collect();
    targets.push(json!({"device": "plain"}));
    for n in 0..5 {
        scene.fleet.behave_as(&format!("blocked-{n}"), Behaviour::Reject);
        scene.fleet.behave_as(&format!("silent-{n}"), Behaviour::Silent);
        targets.push(json!({"device": format!("blocked-{n}")}));
        targets.push(json!({"device": format!("silent-{n}"), "payload": {"$base64": "/w=="}}));
    }
    for bad in ["a/b", "#", "+", "", "\u{0}", "$x/"] {
        targets.push(json!({"device": bad}));
    }
    let total = targets.len();
    let bulk =
        json!({"id": "b", "targets": targets, "command": "open", "payload": {"shared": true}, "timeout_ms": 500});
    scene.send(&bulk).await;
    let (summary, replies) = summary(&scene).await;
    assert_eq!((&summary["status"], &summary["total"]), (&json!("completed"), &json!(total)), "{summary}");
    let expected = [("invalid", 6), ("rejected", 5), ("succeeded", 61), ("timed_out", 5)];
    assert_eq!(told(&replies), BTreeMap::from(expected));
    for (status, count) in expected {
        assert_eq!(summary["counts"][status], count, "{summary}");
        assert_eq!(worker.metric("switchboard_bulk_devices_total", &[("status", status)]).await, count as f64);
    }
    assert_eq!(summary["failed"].as_array().unwrap().len(), 16);
    assert!(summary["duration_ms"].as_f64().unwrap() >= 450.0, "{summary}");
    for reply in &replies {
        let device = reply.body["device"].as_str().unwrap_or_default();
        assert_eq!((&reply.body["id"], &reply.body["command"]), (&json!("b"), &json!("open")));
        if let Some(n) = device.strip_prefix('d').and_then(|n| n.parse::<usize>().ok()) {
            assert_eq!(reply.body["response"]["echo"], json!({"n": n}));
        }
        if device == "plain" {
            assert_eq!(reply.body["response"]["echo"], json!({"shared": true}));
        }
    }
    assert_eq!(scene.fleet.executed().len(), 71);
    each_at_most_once(&scene);
    scene.wait_idle(&worker).await;
    assert_eq!(worker.metric("switchboard_bulk_active", &[]).await, 0.0);
}

#[tokio::test]
async fn a_bulk_tells_of_no_single_device_where_only_the_summary_is_asked_for() {
    let scene = Scene::start(Dialect::Json).await;
    let worker = scene.worker().await;
    let mut bulk = bulk(200, &json!({"results": "summary"}));
    bulk["profile"] = json!("json");
    scene.send(&bulk).await;
    let (summary, replies) = summary(&scene).await;
    assert_eq!((&summary["counts"]["succeeded"], replies.len()), (&json!(200), 0), "{summary}");
    each_at_most_once(&scene);
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_bulk_keeps_within_its_concurrency() {
    let (width, takes) = (7, 60);
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(takes)));
    let worker = scene.worker().await;
    scene.send(&bulk(50, &json!({"concurrency": width}))).await;
    let (summary, _) = summary(&scene).await;
    assert_eq!(summary["counts"]["succeeded"], 50);
    let times: Vec<u64> = scene.fleet.executed().iter().map(|executed| executed.at).collect();
    // A device answers so long after it was commanded: more than the width in that time were more at once.
    assert!(times.windows(width + 1).all(|window| window[width] - window[0] >= takes - 5), "{times:?}");
    assert!(times.windows(width).any(|window| window[width - 1] - window[0] < takes), "one after the other: {times:?}");
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_bulk_keeps_its_pace() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    scene.send(&bulk(41, &json!({"rate_per_second": 40}))).await;
    let (summary, _) = summary(&scene).await;
    assert_eq!(summary["counts"]["succeeded"], 41);
    assert!(summary["duration_ms"].as_f64().unwrap() >= 990.0, "{summary}");
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_bulk_that_fails_too_often_is_aborted_and_the_rest_is_not_sent() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Reject);
    let worker = scene.worker().await;
    scene.send(&bulk(300, &json!({"concurrency": 5, "abort": {"failed_percent": 50, "after": 20}}))).await;
    let (summary, replies) = summary(&scene).await;
    assert_eq!((&summary["status"], &summary["total"]), (&json!("aborted"), &json!(300)));
    let counts = told(&replies);
    let (rejected, cancelled) = (counts["rejected"], counts["cancelled"]);
    assert!((20..=25).contains(&rejected) && rejected + cancelled == 300, "{counts:?}");
    for reply in replies.iter().filter(|reply| reply.body["status"] == "cancelled") {
        assert_eq!((said(&reply.body).1, &reply.body["error"]["code"]), ("no", &json!("aborted")));
    }
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), rejected);
    // Its own queue of work is not what the interactive jobs wait in.
    scene.fleet.behave(Behaviour::Echo);
    assert_eq!(scene.ask(job("after", "d0")).await["status"], "succeeded");
}

#[tokio::test]
async fn a_bulk_goes_on_elsewhere_when_its_worker_stops() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(200)));
    let mut first = scene.worker().await;
    scene.send(&bulk(120, &json!({"rate_per_second": 40}))).await;
    scene.fleet.wait_for(15, SOON).await;
    let second = scene.worker().await;
    first.terminate();
    assert_eq!(first.wait(SOON).await.code(), Some(0));
    let (summary, replies) = summary(&scene).await;
    assert_eq!((&summary["status"], &summary["total"]), (&json!("completed"), &json!(120)), "{summary}");
    assert_eq!(summary["counts"]["succeeded"], 120, "{summary}");
    assert_eq!(told(&replies)["succeeded"], 120);
    let workers: BTreeSet<_> = replies.iter().filter_map(|reply| reply.body["worker"].as_str()).collect();
    assert_eq!(workers.len(), 2);
    assert_eq!(scene.fleet.executed().len(), 120);
    each_at_most_once(&scene);
    scene.wait_idle(&second).await;
    assert_eq!(scene.caller.replies().len(), 121);
}

#[tokio::test]
async fn a_bulk_whose_worker_was_killed_is_not_run_again_and_is_accounted_for() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(100)));
    let mut first = scene.worker().await;
    scene.send(&bulk(100, &json!({"rate_per_second": 40}))).await;
    scene.caller.wait_for(10, SOON).await;
    first.kill();
    let executed = scene.fleet.executed().len();
    let second = scene.worker().await;
    let (summary, _) = summary(&scene).await;
    assert_eq!(summary["total"], 100, "{summary}");
    scene.wait_idle(&second).await;
    // What had left the killed worker may still have arrived.
    assert!(scene.fleet.executed().len() <= executed + 40);
    each_at_most_once(&scene);
    for reply in scene.caller.replies().iter().filter(|reply| reply.kind.as_deref() == Some("switchboard.result")) {
        assert!([("succeeded", "yes"), ("unknown", "unknown")].contains(&said(&reply.body)), "{}", reply.body);
    }
}

#[tokio::test]
async fn all_bulks_together_keep_within_the_worker_s_concurrency_for_them() {
    let (width, takes) = (7, 60);
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BULK_CONCURRENCY", "7");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(takes)));
    let worker = scene.worker().await;
    scene.send_all((0..3).map(|n| named_bulk(n, 15, &json!({"concurrency": 10, "results": "summary"})))).await;
    let replies = scene.caller.wait_for(3, SOON).await;
    for reply in &replies {
        assert_eq!(reply.body["counts"]["succeeded"], 15, "{}", reply.body);
    }
    let executed = scene.fleet.executed();
    let times: Vec<u64> = executed.iter().map(|executed| executed.at).collect();
    assert!(times.windows(width + 1).all(|window| window[width] - window[0] >= takes - 5), "{times:?}");
    // None of them waits until another is over.
    let first_of_last = (0..3).map(|n| executed.iter().position(|e| of_bulk(&e.device) == n).unwrap()).max();
    assert!(first_of_last < Some(executed.len() / 2), "one bulk after the other: {executed:?}");
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_bulk_waits_for_room_and_nothing_else_does() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BULK_DEVICES", "100");
    let scene = scene.set("WORKER__MAX_DEVICES", "100");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(100)));
    let mut worker = scene.worker().await;
    let options = json!({"concurrency": 10, "results": "summary"});
    scene.send(&named_bulk(0, 80, &options)).await;
    scene.fleet.wait_for(1, SOON).await;
    scene.send(&named_bulk(1, 80, &options)).await;
    assert_eq!(scene.ask(job("single", "single")).await["status"], "succeeded");
    assert!(scene.fleet.executed().iter().all(|e| e.device == "single" || of_bulk(&e.device) == 0));
    let summaries = scene.caller.wait_for(3, SOON).await;
    assert_eq!([&summaries[1].body["id"], &summaries[2].body["id"]], ["b0", "b1"]);
    let order: Vec<usize> =
        scene.fleet.executed().iter().filter(|e| e.device != "single").map(|e| of_bulk(&e.device)).collect();
    assert!(order.is_sorted() && order.len() == 160, "{order:?}");
    // One that waits when the worker stops was not begun, and is somebody else's.
    scene.send_all([named_bulk(2, 80, &options), named_bulk(3, 80, &options)]).await;
    scene.fleet.wait_for(162, SOON).await;
    worker.terminate();
    assert_eq!(worker.wait(SOON).await.code(), Some(0));
    let worker = scene.worker().await;
    for reply in &scene.caller.wait_for(5, SOON).await[3..] {
        assert_eq!(
            (&reply.body["total"], &reply.body["counts"]["succeeded"]),
            (&json!(80), &json!(80)),
            "{}",
            reply.body
        );
    }
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn single_jobs_do_not_wait_for_a_bulk() {
    const DEVICES: usize = 5_000;
    let scene = Scene::start(Dialect::Default).await.set("BULK__SHORT", "5000");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(200)));
    let worker = scene.worker().await;
    scene.send(&bulk(DEVICES, &json!({"results": "summary"}))).await;
    scene.fleet.wait_for(100, SOON).await;
    let mut passed = Vec::new();
    while scene.fleet.executed().len() < DEVICES * 3 / 4 {
        let device = format!("single-{}", passed.len());
        scene.fleet.behave_as(&device, Behaviour::Echo);
        let before = scene.fleet.executed().len();
        assert_eq!(scene.ask(job(&device, &device)).await["status"], "succeeded");
        passed.push(scene.fleet.executed().len() - before);
    }
    // Whoever waited for the bulk would see all of it pass, and whoever waited for what it has under way, a thousand devices.
    passed.sort_unstable();
    let (median, most) = (passed[passed.len() / 2], passed[passed.len() - 1]);
    assert!(passed.len() > 10 && median < DEVICES / 10 && most < DEVICES / 2, "{passed:?}");
    let summaries = scene.caller.replies().iter().filter(|r| r.kind.as_deref() == Some("switchboard.summary")).count();
    assert_eq!(summaries, 0, "the bulk was over before the single jobs");
    drop(worker);
}

//! Too many commands for one device, and devices that do not answer: refused at once, and nobody else waits for it.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::{eventually, found};
use crate::harness::unique;
use crate::worker_scene::{SOON, Scene, at, job, job_with, said};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than any test takes: what happens before it is over happens for another reason.
const NEVER: &str = "1h";

/// A new job for the device, and what came of it.
async fn ask(scene: &Scene, device: &str) -> Value {
    scene.ask(job(&unique("j"), device)).await
}

fn code(result: &Value) -> &str {
    result["error"]["code"].as_str().unwrap_or("none")
}

fn message(result: &Value) -> &str {
    result["error"]["message"].as_str().unwrap_or_default()
}

/// Commands the silent device until it is left alone.
async fn silenced(scene: &Scene, device: &str, times: usize) {
    for _ in 0..times {
        let result = scene.ask(job_with(&unique("j"), device, json!({"timeout_ms": 200}))).await;
        assert_eq!(said(&result), ("timed_out", "unknown"), "{result}");
    }
    let refused = ask(scene, device).await;
    assert_eq!((said(&refused), code(&refused)), (("undeliverable", "no"), "device_offline"), "{refused}");
    assert!(message(&refused).contains(&format!("last {times} commands")), "{refused}");
}

#[tokio::test]
async fn a_device_with_too_many_commands_is_busy_and_nobody_else_waits_for_it() {
    const COMMANDS: usize = 10_000;
    const OTHERS: usize = 100;
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave_as("hog", Behaviour::Silent);
    let worker = scene.worker().await;
    let mut jobs: Vec<Value> = Vec::new();
    for n in 0..COMMANDS {
        jobs.push(job_with(&format!("hog-{n}"), "hog", json!({"timeout_ms": 300_000})));
        if n % (COMMANDS / OTHERS) == 0 {
            jobs.push(job(&format!("other-{n}"), &format!("other-{n}")));
        }
    }
    scene.send_all(jobs.clone()).await;
    // One is at the device, which never ends in this test, and a hundred wait for their turn.
    let (refused, waiting) = (COMMANDS - 101, 101.0);
    let replies = scene.caller.wait_for(refused + OTHERS, 2 * SOON).await;
    for reply in &replies {
        match reply.body["device"].as_str() {
            Some("hog") => {
                let told = (said(&reply.body), code(&reply.body));
                assert_eq!(told, (("undeliverable", "no"), "device_busy"), "{}", reply.body);
                assert!(message(&reply.body).contains("100 commands wait"), "{}", reply.body);
                assert!(message(&reply.body).contains("worker.per_device_queue"), "{}", reply.body);
            }
            _ => assert_eq!(said(&reply.body), ("succeeded", "yes"), "{}", reply.body),
        }
    }
    assert_eq!(worker.metric("switchboard_device_refusals_total", &[("reason", "busy")]).await, refused as f64);
    eventually("only those that wait are left", SOON, async || {
        worker.metric("switchboard_jobs_in_flight", &[]).await == waiting
    })
    .await;
    // Once the first one is answered, the others follow in order.
    let first = found("the first one is at the device", SOON, async || {
        scene.fleet.executed().into_iter().find(|executed| executed.device == "hog")
    })
    .await;
    scene.fleet.behave_as("hog", Behaviour::Echo);
    scene.fleet.publish(&first.topic.replace("commands/open", "responses"), "{}", false).await;
    scene.caller.wait_for(jobs.len(), SOON).await;
    scene.wait_idle(&worker).await;
    let order = scene.fleet.executed().into_iter().filter(|e| e.device == "hog").filter_map(|e| e.job);
    assert_eq!(order.collect::<Vec<_>>(), (0..101).map(|n| format!("hog-{n}")).collect::<Vec<_>>());
    scene.check(&jobs);
}

#[tokio::test]
async fn a_command_that_may_have_been_sent_before_is_not_said_to_be_unexecuted() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__PER_DEVICE_QUEUE", "0");
    scene.fleet.behave(Behaviour::Silent);
    scene.caller.declare(&scene.options.queue, "quorum").await;
    let more = json!({"guarantee": "at_least_once", "timeout_ms": 300_000});
    for id in ["a", "b"] {
        scene.send(&job_with(id, "d", more.clone())).await;
    }
    scene.caller.take_and_put_back(&scene.options.queue, 2).await;
    let _worker = scene.worker().await;
    let refused = scene.caller.wait_for(1, SOON).await.swap_remove(0).body;
    assert_eq!((said(&refused), code(&refused)), (("unknown", "unknown"), "device_busy"), "{refused}");
    assert_eq!(scene.fleet.wait_for(1, SOON).await.len(), 1);
}

#[tokio::test]
async fn a_command_that_may_have_been_sent_before_and_expires_in_its_lane_is_not_said_to_be_unexecuted() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    scene.caller.declare(&scene.options.queue, "quorum").await;
    let expires_at = at(Duration::from_secs(5));
    let more = json!({"guarantee": "at_least_once", "timeout_ms": 300_000, "expires_at": expires_at});
    for id in ["a", "b"] {
        scene.send(&job_with(id, "d", more.clone())).await;
    }
    scene.caller.take_and_put_back(&scene.options.queue, 2).await;
    let _worker = scene.worker().await;
    assert_eq!(scene.fleet.wait_for(1, SOON).await.len(), 1);
    let waited = scene.caller.wait_for(1, SOON).await.swap_remove(0).body;
    assert_eq!((said(&waited), code(&waited)), (("unknown", "unknown"), "redelivered"), "{waited}");
    assert_eq!(scene.fleet.executed().len(), 1);
}

#[tokio::test]
async fn more_bulks_may_wait_for_a_device_than_commands_may() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__PER_DEVICE_QUEUE", "2");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(50)));
    let worker = scene.worker().await;
    let bulk = |n| json!({"id": format!("b{n}"), "devices": ["d"], "command": "open", "bulk": {"results": "summary"}});
    scene.send_all((0..20).map(bulk)).await;
    for n in 0..20 {
        let summary = scene.result(&format!("b{n}")).await;
        assert_eq!((&summary["total"], &summary["counts"]["succeeded"]), (&json!(1), &json!(1)), "{summary}");
    }
    assert_eq!(scene.fleet.executed().len(), 20);
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_silent_device_is_left_alone_until_it_speaks() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BREAKER_PAUSE", NEVER);
    scene.fleet.behave_as("mute", Behaviour::Silent);
    let worker = scene.worker().await;
    silenced(&scene, "mute", 5).await;
    assert_eq!(scene.fleet.executed().len(), 5);
    assert_eq!(worker.metric("switchboard_device_refusals_total", &[("reason", "offline")]).await, 1.0);
    assert_eq!(ask(&scene, "other").await["status"], "succeeded");
    let one_way = scene.ask(job_with("one-way", "mute", json!({"mode": "publish"}))).await;
    assert_eq!(code(&one_way), "device_offline", "{one_way}");

    // An answer to a command that nobody gave is a sign of life too.
    let topic = scene.fleet.executed()[0].topic.clone();
    let inbox = topic.split('/').nth(4).unwrap();
    scene.fleet.behave_as("mute", Behaviour::Echo);
    scene.fleet.publish(&format!("devices/mute/responses/{inbox}/7"), "{}", false).await;
    eventually("it is commanded again", SOON, async || ask(&scene, "mute").await["status"] == "succeeded").await;
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_late_answer_ends_the_silence() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BREAKER_PAUSE", NEVER);
    let scene = scene.set("WORKER__BREAKER_FAILURES", "1");
    scene.fleet.behave_as("slow", Behaviour::Slow(Duration::from_millis(1500)));
    let worker = scene.worker().await;
    scene.send(&job_with("late", "slow", json!({"timeout_ms": 200}))).await;
    assert_eq!(scene.result("late").await["status"], "timed_out");
    let both = scene.results("late", 2).await;
    assert_eq!((&both[1].body["status"], &both[1].body["late"]), (&json!("succeeded"), &json!(true)));
    scene.fleet.behave_as("slow", Behaviour::Echo);
    assert_eq!(ask(&scene, "slow").await["status"], "succeeded");
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn after_the_pause_one_command_tries() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BREAKER_PAUSE", "5s");
    let scene = scene.set("WORKER__BREAKER_FAILURES", "2").set("WORKER__PER_DEVICE", "4");
    scene.fleet.behave_as("mute", Behaviour::Silent);
    let worker = scene.worker().await;
    silenced(&scene, "mute", 2).await;
    // Four at a time, until one of them is let through: it is alone, whichever it is.
    let mut round = 0;
    let results = found("a try", SOON, async || {
        round += 1;
        let ids: Vec<String> = (0..4).map(|n| format!("try-{round}-{n}")).collect();
        scene.send_all(ids.iter().map(|id| job_with(id, "mute", json!({"timeout_ms": 300})))).await;
        let mut results = Vec::new();
        for id in &ids {
            results.push(scene.result(id).await);
        }
        (scene.fleet.executed().len() > 2).then_some(results)
    })
    .await;
    let mut codes: Vec<&str> = results.iter().map(code).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["device_offline", "device_offline", "device_offline", "timeout"], "{results:?}");
    assert_eq!(scene.fleet.executed().len(), 3);
    // The next one, twice as far away, finds it there.
    scene.fleet.behave_as("mute", Behaviour::Echo);
    eventually("a try is answered", SOON, async || ask(&scene, "mute").await["status"] == "succeeded").await;
    assert_eq!(ask(&scene, "mute").await["status"], "succeeded");
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn nobody_subscribed_counts_as_silence_and_switched_off_nothing_does() {
    for (failures, refused) in [("5", true), ("0", false)] {
        let scene = Scene::start(Dialect::Default).await.set("WORKER__BREAKER_FAILURES", failures);
        let scene = scene.set("WORKER__BREAKER_PAUSE", NEVER);
        let worker = scene.worker().await;
        let publish = async |n: usize| {
            let more = json!({"mode": "publish", "profile": "json"});
            scene.ask(job_with(&format!("j{n}"), "absent", more)).await
        };
        // The devices of this scene speak another dialect.
        for n in 0..5 {
            assert_eq!(code(&publish(n).await), "no_subscribers");
        }
        let sixth = publish(5).await;
        assert_eq!(said(&sixth), ("undeliverable", "no"), "{sixth}");
        assert_eq!(code(&sixth), if refused { "device_offline" } else { "no_subscribers" }, "{sixth}");
        scene.wait_idle(&worker).await;
    }
}

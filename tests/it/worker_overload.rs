//! Too many commands for one device: refused at once, and nobody else waits for it.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::{eventually, found};
use crate::worker_scene::{SOON, Scene, job, job_with, said};
use serde_json::{Value, json};

fn code(result: &Value) -> &str {
    result["error"]["code"].as_str().unwrap_or("none")
}

fn message(result: &Value) -> &str {
    result["error"]["message"].as_str().unwrap_or_default()
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
async fn a_bulk_may_name_one_device_more_often_than_commands_may_wait_for_it() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__PER_DEVICE_QUEUE", "2");
    let worker = scene.worker().await;
    let devices = vec!["d"; 50];
    scene.send(&json!({"id": "b", "devices": devices, "command": "open", "bulk": {"results": "summary"}})).await;
    let summary = scene.result("b").await;
    assert_eq!((&summary["total"], &summary["counts"]["succeeded"]), (&json!(50), &json!(50)), "{summary}");
    assert_eq!(scene.fleet.executed().len(), 50);
    scene.wait_idle(&worker).await;
}

//! The same id more than once: one execution, an answer to each who asked.

use crate::harness::device::{Behaviour, Dialect};
use crate::worker_scene::{SOON, Scene, job, job_with, said};
use serde_json::{Value, json};
use std::time::Duration;

async fn send_as(scene: &Scene, job: &Value, correlation: &str) {
    let properties = scene.caller.properties().with_correlation_id(correlation.into());
    scene.caller.send_with(&scene.options.queue, job.to_string().as_bytes(), properties).await;
}

#[tokio::test]
async fn a_job_that_is_sent_twice_is_executed_once_and_both_are_answered() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let worker = scene.worker().await;
    let job = job("j1", "d");
    for correlation in ["a", "b", "c"] {
        send_as(&scene, &job, correlation).await;
    }
    scene.caller.wait_for(3, SOON).await;
    // Once more, when it is long done.
    send_as(&scene, &job, "d").await;
    let replies = scene.caller.wait_for(4, SOON).await;
    let mut correlations: Vec<_> = replies.iter().filter_map(|reply| reply.correlation_id.clone()).collect();
    correlations.sort();
    assert_eq!(correlations, ["a", "b", "c", "d"]);
    assert!(replies.iter().all(|reply| reply.body == replies[0].body && reply.message_id == replies[0].message_id));
    assert_eq!(said(&replies[0].body), ("succeeded", "yes"));
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 1);
    scene.check(&[job]);
}

#[tokio::test]
async fn an_id_that_stands_for_another_command_is_refused_and_disturbs_nothing() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let worker = scene.worker().await;
    send_as(&scene, &job("j1", "d"), "first").await;
    send_as(&scene, &job("j1", "other"), "second").await;
    send_as(&scene, &job_with("j1", "d", json!({"command": "close"})), "third").await;
    let replies = scene.caller.wait_for(3, SOON).await;
    let of = |correlation: &str| {
        replies
            .iter()
            .find(|reply| reply.correlation_id.as_deref() == Some(correlation))
            .expect("it is answered")
            .clone()
    };
    let (first, second, third) = (of("first"), of("second"), of("third"));
    assert_eq!(said(&first.body), ("succeeded", "yes"));
    for refused in [&second, &third] {
        assert_eq!((said(&refused.body), &refused.body["error"]["code"]), (("invalid", "no"), &json!("id_reused")));
    }
    assert!(first.message_id != second.message_id && second.message_id != third.message_id);
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 1);
}

#[tokio::test]
async fn what_did_not_reach_its_device_may_be_tried_again_under_its_id() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let offline = job_with("j1", "d", json!({"profile": "json"}));
    assert_eq!(said(&scene.ask(offline.clone()).await), ("undeliverable", "no"));
    let _fleet = crate::harness::device::Fleet::start(scene.mqtt.port(), Dialect::Json).await;
    scene.send(&offline).await;
    assert_eq!(said(&scene.results("j1", 2).await[1].body), ("succeeded", "yes"));
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_bulk_that_is_sent_twice_commands_each_device_once() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let worker = scene.worker().await;
    let devices: Vec<_> = (0..20).map(|n| format!("d{n}")).collect();
    let bulk = json!({"id": "b", "devices": devices, "command": "open", "payload": {"job": "b"}, "bulk": {"results": "summary"}});
    send_as(&scene, &bulk, "one").await;
    send_as(&scene, &bulk, "two").await;
    let replies = scene.caller.wait_for(2, SOON).await;
    assert!(replies.iter().all(|reply| reply.body["counts"]["succeeded"] == 20), "{}", replies[0].body);
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 20);
}

//! Devices that say whether they are there: heeded, never waited for, and never trusted more than the device itself.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::{eventually, found};
use crate::harness::scripted::{Connection, Said, Scripted};
use crate::harness::unique;
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, job, job_with};
use serde_json::{Value, json};
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;
use switchboard::commander::{Commander, Options};
use switchboard::mqtt::{Agent, LinkState, Protocol};
use switchboard::outcome::Status;
use switchboard::profile::{Profile, builtin};
use tokio::time::timeout;

const STATUS: &str = "devices/d/status";
const FILTER: &str = "devices/+/status";

/// A new job for the device, and what came of it.
async fn ask(scene: &Scene) -> Value {
    scene.ask(job(&unique("j"), "d")).await
}

/// The same where no answer is to be waited for.
async fn ask_silent(scene: &Scene) -> Value {
    scene.ask(job_with(&unique("j"), "d", json!({"timeout_ms": 200}))).await
}

/// A worker that knows of the word "offline", which the device had said before it came.
async fn informed(scene: &Scene) -> Worker {
    // Silent, so that no answer is taken for a sign of life before the word is there.
    scene.fleet.behave(Behaviour::Silent);
    scene.fleet.publish(STATUS, "offline", true).await;
    let worker = scene.worker().await;
    let refused = found("it is known to be offline", SOON, async || {
        let result = ask_silent(scene).await;
        (result["error"]["code"] == "device_offline").then_some(result)
    })
    .await;
    assert_eq!((&refused["status"], &refused["executed"]), (&json!("undeliverable"), &json!("no")), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("that it is offline"), "{refused}");
    worker
}

#[tokio::test]
async fn a_device_that_said_offline_is_not_commanded_until_it_says_online() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BREAKER_PAUSE", "1h");
    let worker = informed(&scene).await;
    scene.fleet.behave(Behaviour::Echo);
    scene.fleet.publish(STATUS, "what?", true).await;
    assert_eq!(ask(&scene).await["error"]["code"], "device_offline");
    scene.fleet.publish(STATUS, "online", true).await;
    eventually("it is commanded again", SOON, async || ask(&scene).await["status"] == "succeeded").await;
    // Each of its answers would say that it is there.
    scene.fleet.behave(Behaviour::Silent);
    scene.fleet.publish(STATUS, "offline", true).await;
    eventually("its word is heeded again", SOON, async || {
        ask_silent(&scene).await["error"]["message"].as_str().unwrap_or_default().contains("that it is offline")
    })
    .await;
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_stale_word_costs_one_pause() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BREAKER_PAUSE", "1s");
    let worker = informed(&scene).await;
    scene.fleet.behave(Behaviour::Echo);
    eventually("a try is answered", SOON, async || ask(&scene).await["status"] == "succeeded").await;
    for _ in 0..5 {
        assert_eq!(ask(&scene).await["status"], "succeeded", "the word is still kept, and no longer believed");
    }
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn switched_off_no_status_topic_is_subscribed() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__PRESENCE", "false");
    scene.fleet.publish(STATUS, "offline", true).await;
    let worker = scene.worker().await;
    assert_eq!(ask(&scene).await["status"], "succeeded");
    assert_eq!(worker.metric("switchboard_subscriptions", &[]).await, 1.0, "the answers'");
    scene.wait_idle(&worker).await;
}

/// The next command's topic and packet id. Subscriptions before it are granted; the one to status topics gets this code,
/// or no answer at all.
async fn next_command(connection: &mut Connection, status: Option<u8>, asked: &mut usize) -> (String, u16) {
    loop {
        match connection.next().await {
            Said::Publish { topic, pkid, .. } => return (topic, pkid),
            Said::Subscribe { pkid, filters, .. } if filters == [FILTER] => {
                *asked += 1;
                if let Some(code) = status {
                    connection.suback(pkid, &[code]).await;
                }
            }
            Said::Subscribe { pkid, filters, .. } => connection.suback(pkid, &vec![1; filters.len()]).await,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn commands_do_without_status_topics_that_the_broker_refuses_or_says_nothing_about() {
    for status in [Some(0x87), None] {
        let broker = Scripted::start(Protocol::V5).await;
        let agent = Agent::start(broker.options());
        let mut connection = broker.accept_new().await;
        timeout(SOON, agent.state().wait_for(LinkState::is_up)).await.unwrap().unwrap();
        let profiles = builtin().into_iter().map(|(name, table)| Arc::new(Profile::compile(&name, &table).unwrap()));
        let commander = Commander::new(agent, profiles, Options::default());
        let mut asked = 0;
        for _ in 0..3 {
            let command = commander.command("d", "on", ()).timeout(Duration::from_secs(30)).into_future();
            let command = tokio::spawn(command);
            let (topic, pkid) = next_command(&mut connection, status, &mut asked).await;
            connection.puback(pkid).await;
            connection.publish(&topic.replace("commands/on", "responses"), None, b"{}").await;
            let outcome = timeout(SOON, command).await.unwrap().unwrap();
            assert_eq!(outcome.status, Status::Succeeded, "{outcome:?}");
        }
        assert_eq!(asked, 1, "once, and not again after a refusal");
        // The wish that is never granted must not keep the connection.
        drop(commander);
        while connection.next().await != Said::Gone {}
    }
}

#[tokio::test]
async fn a_command_that_may_have_been_sent_before_is_sent_again_all_the_same() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__BREAKER_PAUSE", "1h");
    scene.fleet.publish(STATUS, "offline", true).await;
    scene.caller.declare(&scene.options.queue, "quorum").await;
    scene.send(&job_with("again", "d", json!({"guarantee": "at_least_once"}))).await;
    scene.caller.take_and_put_back(&scene.options.queue, 1).await;
    let worker = scene.worker().await;
    assert_eq!(scene.result("again").await["status"], "succeeded", "nobody can say of it that it was not executed");
    scene.wait_idle(&worker).await;
}

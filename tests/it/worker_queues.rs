//! Queues that are gone, that others declared, or that are not there yet.

use crate::harness::device::Dialect;
use crate::harness::eventually::eventually;
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, job, said};
use async_rs::Runtime;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde_json::Value;

#[tokio::test]
async fn results_for_a_requester_that_is_gone_are_counted_and_their_jobs_done() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let gone = scene.caller.properties().with_reply_to(crate::harness::unique("gone").into());
    let messages = (0..50).map(|n| {
        // Every seventh, so that those who wait for their results are told them all the same.
        let properties = if n % 7 == 0 { gone.clone() } else { scene.caller.properties() };
        (job(&format!("j{n}"), &format!("d{n}")).to_string().into_bytes(), properties)
    });
    scene.caller.send_all(&scene.options.queue, messages).await;
    scene.caller.wait_for(42, SOON).await;
    scene.fleet.wait_for(50, SOON).await;
    scene.wait_idle(&worker).await;
    assert_eq!(worker.metric("switchboard_replies_unroutable_total", &[]).await, 8.0);
    assert_eq!(worker.metric("switchboard_jobs_total", &[("status", "succeeded")]).await, 50.0);
    assert_eq!((scene.caller.replies().len(), scene.fleet.executed().len()), (42, 50));
    assert_eq!(scene.caller.depth(&scene.dead).await, Some(0));
    let confirmed = worker.metric("switchboard_stage_seconds_count", &[("stage", "reply")]).await;
    assert_eq!(confirmed, 50.0, "each was published once");
}

#[tokio::test]
async fn a_requester_with_direct_reply_to_gets_its_result() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let address = "amq.rabbitmq.reply-to";
    let runtime = Runtime::tokio_current();
    let properties = ConnectionProperties::default();
    let connection = Connection::connect_with_runtime(&scene.options.amqp_url, properties, runtime).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let no_ack = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let mut consumer = channel.basic_consume(address.into(), "".into(), no_ack, FieldTable::default()).await.unwrap();
    for id in ["j1", "j2"] {
        let properties = scene.caller.properties().with_reply_to(address.into()).with_correlation_id("c".into());
        let body = job(id, "d").to_string();
        let options = BasicPublishOptions::default();
        channel
            .basic_publish("".into(), scene.options.queue.as_str().into(), options, body.as_bytes(), properties)
            .await
            .unwrap();
        let delivery = tokio::time::timeout(SOON, consumer.next()).await.unwrap().unwrap().unwrap();
        let result: Value = serde_json::from_slice(&delivery.data).unwrap();
        assert_eq!((said(&result), result["id"].as_str()), (("succeeded", "yes"), Some(id)));
        assert_eq!(delivery.properties.correlation_id().as_ref().map(ToString::to_string).as_deref(), Some("c"));
    }
    scene.wait_idle(&worker).await;
    assert_eq!(worker.metric("switchboard_replies_unroutable_total", &[]).await, 0.0);
    assert_eq!(worker.metric("switchboard_amqp_reconnects_total", &[]).await, 0.0);
}

#[tokio::test]
async fn queues_that_somebody_else_declared_are_used_as_they_are_and_the_difference_is_said() {
    let scene = Scene::start(Dialect::Default).await;
    for queue in [&scene.options.queue, &scene.dead] {
        scene.caller.declare(queue, "classic").await;
    }
    let worker = scene.worker().await;
    assert_eq!(scene.ask(job("j1", "d")).await["status"], "succeeded");
    let nobody = scene.caller.properties().with_reply_to("".into());
    scene.caller.send_with(&scene.options.queue, b"{", nobody).await;
    eventually("the dead letter is there", SOON, async || scene.caller.depth(&scene.dead).await == Some(1)).await;
    let log = worker.log();
    for queue in [&scene.options.queue, &scene.dead] {
        let said =
            |line: &&str| line.contains(queue.as_str()) && line.contains("differs") && line.contains("argument=");
        let lines: Vec<_> = log.lines().filter(said).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("wanted=") && lines[0].contains("found="), "{}", lines[0]);
    }
}

#[tokio::test]
async fn a_queue_that_must_be_there_already_is_waited_for_and_named() {
    let scene = Scene::start(Dialect::Default).await.set("AMQP__DECLARE", "false");
    scene.caller.declare(&scene.dead, "quorum").await;
    let mut worker = Worker::start(&scene.options);
    eventually("it says which queue is missing", SOON, async || {
        worker.get("/readyz").await.is_some_and(|(status, body)| {
            status == 503
                && body.lines().any(|line| line.starts_with("jobs: down") && line.contains(&scene.options.queue))
        })
    })
    .await;
    assert_eq!(scene.caller.depth(&scene.options.queue).await, None);
    scene.caller.declare(&scene.options.queue, "quorum").await;
    worker.wait_ready(SOON).await;
    assert_eq!(scene.ask(job("j1", "d")).await["status"], "succeeded");
}

#[tokio::test]
async fn a_command_queue_that_is_deleted_is_declared_again() {
    let scene = Scene::start(Dialect::Default).await;
    let mut worker = scene.worker().await;
    scene.caller.delete(&scene.options.queue).await;
    eventually("the queue is back", SOON, async || scene.caller.depth(&scene.options.queue).await.is_some()).await;
    worker.wait_ready(SOON).await;
    assert_eq!(scene.ask(job("j1", "d")).await["status"], "succeeded");
    assert!(worker.log().contains("cancelled"), "{}", worker.log());
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_deleted_is_said_and_holds_no_job_up() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    scene.caller.delete(&scene.dead).await;
    let nobody = scene.caller.properties().with_reply_to("".into());
    scene.caller.send_with(&scene.options.queue, b"{", nobody).await;
    eventually("it is said", SOON, async || worker.log().contains("the dead-letter queue is gone")).await;
    assert_eq!(scene.ask(job("j1", "d")).await["status"], "succeeded");
}

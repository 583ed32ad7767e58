//! Brokers that are killed and come back, one at a time and both, while jobs are under way.

use crate::harness::caller::{Caller, Reply};
use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::eventually;
use crate::harness::rabbitmq::OwnNode;
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, check, job, job_with, said};
use serde_json::{Value, json};
use std::time::Duration;

async fn not_ready(worker: &Worker, part: &str) {
    eventually(&format!("not ready because of {part}"), SOON, async || {
        worker.get("/readyz").await.is_some_and(|(status, body)| {
            status == 503 && body.lines().any(|line| line.starts_with(&format!("{part}: down")))
        })
    })
    .await;
}

fn load(name: &str, count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| {
            let guarantee = if n % 2 == 0 { "at_most_once" } else { "at_least_once" };
            let fields = json!({"guarantee": guarantee, "timeout_ms": 4000});
            job_with(&format!("{name}-{n}"), &format!("d{}", n % 50), fields)
        })
        .collect()
}

#[tokio::test]
async fn a_worker_comes_back_by_itself_when_mosquitto_was_killed() {
    let mut scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(20)));
    let mut worker = scene.worker().await;
    let mut jobs = load("before", 300);
    scene.send_all(jobs.clone()).await;
    scene.fleet.wait_for(50, SOON).await;
    scene.mqtt.kill();
    not_ready(&worker, "mqtt").await;
    // After a moment of patience the jobs are left to others.
    not_ready(&worker, "jobs").await;
    let while_away = load("away", 50);
    scene.send_all(while_away.clone()).await;
    jobs.extend(while_away);
    eventually("jobs stay in the queue", SOON, async || {
        scene.caller.depth(&scene.options.queue).await.is_some_and(|depth| depth >= 50)
    })
    .await;
    assert_eq!(worker.get("/healthz").await.map(|(status, _)| status), Some(200));
    scene.mqtt.start_again().unwrap();
    worker.wait_ready(SOON).await;
    let replies = scene.caller.wait_for(jobs.len(), SOON).await;
    scene.wait_idle(&worker).await;
    // Nobody is told "no" falsely: the devices themselves may be back later than the worker.
    let away = replies.iter().filter(|reply| reply.body["id"].as_str().is_some_and(|id| id.starts_with("away")));
    for reply in away {
        assert!([("succeeded", "yes"), ("undeliverable", "no")].contains(&said(&reply.body)), "{}", reply.body);
    }
    scene.fleet.wait_subscribed().await;
    assert_eq!(scene.ask(job("after", "d")).await["status"], "succeeded");
    jobs.push(job("after", "d"));
    scene.check(&jobs);
    assert!(worker.metric("switchboard_mqtt_reconnects_total", &[]).await >= 1.0);
    assert_eq!(worker.metric("switchboard_amqp_reconnects_total", &[]).await, 0.0);
}

#[tokio::test]
async fn while_mosquitto_is_away_another_worker_with_another_broker_gets_the_jobs() {
    let mut scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    scene.mqtt.kill();
    not_ready(&worker, "jobs").await;
    let elsewhere = Scene::on(&scene.options.amqp_url, Dialect::Default).await;
    let mut options = elsewhere.options.clone();
    options.queue.clone_from(&scene.options.queue);
    let _other = Worker::start_ready(&options, SOON).await;
    let jobs = load("j", 40);
    scene.send_all(jobs.clone()).await;
    let replies = scene.caller.wait_for(jobs.len(), SOON).await;
    assert!(replies.iter().all(|reply| said(&reply.body) == ("succeeded", "yes")));
    check(&jobs, elsewhere.fleet.executed(), &replies);
    assert_eq!(scene.fleet.executed().len(), 0);
}

#[tokio::test]
async fn a_worker_starts_before_its_brokers_and_stops_without_them() {
    let mut scene = Scene::start(Dialect::Default).await;
    scene.mqtt.kill();
    let mut worker = Worker::start(&scene.options);
    not_ready(&worker, "mqtt").await;
    not_ready(&worker, "jobs").await;
    worker.terminate();
    assert!(worker.wait(SOON).await.success(), "{}", worker.log());
    let mut worker = Worker::start(&scene.options);
    not_ready(&worker, "mqtt").await;
    scene.mqtt.start_again().unwrap();
    worker.wait_ready(SOON).await;
    scene.fleet.wait_subscribed().await;
    assert_eq!(scene.ask(job("j1", "d")).await["status"], "succeeded");
    scene.mqtt.kill();
    not_ready(&worker, "mqtt").await;
    worker.terminate();
    assert!(worker.wait(SOON).await.success(), "{}", worker.log());
}

#[tokio::test]
async fn nothing_that_rabbitmq_confirmed_is_lost_when_brokers_are_killed() {
    let mut own = OwnNode::start(&[]).await;
    let url = own.node().url();
    let mut scene = Scene::on(&url, Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(20)));
    let mut worker = scene.worker().await;
    // A durable reply queue: one that is exclusive would not survive the broker.
    let replies_queue = "durable-replies";
    scene.caller.declare(replies_queue, "quorum").await;
    for queue in [&scene.options.queue, replies_queue, &scene.dead] {
        own.wait_written_down(queue).await;
    }
    let mut jobs = Vec::new();
    for round in ["amqp", "both"] {
        let caller = Caller::connect(&url).await;
        let more = load(round, 200);
        let properties = caller.properties().with_reply_to(replies_queue.into());
        let messages = more.iter().map(|job| (job.to_string().into_bytes(), properties.clone()));
        caller.send_all(&scene.options.queue, messages).await;
        jobs.extend(more);
        let executed = scene.fleet.executed().len();
        scene.fleet.wait_for(executed + 20, SOON).await;
        own.with(|node| {
            node.kill();
            Ok(())
        })
        .await;
        if round == "both" {
            scene.mqtt.kill();
            not_ready(&worker, "mqtt").await;
        }
        not_ready(&worker, "amqp").await;
        own.with(|node| node.start_again()).await;
        if round == "both" {
            scene.mqtt.start_again().unwrap();
        }
        worker.wait_ready(2 * SOON).await;
    }
    let caller = Caller::connect(&url).await;
    eventually("every job has come to its end", 2 * SOON, async || {
        caller.depth(&scene.options.queue).await == Some(0)
            && worker.metric("switchboard_jobs_in_flight", &[]).await == 0.0
    })
    .await;
    let answers = caller.take_dead_letters(replies_queue).await.into_iter().map(|letter| Reply {
        body: serde_json::from_slice(&letter.body).unwrap(),
        correlation_id: None,
        message_id: letter.message_id,
        kind: None,
        content_type: None,
        persistent: true,
    });
    let answers: Vec<Reply> = answers.collect();
    assert!(answers.len() >= jobs.len(), "{} of {}", answers.len(), jobs.len());
    check(&jobs, scene.fleet.executed(), &answers);
    assert!(!worker.log().contains("panick"));
    assert_eq!(worker.metric("switchboard_dead_lettered_total", &[]).await, 0.0);
}

#[tokio::test]
async fn while_rabbitmq_confirms_nothing_a_bulk_commands_as_many_devices_again_and_no_more() {
    let mut own = OwnNode::start(&[]).await;
    let scene = Scene::on(&own.node().url(), Dialect::Default).await.set("WORKER__BULK_CONCURRENCY", "10");
    scene.fleet.behave(Behaviour::Slow(Duration::from_secs(1)));
    let worker = scene.worker().await;
    let devices: Vec<_> = (0..40).map(|n| format!("d{n}")).collect();
    scene.send(&json!({"id": "b", "devices": devices, "command": "open", "timeout_ms": 10_000})).await;
    scene.fleet.wait_for(10, SOON).await;
    own.with(|node| node.freeze()).await;
    assert_eq!(scene.caller.replies().len(), 0, "it was frozen too late");
    scene.fleet.wait_for(20, SOON).await;
    eventually("all of them have answered", SOON, async || {
        worker.metric("switchboard_device_requests_in_flight", &[]).await == 0.0
    })
    .await;
    assert_eq!((scene.fleet.executed().len(), scene.caller.replies().len()), (20, 0));
    scene.fleet.behave(Behaviour::Echo);
    own.with(|node| node.thaw()).await;
    let replies = scene.caller.wait_for(41, SOON).await;
    assert_eq!(replies[40].body["counts"]["succeeded"], 40, "{}", replies[40].body);
}

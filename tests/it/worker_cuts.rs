//! Connections that break while commands are at their devices: what was sent is not sent again, unless it may be.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::eventually;
use crate::harness::proxy::Proxy;
use crate::harness::rabbitmq;
use crate::harness::worker::{Options, Worker};
use crate::worker_scene::{SOON, Scene, job_with, said};
use serde_json::{Value, json};
use std::time::Duration;

/// A scene whose worker reaches RabbitMQ through a proxy; everybody else does not.
pub(crate) async fn behind_amqp_proxy() -> (Scene, Proxy) {
    let node = rabbitmq::shared().await;
    let proxy = Proxy::to(node.port()).await;
    let mut scene = Scene::start(Dialect::Default).await;
    scene.options.amqp_url = node.url().replace(&node.port().to_string(), &proxy.addr().port().to_string());
    (scene, proxy)
}

/// A scene whose worker reaches mosquitto through a proxy; the devices do not.
async fn behind_mqtt_proxy(dialect: Dialect) -> (Scene, Proxy) {
    let mut scene = Scene::start(dialect).await;
    let proxy = Proxy::to(scene.mqtt.port()).await;
    scene.options.mqtt_url = format!("mqtt://{}", proxy.addr());
    (scene, proxy)
}

/// Ends every connection through a frozen proxy; what it held of them goes nowhere, and new ones are as ever.
async fn cut_off(proxy: &Proxy) {
    proxy.refuse(true).await;
    proxy.cut();
    eventually("every connection is cut", SOON, async || proxy.open() == 0).await;
    proxy.thaw();
    proxy.refuse(false).await;
}

fn jobs(count: usize, more: &Value) -> Vec<Value> {
    (0..count).map(|n| job_with(&format!("j{n}"), &format!("d{n}"), more.clone())).collect()
}

#[tokio::test]
async fn a_job_that_comes_back_while_its_device_works_is_answered_with_what_the_device_says() {
    let (scene, proxy) = behind_amqp_proxy().await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(2500)));
    let worker = scene.worker().await;
    let jobs = jobs(20, &json!({"timeout_ms": 60_000}));
    scene.send_all(jobs.clone()).await;
    scene.fleet.wait_for(20, SOON).await;
    proxy.cut();
    eventually("every job was delivered again", SOON, async || {
        worker.metric("switchboard_redeliveries_total", &[]).await == 20.0
    })
    .await;
    for job in &jobs {
        let result = scene.result(job["id"].as_str().unwrap()).await;
        assert_eq!(said(&result), ("succeeded", "yes"), "{result}");
    }
    scene.wait_idle(&worker).await;
    assert!(scene.caller.replies().iter().all(|reply| reply.body["status"] == "succeeded"));
    assert_eq!(scene.fleet.executed().len(), 20);
    assert_eq!(worker.metric("switchboard_amqp_reconnects_total", &[]).await, 2.0);
    scene.check(&jobs);
}

#[tokio::test]
async fn a_result_that_is_said_again_tells_that_another_worker_may_have_run_its_job_meanwhile() {
    let (scene, proxy) = behind_amqp_proxy().await;
    scene.fleet.behave(Behaviour::Silent);
    let first = scene.worker().await;
    let job = job_with("j1", "d", json!({"timeout_ms": 3_000, "guarantee": "at_least_once"}));
    scene.send(&job).await;
    scene.fleet.wait_for(1, SOON).await;
    proxy.refuse(true).await;
    proxy.cut();
    let direct = Options { amqp_url: rabbitmq::shared().await.url(), ..scene.options.clone() };
    let second = Worker::start_ready(&direct, SOON).await;
    scene.fleet.wait_for(2, SOON).await;
    // Killed before it has anything to say.
    drop(second);
    eventually("the first one has given its command up", SOON, async || {
        first.metric("switchboard_device_requests_in_flight", &[]).await == 0.0
    })
    .await;
    proxy.refuse(false).await;
    let results = scene.results("j1", 2).await;
    scene.wait_idle(&first).await;
    let marks: Vec<_> = results.iter().map(|result| (said(&result.body), &result.body["redelivered"])).collect();
    assert!(marks.contains(&(("timed_out", "unknown"), &json!(true))), "{marks:?}");
    assert!(results.iter().all(|result| result.message_id == results[0].message_id));
    scene.check(&[job]);
}

#[tokio::test]
async fn what_devices_say_while_rabbitmq_is_out_of_reach_is_told_afterwards() {
    let (scene, proxy) = behind_amqp_proxy().await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let mut worker = scene.worker().await;
    let mut jobs = jobs(20, &json!({"timeout_ms": 60_000}));
    // These wait in a lane when the connection breaks: then they are the broker's again, and may not be begun here.
    jobs.extend((0..10).map(|n| job_with(&format!("waits-{n}"), "d0", json!({"timeout_ms": 60_000}))));
    scene.send_all(jobs.clone()).await;
    scene.fleet.wait_for(20, SOON).await;
    proxy.refuse(true).await;
    proxy.cut();
    eventually("the devices have answered", SOON, async || {
        worker.metric("switchboard_device_requests_in_flight", &[]).await == 0.0
    })
    .await;
    let (status, body) = worker.get("/readyz").await.unwrap();
    assert!(status == 503 && body.contains("amqp: down"), "{body}");
    let begun = scene.fleet.executed().len();
    proxy.refuse(false).await;
    worker.wait_ready(SOON).await;
    for job in &jobs[..20] {
        assert_eq!(said(&scene.result(job["id"].as_str().unwrap()).await), ("succeeded", "yes"));
    }
    for job in &jobs[20..] {
        // Redelivered: that it was not begun is nothing that the broker tells. One or two may have been.
        let result = scene.result(job["id"].as_str().unwrap()).await;
        assert!([("unknown", "unknown"), ("succeeded", "yes")].contains(&said(&result)), "{result}");
    }
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), begun);
    scene.check(&jobs);
}

#[tokio::test]
async fn a_command_whose_acknowledgement_is_lost_is_not_sent_again_and_its_answer_still_counts() {
    for (dialect, profile) in [(Dialect::Default, "default"), (Dialect::Mqtt5, "mqtt5")] {
        let (scene, proxy) = behind_mqtt_proxy(dialect).await;
        scene.fleet.behave(Behaviour::Slow(Duration::from_millis(1500)));
        let mut worker = scene.worker().await;
        let jobs = jobs(15, &json!({"timeout_ms": 60_000, "profile": profile}));
        // The answers of a profile are subscribed when it is first used.
        scene.ask(job_with("first", "first", json!({"profile": profile}))).await;
        proxy.freeze_down();
        scene.send_all(jobs.clone()).await;
        scene.fleet.wait_for(16, SOON).await;
        cut_off(&proxy).await;
        for job in &jobs {
            let result = scene.result(job["id"].as_str().unwrap()).await;
            assert_eq!((said(&result), &result["attempt"]), (("succeeded", "yes"), &json!(1)), "{result}");
        }
        worker.wait_ready(SOON).await;
        scene.wait_idle(&worker).await;
        assert_eq!(worker.metric("switchboard_mqtt_reconnects_total", &[]).await, 1.0);
        assert_eq!((scene.fleet.executed().len(), scene.caller.replies().len()), (16, 16));
    }
}

#[tokio::test]
async fn a_command_without_answer_over_a_lost_connection_is_unknown_and_may_still_be_answered_late() {
    let (scene, proxy) = behind_mqtt_proxy(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_secs(4)));
    let worker = scene.worker().await;
    proxy.freeze_down();
    scene.send(&job_with("j1", "d", json!({"timeout_ms": 1500}))).await;
    scene.fleet.wait_for(1, SOON).await;
    cut_off(&proxy).await;
    let replies = scene.results("j1", 2).await;
    assert_eq!(
        (said(&replies[0].body), &replies[0].body["error"]["code"]),
        (("unknown", "unknown"), &json!("link_lost"))
    );
    assert_eq!((said(&replies[1].body), &replies[1].body["late"]), (("succeeded", "yes"), &json!(true)));
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 1);
}

#[tokio::test]
async fn a_command_that_may_run_twice_is_sent_again_when_the_connection_is_lost() {
    let (scene, proxy) = behind_mqtt_proxy(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    let jobs = jobs(15, &json!({"timeout_ms": 60_000, "guarantee": "at_least_once"}));
    proxy.freeze_down();
    scene.send_all(jobs.clone()).await;
    scene.fleet.wait_for(15, SOON).await;
    scene.fleet.behave(Behaviour::Echo);
    cut_off(&proxy).await;
    for job in &jobs {
        let result = scene.result(job["id"].as_str().unwrap()).await;
        assert_eq!((said(&result), &result["attempt"]), (("succeeded", "yes"), &json!(2)), "{result}");
    }
    scene.wait_idle(&worker).await;
    assert_eq!((scene.fleet.executed().len(), scene.caller.replies().len()), (30, 15));
    scene.check(&jobs);
}

#[tokio::test]
async fn connections_that_break_again_and_again_lose_nothing_and_repeat_nothing() {
    let node = rabbitmq::shared().await;
    let amqp = Proxy::to(node.port()).await;
    let (mut scene, mqtt) = behind_mqtt_proxy(Dialect::Default).await;
    scene.options.amqp_url = node.url().replace(&node.port().to_string(), &amqp.addr().port().to_string());
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(10)));
    let mut worker = scene.worker().await;
    let mut jobs = Vec::new();
    for round in 0..6 {
        let guarantee = if round % 2 == 0 { "at_most_once" } else { "at_least_once" };
        let more = (0..50).map(|n| {
            let fields = json!({"guarantee": guarantee, "timeout_ms": 3000});
            job_with(&format!("r{round}-{n}"), &format!("d{}", n % 20), fields)
        });
        let more: Vec<_> = more.collect();
        let executed = scene.fleet.executed().len();
        scene.send_all(more.clone()).await;
        jobs.extend(more);
        scene.fleet.wait_for(executed + 5, SOON).await;
        match round % 3 {
            0 => amqp.cut(),
            1 => mqtt.cut(),
            _ => {
                amqp.cut();
                mqtt.cut();
            }
        }
        worker.wait_ready(SOON).await;
    }
    for job in &jobs {
        scene.result(job["id"].as_str().unwrap()).await;
    }
    scene.wait_idle(&worker).await;
    scene.check(&jobs);
    assert!(!worker.log().contains("panick"));
}

//! Times that a job names: nothing is sent after its expiry, nothing before its start.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::eventually;
use crate::harness::proxy::Proxy;
use crate::worker_scene::{SOON, Scene, at, job, job_with, said};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::json;
use std::time::Duration;

fn unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap()
}

#[tokio::test]
async fn what_expires_while_mosquitto_is_away_is_never_sent() {
    let mut scene = Scene::start(Dialect::Default).await;
    let proxy = Proxy::to(scene.mqtt.port()).await;
    scene.options.mqtt_url = format!("mqtt://{}", proxy.addr());
    let mut worker = scene.worker().await;
    proxy.refuse(true).await;
    proxy.cut();
    eventually("mosquitto is away", SOON, async || worker.metric("switchboard_mqtt_up", &[]).await == 0.0).await;
    let expiring: Vec<_> = (0..20)
        .map(|n| job_with(&format!("j{n}"), &format!("d{n}"), json!({"expires_at": at(Duration::from_secs(2))})))
        .collect();
    let short: Vec<_> =
        (0..20).map(|n| job_with(&format!("s{n}"), &format!("s{n}"), json!({"timeout_ms": 500}))).collect();
    scene.send_all(expiring.iter().chain(&short).cloned()).await;
    for job in &expiring {
        let result = scene.result(job["id"].as_str().unwrap()).await;
        assert_eq!((said(&result), &result["error"]["code"]), (("expired", "no"), &json!("expired")), "{result}");
    }
    proxy.refuse(false).await;
    worker.wait_ready(SOON).await;
    // Those that were taken were not sent in the time that their requester would wait; what was left in the queue runs.
    for job in &short {
        let result = scene.result(job["id"].as_str().unwrap()).await;
        let not_sent = said(&result) == ("expired", "no") && result["error"]["code"] == "not_sent_in_time";
        assert!(not_sent || said(&result) == ("succeeded", "yes"), "{result}");
    }
    assert_eq!(scene.ask(job("last", "d")).await["status"], "succeeded");
    scene.wait_idle(&worker).await;
    assert!(scene.fleet.executed().iter().all(|executed| !executed.device.starts_with('d') || executed.device == "d"));
    scene.check(&expiring.into_iter().chain(short).chain([job("last", "d")]).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_expires_while_its_device_is_busy_is_never_sent() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    let first = job_with("first", "d", json!({"timeout_ms": 3000}));
    scene.send(&first).await;
    scene.fleet.wait_for(1, SOON).await;
    let second = job_with("second", "d", json!({"expires_at": at(Duration::from_millis(800))}));
    let result = scene.ask(second.clone()).await;
    assert_eq!(said(&result), ("expired", "no"));
    assert!(result["timing_ms"]["waiting"].as_f64().unwrap() > 0.0, "{result}");
    assert_eq!(said(&scene.result("first").await), ("timed_out", "unknown"));
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 1);
    scene.check(&[first, second]);
}

#[tokio::test]
async fn the_brokers_own_expiration_of_a_message_is_the_jobs_too() {
    let mut scene = Scene::start(Dialect::Default).await;
    let proxy = Proxy::to(scene.mqtt.port()).await;
    scene.options.mqtt_url = format!("mqtt://{}", proxy.addr());
    let worker = scene.worker().await;
    proxy.refuse(true).await;
    proxy.cut();
    eventually("mosquitto is away", SOON, async || worker.metric("switchboard_mqtt_up", &[]).await == 0.0).await;
    // Taken at once and held for the connection; the broker cannot expire it any more.
    let made = unix_ms() / 1000;
    let properties = scene.caller.properties().with_expiration("1500".into()).with_timestamp(made);
    scene.caller.send_with(&scene.options.queue, job("j1", "d").to_string().as_bytes(), properties).await;
    assert_eq!(said(&scene.result("j1").await), ("expired", "no"));
    assert_eq!(scene.fleet.executed().len(), 0);
}

#[tokio::test]
async fn an_expiration_without_a_timestamp_ends_a_job_that_waits_for_its_device() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    scene.send(&job_with("first", "d", json!({"timeout_ms": 3000}))).await;
    scene.fleet.wait_for(1, SOON).await;
    let properties = scene.caller.properties().with_expiration("500".into());
    scene.caller.send_with(&scene.options.queue, job("second", "d").to_string().as_bytes(), properties).await;
    assert_eq!(said(&scene.result("second").await), ("expired", "no"));
    assert_eq!(said(&scene.result("first").await), ("timed_out", "unknown"));
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 1);
}

#[tokio::test]
async fn a_job_with_a_start_in_a_few_seconds_is_not_sent_before() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let starts = unix_ms() + 2500;
    let not_before = at(Duration::from_millis(2500));
    let mut jobs: Vec<_> =
        (0..10).map(|n| job_with(&format!("j{n}"), &format!("d{n}"), json!({"not_before": not_before}))).collect();
    jobs.push(job_with("past", "past", json!({"not_before": "2020-01-01T00:00:00Z"})));
    jobs.push(job("now", "d0"));
    scene.send_all(jobs.clone()).await;
    for job in &jobs {
        assert_eq!(said(&scene.result(job["id"].as_str().unwrap()).await), ("succeeded", "yes"));
    }
    for executed in scene.fleet.executed() {
        let waits = executed.job.as_deref().is_some_and(|job| job.starts_with('j'));
        assert!(!waits || executed.at >= starts, "{} came {} ms early", executed.device, starts - executed.at);
    }
    // A job that waits holds up nobody, not even at its own device.
    assert_eq!(
        scene.fleet.executed()[..2].iter().filter(|e| e.job.as_deref().is_some_and(|j| j.starts_with('j'))).count(),
        0
    );
    scene.wait_idle(&worker).await;
    scene.check(&jobs);
}

#[tokio::test]
async fn a_job_with_a_far_start_waits_in_the_broker() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let ahead = Duration::from_millis(34_500);
    let starts = unix_ms() + ahead.as_millis() as u64;
    let parked = job_with("parked", "d", json!({"not_before": at(ahead)}));
    scene.send(&parked).await;
    // 34 seconds in binary digits: the highest is that of 32.
    eventually("it waits in the broker", SOON, async || {
        scene.caller.depth("celery_delayed_5").await.is_some_and(|depth| depth >= 1)
    })
    .await;
    scene.wait_idle(&worker).await;
    assert!(unix_ms() < starts, "the machine is too slow for this test");
    assert!(scene.caller.replies().is_empty() && scene.fleet.executed().is_empty());
    // Another worker can have it when its time has come.
    drop(worker);
    let worker = scene.worker().await;
    let result = scene.result("parked").await;
    assert_eq!((said(&result), &result["redelivered"]), (("succeeded", "yes"), &json!(false)), "{result}");
    let executed = scene.fleet.executed();
    assert!(executed.len() == 1 && executed[0].at >= starts, "{executed:?}");
    scene.wait_idle(&worker).await;
    scene.check(&[parked]);
}

/// Connects as a device whose messages the broker keeps while it is away, until `end` says so of what it is sent.
async fn visit(port: u16, end: impl Fn(&Event) -> bool) -> Vec<String> {
    let mut options = MqttOptions::new("device-away", "127.0.0.1", port);
    options.set_clean_start(false).set_session_expiry_interval(Some(600));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("devices/away/commands/#", QoS::AtLeastOnce).await.unwrap();
    let mut commands = Vec::new();
    loop {
        let event = tokio::time::timeout(SOON, events.poll()).await.unwrap().unwrap();
        if let Event::Incoming(Packet::Publish(publish)) = &event {
            commands.push(String::from_utf8_lossy(&publish.payload).into_owned());
        }
        if end(&event) {
            return commands;
        }
    }
}

#[tokio::test]
async fn a_device_that_was_away_does_not_get_what_expired_meanwhile() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    let subscribed = |event: &Event| matches!(event, Event::Incoming(Packet::SubAck(_)));
    assert_eq!(visit(scene.mqtt.port(), subscribed).await, Vec::<String>::new());
    let expiring = job_with("short", "away", json!({"timeout_ms": 1000}));
    assert_eq!(said(&scene.ask(expiring).await), ("timed_out", "unknown"));
    scene.send(&job_with("long", "away", json!({"timeout_ms": 60_000}))).await;
    scene.fleet.wait_for(2, SOON).await;
    // mosquitto counts in whole seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let command = |event: &Event| matches!(event, Event::Incoming(Packet::Publish(_)));
    let commands = visit(scene.mqtt.port(), command).await;
    assert!(commands.len() == 1 && commands[0].contains("long"), "{commands:?}");
    drop(worker);
}

//! What a requester hears of a single command: every status, in every dialect and version of MQTT.

use crate::harness::device::{Behaviour, Dialect, Fleet};
use crate::harness::eventually::eventually;
use crate::worker_scene::{SOON, Scene, at, job, job_with, said};
use serde_json::{Value, json};
use std::time::Duration;

fn code(result: &Value) -> &str {
    result["error"]["code"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn every_status_of_a_single_command_is_told_as_it_is() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave_as("silent", Behaviour::Silent);
    scene.fleet.behave_as("blocked", Behaviour::Reject);
    // These two are delivered before any worker is there, and given back: nobody can know whether they were begun.
    scene.caller.declare(&scene.options.queue, "quorum").await;
    let again = [
        job("before-1", "d"),
        job_with("before-2", "d", json!({"guarantee": "at_least_once"})),
        job_with("before-3", "d", json!({"guarantee": "at_least_once", "expires_at": at(Duration::ZERO)})),
    ];
    for job in &again {
        scene.send(job).await;
    }
    scene.caller.take_and_put_back(&scene.options.queue, again.len()).await;
    let worker = scene.worker().await;
    let gone = (jiff::Timestamp::now() - Duration::from_secs(5)).to_string();
    let jobs = [
        (job("good", "d"), "succeeded", "yes", "none"),
        (job("rejected", "blocked"), "rejected", "yes", "busy"),
        (job_with("silent", "silent", json!({"timeout_ms": 200})), "timed_out", "unknown", "timeout"),
        // Its topic is another one, on which nobody listens here.
        (job_with("nobody", "d", json!({"profile": "json"})), "undeliverable", "no", "no_subscribers"),
        (job_with("gone", "d", json!({"expires_at": gone})), "expired", "no", "expired"),
        (job("invalid", "a+b"), "invalid", "no", "invalid"),
        (job_with("wrong", "d", json!({"timeout_ms": "5s"})), "invalid", "no", "invalid_job"),
        (job_with("one-way", "silent", json!({"mode": "publish"})), "succeeded", "unknown", "none"),
        (again[0].clone(), "unknown", "unknown", "redelivered"),
        (again[1].clone(), "succeeded", "yes", "none"),
        (again[2].clone(), "unknown", "unknown", "redelivered"),
    ];
    scene.send_all(jobs[..8].iter().map(|(job, ..)| job.clone())).await;
    for (job, status, executed, error) in &jobs {
        let id = job["id"].as_str().unwrap();
        let reply = scene.results(id, 1).await.remove(0);
        let result = &reply.body;
        assert_eq!((said(result), code(result)), ((*status, *executed), *error), "{result}");
        assert_eq!(result["error"].is_null(), *error == "none", "{result}");
        assert_eq!((&result["device"], &result["command"]), (&job["device"], &job["command"]), "{result}");
        assert_eq!(reply.kind.as_deref(), Some("switchboard.result"));
        assert_eq!(reply.content_type.as_deref(), Some("application/json"));
        assert_eq!((reply.correlation_id.as_deref(), reply.persistent), (Some(id), true));
        assert!(reply.message_id.is_some_and(|id| !id.is_empty()));
        assert_eq!((&result["late"], &result["redelivered"]), (&json!(false), &json!(id.starts_with("before"))));
        assert!(result["worker"].as_str().unwrap().starts_with("switchboard-"), "{result}");
        let sent = ["succeeded", "rejected", "timed_out"].contains(status);
        assert!(!sent || result["attempt"] == 1, "{result}");
        let timing: Vec<f64> =
            ["queued", "waiting", "device", "total"].map(|name| result["timing_ms"][name].as_f64().unwrap()).to_vec();
        assert!(timing.iter().all(|ms| *ms >= 0.0) && timing[3] >= timing[1] && timing[3] >= timing[2], "{result}");
        assert!(*status != "timed_out" || timing[2] >= 200.0, "{result}");
    }
    let response = scene.result("good").await["response"].clone();
    assert_eq!(response, json!({"ok": true, "echo": {"job": "good"}}));
    scene.wait_idle(&worker).await;
    assert_eq!(worker.metric("switchboard_redeliveries_total", &[]).await, 3.0);
    for (status, count) in [("invalid", 2.0), ("timed_out", 1.0), ("expired", 1.0), ("unknown", 2.0)] {
        let counted = worker.metric("switchboard_jobs_total", &[("status", status), ("protocol", "native")]).await;
        assert_eq!(counted, count, "{status}");
    }
    scene.check(&jobs.map(|(job, ..)| job));
    assert_eq!(scene.caller.replies().len(), 11);
    assert_eq!(scene.caller.depth(&scene.dead).await, Some(0));
}

#[tokio::test]
async fn a_job_without_reply_address_is_a_dead_letter_only_if_it_is_no_job() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let nobody = scene.caller.properties().with_reply_to("".into());
    let messages = [
        (job("good", "d").to_string(), None),
        (job_with("late", "d", json!({"expires_at": "2020-01-01T00:00:00Z"})).to_string(), None),
        ("{\"device\": \"d\"".to_owned(), Some("m1")),
        (json!({"device": "d", "command": "c", "colour": 1}).to_string(), Some("m2")),
    ];
    for (body, message_id) in &messages {
        let properties = nobody.clone().with_message_id(message_id.unwrap_or("").into());
        scene.caller.send_with(&scene.options.queue, body.as_bytes(), properties).await;
    }
    scene.fleet.wait_for(1, SOON).await;
    eventually("the dead letters are there", SOON, async || scene.caller.depth(&scene.dead).await == Some(2)).await;
    scene.wait_idle(&worker).await;
    let mut letters = scene.caller.take_dead_letters(&scene.dead).await;
    letters.sort_by(|a, b| a.message_id.cmp(&b.message_id));
    let found: Vec<_> = letters.iter().map(|letter| (letter.message_id.as_deref(), letter.reason.as_deref())).collect();
    assert_eq!(found, [(Some("m1"), Some("invalid")), (Some("m2"), Some("invalid"))]);
    assert_eq!(letters[0].body, messages[2].0.as_bytes());
    assert_eq!(worker.metric("switchboard_dead_lettered_total", &[("reason", "invalid")]).await, 2.0);
    assert_eq!(scene.executions().get("good"), Some(&1));
}

#[tokio::test]
async fn a_job_that_names_a_device_its_profile_cannot_carry_and_no_reply_address_is_a_dead_letter() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let nobody = scene.caller.properties().with_reply_to("".into());
    let job = job("bad", "a/#");
    scene.caller.send_with(&scene.options.queue, job.to_string().as_bytes(), nobody).await;
    eventually("the dead letter is there", SOON, async || scene.caller.depth(&scene.dead).await == Some(1)).await;
    let letters = scene.caller.take_dead_letters(&scene.dead).await;
    assert_eq!(letters[0].reason.as_deref(), Some("invalid"));
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn a_result_goes_under_the_correlation_of_its_job() {
    let scene = Scene::start(Dialect::Default).await;
    let _worker = scene.worker().await;
    let properties = || scene.caller.properties();
    let cases = [
        (job("j1", "d"), properties().with_correlation_id("c-1".into()), "j1", "c-1"),
        (json!({"device": "d", "command": "c"}), properties().with_message_id("m-2".into()), "m-2", "m-2"),
        (
            json!({"device": "d"}),
            properties().with_correlation_id("c-3".into()).with_message_id("m-3".into()),
            "m-3",
            "c-3",
        ),
    ];
    for (job, properties, id, correlation) in cases {
        scene.caller.send_with(&scene.options.queue, job.to_string().as_bytes(), properties).await;
        let reply = scene.results(id, 1).await.remove(0);
        assert_eq!(reply.correlation_id.as_deref(), Some(correlation), "{}", reply.body);
    }
    // An id is made where there is none.
    scene.send(&json!({"device": "d", "command": "c"})).await;
    let reply = scene.caller.wait_for(4, SOON).await.remove(3);
    assert_eq!(reply.body["id"].as_str(), reply.correlation_id.as_deref());
    assert_eq!(reply.body["id"].as_str().map(str::len), Some(26));
}

/// One good, one rejecting and one silent device, in a dialect.
async fn speaks(dialect: Dialect, profile: &str, protocol: &str, more: &[(&str, &str)]) {
    let mut scene = Scene::start(dialect).await.set("MQTT__PROTOCOL", protocol);
    for (key, value) in more {
        scene = scene.set(key, value);
    }
    scene.fleet.behave_as("blocked", Behaviour::Reject);
    scene.fleet.behave_as("silent", Behaviour::Silent);
    scene.fleet.behave_as("garbled", Behaviour::Garbage);
    scene.fleet.behave_as("talkative", Behaviour::Huge(100_000));
    let worker = scene.worker().await;
    let asked = |id: &str, device: &str| job_with(id, device, json!({"profile": profile}));
    let mut jobs = Vec::new();
    for number in 0..20 {
        jobs.push((asked(&format!("good-{number}"), &format!("d{}", number % 7)), "succeeded"));
    }
    jobs.push((asked("rejected", "blocked"), "rejected"));
    jobs.push((job_with("silent", "silent", json!({"profile": profile, "timeout_ms": 300})), "timed_out"));
    jobs.push((asked("long", "talkative"), "succeeded"));
    scene.send_all(jobs.iter().map(|(job, _)| job.clone())).await;
    for (job, status) in &jobs {
        let result = scene.result(job["id"].as_str().unwrap()).await;
        assert_eq!(result["status"], *status, "{profile} over MQTT {protocol}: {result}");
    }
    assert_eq!(scene.result("rejected").await["error"]["message"], "the door is blocked");
    let long = scene.result("long").await;
    assert!(long["response"]["huge"].as_str().unwrap().len() > 99_000);
    if dialect != Dialect::Json {
        jobs.push((asked("garbled", "garbled"), "succeeded"));
        let result = scene.ask(asked("garbled", "garbled")).await;
        assert_eq!((said(&result), &result["response"]), (("succeeded", "yes"), &json!({"$base64": "/wD+eyI="})));
    }
    scene.wait_idle(&worker).await;
    assert_eq!(worker.metric("switchboard_mqtt_reconnects_total", &[]).await, 0.0);
    assert!(worker.metric("switchboard_device_seconds_count", &[("profile", profile)]).await >= 22.0);
    scene.check(&jobs.into_iter().map(|(job, _)| job).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_default_profile_works_over_both_versions_of_mqtt_and_at_qos_0() {
    speaks(Dialect::Default, "default", "5", &[]).await;
    speaks(Dialect::Default, "default", "3.1.1", &[]).await;
    speaks(Dialect::Default, "default", "5", &[("PROFILES__DEFAULT__QOS", "0")]).await;
}

#[tokio::test]
async fn the_json_profile_works_over_both_versions_of_mqtt() {
    speaks(Dialect::Json, "json", "5", &[]).await;
    speaks(Dialect::Json, "json", "3.1.1", &[]).await;
}

#[tokio::test]
async fn the_mqtt5_profile_works_over_mqtt_5() {
    speaks(Dialect::Mqtt5, "mqtt5", "5", &[]).await;
}

#[tokio::test]
async fn what_mqtt_3_cannot_do_is_said() {
    let scene = Scene::start(Dialect::Default).await.set("MQTT__PROTOCOL", "3.1.1");
    let _worker = scene.worker().await;
    let result = scene.ask(job_with("j1", "d", json!({"profile": "mqtt5"}))).await;
    assert_eq!(said(&result), ("invalid", "no"));
    let message = result["error"]["message"].as_str().unwrap();
    assert!(message.contains("mqtt5") && message.contains("mqtt.protocol"), "{message}");
    // Its broker does not tell that nobody listens.
    let result = scene.ask(job_with("j2", "d", json!({"profile": "json", "timeout_ms": 200}))).await;
    assert_eq!(said(&result), ("timed_out", "unknown"));
}

#[tokio::test]
async fn a_profile_that_is_not_there_is_said_with_those_that_are() {
    let scene = Scene::start(Dialect::Default).await;
    let _fleet = Fleet::start(scene.mqtt.port(), Dialect::Json).await;
    let _worker = scene.worker().await;
    let result = scene.ask(job_with("j1", "d", json!({"profile": "nonesuch"}))).await;
    let message = result["error"]["message"].as_str().unwrap();
    assert!(
        said(&result) == ("invalid", "no") && message.contains("nonesuch") && message.contains("mqtt5"),
        "{message}"
    );
    assert_eq!(scene.ask(job_with("j2", "d", json!({"profile": "json"}))).await["status"], "succeeded");
}

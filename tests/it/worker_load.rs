//! Many devices at once over one connection, and the order of the commands to one.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::eventually;
use crate::worker_scene::{SOON, Scene, job, job_with, said};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_thousand_slow_devices_are_commanded_at_once_through_one_connection() {
    const DEVICES: usize = 1000;
    let answer_time = Duration::from_millis(500);
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(answer_time));
    let worker = scene.worker().await;
    let jobs: Vec<_> =
        (0..DEVICES).map(|n| job_with(&format!("j{n}"), &format!("d{n}"), json!({"timeout_ms": 60_000}))).collect();
    let started = Instant::now();
    scene.send_all(jobs.clone()).await;
    let most = async {
        eventually("most of them are under way together", SOON, async || {
            worker.metric("switchboard_device_requests_in_flight", &[]).await > DEVICES as f64 / 4.0
                || scene.caller.replies().len() == DEVICES
        })
        .await;
        worker.metric("switchboard_subscriptions", &[]).await
    };
    let (subscriptions, replies) = tokio::join!(most, scene.caller.wait_for(DEVICES, 2 * SOON));
    let took = started.elapsed();
    assert!(took < answer_time * DEVICES as u32 / 5, "{took:?}");
    for reply in &replies {
        assert_eq!(said(&reply.body), ("succeeded", "yes"), "{}", reply.body);
    }
    scene.check(&jobs);
    scene.wait_idle(&worker).await;
    // One for each built-in profile that has one filter for all its devices, however many are commanded.
    assert_eq!(subscriptions, worker.metric("switchboard_subscriptions", &[]).await);
    assert!(subscriptions < 10.0, "{subscriptions}");
    let log = scene.broker_log();
    let clients = log.lines().filter(|line| line.contains("New client connected") && line.contains(" as switchboard-"));
    assert_eq!(clients.count(), 1, "{log}");
    assert_eq!(worker.metric("switchboard_mqtt_reconnects_total", &[]).await, 0.0);
}

#[tokio::test]
async fn commands_to_one_device_arrive_in_order_and_one_at_a_time_and_hold_nobody_else_up() {
    const COMMANDS: usize = 50;
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave_as("slow", Behaviour::Slow(Duration::from_millis(30)));
    let worker = scene.worker().await;
    let mut jobs: Vec<_> =
        (0..COMMANDS).map(|n| job_with(&format!("slow-{n}"), "slow", json!({"timeout_ms": 60_000}))).collect();
    for (at, n) in (0..COMMANDS).step_by(5).enumerate() {
        jobs.insert(n + at, job(&format!("other-{n}"), &format!("other-{n}")));
    }
    scene.send_all(jobs.clone()).await;
    let replies = scene.caller.wait_for(jobs.len(), SOON).await;
    let order: Vec<_> =
        scene.fleet.executed().into_iter().filter(|e| e.device == "slow").filter_map(|e| e.job).collect();
    assert_eq!(order, (0..COMMANDS).map(|n| format!("slow-{n}")).collect::<Vec<_>>());
    // One at a time: the answer to each was there before the next one was sent, so results are in order too.
    let answered: Vec<_> =
        replies.iter().filter_map(|r| r.body["id"].as_str()?.strip_prefix("slow-")?.parse::<usize>().ok()).collect();
    assert_eq!(answered, (0..COMMANDS).collect::<Vec<_>>());
    let times: Vec<u64> = scene.fleet.executed().iter().filter(|e| e.device == "slow").map(|e| e.at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 25), "two at a time: {times:?}");
    // The others came in between: the last of them long before the last of the slow ones.
    let last_other = replies.iter().rposition(|r| r.body["device"] != "slow").unwrap();
    assert!(last_other < replies.len() - COMMANDS / 4, "an other device was answered only at {last_other}");
    scene.wait_idle(&worker).await;
    scene.check(&jobs);
}

#[tokio::test]
async fn a_device_may_be_given_several_commands_at_a_time_where_that_is_configured() {
    // With the breaker, the third wave would not be sent.
    let scene =
        Scene::start(Dialect::Default).await.set("WORKER__PER_DEVICE", "3").set("WORKER__BREAKER_FAILURES", "0");
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    let jobs = (0..9).map(|n| job_with(&format!("j{n}"), "d", json!({"timeout_ms": 1500})));
    scene.send_all(jobs).await;
    let mut most: f64 = 0.0;
    eventually("every command was given up", SOON, async || {
        most = most.max(worker.metric("switchboard_device_requests_in_flight", &[]).await);
        scene.caller.replies().len() == 9
    })
    .await;
    assert_eq!(most, 3.0);
    // The fourth has to wait for the time of one of the first three to be up.
    let times: Vec<u64> = scene.fleet.executed().iter().map(|executed| executed.at).collect();
    assert!(times[3] - times[0] >= 500 && times[6] - times[3] >= 500, "{times:?}");
    scene.wait_idle(&worker).await;
}

//! A mosquitto that dies, stays away, freezes, and forbids, under load.

use crate::harness::device::Behaviour;
use crate::harness::eventually::eventually;
use crate::load::{Plan, job};
use crate::relay::NODE;
use crate::scene::{SOON, Scene};
use rand::RngExt;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

const JOBS: usize = 2_000;
const KILLS: usize = 6;

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_mosquitto_that_is_killed_every_five_seconds_makes_no_command_run_twice() {
    let node = NODE.take().await;
    let mut scene = Scene::start("kill -9 of mosquitto every 5 s", &node).await;
    scene.replicas(3).await;
    let mut plans = scene.plans("j", JOBS);
    for kill in 0..KILLS {
        // A share of the jobs for each kill: on a slow machine the last one must not come after the last job.
        let share = plans.split_off(JOBS * (KILLS - 1 - kill) / KILLS);
        let pouring = scene.pour(share, Duration::from_secs(5));
        let commands = scene.dice.random_range(20..120);
        let executed = scene.fleet.executed().len();
        scene.fleet.wait_for(executed + commands, SOON).await;
        scene.mqtt.kill();
        let away = scene.dice.random_range(0..1_500);
        sleep(Duration::from_millis(away)).await;
        scene.mqtt.start_again().unwrap();
        scene.fleet.wait_subscribed().await;
        scene.poured(pouring).await;
    }
    scene.all_ready().await;
    scene.rest().await;
    assert!(scene.metric("switchboard_mqtt_reconnects_total", &[]).await >= 6.0);
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn what_expired_while_mosquitto_was_away_for_long_is_never_executed() {
    const QUEUED: usize = 500;
    let node = NODE.take().await;
    let mut scene = Scene::start("mosquitto away for 20 s, jobs that live for 10", &node).await;
    scene.unknown_at_most = Some(0);
    scene.replicas(3).await;
    scene.mqtt.kill();
    let plans = (0..QUEUED).map(|n| {
        let guarantee = if n % 2 == 0 { "at_most_once" } else { "at_least_once" };
        Plan { job: job(&format!("j-{n}"), n % 100, guarantee), life: Duration::from_secs(10) }
    });
    scene.send(plans.collect()).await;
    sleep(Duration::from_secs(20)).await;
    scene.mqtt.start_again().unwrap();
    scene.fleet.wait_subscribed().await;
    scene.all_ready().await;
    let verdict = scene.finish().await;
    assert_eq!((verdict.executed.len(), verdict.results.len()), (0, QUEUED));
    // Handed from one replica to the next while all were without connection, one or the other may have been delivered
    // before; none of them was begun.
    let statuses = verdict.statuses();
    assert_eq!(statuses.get("expired"), Some(&QUEUED), "{statuses:?}");
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_mosquitto_that_freezes_is_left_after_the_keep_alive_and_makes_no_command_run_twice() {
    let node = NODE.take().await;
    let mut scene = Scene::start("SIGSTOP of mosquitto for 20 s", &node).await;
    scene.set("MQTT__KEEP_ALIVE", "5s");
    // What stands in its sockets is on its way for as long as it does not read it.
    scene.transit = Duration::from_secs(30);
    scene.replicas(3).await;
    let plans = scene.plans("j", JOBS);
    let pouring = scene.pour(plans, Duration::from_secs(10));
    scene.fleet.wait_for(200, SOON).await;
    scene.mqtt.freeze().unwrap();
    for worker in &scene.replicas {
        eventually("the worker notices", SOON, async || {
            worker.get("/readyz").await.is_some_and(|(status, body)| status == 503 && body.contains("mqtt: down"))
        })
        .await;
    }
    sleep(Duration::from_secs(10)).await;
    scene.mqtt.thaw().unwrap();
    scene.poured(pouring).await;
    scene.fleet.wait_subscribed().await;
    scene.all_ready().await;
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_thousand_devices_that_come_and_go_leave_nothing_behind_in_a_worker() {
    let node = NODE.take().await;
    let mut scene = Scene::start("a thousand devices that come and go", &node).await;
    scene.replicas(1).await;
    let mut plans = Vec::new();
    for round in 0..4 {
        for device in 1_000..2_000 {
            let flaps = scene.dice.random_bool(0.5);
            let behaviour = if flaps { Behaviour::Silent } else { Behaviour::Echo };
            scene.fleet.behave_as(&format!("d{device}"), behaviour);
            let mut job = job(&format!("r{round}-{device}"), device, "at_most_once");
            job["timeout_ms"] = 300.into();
            plans.push(Plan { job, life: Duration::from_secs(120) });
        }
        scene.send(std::mem::take(&mut plans)).await;
        scene.rest().await;
    }
    let subscribed = scene.metric("switchboard_subscriptions", &[]).await;
    assert!(subscribed < 10.0, "{subscribed} subscriptions");
    assert_eq!(scene.metric("switchboard_device_requests_in_flight", &[]).await, 0.0);
    let verdict = scene.finish().await;
    let statuses: BTreeSet<_> = verdict.statuses().into_keys().collect();
    assert_eq!(statuses, BTreeSet::from(["succeeded", "timed_out"]));
    NODE.hand_on(node);
}

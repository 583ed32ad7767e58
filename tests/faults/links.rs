//! Paths between workers and RabbitMQ that are cut, fall silent, or are slow, under load.

use crate::footprint::Footprint;
use crate::harness::eventually::eventually;
use crate::harness::proxy::{Direction, Proxy};
use crate::harness::rabbitmq::OwnNode;
use crate::relay::NODE;
use crate::scene::{SOON, Scene};
use rand::RngExt;
use std::time::Duration;
use tokio::time::sleep;

const JOBS: usize = 2_000;

/// So many replicas, each behind a path of its own to the node.
async fn behind_proxies(name: &'static str, node: &OwnNode, count: usize) -> (Scene, Vec<Proxy>) {
    let mut scene = Scene::start(name, node).await;
    let mut proxies = Vec::new();
    for _ in 0..count {
        let proxy = Proxy::to(node.node().port()).await;
        scene.options.amqp_url = format!("amqp://guest:guest@{}/%2f?heartbeat=4", proxy.addr());
        scene.add();
        proxies.push(proxy);
    }
    scene.all_ready().await;
    (scene, proxies)
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn replicas_whose_connections_are_cut_every_second_ack_nothing_that_is_not_theirs() {
    let node = NODE.take().await;
    let (mut scene, proxies) = behind_proxies("a reset of one AMQP connection a second", &node, 3).await;
    let plans = scene.plans("j", JOBS);
    let pouring = scene.pour(plans, Duration::from_secs(20));
    for _ in 0..20 {
        let proxy = &proxies[scene.dice.random_range(0..3)];
        // A worker's two connections give their roles as the last word of their names.
        match scene.dice.random_range(0..3) {
            0 => proxy.cut_where(" consume"),
            1 => proxy.cut_where(" publish"),
            _ => proxy.cut(),
        }
        sleep(Duration::from_secs(1)).await;
    }
    scene.poured(pouring).await;
    scene.all_ready().await;
    scene.rest().await;
    assert!(scene.metric("switchboard_amqp_reconnects_total", &[]).await >= 10.0);
    for worker in &scene.replicas {
        assert!(!worker.log().contains("unknown delivery tag"), "{}", worker.log());
    }
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn replicas_whose_paths_fall_silent_in_any_direction_notice_and_run_nothing_twice() {
    let node = NODE.take().await;
    let (mut scene, proxies) = behind_proxies("silent paths: both ways, up, down", &node, 4).await;
    let untouched = scene.replicas[3].metric("switchboard_amqp_reconnects_total", &[]).await;
    let plans = scene.plans("j", JOBS);
    let pouring = scene.pour(plans, Duration::from_secs(20));
    scene.fleet.wait_for(200, SOON).await;
    proxies[0].freeze();
    proxies[1].freeze_up();
    proxies[2].freeze_down();
    for worker in &scene.replicas[..3] {
        eventually("the worker notices", SOON, async || {
            worker.get("/readyz").await.is_some_and(|(status, body)| status == 503 && body.contains("amqp: down"))
                && worker.metric("switchboard_amqp_up", &[]).await == 0.0
        })
        .await;
    }
    assert_eq!(scene.replicas[3].metric("switchboard_amqp_reconnects_total", &[]).await, untouched);
    // Long enough for the broker to have given their jobs away.
    sleep(Duration::from_secs(8)).await;
    for proxy in &proxies {
        proxy.thaw();
    }
    scene.poured(pouring).await;
    scene.all_ready().await;
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_path_that_is_merely_slow_is_not_taken_for_dead() {
    let node = NODE.take().await;
    let (mut scene, proxies) = behind_proxies("300 ms each way to RabbitMQ", &node, 3).await;
    scene.unknown_at_most = Some(0);
    let reconnects = scene.metric("switchboard_amqp_reconnects_total", &[]).await;
    for proxy in &proxies {
        proxy.delay(Duration::from_millis(300));
    }
    let plans = scene.plans("j", JOBS / 2);
    let pouring = scene.pour(plans, Duration::from_secs(12));
    scene.poured(pouring).await;
    scene.rest().await;
    assert_eq!(scene.metric("switchboard_amqp_reconnects_total", &[]).await, reconnects);
    let verdict = scene.finish().await;
    assert!(verdict.results.iter().all(|result| result["redelivered"] == false));
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn connections_that_end_in_the_middle_of_a_packet_leave_no_file_and_no_thread_behind() {
    const CUTS: usize = 10;
    let node = NODE.take().await;
    let mut scene = Scene::start("cuts after a random number of bytes, AMQP and MQTT", &node).await;
    let amqp = Proxy::to(node.node().port()).await;
    let mqtt = Proxy::to(scene.mqtt.port()).await;
    scene.options.amqp_url = format!("amqp://guest:guest@{}/%2f", amqp.addr());
    scene.options.mqtt_url = format!("mqtt://{}", mqtt.addr());
    scene.replicas(1).await;
    let before = Footprint::of(&scene.replicas[0]);
    for round in 0..CUTS {
        let proxy = if round % 4 == 0 { &mqtt } else { &amqp };
        let direction = if scene.dice.random_bool(0.5) { Direction::Up } else { Direction::Down };
        let accepted = proxy.accepted();
        // Less than twenty jobs take in any direction.
        proxy.limit(direction, scene.dice.random_range(1..1_000));
        let plans = scene.plans(&format!("r{round}"), 20);
        scene.send(plans).await;
        eventually("the cut is made and mended", SOON, async || proxy.accepted() > accepted).await;
        scene.all_ready().await;
    }
    scene.rest().await;
    let after = Footprint::of(&scene.replicas[0]);
    eprintln!("  {CUTS} cuts: {before} before, {after} after");
    assert!(after.files <= before.files + 5 && after.threads <= before.threads + 2, "{before}, then {after}");
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

//! One RabbitMQ node that dies, freezes, and raises alarms, under load.

use crate::harness::eventually::eventually;
use crate::relay::NODE;
use crate::scene::{SOON, Scene};
use std::time::Duration;
use switchboard::demo::brokers::RabbitMq;
use tokio::time::sleep;

const JOBS: usize = 2_000;

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_node_that_is_killed_or_stopped_under_load_comes_back_with_everything_it_confirmed() {
    for (name, kill, queue_type) in [
        ("kill -9 of RabbitMQ", true, "quorum"),
        ("an orderly stop of RabbitMQ", false, "quorum"),
        // Here the whole backlog comes back as delivered before, and what may run once only is told as unknown.
        ("kill -9 of RabbitMQ, with a classic queue", true, "classic"),
    ] {
        let mut node = NODE.take().await;
        let mut scene = Scene::start(name, &node).await;
        scene.set("AMQP__QUEUE_TYPE", queue_type);
        scene.replicas(3).await;
        scene.written_down(&mut node).await;
        let plans = scene.plans("j", JOBS);
        let pouring = scene.pour(plans, Duration::from_secs(10));
        scene.fleet.wait_for(300, SOON).await;
        node.with(move |node| {
            if kill {
                node.kill();
                Ok(())
            } else {
                node.stop()
            }
        })
        .await;
        node.with(RabbitMq::start_again).await;
        scene.poured(pouring).await;
        scene.all_ready().await;
        let verdict = scene.finish().await;
        verdict.nothing_is_dead();
        NODE.hand_on(node);
    }
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_node_that_freezes_for_less_than_a_heartbeat_costs_nothing_and_for_longer_a_connection() {
    let mut node = NODE.take().await;
    let mut scene = Scene::start("SIGSTOP of RabbitMQ", &node).await;
    scene.options.amqp_url = format!("{}?heartbeat=5", node.node().url());
    scene.replicas(3).await;
    let at_first = scene.metric("switchboard_amqp_reconnects_total", &[]).await;
    for (seconds, costs) in [(3, false), (20, true)] {
        let plans = scene.plans(&format!("freeze-{seconds}"), JOBS / 2);
        let pouring = scene.pour(plans, Duration::from_secs(5));
        let executed = scene.fleet.executed().len();
        scene.fleet.wait_for(executed + 100, SOON).await;
        node.with(RabbitMq::freeze).await;
        // How long it is frozen.
        sleep(Duration::from_secs(seconds)).await;
        node.with(RabbitMq::thaw).await;
        scene.poured(pouring).await;
        scene.all_ready().await;
        scene.rest().await;
        let reconnects = scene.metric("switchboard_amqp_reconnects_total", &[]).await - at_first;
        assert_eq!(reconnects > 0.0, costs, "{reconnects} connections lost in {seconds} s");
    }
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn an_alarm_holds_jobs_up_and_repeats_none() {
    let mut node = NODE.take().await;
    for (name, raise, clear) in [
        (
            "a memory alarm",
            ["set_vm_memory_high_watermark", "0.00001", ""],
            ["set_vm_memory_high_watermark", "absolute", "1GB"],
        ),
        ("a disk alarm", ["set_disk_free_limit", "900000GB", ""], ["set_disk_free_limit", "50MB", ""]),
    ] {
        let arguments =
            |words: [&'static str; 3]| words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
        let mut scene = Scene::start(name, &node).await;
        scene.unknown_at_most = Some(0);
        scene.replicas(3).await;
        // RabbitMQ may fail for a moment when three declare the same queue at once; that is no part of the alarm.
        let reconnects = scene.metric("switchboard_amqp_reconnects_total", &[]).await;
        let plans = scene.plans("j", JOBS);
        let pouring = scene.pour(plans, Duration::from_secs(10));
        scene.fleet.wait_for(300, SOON).await;
        let raise = arguments(raise);
        node.with(move |node| node.ctl(&raise)).await;
        for worker in &scene.replicas {
            eventually("the worker says that it is blocked", SOON, async || {
                worker.get("/readyz").await.is_some_and(|(status, body)| status == 503 && body.contains("blocked"))
            })
            .await;
        }
        // How long the alarm lasts: past the worker's patience.
        sleep(Duration::from_secs(8)).await;
        let clear = arguments(clear);
        node.with(move |node| node.ctl(&clear)).await;
        scene.poured(pouring).await;
        scene.all_ready().await;
        scene.rest().await;
        assert_eq!(scene.metric("switchboard_amqp_reconnects_total", &[]).await, reconnects);
        assert_eq!(scene.metric("switchboard_redeliveries_total", &[]).await, 0.0);
        let verdict = scene.finish().await;
        verdict.nothing_is_dead();
        assert!(verdict.sent.iter().all(|sent| sent.confirmed), "a publish was lost over an alarm");
    }
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_job_that_outlasts_the_brokers_patience_loses_nothing_and_repeats_nothing() {
    const PATIENCE: &str = "application:set_env(rabbit, consumer_timeout, ";
    let mut node = NODE.take().await;
    node.with(|node| {
        node.ctl(&["eval", "application:set_env(rabbit, channel_tick_interval, 1000)."])?;
        node.ctl(&["eval", &format!("{PATIENCE}5000).")])
    })
    .await;
    let mut scene = Scene::start("RabbitMQ closes a channel for its consumer timeout", &node).await;
    scene.replicas(3).await;
    let mut plans = scene.plans("j", JOBS / 4);
    // Longer than the broker waits for an ack, so that it takes the channel away under everything on it.
    for (number, plan) in plans.iter_mut().take(6).enumerate() {
        plan.job["device"] = format!("slow{number}").into();
        plan.job["timeout_ms"] = 20_000.into();
        plan.life = Duration::from_secs(60);
        scene
            .fleet
            .behave_as(&format!("slow{number}"), crate::harness::device::Behaviour::Slow(Duration::from_secs(12)));
    }
    let pouring = scene.pour(plans, Duration::from_secs(10));
    scene.poured(pouring).await;
    scene.rest().await;
    assert!(scene.metric("switchboard_redeliveries_total", &[]).await > 0.0, "no channel was closed");
    node.with(|node| node.ctl(&["eval", &format!("{PATIENCE}1800000).")])).await;
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

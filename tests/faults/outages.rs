//! Nodes of a cluster that die and freeze, under load.

use crate::cluster::Cluster;
use crate::harness::proxy::Proxy;
use crate::relay::CLUSTER;
use crate::scene::{SOON, Scene};
use std::time::Duration;
use switchboard::demo::brokers::RabbitMq;
use tokio::time::sleep;

const JOBS: usize = 2_000;

/// Three replicas, each of which reaches the cluster by another node.
async fn on(cluster: &Cluster, name: &'static str) -> (Scene, Vec<Proxy>) {
    let mut scene = Scene::on(name, &cluster.urls()).await;
    let mut balancers = Vec::new();
    for first in 0..3 {
        let balancer = cluster.balancer(first).await;
        scene.options.amqp_url = format!("amqp://guest:guest@{}/%2f?heartbeat=4", balancer.addr());
        scene.add();
        balancers.push(balancer);
    }
    scene.all_ready().await;
    (scene, balancers)
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_cluster_whose_queue_leader_is_killed_goes_on_and_loses_nothing() {
    let mut cluster = CLUSTER.take().await;
    let (mut scene, _balancers) = on(&cluster, "kill -9 of the queue's leader").await;
    // Before the jobs: the question can take so long that all of them are done.
    let leader = cluster.leader(0, &scene.options.queue).await;
    let plans = scene.plans("j", JOBS);
    let pouring = scene.pour(plans, Duration::from_secs(20));
    scene.fleet.wait_for(200, SOON).await;
    cluster.kill(leader).await;
    // It goes on without the third node.
    let before = scene.fleet.executed().len();
    scene.fleet.wait_for(before + 300, SOON).await;
    cluster.start_again(&[leader]).await;
    scene.poured(pouring).await;
    scene.all_ready().await;
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    CLUSTER.hand_on(cluster);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_cluster_whose_queue_leader_is_frozen_goes_on_and_loses_nothing() {
    let mut cluster = CLUSTER.take().await;
    let (mut scene, _balancers) = on(&cluster, "SIGSTOP of the queue's leader for 30 s").await;
    let leader = cluster.leader(0, &scene.options.queue).await;
    // The producer is not to wait for the frozen one.
    scene.urls.swap(0, (leader + 1) % 3);
    let plans = scene.plans("j", JOBS);
    let pouring = scene.pour(plans, Duration::from_secs(30));
    scene.fleet.wait_for(200, SOON).await;
    cluster.nodes[leader].with(RabbitMq::freeze).await;
    sleep(Duration::from_secs(30)).await;
    let executed = scene.fleet.executed().len();
    cluster.nodes[leader].with(RabbitMq::thaw).await;
    scene.poured(pouring).await;
    // Awake it stays apart from the others: who operates it starts it again.
    cluster.kill(leader).await;
    cluster.start_again(&[leader]).await;
    scene.all_ready().await;
    let verdict = scene.finish().await;
    assert!(executed > 300, "only {executed} commands were executed while one node of three was frozen");
    verdict.nothing_is_dead();
    CLUSTER.hand_on(cluster);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_cluster_that_is_killed_whole_comes_back_with_everything_it_confirmed() {
    let mut cluster = CLUSTER.take().await;
    let (mut scene, _balancers) = on(&cluster, "kill -9 of all three nodes at once").await;
    for node in &mut cluster.nodes {
        scene.written_down(node).await;
    }
    let plans = scene.plans("j", JOBS);
    let pouring = scene.pour(plans, Duration::from_secs(10));
    scene.fleet.wait_for(300, SOON).await;
    for index in 0..3 {
        cluster.kill(index).await;
    }
    cluster.start_again(&[0, 1, 2]).await;
    scene.poured(pouring).await;
    scene.all_ready().await;
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    CLUSTER.hand_on(cluster);
}

//! Workers that are killed and suspended, under load, and one that nothing happens to.

use crate::relay::NODE;
use crate::scene::{CONCURRENCY, Scene, inbox};
use rand::RngExt;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use switchboard::demo::brokers::RabbitMq;
use tokio::time::{Instant, sleep_until};

const JOBS: usize = 2_000;

#[tokio::test]
#[ignore = "long: make faults"]
async fn three_replicas_answer_every_job_once_where_nothing_breaks() {
    let mut node = NODE.take().await;
    let mut scene = Scene::start("baseline", &node).await;
    scene.unknown_at_most = Some(0);
    scene.replicas(3).await;
    let queues = |node: &mut RabbitMq| {
        // Those that outlive a crash: requesters have others.
        let listed = node.ctl(&["list_queues", "name", "durable"])?;
        Ok(listed.lines().filter(|line| line.ends_with("true")).count())
    };
    let declared = node.with(queues).await;
    let plans = scene.plans("j", JOBS);
    scene.send(plans).await;
    scene.rest().await;
    // A queue that is declared under load is one that a crash may lose.
    assert_eq!(node.with(queues).await, declared);
    let verdict = scene.finish().await;
    // A device that answers after the time makes a second result, which says that it is late.
    let first = verdict.results.iter().filter(|result| result["late"] == false).count();
    assert_eq!((first, verdict.dead.len()), (JOBS, 0));
    let workers: BTreeSet<_> = verdict.results.iter().filter_map(|result| result["worker"].as_str()).collect();
    assert_eq!(workers.len(), 3, "{workers:?}");
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn replicas_that_are_killed_every_two_seconds_lose_nothing_and_repeat_nothing() {
    const KILLS: usize = 30;
    let node = NODE.take().await;
    let mut scene = Scene::start("kill -9 of a replica every 2 s", &node).await;
    scene.unknown_at_most = Some(KILLS * CONCURRENCY);
    scene.replicas(3).await;
    let mut next = Instant::now();
    for round in 0..KILLS {
        let plans = scene.short_plans(&format!("r{round}"), JOBS.div_ceil(KILLS));
        let (count, before) = (plans.len(), scene.fleet.executed().len());
        scene.send(plans).await;
        // Some commands later, so that every step of a job is hit sooner or later.
        let commands = scene.dice.random_range(0..count / 2);
        scene.fleet.wait_for(before + commands, Duration::from_secs(90)).await;
        let victim = scene.dice.random_range(0..3);
        scene.kill_and_replace(victim);
        next += Duration::from_secs(2);
        sleep_until(next).await;
    }
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    let again = verdict.results.iter().filter(|result| result["redelivered"] == true).count();
    assert!(again > 0, "no kill hit anything");
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_replica_that_was_suspended_past_its_heartbeat_starts_nothing_of_what_it_held() {
    let node = NODE.take().await;
    let mut scene = Scene::start("SIGSTOP of a replica past its heartbeat", &node).await;
    let url = scene.options.amqp_url.clone();
    scene.options.amqp_url = format!("{url}?heartbeat=4");
    scene.replicas(3).await;
    let plans = scene.plans("j", JOBS);
    let pouring = scene.pour(plans, Duration::from_secs(15));
    scene.fleet.wait_for(300, Duration::from_secs(90)).await;
    // The broker gives its jobs away after two heartbeats and some, here within ten seconds.
    let mut suspended = scene.replicas.swap_remove(0);
    suspended.stop_cont(Duration::from_secs(18)).await;
    scene.poured(pouring).await;
    suspended.wait_ready(Duration::from_secs(90)).await;
    scene.replicas.push(suspended);
    scene.rest().await;
    let owners = scene.inboxes();
    let mut by_others = HashSet::new();
    let mut by_it = 0;
    for executed in scene.fleet.executed() {
        match owners.get(inbox(&executed)) {
            Some(0) => {
                by_it += 1;
                // Nobody else lost a job, so whatever others began was not its own any more.
                assert!(!by_others.contains(&executed.job), "{executed:?} was begun by another replica before");
            }
            owner => {
                assert!(owner.is_some(), "an inbox without owner: {executed:?}");
                by_others.insert(executed.job);
            }
        }
    }
    assert!(by_it > 0);
    let verdict = scene.finish().await;
    assert!(verdict.results.iter().any(|result| result["redelivered"] == true), "nothing was given away");
    NODE.hand_on(node);
}

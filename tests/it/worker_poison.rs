//! A job that kills every worker that takes it: it ends in the dead letters, and its neighbours do not.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, check, job_with, said};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Neighbours of the one that kills.
const INNOCENT: usize = 24;

/// Kills each worker as soon as it has sent the poison to its device, until the poison is among the dead letters; returns
/// how many workers that took.
async fn feed(scene: &Scene) -> usize {
    let executed = || scene.executions().get("poison").copied().unwrap_or(0);
    let mut killed = 0;
    loop {
        let mut worker = Worker::start_ready(&scene.options, SOON).await;
        let fatal = async {
            while executed() <= killed {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let buried = async {
            while scene.caller.depth(&scene.dead).await == Some(0) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = fatal => {}
            () = buried => return killed,
            () = sleep(SOON) => panic!("the poison is neither run nor buried"),
        }
        worker.kill();
        killed = executed();
    }
}

async fn a_poison_costs_no_neighbour(queue_type: &str) {
    let scene = Scene::start(Dialect::Default).await.set("AMQP__QUEUE_TYPE", queue_type);
    // Slow enough that most of them are under way whenever a worker dies.
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(700)));
    scene.fleet.behave_as("deadly", Behaviour::Silent);
    Worker::start_ready(&scene.options, SOON).await.terminate();
    let job = |id: &str, device: &str, timeout: u64| {
        job_with(id, device, json!({"guarantee": "at_least_once", "timeout_ms": timeout}))
    };
    let mut jobs: Vec<Value> = (0..INNOCENT).map(|n| job(&format!("j{n}"), &format!("d{n}"), 60_000)).collect();
    jobs.insert(INNOCENT / 3, job("poison", "deadly", 5_000));
    scene.send_all(jobs.clone()).await;
    let killed = feed(&scene).await;
    // Three times among others and five times by itself; a kill between a copy and its ack makes two of one, which is most
    // likely where the copy runs at once.
    assert!((6..=60).contains(&killed), "{killed} workers were killed");
    let worker = scene.worker().await;
    for n in 0..INNOCENT {
        let result = scene.result(&format!("j{n}")).await;
        assert_eq!(said(&result), ("succeeded", "yes"), "{result}");
    }
    scene.wait_idle(&worker).await;
    let dead = scene.caller.take_dead_letters(&scene.dead).await;
    assert!(!dead.is_empty());
    for letter in dead {
        let body: Value = serde_json::from_slice(&letter.body).unwrap();
        assert_eq!((letter.reason.as_deref(), &body["id"]), (Some("poison"), &json!("poison")));
    }
    jobs.retain(|job| job["id"] != "poison");
    let executed = scene.fleet.executed().into_iter().filter(|one| one.device != "deadly").collect();
    let replies: Vec<_> = scene.caller.replies().into_iter().filter(|reply| reply.body["id"] != "poison").collect();
    check(&jobs, executed, &replies);
}

#[tokio::test]
async fn a_job_that_kills_its_workers_ends_in_the_dead_letters_alone() {
    a_poison_costs_no_neighbour("quorum").await;
}

#[tokio::test]
async fn it_ends_there_also_where_the_queue_does_not_count() {
    a_poison_costs_no_neighbour("classic").await;
}

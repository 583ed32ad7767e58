//! Workers that are replaced: under load nobody is told `unknown` and nothing runs twice, and what the last one sent is not said to be unsent.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, job_with, said};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Jobs in all, sent in handfuls while workers come and go.
const JOBS: usize = 1_200;
const HANDFUL: usize = 20;
const REPLACED: usize = 6;

#[tokio::test]
async fn a_job_that_only_the_worker_before_could_send_is_not_said_to_be_unsent() {
    let scene = Scene::start(Dialect::Mqtt5).await;
    scene.fleet.behave(Behaviour::Silent);
    let job = |id| job_with(id, "d", json!({"profile": "mqtt5", "guarantee": "at_least_once", "timeout_ms": 60_000}));
    let first = scene.worker().await;
    scene.send(&job("j1")).await;
    scene.fleet.wait_for(1, SOON).await;
    drop(first);
    let scene = scene.set("MQTT__PROTOCOL", "3.1.1");
    let _second = scene.worker().await;
    let result = scene.result("j1").await;
    assert_eq!((said(&result), &result["error"]["code"]), (("unknown", "unknown"), &json!("invalid")), "{result}");
    // One that nobody had before surely is.
    let result = scene.ask(job("j2")).await;
    assert_eq!(said(&result), ("invalid", "no"), "{result}");
    scene.check(&[job("j1"), job("j2")]);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn replacing_every_worker_under_load_makes_nothing_unknown() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__CONCURRENCY", "50");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(60)));
    let jobs: Vec<_> = (0..JOBS)
        .map(|n| {
            let guarantee = if n % 2 == 0 { "at_most_once" } else { "at_least_once" };
            job_with(&format!("j{n}"), &format!("d{n}"), json!({"guarantee": guarantee, "timeout_ms": 60_000}))
        })
        .collect();
    let mut workers = vec![scene.worker().await, scene.worker().await];
    let sending = async {
        for (sent, handful) in jobs.chunks(HANDFUL).enumerate() {
            scene.send_all(handful.to_vec()).await;
            // Never far ahead of the workers: they are to be busy, and stopped while they are.
            let answered = (sent * HANDFUL).saturating_sub(6 * HANDFUL);
            scene.caller.wait_for(answered, SOON).await;
        }
    };
    let replacing = async {
        for _ in 0..REPLACED {
            let next = Worker::start_ready(&scene.options, SOON).await;
            let mut last = std::mem::replace(&mut workers[0], next);
            workers.rotate_left(1);
            last.terminate();
            assert_eq!(last.wait(SOON).await.code(), Some(0));
        }
    };
    tokio::join!(sending, replacing);
    scene.caller.wait_for(JOBS, SOON).await;
    for worker in &workers {
        scene.wait_idle(worker).await;
    }
    let mut ends: BTreeMap<(String, String), usize> = BTreeMap::new();
    for reply in scene.caller.replies() {
        let (status, executed) = said(&reply.body);
        *ends.entry((status.to_owned(), executed.to_owned())).or_default() += 1;
    }
    assert_eq!(ends.keys().collect::<Vec<_>>(), [&("succeeded".to_owned(), "yes".to_owned())], "{ends:?}");
    assert!(scene.executions().values().all(|times| *times == 1), "something ran twice");
    scene.check(&jobs);
}

//! Replicas that claim, killed at random, and producers that send a fifth of their jobs twice.

use crate::load::{Plan, at};
use crate::relay::NODE;
use crate::scene::{CONCURRENCY, Scene};
use rand::RngExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard::amqp::{self, Connection, Stream, StreamSpec};
use tokio::time::{Instant, sleep_until, timeout};

const JOBS: usize = 2_000;
const KILLS: usize = 30;
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
#[ignore = "long: make faults"]
async fn replicas_that_claim_run_nothing_twice_and_guess_only_what_was_about_to_be_sent() {
    let node = NODE.take().await;
    let mut scene = Scene::start("kill -9 of a replica every 2 s, with claims and repetitions", &node).await;
    scene.set("WORKER__CLAIMS", "true");
    scene.unknown_at_most = Some(KILLS * CONCURRENCY);
    scene.replicas(3).await;
    let mut next = Instant::now();
    let mut repeated = 0;
    for round in 0..KILLS {
        let mut plans = Vec::new();
        for mut plan in scene.short_plans(&format!("r{round}"), JOBS.div_ceil(KILLS)) {
            // The same message to the byte: another one under the same id would be another job.
            plan.job["expires_at"] = at(plan.life).into();
            if scene.dice.random_range(0..5) == 0 {
                plans.push(Plan { job: plan.job.clone(), life: plan.life });
                repeated += 1;
            }
            plans.push(plan);
        }
        let (count, before) = (plans.len(), scene.fleet.executed().len());
        scene.send(plans).await;
        let commands = scene.dice.random_range(0..count / 2);
        scene.fleet.wait_for(before + commands, Duration::from_secs(90)).await;
        let victim = scene.dice.random_range(0..3);
        scene.kill_and_replace(victim);
        next += Duration::from_secs(2);
        sleep_until(next).await;
    }
    scene.rest().await;
    let claimed = claimed(&scene).await;
    let verdict = scene.finish().await;
    let dead: Vec<_> =
        verdict.dead.iter().map(|letter| (&letter.reason, String::from_utf8_lossy(&letter.body))).collect();
    assert!(dead.is_empty(), "{dead:?}");
    let mut ends: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for result in &verdict.results {
        ends.entry(result["id"].as_str().unwrap()).or_default().insert(result["executed"].as_str().unwrap());
    }
    let at_most_once: BTreeSet<&str> = verdict
        .sent
        .iter()
        .filter(|sent| sent.job["guarantee"] != "at_least_once")
        .map(|sent| sent.job["id"].as_str().unwrap())
        .collect();
    let guesses = at_most_once.iter().filter(|id| ends[*id] == BTreeSet::from(["unknown"]));
    let never_sent: Vec<_> = guesses.clone().filter(|id| verdict.times(id) == 0).collect();
    eprintln!(
        "  {repeated} jobs sent twice; of {} at-most-once jobs {} are unknown for good, {} of them never sent",
        at_most_once.len(),
        guesses.count(),
        never_sent.len()
    );
    // Nothing tells a worker that was killed right before it sent from one that was killed right after; but what no worker had
    // claimed was run.
    let unclaimed: Vec<_> = never_sent.iter().filter(|id| !claimed.contains(**id as &str)).collect();
    assert!(unclaimed.is_empty(), "nobody claimed these, and they are unknown: {unclaimed:?}");
    NODE.hand_on(node);
}

/// The ids of all jobs that the claim log has a claim of.
async fn claimed(scene: &Scene) -> BTreeSet<String> {
    let spec = StreamSpec {
        name: format!("{}.claims", scene.options.queue),
        max_age: HOUR,
        max_bytes: 1 << 30,
        segment_bytes: 1 << 20,
        declare: false,
    };
    let options = amqp::Options { url: scene.options.amqp_url.clone(), ..amqp::Options::default() };
    let (_stream, mut records) = Stream::start(Connection::start(options, "read"), spec, HOUR, 500);
    let mut ids = BTreeSet::new();
    // At rest nobody writes but the marks of the workers, one a minute each.
    while let Ok(Some(record)) = timeout(Duration::from_secs(3), records.recv()).await {
        let record: Value = serde_json::from_slice(&record.envelope.body).unwrap();
        if record["record"] == "claim" {
            ids.insert(record["id"].as_str().unwrap().to_owned());
        }
    }
    assert!(!ids.is_empty(), "nothing was claimed");
    ids
}

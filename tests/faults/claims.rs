//! Replicas that claim, killed at random, and producers that send a fifth of their jobs twice.

use crate::load::{Plan, at};
use crate::relay::NODE;
use crate::scene::{CONCURRENCY, Scene};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const JOBS: usize = 2_000;
const KILLS: usize = 30;

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
        for mut plan in scene.plans(&format!("r{round}"), JOBS.div_ceil(KILLS)) {
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
    // Nothing tells a worker that was killed right before it sent from one that was killed right after.
    let guesses = at_most_once.iter().filter(|id| ends[*id] == BTreeSet::from(["unknown"]));
    let never_sent = guesses.clone().filter(|id| verdict.times(id) == 0).count();
    eprintln!(
        "  {repeated} jobs sent twice; of {} at-most-once jobs {} are unknown for good, {never_sent} of them never sent",
        at_most_once.len(),
        guesses.count()
    );
    assert!(never_sent <= KILLS, "{never_sent} jobs that were never sent are unknown");
    NODE.hand_on(node);
}

//! A job that kills whoever runs it, among a thousand that do not.

use crate::harness::device::Behaviour;
use crate::harness::eventually::eventually;
use crate::load::{Plan, job};
use crate::relay::NODE;
use crate::scene::{SOON, Scene, inbox};
use serde_json::Value;
use std::time::Duration;

const GOOD: usize = 1_000;
/// More deaths than this one job may cause.
const DEATHS: usize = 25;

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_job_that_kills_every_worker_ends_in_the_dead_letters_and_no_other_does() {
    let node = NODE.take().await;
    let mut scene = Scene::start("a job that kills its worker, among good ones", &node).await;
    scene.fleet.behave_as("d7777", Behaviour::Silent);
    scene.replicas(3).await;
    let (good, poison) = (scene.plans("good", GOOD), job("poison", 7777, "at_least_once"));
    let pouring = scene.pour(good, Duration::from_secs(30));
    scene.send(vec![Plan { job: poison, life: Duration::from_secs(600) }]).await;
    let mut deaths = 0;
    let dead = crate::harness::caller::Caller::connect(&node.node().url()).await;
    eventually("the job is among the dead letters", 3 * SOON, async || {
        let runs: Vec<_> =
            scene.fleet.executed().into_iter().filter(|executed| executed.job.as_deref() == Some("poison")).collect();
        if let Some(run) = runs.get(deaths) {
            // The one that ran it, at once: before the device could have answered.
            let killer = scene.inboxes()[inbox(run)];
            let victim = scene.numbers.iter().position(|number| *number == killer);
            scene.kill_and_replace(victim.expect("one that runs jobs runs"));
            deaths += 1;
            assert!(deaths <= DEATHS, "{deaths} workers died of one job");
        }
        dead.depth(&scene.dead).await.is_some_and(|depth| depth > 0)
    })
    .await;
    scene.poured(pouring).await;
    scene.all_ready().await;
    let verdict = scene.finish().await;
    eprintln!("  {deaths} workers died of it");
    let letters: Vec<_> = verdict
        .dead
        .iter()
        .map(|letter| {
            let body: Value = serde_json::from_slice(&letter.body).unwrap_or_default();
            (body["id"].as_str().unwrap_or_default().to_owned(), letter.reason.clone())
        })
        .collect();
    // A worker that dies between a copy and its ack makes two of one.
    assert!(!letters.is_empty());
    assert!(letters.iter().all(|letter| *letter == ("poison".to_owned(), Some("poison".to_owned()))), "{letters:?}");
    assert!(verdict.times("poison") >= deaths);
    NODE.hand_on(node);
}

//! What the chunks of one bulk at a worker have together: their turn to begin, and the worker's part of its concurrency.

use crate::harness::device::Behaviour;
use crate::harness::eventually::eventually;
use crate::worker_chunks::{Hand, job, now};
use crate::worker_scene::SOON;
use std::collections::BTreeMap;
use std::time::Duration;
use switchboard::job::{Job, Targets};
use switchboard::wire::bulk::Part;

/// The job without a concurrency of its own, for devices whose names begin like this.
fn wide(name: &str, devices: usize) -> Job {
    let mut job = job(devices);
    let Targets::Many(bulk) = &mut job.targets else { panic!("no bulk") };
    bulk.concurrency = None;
    bulk.targets.iter_mut().for_each(|target| target.device = format!("{name}{}", target.device).into());
    job
}

#[tokio::test]
async fn the_chunks_of_a_bulk_have_this_worker_s_part_of_its_concurrency_together_and_begin_one_after_the_other() {
    let hand = Hand::ready().await;
    let takes = 80;
    hand.scene.fleet.behave(Behaviour::Slow(Duration::from_millis(takes)));
    let worker = hand.scene.worker().await;
    let part = Some(Part { devices: 4, workers: 1 });
    for (release, name) in [(7, "first-"), (8, "second-"), (9, "third-")] {
        hand.send(release, &wide(name, 20), now() + 60_000, None, part).await;
        // The workers are counted.
        hand.scene.fleet.wait_for(1, SOON).await;
    }
    hand.scene.caller.wait_for(60, SOON).await;
    let executed = hand.scene.fleet.executed();
    let times: Vec<u64> = executed.iter().map(|executed| executed.at).collect();
    let most = times.iter().map(|at| times.iter().filter(|other| (*at..at + takes - 20).contains(other)).count()).max();
    assert!(most.is_some_and(|most| (2..=4).contains(&most)), "{most:?}");
    let mut order: Vec<&str> =
        executed.iter().filter_map(|executed| executed.device.split_once('-')).map(|name| name.0).collect();
    order.dedup();
    assert_eq!(order, ["first", "second", "third"]);
    hand.idle(&worker).await;
}

#[tokio::test]
async fn a_chunk_of_a_bulk_that_was_divided_over_fewer_workers_than_there_are_goes_back() {
    let hand = Hand::ready().await;
    let workers = [hand.scene.worker().await, hand.scene.worker().await];
    let queue = &hand.bulk_queue;
    eventually("both take chunks", SOON, async || hand.scene.caller.consumers(queue).await == Some(2)).await;
    let job = wide("", 30);
    hand.send(7, &job, now() + 60_000, None, Some(Part { devices: 300, workers: 1 })).await;
    assert_eq!(hand.counted(30).await, BTreeMap::from([("back", 30)]));
    assert_eq!(hand.scene.fleet.executed().len(), 0);
    hand.send(8, &job, now() + 60_000, None, Some(Part { devices: 300, workers: 2 })).await;
    hand.scene.caller.wait_for(30, SOON).await;
    assert_eq!(hand.scene.fleet.executed().len(), 30);
    for worker in &workers {
        hand.idle(worker).await;
    }
}

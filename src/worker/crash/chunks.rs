//! A chunk of a bulk under the same breaks: each of its devices is reported, and what goes back was not sent.

use super::plan::Fault;
use super::{Case, REPLIES};
use crate::envelope::Envelope;
use crate::job::{Bulk, Guarantee, Job, Payload, Target, Targets};
use crate::wire::bulk::{Chunk, Ranges, Record};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SHARD: &str = "bulk.coordinator.0";
/// The place of the first device.
const FIRST: u32 = 70;
const DEVICES: [&str; 2] = ["d0", "d1"];

fn case(guarantee: &str, claims: bool) -> Case {
    Case::new(&[json!({"kind": "chunk", "id": "b", "device": "", "guarantee": guarantee})], claims)
}

/// Two devices, one after the other.
pub(super) fn chunk(job: &Value) -> Envelope {
    let targets = DEVICES.map(|device| Target { device: device.into(), payload: None }).to_vec();
    let bulk = Bulk { concurrency: Some(1), ..Bulk::new(targets) };
    let guarantees = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce];
    let job = Job {
        payload: Payload::from(json!({"job": "b"})),
        timeout: Some(Duration::from_millis(super::TIMEOUT_MS)),
        guarantee: guarantees.into_iter().find(|guarantee| job["guarantee"] == guarantee.as_str()),
        enqueued_at: Some(crate::deadline::Now::read().unix_ms),
        ..Job::new("b", Targets::Many(bulk), "open")
    };
    let at = Ranges::of(FIRST, FIRST + 2);
    let chunk = Chunk { to: SHARD.to_owned(), release: 1, at, until: u64::MAX, say: None, part: None, perhaps: false };
    chunk.encode(&job, Some(REPLIES), None)
}

/// Everything that each device was reported to be, `back` among it.
fn reported(case: &Case) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut reported: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, record) in case.memory.published().into_iter().filter(|(queue, _)| queue == SHARD) {
        let Some(Ok(Record::Reports(reports))) = Record::decode(&record) else { panic!("{record:?}") };
        for report in reports {
            let done = report.done.iter().flat_map(|done| done.at.iter().map(|at| (at, done.status.as_str())));
            for (at, what) in done.chain(report.back.iter().map(|at| (at, "back"))) {
                reported.entry(DEVICES[(at - FIRST) as usize]).or_default().insert(what);
            }
        }
    }
    reported
}

/// Breaks every step of a chunk in turn, and judges each case with what its devices were reported to be; returns how many.
fn break_every_step(fault: Fault, guarantee: &str, claims: bool, may_be: &[&str]) -> usize {
    for at in 1.. {
        let case = case(guarantee, claims);
        let steps = case.live(fault, at);
        let Some(step) = steps.get(at - 1) else { return at - 1 };
        let what = format!("{fault:?} before {step}, step {at}, {guarantee}, claims {claims}");
        case.live(fault, 0);
        let reported = reported(&case);
        // Where the devices' connection is cut, only a device knows what it did.
        let at_device = ["command", "executed", "answer", "answered"].contains(step);
        let may_be = if fault == Fault::Cut && at_device { &[may_be, &["unknown"]].concat() } else { may_be };
        for device in DEVICES {
            let executed = case.log.all().iter().filter(|(_, executed)| executed == device).count();
            let Some(told) = reported.get(device) else { panic!("{what}: {device} is not reported") };
            assert!(told.iter().all(|told| may_be.contains(told)), "{what}: {device} is {told:?}");
            assert!(executed < 2 || guarantee == "at_least_once", "{what}: {device} was commanded {executed} times");
            assert!(executed == 0 || told.iter().any(|told| *told != "back"), "{what}: {device} only went back");
            assert!(executed > 0 || !told.contains("succeeded"), "{what}: {device} did nothing");
            let said = case.replies().iter().filter(|reply| super::said(reply)["device"] == device).count();
            let is_told = told.iter().any(|told| *told != "back");
            assert!(said > 0 || !is_told, "{what}: {device} is reported, and nobody was told");
        }
    }
    unreachable!()
}

#[test]
fn in_peace_each_result_is_confirmed_before_its_report_and_all_before_the_ack() {
    let case = case("at_most_once", false);
    let steps = case.live(Fault::Kill, 0);
    assert_eq!((steps[0], &steps[steps.len() - 2..]), ("deliver", &["settle", "settled"][..]));
    let queues: Vec<String> = case.memory.published().into_iter().map(|(queue, _)| queue).collect();
    assert_eq!((queues[0].as_str(), queues[queues.len() - 1].as_str()), (REPLIES, SHARD));
    assert_eq!(reported(&case), DEVICES.map(|device| (device, BTreeSet::from(["succeeded"]))).into());
}

#[test]
fn killed_before_any_step_nothing_of_a_chunk_is_lost_or_sent_twice_unless_it_may_be() {
    for claims in [false, true] {
        let broken = break_every_step(Fault::Kill, "at_most_once", claims, &["succeeded", "unknown"]);
        assert!(broken >= 15, "only {broken} steps were broken");
    }
    break_every_step(Fault::Kill, "at_least_once", false, &["succeeded"]);
}

#[test]
fn cut_off_from_its_queues_before_any_step_nothing_of_a_chunk_is_unknown() {
    for guarantee in ["at_most_once", "at_least_once"] {
        let broken = break_every_step(Fault::Cut, guarantee, false, &["succeeded", "timed_out", "back"]);
        assert!(broken >= 15, "only {broken} steps were broken");
    }
}

#[test]
fn stopped_before_any_step_a_chunk_goes_back_as_far_as_it_was_not_begun() {
    for claims in [false, true] {
        let broken = break_every_step(Fault::Stop, "at_most_once", claims, &["succeeded", "back"]);
        assert!(broken >= 15, "only {broken} steps were broken");
    }
}

//! A bulk after a takeover, by any clock, and with devices that take their time.

use super::course::{Course, Rules};
use super::course_tests::{OVER, RULES, all, course, plan, report};
use super::known::{Known, Purpose};
use super::log::{Out, Releases};
use crate::job::Guarantee;
use crate::outcome::Status;
use crate::wire::bulk::Ranges;
use std::time::Duration;

#[test]
fn whoever_takes_over_uses_no_number_again_also_where_nothing_is_out() {
    let mut one = course(plan(12, Guarantee::AtMostOnce, |_| {}));
    for release in one.release(0, 16, 2, &RULES) {
        one.report(&all(&release, Status::Succeeded));
    }
    assert_eq!(one.outstanding(), 0);
    let known: Known = serde_json::from_str(&serde_json::to_string(&one.known).unwrap()).unwrap();
    let next = Course::new(one.plan.clone(), known, 1).release(1, 16, 1, &RULES);
    assert_eq!(next[0].number, 3);
}

#[test]
fn of_what_was_taken_back_from_a_worker_nobody_says_that_it_was_not_commanded() {
    let plan = plan(12, Guarantee::AtLeastOnce, |_| {});
    let mut one = course(plan.clone());
    let first = one.release(0, 16, 1, &RULES);
    assert!(!first[0].sent.perhaps);
    one.take_back(OVER, &RULES);
    let again = one.release(OVER, 16, 1, &RULES);
    assert!(again[0].sent.perhaps && again[0].at == first[0].at, "{again:?}");
    // Whoever has that one did not begin it, which says nothing of the first.
    let out = |sent: &[super::course::Release]| Releases {
        id: "b".into(),
        releases: sent.iter().map(|one| Out { number: one.number, sent: one.sent, at: one.at.clone() }).collect(),
    };
    let mut known = Known::default();
    known.went_out(&out(&first));
    known.went_out(&out(&again));
    let mut next = Course::new(plan, known, OVER);
    next.report(&report(&again[0], &[], again[0].at.clone()));
    next.cancel();
    let told = next.release(OVER, 16, 99, &RULES);
    let [back, rest] = &told[..] else { panic!("{told:?}") };
    assert_eq!((back.at.clone(), back.sent.purpose, back.sent.perhaps), (first[0].at.clone(), Purpose::GiveUp, true));
    assert_eq!((rest.at.clone(), rest.sent.purpose, rest.sent.perhaps), (Ranges::of(4, 12), Purpose::GiveUp, false));
}

#[test]
fn a_fast_rate_of_single_devices_is_kept_and_a_clock_that_is_set_back_stops_nothing() {
    let mut one = course(plan(4000, Guarantee::AtMostOnce, |bulk| {
        (bulk.rate_per_second, bulk.concurrency) = (Some(700.0), Some(4));
    }));
    let mut sent = 0;
    let start = 10_000_000;
    for now in start..start + 3000 {
        for release in one.release(now, 1000, 99, &RULES) {
            sent += release.at.len();
            one.report(&all(&release, Status::Succeeded));
        }
    }
    // Three seconds, and the one that is caught up with at most.
    assert!((2100..=2801).contains(&sent), "{sent}");
    let hour = 3_600_000;
    let sent: usize = (start - hour..start - hour + 100).map(|now| one.release(now, 1000, 99, &RULES).len()).sum();
    assert!(sent > 0, "an hour is not waited for");
}

#[test]
fn a_chunk_is_waited_for_as_long_as_a_worker_may_take() {
    let patient = |has_progress, max| {
        let mut one = course(plan(4, Guarantee::AtMostOnce, |_| {}));
        one.plan.has_progress = has_progress;
        one.release(0, 16, 1, &RULES);
        one.wakes_at(&Rules { max_timeout: Duration::from_secs(max), ..RULES })
    };
    assert_eq!(patient(false, 60), Some(OVER));
    assert_eq!(patient(false, 1), Some(OVER - 8_000), "no worker waits longer than that");
    assert_eq!(patient(true, 60), Some(OVER + 110_000), "a device that says that it is at it has more");
}

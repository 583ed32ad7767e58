//! Jobs that cannot be sent in time under the same breaks: whether a "no" that was said stays true, whoever gets the job next.

use super::plan::Fault;
use super::{Case, TIMEOUT_MS, job, said};
use std::time::Duration;

/// Longer than a command waits for the connection over which it would be sent: who waits a second time sends it.
const GAP: Duration = Duration::from_millis(TIMEOUT_MS + 100);

/// What was said of a job, in its order: whether it was executed, and whether it was delivered before.
type Told = Vec<(String, bool)>;

/// Breaks each step of a job that is taken while its device's broker is away; lets the program live again, and judges.
fn break_every_step(fault: Fault, guarantee: &str, claims: bool, judge: impl Fn(&str, &Told)) {
    for at in 1.. {
        let case = Case::new(&[job("a", guarantee, "request")], claims);
        case.gap.set(Some(GAP));
        let steps = case.live(fault, at);
        let Some(step) = steps.get(at - 1) else {
            assert!(at > 5, "only {} steps were broken", at - 1);
            return;
        };
        let what = format!("{fault:?} before {step}, step {at}, {guarantee}, claims {claims}");
        case.live(fault, 0);
        let found = case.violations();
        let replies = case.replies();
        let told = replies.iter().map(said);
        let told: Told =
            told.map(|said| (said["executed"].as_str().unwrap().to_owned(), said["redelivered"] == true)).collect();
        assert!(found.is_empty(), "{what}: {found:?}, {told:?}");
        judge(&what, &told);
    }
}

#[test]
fn what_was_not_sent_in_time_stays_unsent_where_it_may_run_once() {
    for fault in [Fault::Kill, Fault::Cut, Fault::CutAll] {
        break_every_step(fault, "at_most_once", false, |_, _| {});
    }
}

#[test]
fn a_no_is_final_where_commands_are_claimed() {
    // Side by side: most of their time they wait for a claim of a dead worker to run out.
    std::thread::scope(|scope| {
        for guarantee in ["at_most_once", "at_least_once"] {
            for fault in [Fault::Kill, Fault::Cut, Fault::CutAll] {
                scope.spawn(move || break_every_step(fault, guarantee, true, |_, _| {}));
            }
        }
    });
}

#[test]
fn who_said_no_says_it_again_although_the_job_may_run_twice() {
    for fault in [Fault::Cut, Fault::CutAll] {
        break_every_step(fault, "at_least_once", false, |what, told| {
            let is_one = told.iter().all(|(executed, _)| *executed == told[0].0);
            assert!(is_one, "{what}: {told:?}");
        });
    }
}

#[test]
fn a_no_whose_ack_was_not_taken_is_overtaken_by_a_marked_repeat_of_what_may_run_twice() {
    let overtaken = std::cell::Cell::new(0);
    break_every_step(Fault::Kill, "at_least_once", false, |what, told| {
        if told.iter().any(|(executed, _)| executed == "no") && told.len() > 1 {
            let expected = [("no".to_owned(), false), ("yes".to_owned(), true)];
            assert_eq!(told[..], expected, "{what}");
            overtaken.set(overtaken.get() + 1);
        }
    });
    // Before its confirm was read, and before its ack was.
    assert_eq!(overtaken.get(), 2);
}

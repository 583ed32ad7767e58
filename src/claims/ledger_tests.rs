//! The ledger's rules, and the one property that matters: never two who may send.

use super::super::record::{Said, Subject};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LIMITS: Limits = Limits { ids: 100, reply_bytes: 10_000, window: Duration::from_secs(3600) };

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(LIMITS);
    ledger.begin(0);
    ledger
}

fn subject(id: &str) -> Subject {
    Subject::single(id.into())
}

fn claim(id: &str, by: u128, fresh: bool) -> Record {
    Record::Claim { subject: subject(id), by: Nonce(by), until: 1000, fresh }
}

fn release(id: &str, by: u128) -> Record {
    Record::Release { subject: subject(id), by: Nonce(by) }
}

fn result(id: &str, by: u128, reached: bool, body: &str) -> Record {
    let reply = Envelope { body: body.to_owned().into(), ..Envelope::default() };
    let status = if reached { Status::Succeeded } else { Status::Expired };
    Record::Result { subject: subject(id), by: Nonce(by), reached, status, reply: Said::of(&reply, 1000) }
}

fn won(id: &str, by: u128) -> Event {
    Event::Won(subject(id).key(), Nonce(by))
}

fn lost(id: &str, by: u128) -> Event {
    Event::Lost(subject(id).key(), Nonce(by))
}

fn holder(ledger: &Ledger, id: &str) -> Option<u128> {
    match ledger.standing(subject(id).key()) {
        Standing::Claimed { by, .. } => Some(by.0),
        _ => None,
    }
}

fn said(ledger: &Ledger, id: &str) -> Option<String> {
    match ledger.standing(subject(id).key()) {
        Standing::Done { reply: Some(reply), .. } => Some(String::from_utf8_lossy(&reply.body).into_owned()),
        _ => None,
    }
}

#[test]
fn the_first_claim_may_send_and_after_a_release_the_next_one() {
    let mut ledger = ledger();
    assert_eq!(ledger.apply(claim("a", 1, true), 0), won("a", 1));
    assert_eq!(ledger.apply(claim("a", 1, true), 0), Event::Nothing);
    assert_eq!(ledger.apply(claim("a", 2, true), 0), lost("a", 2));
    assert_eq!(ledger.apply(release("a", 2), 0), Event::Nothing, "not the owner");
    assert_eq!(ledger.apply(claim("b", 3, true), 0), won("b", 3));
    assert_eq!(ledger.apply(release("a", 1), 0), Event::Ended(subject("a").key()));
    // Copies that a publisher sent again: both had their chance.
    assert_eq!(ledger.apply(claim("a", 1, true), 0), Event::Nothing);
    assert_eq!(ledger.apply(claim("a", 2, true), 0), Event::Nothing);
    assert_eq!(ledger.apply(claim("a", 4, false), 0), won("a", 4));
}

#[test]
fn an_outcome_is_kept_and_a_no_may_be_tried_again_by_a_new_submission_alone() {
    let mut ledger = ledger();
    ledger.apply(claim("a", 1, true), 0);
    assert_eq!(ledger.apply(result("a", 1, false, "no"), 0), Event::Ended(subject("a").key()));
    assert_eq!(ledger.apply(claim("a", 2, false), 0), lost("a", 2));
    assert_eq!(ledger.apply(claim("a", 1, true), 0), Event::Nothing, "a copy of the first claim");
    assert_eq!(said(&ledger, "a").as_deref(), Some("no"));
    assert_eq!(ledger.apply(claim("a", 3, true), 0), won("a", 3));
    assert_eq!(ledger.apply(result("a", 1, false, "no"), 0), Event::Nothing, "a copy of the first result");
    assert_eq!(holder(&ledger, "a"), Some(3));
    ledger.apply(result("a", 3, true, "yes"), 0);
    assert_eq!(ledger.apply(claim("a", 4, true), 0), lost("a", 4));
    assert_eq!(ledger.apply(result("a", 5, true, "another yes"), 0), Event::Nothing);
    assert_eq!(said(&ledger, "a").as_deref(), Some("yes"));
    assert_eq!(ledger.bytes, "yes".len() + OVERHEAD);
}

#[test]
fn an_answer_counts_whoever_brings_it() {
    let mut ledger = ledger();
    ledger.apply(claim("a", 1, true), 0);
    assert_eq!(ledger.apply(result("a", 2, false, "no"), 0), Event::Nothing);
    assert_eq!(ledger.apply(result("a", 2, true, "yes"), 0), Event::Ended(subject("a").key()));
    assert_eq!(said(&ledger, "a").as_deref(), Some("yes"));
}

#[test]
fn the_oldest_replies_go_first_and_their_outcomes_stay() {
    let mut ledger = Ledger::new(Limits { reply_bytes: 2 * (OVERHEAD + 4), ..LIMITS });
    for (by, id) in ["a", "b", "c"].into_iter().enumerate() {
        ledger.apply(claim(id, by as u128, true), 0);
        ledger.apply(result(id, by as u128, true, "1234"), 0);
    }
    assert_eq!(
        ledger.standing(subject("a").key()),
        Standing::Done { reached: true, status: Status::Succeeded, reply: None }
    );
    assert!(said(&ledger, "b").is_some() && said(&ledger, "c").is_some());
    assert_eq!(ledger.apply(claim("a", 9, true), 0), lost("a", 9));
}

#[test]
fn what_is_forgotten_moves_the_horizon() {
    let mark = |at| Record::Mark { by: Nonce(7), at, clean: false };
    let hour = 3_600_000;
    let mut ledger = Ledger::new(Limits { ids: 2, ..LIMITS });
    ledger.begin(0);
    assert_eq!(ledger.horizon(hour), None);
    assert_eq!(ledger.apply(mark(hour), hour), Event::Marked(Nonce(7)));
    ledger.apply(mark(hour + 5), hour + 5);
    assert_eq!(ledger.horizon(hour + 5), Some(hour), "the first mark counts");
    for (by, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        ledger.apply(claim(id, by as u128, true), hour + 10 * by as u64);
    }
    ledger.apply(mark(0), hour + 40);
    assert_eq!((holder(&ledger, "b"), holder(&ledger, "d")), (None, Some(3)));
    assert_eq!(ledger.horizon(hour + 40), Some(hour + 10), "b was evicted");
    assert_eq!(ledger.horizon(3 * hour), Some(2 * hour), "nothing is kept longer than the window");
    ledger.apply(mark(0), 2 * hour + 30);
    assert_eq!(holder(&ledger, "d"), None);
    assert!(ledger.entries.is_empty() && ledger.order.is_empty());
    // Amid a log, the age of the first mark is less certain.
    ledger.begin(17);
    ledger.apply(mark(hour), hour);
    assert_eq!(ledger.horizon(hour), Some(hour + RESENT));
}

/// What writers do, one step after another: each claims first and ends once, in its own way. Some send without a claim, and
/// then only an answer is worth a record.
fn any_run(steps: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Record>> {
    let step = (prop_oneof![Just("a"), Just("b")], 0..10u128);
    prop::collection::vec(step, steps).prop_map(|steps| {
        let mut done: BTreeMap<(&str, u128), usize> = BTreeMap::new();
        let next = |(id, by): (&'static str, u128)| {
            let step = done.entry((id, by)).or_default();
            *step += 1;
            match (*step, by) {
                (1, 8..) => Some(result(id, by, true, "reply")),
                (1, _) => Some(claim(id, by, by % 2 == 0)),
                (2, 0 | 1) => Some(release(id, by)),
                (2, 2 | 3) => Some(result(id, by, false, "reply")),
                (2, 4 | 5) => Some(result(id, by, true, "reply")),
                // The others die, or have ended already.
                _ => None,
            }
        };
        steps.into_iter().filter_map(next).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Read at another pace, or by one that begins again, the log says the same; and whoever wins after another does so
    /// only because that one released it, or surely did not reach the device.
    #[test]
    fn every_reader_sees_the_same_owners_and_never_two_at_a_time(
        records in any_run(1..24),
        restart in 0..20usize,
    ) {
        let (mut one, mut other) = (ledger(), ledger());
        let mut owners: BTreeMap<String, u128> = BTreeMap::new();
        let mut ever: BTreeSet<(String, u128)> = BTreeSet::new();
        for (index, record) in records.iter().enumerate() {
            if index == restart {
                other.begin(0);
                for earlier in &records[..index] {
                    other.apply(earlier.clone(), 500);
                }
            }
            let event = one.apply(record.clone(), index as u64);
            prop_assert_eq!(event, other.apply(record.clone(), 1000 + 50 * index as u64));
            let (Record::Claim { subject, by, .. } | Record::Release { subject, by } | Record::Result { subject, by, .. }) =
                record else { continue };
            let id = subject.id.to_string();
            match (record, event) {
                (_, Event::Won(..)) => {
                    prop_assert!(!owners.contains_key(&id), "{:?} wins beside {:?}", by, owners[&id]);
                    prop_assert!(ever.insert((id.clone(), by.0)), "{:?} wins twice", by);
                    owners.insert(id.clone(), by.0);
                }
                (Record::Release { .. }, _) | (Record::Result { reached: false, .. }, _) if owners.get(&id) == Some(&by.0) => {
                    owners.remove(&id);
                }
                // A device that answered is never commanded again: the entry stays.
                _ => {}
            }
            prop_assert_eq!(one.standing(subject.key()), other.standing(subject.key()));
        }
    }

    /// Copies that come later, in any place, change nothing.
    #[test]
    fn a_record_that_is_sent_again_changes_nothing(
        records in any_run(1..20),
        copies in prop::collection::vec((0..20usize, 0..20usize), 0..8),
    ) {
        let mut with_copies: Vec<(Record, bool)> = Vec::new();
        for (index, record) in records.iter().enumerate() {
            with_copies.push((record.clone(), true));
            for (of, at) in &copies {
                if *at == index && *of <= index {
                    with_copies.push((records[*of].clone(), false));
                }
            }
        }
        let (mut plain, mut copied) = (ledger(), ledger());
        let expected: Vec<Event> = records.iter().map(|record| plain.apply(record.clone(), 0)).collect();
        let mut events = Vec::new();
        for (record, original) in with_copies {
            let event = copied.apply(record, 0);
            if original {
                events.push(event);
            } else {
                prop_assert!(!matches!(event, Event::Won(..)), "a copy wins");
            }
        }
        let winners = |events: &[Event]| events.iter().filter(|e| matches!(e, Event::Won(..))).copied().collect::<Vec<_>>();
        prop_assert_eq!(winners(&events), winners(&expected));
    }
}

#[test]
fn a_log_that_began_where_no_job_was_knows_everything_until_it_forgets() {
    let mark = |clean| Record::Mark { by: Nonce(7), at: 5, clean };
    let mut ledger = Ledger::new(LIMITS);
    ledger.begin(0);
    ledger.apply(mark(true), 5);
    let late = 5 + 2 * u64::try_from(LIMITS.window.as_millis()).unwrap();
    assert_eq!(ledger.horizon(late), Some(0), "there is nothing that it could have forgotten");
    ledger.apply(claim("a", 1, true), 10);
    assert_eq!(ledger.horizon(10), Some(0));
    ledger.apply(mark(true), late + 10);
    assert!(ledger.horizon(late + 10).unwrap() > 5, "a was forgotten");
    for (offset, clean) in [(0, false), (1, true)] {
        let mut ledger = Ledger::new(LIMITS);
        ledger.begin(offset);
        ledger.apply(mark(clean), 5);
        assert!(ledger.horizon(6).unwrap() > 0, "offset {offset}, clean {clean}");
    }
}

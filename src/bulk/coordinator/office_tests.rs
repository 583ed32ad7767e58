//! A shard's queue, read by one coordinator after another: nothing that was acked was needed, and nothing is done twice.

use super::course::{Release, Rules};
use super::log::{self, Entry};
use super::office::{Office, Room, Wish};
use super::plan::ChunkLimits;
use crate::amqp::Tag;
use crate::envelope::Envelope;
use crate::job::{Bulk, Job, Target, Targets};
use crate::outcome::Status;
use crate::wire::bulk::{Ask, Carried, Done, End, Record, Report, Stand, Start, What};
use crate::wire::native;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const RULES: Rules = Rules {
    chunk: ChunkLimits { devices: 5, bytes: 1000 },
    lease: Duration::from_secs(10),
    timeout: Duration::from_secs(5),
    max_timeout: Duration::from_secs(60),
    slack: Duration::from_secs(2),
    workers: 2,
};
const ROOM: Room = Room { bulks: 3, bytes: 1_000_000 };

/// The queue of a shard: what is not acked is read again by the next coordinator.
#[derive(Default)]
struct Queue {
    unacked: BTreeMap<u64, Envelope>,
    last: u64,
}

impl Queue {
    fn put(&mut self, envelope: Envelope) -> u64 {
        self.last += 1;
        self.unacked.insert(self.last, envelope);
        self.last
    }

    /// To the coordinator that reads now.
    fn give(&mut self, office: &mut Office, envelope: Envelope) {
        let tag = self.put(envelope.clone());
        office.take(Tag::of(tag), envelope, false, 5);
    }

    fn ack(&mut self, tags: &[Tag]) {
        for number in self.unacked.keys().copied().collect::<Vec<_>>() {
            if tags.contains(&Tag::of(number)) {
                self.unacked.remove(&number);
            }
        }
    }

    /// The next coordinator, which reads everything again, the last first if need be.
    fn taken_over(&mut self, by: &str, backwards: bool) -> Office {
        let mut office = Office::new(by.to_owned(), ROOM, BTreeSet::new(), BTreeSet::new());
        let mut left: Vec<(u64, Envelope)> = self.unacked.clone().into_iter().collect();
        if backwards {
            left.reverse();
        }
        for (tag, envelope) in left {
            office.take(Tag::of(tag), envelope, true, 5);
        }
        self.give(&mut office, log::barrier("somebody else"));
        assert!(office.is_recovering());
        self.give(&mut office, log::barrier(by));
        assert!(!office.is_recovering());
        self.settle(&mut office);
        office
    }

    /// Writes down what is known, lets go of what that says.
    fn settle(&mut self, office: &mut Office) {
        let (written, served) = office.write_down(5);
        for envelope in written {
            self.give(office, envelope);
        }
        self.ack(&served);
        self.ack(&std::mem::take(&mut office.done));
    }

    /// Releases what may go out.
    fn release(&mut self, office: &mut Office, most: usize) -> Vec<(Arc<str>, Vec<Release>)> {
        let released = office.releases(5, 1000, most, &RULES);
        for (id, releases) in &released {
            let written = office.written(id, releases);
            self.give(office, written);
        }
        released
    }
}

fn start(id: &str, devices: u32, command: &str) -> Start {
    let targets = (0..devices).map(|n| Target { device: format!("d{n}").into(), payload: None }).collect();
    let job = Job { enqueued_at: Some(1), ..Job::new(id, Targets::Many(Bulk::new(targets)), command) };
    let message = native::encode(&job);
    Start {
        id: id.into(),
        job: serde_json::from_slice(&message.body).unwrap(),
        made_at: Some(1),
        at: 1,
        reply_to: Some("r".into()),
        correlation_id: None,
        end: Some(End { queue: "jobs".into(), message: Carried::of(message) }),
    }
}

fn handed_over(id: &str, devices: u32) -> Envelope {
    Record::Start(Box::new(start(id, devices, "go"))).encode()
}

fn reports(released: &[(Arc<str>, Vec<Release>)], status: Status) -> Envelope {
    let report = |id: &Arc<str>, release: &Release| Report {
        id: id.clone(),
        release: release.number,
        done: vec![Done { status, at: release.at.clone() }],
        back: Default::default(),
    };
    let all = released.iter().flat_map(|(id, releases)| releases.iter().map(|release| report(id, release)));
    Record::Reports(all.collect()).encode()
}

fn kinds(queue: &Queue) -> BTreeSet<String> {
    queue.unacked.values().filter_map(|envelope| envelope.kind.clone()).collect()
}

#[test]
fn whoever_takes_over_knows_what_the_former_one_knew_however_it_is_read() {
    for backwards in [false, true] {
        let mut queue = Queue::default();
        let mut office = queue.taken_over("one", backwards);
        queue.give(&mut office, handed_over("a", 20));
        queue.give(&mut office, handed_over("b", 20));
        let first = queue.release(&mut office, 2);
        // Of both bulks, in one message.
        queue.give(&mut office, reports(&first, Status::TimedOut));
        let second = queue.release(&mut office, 1);
        for round in ["two", "three"] {
            let mut next = queue.taken_over(round, backwards);
            for id in ["a", "b"] {
                let (was, is) = (&office.bulks[id].course, &next.bulks[id].course);
                assert_eq!((is.counts(), is.outstanding()), (was.counts(), was.outstanding()), "{round}");
                assert_eq!((is.ended(), is.outstanding()), (10, 5));
            }
            // What is out stays out: only what never was goes out.
            let third = next.releases(5, 1000, 99, &RULES);
            let places: Vec<u32> = third.iter().flat_map(|(_, releases)| releases).flat_map(|r| r.at.iter()).collect();
            assert_eq!(places, [15, 16, 17, 18, 19, 15, 16, 17, 18, 19]);
        }
        assert_eq!(second.len(), 2);
    }
}

#[test]
fn snapshots_make_the_log_short() {
    let mut queue = Queue::default();
    let mut office = queue.taken_over("one", false);
    queue.give(&mut office, handed_over("a", 500));
    for _ in 0..100 {
        let released = queue.release(&mut office, 1);
        queue.give(&mut office, reports(&released, Status::Succeeded));
        if office.is_due(5) {
            queue.settle(&mut office);
        }
    }
    assert!(queue.unacked.len() < 250, "{}", queue.unacked.len());
    queue.settle(&mut office);
    queue.settle(&mut office);
    assert_eq!(queue.unacked.len(), 3, "the start, its snapshot, and what is known besides: {:?}", kinds(&queue));
    assert!(queue.taken_over("two", false).bulks["a"].course.is_finished());
}

#[test]
fn a_bulk_that_ended_is_known_when_it_comes_again_and_its_leftovers_are_let_go() {
    let mut queue = Queue::default();
    let mut office = queue.taken_over("one", false);
    queue.give(&mut office, handed_over("a", 3));
    let released = queue.release(&mut office, 9);
    queue.give(&mut office, reports(&released, Status::Succeeded));
    assert!(office.bulks["a"].course.is_finished());
    let held = office.ended(&"a".into(), 7);
    let (written, served) = office.write_down(7);
    written.into_iter().for_each(|envelope| queue.give(&mut office, envelope));
    queue.ack(&served);
    // It dies before the rest is acked.
    assert!(!held.is_empty());
    let mut next = queue.taken_over("two", false);
    assert!(next.bulks.is_empty());
    assert!(
        matches!(&next.wishes[..], [Wish::Repeat { ended, .. }] if ended.stand == Stand::Completed && ended.counts[0] == 3)
    );
    let Some(Wish::Repeat { tag, .. }) = next.wishes.pop() else { panic!("to be told again") };
    queue.ack(&[tag]);
    queue.settle(&mut next);
    assert_eq!(kinds(&queue), BTreeSet::from(["switchboard.bulk.standing".to_owned()]));
    queue.give(&mut next, reports(&released, Status::TimedOut));
    queue.settle(&mut next);
    assert_eq!(queue.unacked.len(), 1, "a late report of it is nobody's");
    queue.give(&mut next, Record::Start(Box::new(start("a", 3, "stop"))).encode());
    assert!(matches!(next.wishes.pop(), Some(Wish::Refuse { .. })) && next.bulks.is_empty());
    // Its own message, sent anew and read after the end, asks for nothing.
    queue.give(&mut next, Envelope { app_id: Some("two".to_owned()), ..handed_over("a", 3) });
    assert!(next.wishes.is_empty() && next.bulks.is_empty());
}

#[test]
fn one_that_comes_twice_is_run_once_and_both_hear_its_end() {
    let mut queue = Queue::default();
    let mut office = queue.taken_over("one", false);
    queue.give(&mut office, handed_over("a", 3));
    let mut again = start("a", 3, "go");
    again.at = 2;
    queue.give(&mut office, Record::Start(Box::new(again)).encode());
    assert_eq!((office.bulks.len(), office.bulks["a"].course.known.ends.len()), (1, 2));
    queue.give(&mut office, Record::Start(Box::new(start("a", 3, "stop"))).encode());
    assert!(matches!(&office.wishes[..], [Wish::Refuse { .. }]));
    office.wishes.clear();
    queue.settle(&mut office);
    let next = queue.taken_over("two", true);
    assert_eq!(next.bulks["a"].course.known.ends.len(), 2);
}

#[test]
fn there_are_no_more_than_there_is_room_for_and_what_has_begun_goes_on() {
    let mut queue = Queue::default();
    let mut office = queue.taken_over("one", false);
    for id in ["a", "b", "c", "d"] {
        queue.give(&mut office, handed_over(id, 3));
    }
    assert_eq!(office.bulks.len(), 3);
    assert!(matches!(&office.wishes[..], [Wish::Later { start, .. }] if start.message_id.as_deref() == Some("d")));
    queue.release(&mut office, 9);
    let next = queue.taken_over("two", true);
    assert_eq!(next.bulks.keys().map(|id| &**id).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn a_pause_is_written_down() {
    let mut queue = Queue::default();
    let mut office = queue.taken_over("one", false);
    queue.give(&mut office, handed_over("a", 3));
    let ask = Ask { id: "a".into(), what: What::Pause, at: 9 };
    office.asked(&ask, 9);
    queue.settle(&mut office);
    let mut next = queue.taken_over("two", false);
    assert_eq!(next.bulks["a"].course.stand(), Stand::Paused);
    assert!(next.releases(10, 1000, 9, &RULES).is_empty());
    next.asked(&Ask { what: What::Resume, at: 10, ..ask }, 10);
    assert_eq!(next.releases(10, 1000, 9, &RULES).len(), 1);
}

#[test]
fn what_nobody_understands_is_dropped() {
    let mut office = Office::new("one".into(), ROOM, BTreeSet::new(), BTreeSet::new());
    for envelope in
        [Envelope::default(), Envelope { kind: Some("switchboard.bulk.start".into()), ..Envelope::default() }]
    {
        assert!(log::read(&envelope).is_err());
        office.take(Tag::of(1), envelope, false, 1);
    }
    assert_eq!(office.done.len(), 2);
    assert!(matches!(log::read(&log::barrier("x")), Ok(Entry::Barrier)));
}

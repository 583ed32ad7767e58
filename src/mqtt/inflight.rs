//! Publishes past the point of no return: which packet id is whose, and which bytes of the connection they were.

use super::fate::{Fate, Progress};
use super::publication::{Class, Publication};
use crate::table::Table;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A publish and where it began in the bytes of this connection.
struct Flight {
    /// `None` once its waiter was told that its fate is unknown; its packet id stays taken until the broker says something.
    publication: Option<Publication>,
    class: Class,
    start: u64,
}

#[derive(Default)]
pub(crate) struct Inflight {
    /// QoS 1, waiting for PUBACK.
    unacknowledged: Table<u16, Flight>,
    /// The same by the time at which they were handed over; the first is always one that still waits.
    by_age: VecDeque<(u16, u64, Instant)>,
    /// QoS 0, waiting for the socket; with the position of the last byte.
    unwritten: VecDeque<(Publication, u64, u64)>,
    written: u64,
    bulk: usize,
    given_up: usize,
    last_pkid: u16,
}

impl Inflight {
    /// QoS 1 publishes without PUBACK.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// How many of them are of the bulk class.
    pub(crate) fn bulk(&self) -> usize {
        self.bulk
    }

    /// How many of them nobody waits for any more.
    pub(crate) fn given_up(&self) -> usize {
        self.given_up
    }

    /// A packet id that is in use neither here nor, says the caller, elsewhere. Never 0.
    pub(crate) fn free_pkid(&mut self, used_elsewhere: impl Fn(u16) -> bool) -> u16 {
        // The windows are far below 65,535, so this ends.
        loop {
            self.last_pkid = self.last_pkid.wrapping_add(1).max(1);
            if !self.unacknowledged.contains_key(&self.last_pkid) && !used_elsewhere(self.last_pkid) {
                return self.last_pkid;
            }
        }
    }

    pub(crate) fn insert_unacknowledged(&mut self, pkid: u16, publication: Publication, start: u64, now: Instant) {
        self.bulk += usize::from(publication.class == Class::Bulk);
        self.by_age.push_back((pkid, start, now));
        self.unacknowledged.insert(pkid, Flight { class: publication.class, publication: Some(publication), start });
    }

    pub(crate) fn push_unwritten(&mut self, publication: Publication, start: u64, end: u64) {
        self.unwritten.push_back((publication, start, end));
    }

    /// PUBACK: the publish it was for, if it was for any that somebody waits for.
    ///
    /// An acknowledgement of what has not begun to leave is a late one for an earlier publish with the same id, or made up.
    pub(crate) fn acknowledge(&mut self, pkid: u16) -> Option<Publication> {
        self.unacknowledged.get(&pkid).filter(|flight| flight.start < self.written)?;
        let flight = self.unacknowledged.remove(&pkid)?;
        self.bulk -= usize::from(flight.class == Class::Bulk);
        self.given_up -= usize::from(flight.publication.is_none());
        self.forget_acknowledged();
        flight.publication
    }

    fn forget_acknowledged(&mut self) {
        while let Some((pkid, start, _)) = self.by_age.front()
            && self.unacknowledged.get(pkid).is_none_or(|flight| flight.start != *start || flight.publication.is_none())
        {
            self.by_age.pop_front();
        }
    }

    /// When the oldest one was handed over that somebody still waits for.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.by_age.front().map(|(_, _, at)| *at)
    }

    /// Tells everybody who has waited this long for a PUBACK that it is not coming.
    pub(crate) fn give_up(&mut self, now: Instant, after: Duration) {
        while let Some((pkid, _, at)) = self.by_age.front().copied()
            && at + after <= now
        {
            if let Some(publication) = self.unacknowledged.get_mut(&pkid).and_then(|flight| flight.publication.take()) {
                self.given_up += 1;
                publication.notify.done(Fate::Unknown);
            }
            self.forget_acknowledged();
        }
    }

    /// The socket has taken the bytes up to here.
    pub(crate) fn on_written(&mut self, position: u64) {
        self.written = position;
        while self.unwritten.front().is_some_and(|(_, _, end)| *end <= position) {
            if let Some((publication, ..)) = self.unwritten.pop_front() {
                publication.notify.done(Fate::Written);
            }
        }
    }

    /// The connection is gone after this many written bytes: what had begun to leave is unknown; the rest, in its order,
    /// surely did not leave.
    pub(crate) fn on_down(&mut self, written: u64) -> Vec<Publication> {
        self.on_written(written);
        (self.bulk, self.given_up, self.written) = (0, 0, 0);
        self.by_age.clear();
        let unacknowledged =
            self.unacknowledged.drain().filter_map(|(_, flight)| Some((flight.publication?, flight.start)));
        let flights =
            unacknowledged.chain(self.unwritten.drain(..).map(|(publication, start, _)| (publication, start)));
        let (mut recalled, gone): (Vec<_>, Vec<_>) = flights.partition(|(_, start)| *start >= written);
        for (publication, _) in gone {
            publication.notify.done(Fate::Unknown);
        }
        recalled.sort_by_key(|(_, start)| *start);
        recalled
            .into_iter()
            .map(|(publication, _)| {
                publication.notify.progress(Progress::Recalled);
                publication
            })
            .collect()
    }
}

//! Publishes past the point of no return: which packet id is whose, and which bytes of the connection they were.

use super::fate::{Fate, Progress};
use super::publish::{Class, Publication};
use std::collections::{HashMap, VecDeque};

/// A publish and where it began in the bytes of this connection.
struct Flight {
    publication: Publication,
    start: u64,
}

#[derive(Default)]
pub(crate) struct Inflight {
    /// QoS 1, waiting for PUBACK.
    unacknowledged: HashMap<u16, Flight>,
    /// QoS 0, waiting for the socket; with the position of the last byte.
    unwritten: VecDeque<(Flight, u64)>,
    bulk: usize,
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

    pub(crate) fn insert_unacknowledged(&mut self, pkid: u16, publication: Publication, start: u64) {
        self.bulk += usize::from(publication.class == Class::Bulk);
        self.unacknowledged.insert(pkid, Flight { publication, start });
    }

    pub(crate) fn push_unwritten(&mut self, publication: Publication, start: u64, end: u64) {
        self.unwritten.push_back((Flight { publication, start }, end));
    }

    /// PUBACK: the publish it was for, if it was for any.
    pub(crate) fn acknowledge(&mut self, pkid: u16) -> Option<Publication> {
        let flight = self.unacknowledged.remove(&pkid)?;
        self.bulk -= usize::from(flight.publication.class == Class::Bulk);
        Some(flight.publication)
    }

    /// The socket has taken the bytes up to here.
    pub(crate) fn on_written(&mut self, position: u64) {
        while self.unwritten.front().is_some_and(|(_, end)| *end <= position) {
            if let Some((flight, _)) = self.unwritten.pop_front() {
                flight.publication.notify.done(Fate::Written);
            }
        }
    }

    /// The connection is gone after this many written bytes: what had begun to leave is unknown; the rest, in its order,
    /// surely did not leave.
    pub(crate) fn on_down(&mut self, written: u64) -> Vec<Publication> {
        self.on_written(written);
        self.bulk = 0;
        let flights =
            self.unacknowledged.drain().map(|(_, flight)| flight).chain(self.unwritten.drain(..).map(|(f, _)| f));
        let (mut recalled, gone): (Vec<_>, Vec<_>) = flights.partition(|flight| flight.start >= written);
        for flight in gone {
            flight.publication.notify.done(Fate::Unknown);
        }
        recalled.sort_by_key(|flight| flight.start);
        recalled
            .into_iter()
            .map(|flight| {
                flight.publication.notify.progress(Progress::Recalled);
                flight.publication
            })
            .collect()
    }
}

//! The coordinator's own records in its queue: its signs, what it releases, what it knows.

use super::cells::MOST;
use super::known::{Known, Sent};
use super::standing::Standing;
use crate::envelope::Envelope;
use crate::wire::bulk::{self, KIND, Ranges, Record};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Devices go out: written down before they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Releases {
    pub(super) id: Arc<str>,
    pub(super) releases: Vec<Out>,
}

/// One release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Out {
    pub(super) number: u32,
    pub(super) sent: Sent,
    pub(super) at: Ranges,
}

/// What a coordinator knows of one bulk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) id: Arc<str>,
    pub(super) known: Known,
}

/// Any message of a shard queue.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// From outside.
    Record(Record),
    Barrier,
    Releases(Releases),
    Snapshot(Snapshot),
    Standing(Standing),
}

/// A sign of its own.
pub(super) fn barrier(by: &str) -> Envelope {
    own(by, "barrier", &())
}

pub(super) fn releases(by: &str, releases: &Releases) -> Envelope {
    own(by, "releases", releases)
}

pub(super) fn snapshot(by: &str, snapshot: &Snapshot) -> Envelope {
    own(by, "snapshot", snapshot)
}

pub(super) fn standing(by: &str, standing: &Standing) -> Envelope {
    own(by, "standing", standing)
}

/// Who wrote it is in its id.
fn own<T: Serialize>(by: &str, name: &str, value: &T) -> Envelope {
    Envelope { app_id: Some(by.to_owned()), ..bulk::json(name, value) }
}

/// Whether this coordinator wrote it, and so knows already what it says.
pub(super) fn is_own(envelope: &Envelope, by: &str) -> bool {
    envelope.app_id.as_deref() == Some(by)
}

/// Reads a message.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(envelope: &Envelope) -> Result<Entry, String> {
    if let Some(record) = Record::decode(envelope) {
        return record.map(Entry::Record);
    }
    match envelope.kind.as_deref().and_then(|kind| kind.strip_prefix(KIND)) {
        Some("barrier") => Ok(Entry::Barrier),
        Some("releases") => bulk::read(envelope).map(Entry::Releases),
        Some("snapshot") => bulk::read(envelope).map(Entry::Snapshot),
        Some("standing") => bulk::read(envelope).map(Entry::Standing),
        _ => Err(format!("no coordinator writes a message of the type {:?}", envelope.kind)),
    }
}

impl Known {
    /// What a coordinator released.
    pub(super) fn went_out(&mut self, releases: &Releases) {
        for out in &releases.releases {
            let known = self.sent.entry(out.number).or_insert(out.sent);
            *known = out.sent.max(*known);
            self.taken_back |= out.sent.perhaps;
            for place in out.at.iter().take_while(|place| *place < MOST) {
                self.cells.release(place, out.number);
            }
        }
    }
}

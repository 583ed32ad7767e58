//! What is known of a bulk besides its list of devices: the part that is written down, and adds up. Pure.

use super::cells::Cells;
use crate::outcome::Status;
use crate::wire::bulk::{End, Report};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where summaries go besides the first requester's: whoever submitted the same bulk again.
pub(super) const MAX_ENDS: usize = 16;

/// What a release is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Its devices are commanded.
    Run,
    /// Its devices are told that they are not.
    GiveUp,
    /// Its devices are told that nobody can say.
    TellUnknown,
}

/// A release that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Sent {
    /// When: milliseconds since the Unix epoch.
    pub(super) at: u64,
    pub(super) purpose: Purpose,
    /// Over how many workers the concurrency of the bulk was divided; 0 where it was not.
    #[serde(default)]
    pub(super) workers: u32,
    /// Whether its devices may have been commanded before, by a worker that was not heard of.
    #[serde(default)]
    pub(super) perhaps: bool,
}

/// What is known of a bulk. Two pieces of any age merge to what both know: cells and flags only grow, `sent` forgets the releases of
/// which nothing is out, and of `ends` there is a bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) cells: Cells,
    /// Of the job that this is known of; 0 before anything was done about it.
    #[serde(default)]
    pub(super) digest: u64,
    /// The releases that devices are out with, or came back from.
    #[serde(default)]
    pub(super) sent: BTreeMap<u32, Sent>,
    /// Whether any device that may run twice was taken back from a worker that was not heard of: from then on nobody knows of
    /// a device that came back that it was never commanded.
    #[serde(default)]
    pub(super) taken_back: bool,
    #[serde(default)]
    pub(super) cancelled: bool,
    #[serde(default)]
    pub(super) aborted: bool,
    /// The latest word on whether it rests, and when it was said.
    #[serde(default)]
    pub(super) paused: (u64, bool),
    /// By when they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ends: Vec<(u64, End)>,
}

impl Known {
    /// What a worker reports. Places beyond the list are ignored where the list is known; before, its length is not.
    pub(super) fn report(&mut self, report: &Report, places: u32) {
        for done in &report.done {
            for place in done.at.iter().take_while(|place| *place < places) {
                self.cells.end(place, done.status);
            }
        }
        for place in report.back.iter().take_while(|place| *place < places) {
            self.cells.bring_back(place, report.release);
        }
    }

    /// Commutative, associative, idempotent.
    pub(super) fn merge(&mut self, other: Self) {
        self.cells.merge(&other.cells);
        self.digest = self.digest.max(other.digest);
        for (release, sent) in other.sent {
            let known = self.sent.entry(release).or_insert(sent);
            *known = sent.max(*known);
        }
        self.taken_back |= other.taken_back;
        self.cancelled |= other.cancelled;
        self.aborted |= other.aborted;
        self.paused = self.paused.max(other.paused);
        for end in other.ends {
            self.add_end(end);
        }
    }

    /// One more who waits for the end.
    pub(super) fn add_end(&mut self, end: (u64, End)) {
        if self.ends.contains(&end) {
            return;
        }
        self.ends.push(end);
        self.ends.sort_by(|(at, a), (other_at, b)| (at, &a.queue).cmp(&(other_at, &b.queue)));
        self.ends.truncate(MAX_ENDS);
    }

    /// How many devices came to each status, in the order of [`Status::ALL`].
    pub(super) fn counts(&self, places: u32) -> [usize; Status::ALL.len()] {
        let mut counts = [0; Status::ALL.len()];
        for place in 0..places {
            if let super::cells::Cell::Ended(status) = self.cells.get(place) {
                counts[status as usize] += 1;
            }
        }
        counts
    }
}

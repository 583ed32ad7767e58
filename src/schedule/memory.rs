//! What happened to a schedule so far, in three numbers that merge.

use serde::{Deserialize, Serialize};

/// What is remembered of a schedule. Each number is an instant in milliseconds since the Unix epoch and only ever grows, so
/// memories merge in any order, any number of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Memory {
    /// Everything up to here is settled: it fired, waits, or has lapsed. `None` before the schedule was ever looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// The latest instant that fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<u64>,
    /// The latest instant that had to wait for the end of the fire before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
}

impl Memory {
    /// What two that remember parts of the same history remember together.
    pub fn merge(self, other: Self) -> Self {
        Self {
            last: self.last.max(other.last),
            fired: self.fired.max(other.fired),
            queued: self.queued.max(other.queued),
        }
    }

    /// The instant that waits, if one does.
    ///
    /// What waits is always the last that was settled: a later one took its place, or shows that its time has passed. So
    /// nothing has to be taken back, which would not merge.
    pub fn waiting(&self) -> Option<u64> {
        self.queued.filter(|queued| Some(*queued) == self.last && Some(*queued) > self.fired)
    }
}

//! Jobs at set times: when each fires, which of its fires are due, and which have lapsed. Pure: time is an argument.
//!
//! A schedule is nothing but its configuration; what happened to it so far is its [`Memory`], a few numbers that merge. From
//! both and the time [`due()`] decides, so whoever takes the schedules over decides as its predecessor would have.

mod calendar;
mod due;
mod instant;
mod job;
mod memory;
#[cfg(test)]
mod tests;

pub use calendar::{Calendar, zone_names};
pub use due::{Decision, Fire, Lapse, Reason, due};
pub use instant::{in_utc, in_zone};
pub use job::{Devices, Work};
pub use memory::Memory;

use std::sync::Arc;
use std::time::Duration;

/// The longest name of a schedule, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// A job and its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name: 1 to [`MAX_NAME_BYTES`] letters, digits, `_`, `.` and `-`.
    pub name: Arc<str>,
    /// When it fires.
    pub calendar: Calendar,
    /// What happens to fires whose time has passed by more than `grace`.
    pub misfire: Misfire,
    /// How late a fire may be and still be on time.
    pub grace: Duration,
    /// How late a fire may be and still be made up for; what is older has lapsed, whatever `misfire` says.
    pub catch_up: Duration,
    /// What happens where the fire before is still running.
    pub overlap: Overlap,
    /// By how much a fire is put off at most, so that many schedules of one time do not begin as one.
    pub jitter: Duration,
    /// Whether it fires at all.
    pub enabled: bool,
    /// The queue for its results; with none they are counted and logged.
    pub reply_to: Option<String>,
    /// What it does.
    pub work: Work,
}

/// What happens to fires that are late by more than their grace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misfire {
    /// They lapse.
    Skip,
    /// The latest of them fires, unless one that is on time does; the others lapse.
    #[default]
    Once,
}

/// What happens where the fire before is still running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// The new one lapses.
    #[default]
    Skip,
    /// Both run.
    Allow,
    /// The new one waits for the end of the other; a still newer one takes its place.
    Queue,
    /// The old one is cancelled.
    Cancel,
}

impl Misfire {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Skip, Self::Once];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
        }
    }
}

impl Overlap {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Skip, Self::Allow, Self::Queue, Self::Cancel];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Allow => "allow",
            Self::Queue => "queue",
            Self::Cancel => "cancel",
        }
    }
}

impl Schedule {
    /// The id of the fire of an instant, whoever fires it: `name@2026-11-29T02:30:00Z`.
    pub fn fire_id(&self, instant: u64) -> Arc<str> {
        format!("{}@{}", self.name, in_utc(instant)).into()
    }

    /// By how much the fire of an instant is put off, in milliseconds: less than the jitter, and always the same.
    pub fn delay(&self, instant: u64) -> u64 {
        match millis(self.jitter) {
            0 => 0,
            most => instant::hash(&self.fire_id(instant)) % most,
        }
    }
}

/// The name of the schedule that a fire's id speaks of; `None` where it is no such id.
pub fn name_of(fire_id: &str) -> Option<&str> {
    fire_id.rsplit_once('@').map(|(name, _)| name).filter(|name| is_name(name))
}

/// Whether a schedule may be called that.
pub fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(letter)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

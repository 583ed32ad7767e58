//! The calendar and the decisions, without a clock.

mod dst;
mod policies;
mod properties;

use super::*;
use crate::job::{Job, Targets};

/// A minute, in milliseconds.
const MINUTE: u64 = 60_000;
/// An hour, in milliseconds.
const HOUR: u64 = 60 * MINUTE;

fn ms(text: &str) -> u64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond() as u64
}

/// A schedule with every default.
fn schedule(calendar: Calendar) -> Schedule {
    let job = Job::new("", Targets::One("d".into()), "c");
    Schedule {
        name: "n".into(),
        calendar,
        misfire: Misfire::Once,
        grace: Duration::from_secs(60),
        catch_up: Duration::from_secs(3600),
        overlap: Overlap::Skip,
        jitter: Duration::ZERO,
        enabled: true,
        reply_to: None,
        work: Work::new(job, None),
    }
}

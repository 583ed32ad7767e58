//! How long the MQTT broker takes to acknowledge publishes: what everything on the way to it and back is busy with.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The times of the publishes that were acknowledged since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    count: u32,
    sum: Duration,
    shortest: Option<Duration>,
}

/// How long the acknowledgements of some time took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) mean: Duration,
    pub(crate) shortest: Duration,
}

impl Acknowledgements {
    /// One more.
    pub(super) fn add(&self, took: Duration) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        seen.sum += took;
        seen.shortest = Some(seen.shortest.map_or(took, |shortest| shortest.min(took)));
    }

    /// What they took since the last look; `None` where there was none. Two that look at one time spoil each other's.
    pub(crate) fn look(&self) -> Option<Took> {
        let Seen { count, sum, shortest } =
            std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        Some(Took { mean: sum.checked_div(count)?, shortest: shortest? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_sees_what_came_since_the_last_one() {
        let times = Acknowledgements::default();
        assert_eq!(times.look(), None);
        times.add(Duration::from_millis(30));
        times.add(Duration::from_millis(10));
        let (mean, shortest) = (Duration::from_millis(20), Duration::from_millis(10));
        assert_eq!(times.look(), Some(Took { mean, shortest }));
        assert_eq!(times.look(), None);
        times.add(Duration::from_millis(50));
        let only = Duration::from_millis(50);
        assert_eq!(times.look(), Some(Took { mean: only, shortest: only }));
    }
}

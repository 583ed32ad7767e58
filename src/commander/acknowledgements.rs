//! How long the MQTT broker takes to acknowledge publishes: what everything on the way to it and back is busy with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The times of the publishes that were acknowledged since somebody looked.
#[derive(Debug)]
pub(crate) struct Acknowledgements {
    count: AtomicU64,
    micros: AtomicU64,
    /// Microseconds of the shortest; the largest number where there was none.
    shortest: AtomicU64,
}

/// How long the acknowledgements of some time took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) mean: Duration,
    pub(crate) shortest: Duration,
}

impl Default for Acknowledgements {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), micros: AtomicU64::new(0), shortest: AtomicU64::new(u64::MAX) }
    }
}

impl Acknowledgements {
    /// One more.
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 20);
        self.shortest.fetch_min(micros, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What they took since the last look; `None` where there was none. Two that look at one time spoil each other's.
    pub(crate) fn look(&self) -> Option<Took> {
        let (count, micros) = (self.count.swap(0, Ordering::Relaxed), self.micros.swap(0, Ordering::Relaxed));
        let mean = micros.checked_div(count).map(Duration::from_micros)?;
        let shortest = Duration::from_micros(self.shortest.swap(u64::MAX, Ordering::Relaxed));
        // One that came between these lines may be in one of the numbers only.
        Some(Took { mean, shortest: shortest.min(mean) })
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

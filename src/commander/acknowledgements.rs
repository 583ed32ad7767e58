//! How long the MQTT broker takes to acknowledge publishes: what everything on the way to it and back is busy with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The times of the publishes that were acknowledged since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Acknowledgements {
    /// One more.
    pub(super) fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 20), Ordering::Relaxed);
    }

    /// Their mean since the last look; `None` where there was none. Two that look at one time spoil each other's.
    pub(crate) fn mean(&self) -> Option<Duration> {
        let (count, micros) = (self.count.swap(0, Ordering::Relaxed), self.micros.swap(0, Ordering::Relaxed));
        micros.checked_div(count).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_what_came_since_the_last_look() {
        let times = Acknowledgements::default();
        assert_eq!(times.mean(), None);
        times.add(Duration::from_millis(10));
        times.add(Duration::from_millis(30));
        assert_eq!(times.mean(), Some(Duration::from_millis(20)));
        assert_eq!(times.mean(), None);
    }
}

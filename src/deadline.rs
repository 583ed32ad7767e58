//! Time as a command sees it: wall-clock instants from messages, turned once into instants that no clock change can move.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks, taken together; every decision gets it as an argument, so tests own the time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic clock: what timers and comparisons use.
    pub instant: Instant,
    /// The wall clock: milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_ms: unix.as_millis() as u64 }
    }

    /// The monotonic instant at which the wall clock will show `unix_ms`; now, if it already did.
    ///
    /// An instant further away than the clock can count is a year from now: nothing here waits that long.
    pub fn instant_of(&self, unix_ms: u64) -> Instant {
        let ahead = Duration::from_millis(unix_ms.saturating_sub(self.unix_ms));
        self.instant.checked_add(ahead.min(Duration::from_secs(365 * 86_400))).unwrap_or(self.instant)
    }

    /// Whether that wall-clock instant has passed.
    pub fn is_past(&self, unix_ms: u64) -> bool {
        self.unix_ms >= unix_ms
    }
}

/// The earlier of two optional instants.
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_instant_becomes_a_monotonic_one_and_a_past_one_is_now() {
        let now = Now { instant: Instant::now(), unix_ms: 1_000_000 };
        assert_eq!(now.instant_of(1_000_250), now.instant + Duration::from_millis(250));
        assert_eq!(now.instant_of(5), now.instant);
        assert!(now.instant_of(u64::MAX) > now.instant);
        assert!(now.is_past(1_000_000) && !now.is_past(1_000_001));
    }
}

//! When the next devices of a bulk with a rate may go out. Pure.

/// What was paused or slow is caught up with by so much at most.
const CATCH_UP_MS: u64 = 1000;

/// In microseconds since the Unix epoch: a fast rate of chunks of one device needs them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    next: u64,
    /// What went out last takes so long.
    step: u64,
}

impl Pace {
    /// At once. Times are milliseconds since the Unix epoch, here and below.
    pub(super) fn new(now: u64) -> Self {
        Self { next: micros(now), step: 0 }
    }

    /// Whether more may go out. By a clock that was set back it would be long until then: nothing waits longer than its turn takes.
    pub(super) fn is_due(&mut self, now: u64) -> bool {
        self.next = self.next.min(micros(now).saturating_add(self.step));
        self.next <= micros(now)
    }

    /// When it may.
    pub(super) fn at(&self) -> u64 {
        self.next.div_ceil(1000)
    }

    /// So many devices go out, at so many a second.
    pub(super) fn takes(&mut self, now: u64, devices: usize, rate: f64) {
        self.step = (devices as f64 * 1_000_000.0 / rate) as u64;
        self.next = self.next.max(micros(now.saturating_sub(CATCH_UP_MS))).saturating_add(self.step);
    }
}

fn micros(ms: u64) -> u64 {
    ms.saturating_mul(1000)
}

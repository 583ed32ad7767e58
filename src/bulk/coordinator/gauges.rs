//! What an active shard has in the gauges.

use crate::metrics::metrics;

/// Counted until dropped.
#[derive(Default)]
pub(super) struct Gauges {
    bulks: usize,
    schedules: bool,
}

impl Gauges {
    pub(super) fn count(&mut self, bulks: usize, schedules: bool) {
        let before = std::mem::replace(&mut self.bulks, bulks);
        metrics().bulk_active(i32::try_from(bulks).unwrap_or(i32::MAX) - i32::try_from(before).unwrap_or(i32::MAX));
        if schedules && !std::mem::replace(&mut self.schedules, true) {
            metrics().scheduler_active(1);
        }
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        metrics().bulk_active(-i32::try_from(self.bulks).unwrap_or(0));
        if self.schedules {
            metrics().scheduler_active(-1);
        }
    }
}

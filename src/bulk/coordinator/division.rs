//! The concurrency of a bulk, divided over the workers, so that none of them waits for the coordinator. Pure.

use crate::job::Bulk;
use crate::wire::bulk::Part;

/// The smallest part of a bulk's concurrency that a worker is given. With less, no more is out than may be under way: that is quick
/// enough then, and fewer devices are unknown where a worker dies.
const LEAST_PART: usize = 250;
/// So many times the concurrency is out: what waits in workers begins as soon as others have ended, and not only when the coordinator
/// has heard of those.
const AHEAD: usize = 4;
/// Beyond the concurrency no more chunks than that are out for each worker: other bulks have theirs behind them in the queue.
const CHUNKS_AHEAD: usize = 64;

/// Over how many workers the concurrency of a bulk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// All of it.
    all: Option<usize>,
    /// 0 where it is not divided.
    pub(super) workers: u32,
}

impl Division {
    /// Over so many workers, if each has enough then. Not where there is a rate: what waits in workers would begin at once as soon as
    /// it may.
    pub(super) fn over(workers: u32, bulk: &Bulk) -> Self {
        let workers = workers.max(1);
        let is_enough = |all: usize| all / workers as usize >= LEAST_PART;
        let is_divided = bulk.rate_per_second.is_none() && bulk.concurrency.is_some_and(is_enough);
        Self { all: bulk.concurrency, workers: if is_divided { workers } else { 0 } }
    }

    /// As a release was that went out with it.
    pub(super) fn of(workers: u32, bulk: &Bulk) -> Self {
        Self { all: bulk.concurrency, workers }
    }

    /// What each worker has.
    pub(super) fn part(self) -> Option<Part> {
        let devices = self.all?.checked_div(self.workers as usize)?;
        Some(Part { devices: u32::try_from(devices).unwrap_or(u32::MAX), workers: self.workers })
    }

    /// How many devices may be out.
    pub(super) fn out(self) -> usize {
        let times = if self.workers > 0 { AHEAD } else { 1 };
        self.all.map_or(usize::MAX, |all| all.saturating_mul(times))
    }

    /// Whether, with so many devices and chunks out, as many chunks wait as may.
    pub(super) fn is_ahead(self, devices: usize, chunks: usize) -> bool {
        let most = CHUNKS_AHEAD.saturating_mul(self.workers as usize);
        self.workers > 0 && chunks >= most && self.all.is_some_and(|all| devices >= all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::BulkResults;

    fn over(workers: u32, concurrency: Option<usize>, rate_per_second: Option<f64>) -> Division {
        let results = BulkResults::Stream;
        Division::over(workers, &Bulk { targets: Vec::new(), rate_per_second, concurrency, abort: None, results })
    }

    #[test]
    fn it_is_divided_where_each_has_enough_and_nothing_waits_for_a_rate() {
        let part = |workers, all, rate| over(workers, all, rate).part().map(|part| (part.devices, part.workers));
        assert_eq!(part(2, Some(600), None), Some((300, 2)));
        assert_eq!(part(2, Some(501), None), Some((250, 2)), "nobody has what cannot be divided");
        assert_eq!(part(2, Some(499), None), None);
        assert_eq!(part(3, Some(600), None), None);
        assert_eq!(part(0, Some(250), None), Some((250, 1)), "whoever counts nobody is there itself");
        assert_eq!(part(2, Some(600), Some(100.0)), None);
        assert_eq!(part(2, None, None), None);
    }

    #[test]
    fn more_is_out_than_may_be_under_way_where_it_is_divided() {
        assert_eq!(over(2, Some(600), None).out(), 2400);
        assert_eq!(over(3, Some(600), None).out(), 600);
        assert_eq!(over(2, None, None).out(), usize::MAX);
    }

    #[test]
    fn small_chunks_do_not_fill_the_queue() {
        let divided = over(2, Some(600), None);
        assert!(divided.is_ahead(600, 128));
        assert!(!divided.is_ahead(599, 500) && !divided.is_ahead(2000, 127));
        assert!(!over(3, Some(600), None).is_ahead(600, 600));
    }
}

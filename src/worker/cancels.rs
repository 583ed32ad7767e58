//! Which jobs are called off, and which of them run here: a bounded memory, without a clock of its own.

use crate::table::Table;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a cancel stands: as long as its record is kept.
pub const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// The cancels that a worker has read, and the jobs that it runs. Times are milliseconds since the Unix epoch.
pub(crate) struct Cancels {
    /// How many ids are remembered.
    most: usize,
    /// When each id was called off last.
    at: Table<Arc<str>, u64>,
    /// In the order in which they were read; an id that was called off again stands there twice, and once in vain.
    order: VecDeque<(u64, Arc<str>)>,
    /// Several may run under one id: the pieces of one bulk.
    running: Table<Arc<str>, Vec<Run>>,
    last_run: u64,
}

struct Run {
    number: u64,
    made_at: Option<u64>,
    token: CancellationToken,
}

/// A job that runs, known by its id until it is ended with [`Cancels::end`].
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    number: u64,
    /// Cancelled when the job is called off.
    pub(crate) token: CancellationToken,
}

impl Cancels {
    /// Remembers so many ids; the oldest are forgotten beyond that.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, at: Table::default(), order: VecDeque::new(), running: Table::default(), last_run: 0 }
    }

    /// A job is called off. True if it runs here and was made before.
    pub(crate) fn cancel(&mut self, id: &str, at: u64, now: u64) -> bool {
        // Producers' clocks differ from ours, but a cancel from beyond the memory of any stream is over.
        if at.saturating_add(KEPT.as_millis() as u64) > now {
            let id: Arc<str> = id.into();
            let known = self.at.entry(id.clone()).or_insert(0);
            *known = at.max(*known);
            self.order.push_back((at, id));
        }
        self.forget(now);
        let meant = self.running.get(id).into_iter().flatten().filter(|run| is_meant(run.made_at, at));
        meant.inspect(|run| run.token.cancel()).count() > 0
    }

    /// Whether a job that was made then is called off.
    pub(crate) fn is_cancelled(&self, id: &str, made_at: Option<u64>) -> bool {
        self.at.get(id).is_some_and(|at| is_meant(made_at, *at))
    }

    /// A job runs from now on; what calls it off from now on finds it.
    pub(crate) fn run(&mut self, id: &Arc<str>, made_at: Option<u64>) -> Watched {
        self.last_run += 1;
        let (number, token) = (self.last_run, CancellationToken::new());
        if self.is_cancelled(id, made_at) {
            token.cancel();
        }
        // Nearly always it is the only one.
        self.running.entry(id.clone()).or_insert_with(|| Vec::with_capacity(1)).push(Run {
            number,
            made_at,
            token: token.clone(),
        });
        Watched { number, token }
    }

    /// It does not run any more.
    pub(crate) fn end(&mut self, id: &str, watched: &Watched) {
        let Some(runs) = self.running.get_mut(id) else { return };
        runs.retain(|run| run.number != watched.number);
        if runs.is_empty() {
            self.running.remove(id);
        }
    }

    fn forget(&mut self, now: u64) {
        let oldest = now.saturating_sub(KEPT.as_millis() as u64);
        while let Some((at, id)) = self.order.front() {
            if *at > oldest && self.order.len() <= self.most {
                return;
            }
            // Called off again later, it stands further behind too.
            if self.at.get(id) == Some(at) {
                self.at.remove(id);
            }
            self.order.pop_front();
        }
    }
}

/// A job that was made after the cancel is another one with the same id. One that does not say when is meant.
fn is_meant(made_at: Option<u64>, cancelled_at: u64) -> bool {
    made_at.is_none_or(|made| made <= cancelled_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn a_job_made_before_its_cancel_is_meant_and_a_later_one_is_not() {
        let mut cancels = Cancels::new(10);
        assert!(!cancels.is_cancelled("a", Some(NOW)));
        assert!(!cancels.cancel("a", NOW, NOW), "it does not run here");
        assert!(cancels.is_cancelled("a", Some(NOW)) && cancels.is_cancelled("a", None));
        assert!(!cancels.is_cancelled("a", Some(NOW + 1)) && !cancels.is_cancelled("b", None));
        cancels.cancel("a", NOW - 5, NOW);
        assert!(cancels.is_cancelled("a", Some(NOW)), "an older cancel, read later, takes nothing back");
        cancels.cancel("a", NOW + 5, NOW);
        assert!(cancels.is_cancelled("a", Some(NOW + 1)));
    }

    #[test]
    fn what_runs_is_told_whether_it_began_before_or_after_the_cancel_was_read() {
        let (mut cancels, id) = (Cancels::new(10), Arc::from("a"));
        let first = cancels.run(&id, Some(NOW));
        assert!(!cancels.cancel("a", NOW - 1, NOW) && !first.token.is_cancelled(), "it means an earlier one");
        assert!(cancels.cancel("a", NOW, NOW) && first.token.is_cancelled());
        let second = cancels.run(&id, Some(NOW));
        assert!(second.token.is_cancelled(), "it was read before");
        cancels.end("a", &first);
        assert!(cancels.cancel("a", NOW, NOW), "the second one still runs");
        cancels.end("a", &second);
        assert!(!cancels.cancel("a", NOW, NOW) && cancels.running.is_empty());
    }

    #[test]
    fn every_piece_of_a_bulk_that_runs_is_called_off() {
        let (mut cancels, id) = (Cancels::new(10), Arc::from("a"));
        let runs = [Some(NOW), Some(NOW + 1), None].map(|made_at| cancels.run(&id, made_at));
        assert!(cancels.cancel("a", NOW, NOW));
        assert_eq!(runs.each_ref().map(|run| run.token.is_cancelled()), [true, false, true], "one was made later");
        cancels.end("a", &runs[0]);
        cancels.end("a", &runs[2]);
        assert!(!cancels.cancel("a", NOW, NOW) && cancels.cancel("a", NOW + 1, NOW));
        cancels.end("a", &runs[1]);
        assert!(cancels.running.is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten_beyond_the_bound_and_after_their_time() {
        let mut cancels = Cancels::new(2);
        for id in ["a", "b", "c"] {
            cancels.cancel(id, NOW, NOW);
        }
        assert_eq!(["a", "b", "c"].map(|id| cancels.is_cancelled(id, None)), [false, true, true]);
        cancels.cancel("d", NOW, NOW + KEPT.as_millis() as u64);
        assert!(cancels.at.is_empty() && cancels.order.is_empty(), "all of them are as old as their stream keeps them");
        cancels.cancel("old", 5, NOW);
        assert!(!cancels.is_cancelled("old", None));
    }

    proptest! {
        #[test]
        fn it_never_remembers_more_than_it_may_and_always_the_last(
            ids in prop::collection::vec(0u8..20, 1..200), most in 1usize..10,
        ) {
            let mut cancels = Cancels::new(most);
            for (index, id) in ids.iter().enumerate() {
                let at = NOW + index as u64;
                cancels.cancel(&id.to_string(), at, at);
                prop_assert!(cancels.at.len() <= most && cancels.order.len() <= most);
                prop_assert!(cancels.is_cancelled(&id.to_string(), Some(at)));
            }
        }
    }
}

//! The two stages of stopping: a soft token (take nothing new, finish), a hard one (end now), and who is still at work.

use std::future::Future;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One program's stop; clones share it. It installs no signal handler: whoever runs the program decides when to stop.
#[derive(Clone, Debug)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

/// How the tasks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended before the hard stop.
    Softly,
    /// Some tasks ended only after the hard stop.
    Hard,
    /// So many tasks did not heed the hard stop either.
    Abandoned(usize),
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Nothing is stopped, nothing is at work.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        // A child, so that a hard stop is always a soft one too, and nobody has to wait for both.
        Self { soft: hard.child_token(), hard, tasks: TaskTracker::new() }
    }

    /// Cancelled when nothing new may begin; what runs goes on.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when what runs must end at once.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Begins the soft stop; again is a no-op.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Begins the hard stop, and the soft one with it.
    pub fn abort(&self) {
        self.hard.cancel();
    }

    /// Starts a task that [`wait`](Self::wait) waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// How many tasks are at work.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Waits for every task to end: until the hard stop or at most `grace`, which then begins the hard stop, and after
    /// it at most `last` longer. Begins nothing by itself before `grace` is over; call it once the soft stop has begun.
    ///
    /// Dropping the future leaves everything as it is.
    pub async fn wait(&self, grace: Duration, last: Duration) -> Drained {
        self.tasks.close();
        tokio::select! {
            // First, so that tasks which ended together with the hard stop count as having ended in time.
            biased;
            () = self.tasks.wait() => return Drained::Softly,
            () = self.hard.cancelled() => {}
            () = tokio::time::sleep(grace) => self.hard.cancel(),
        }
        match timeout(last, self.tasks.wait()).await {
            Ok(()) => Drained::Hard,
            Err(_) => Drained::Abandoned(self.tasks.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const LAST: Duration = Duration::from_secs(5);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn tasks_that_heed_the_soft_stop_end_it_without_a_hard_one() {
        runtime().block_on(async {
            let shutdown = Shutdown::new();
            let soft = shutdown.soft();
            shutdown.spawn(async move { soft.cancelled().await });
            shutdown.begin();
            assert_eq!(shutdown.wait(GRACE, LAST).await, Drained::Softly);
            assert!(!shutdown.hard().is_cancelled());
        });
    }

    #[test]
    fn the_hard_stop_comes_when_grace_is_over() {
        runtime().block_on(async {
            let shutdown = Shutdown::new();
            let hard = shutdown.hard();
            shutdown.spawn(async move { hard.cancelled().await });
            shutdown.begin();
            assert_eq!(shutdown.wait(Duration::from_millis(1), LAST).await, Drained::Hard);
        });
    }

    #[test]
    fn a_hard_stop_from_outside_cuts_the_grace_short_and_is_a_soft_one_too() {
        runtime().block_on(async {
            let shutdown = Shutdown::new();
            let hard = shutdown.hard();
            shutdown.spawn(async move { hard.cancelled().await });
            shutdown.abort();
            assert!(shutdown.soft().is_cancelled());
            assert_ne!(shutdown.wait(GRACE, LAST).await, Drained::Abandoned(1));
        });
    }

    #[test]
    fn a_task_that_heeds_nothing_is_counted_and_left() {
        runtime().block_on(async {
            let shutdown = Shutdown::new();
            shutdown.spawn(std::future::pending::<()>());
            let ended = shutdown.wait(Duration::ZERO, Duration::from_millis(1)).await;
            assert_eq!((ended, shutdown.running()), (Drained::Abandoned(1), 1));
        });
    }
}

//! A consumer that outlives every connection: pause it, resume it, stop it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::pump::Pump;
use super::{Connection, Delivery, Publisher, Topology};

/// What a consumer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerState {
    /// Not consuming, but trying to.
    Waiting {
        /// What is in the way.
        reason: String,
    },
    /// The broker gives us messages.
    Consuming {
        /// The epoch of the connection.
        epoch: u64,
    },
    /// Paused on request: the broker gives us nothing.
    Paused,
    /// Stopped on request, or the connection was closed: for good.
    Stopped,
}

/// What the owner wants of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Run,
    Pause,
    Stop,
}

/// Consumes one queue over one channel at a time, for as long as it is wanted. Dropping it stops it.
pub struct Consumer {
    wish: watch::Sender<Wish>,
    state: watch::Receiver<ConsumerState>,
    tasks: TaskTracker,
}

impl Consumer {
    /// Starts consuming `queue`; `topology` is seen to on each new connection, before the first delivery of it.
    ///
    /// `prefetch` (at least 1) is how many messages the broker lets us hold unsettled. After a pause, messages from before
    /// it may still be held besides; never more than twice the prefetch. Dropping the receiver stops the consumer too.
    pub fn start(
        connection: Connection,
        topology: Topology,
        queue: String,
        prefetch: u16,
    ) -> (Self, mpsc::Receiver<Delivery>) {
        Self::begin(connection, topology, queue, prefetch, None)
    }

    /// The same, ended exactly: on a pause or a stop the broker gives nothing to a consumer that is being cancelled. What comes
    /// meanwhile is held back with the help of some small messages in the queue, published by `fillers` and taken out again.
    /// Where that cannot be done within seconds, it is cancelled when nothing has come for a while, or as it is. After a stop no
    /// settlement is lost with the channel where the queue answers within the connect timeout.
    pub fn start_exact(
        connection: Connection,
        topology: Topology,
        queue: String,
        prefetch: u16,
        fillers: Publisher,
    ) -> (Self, mpsc::Receiver<Delivery>) {
        Self::begin(connection, topology, queue, prefetch, Some(fillers))
    }

    fn begin(
        connection: Connection,
        topology: Topology,
        queue: String,
        prefetch: u16,
        fillers: Option<Publisher>,
    ) -> (Self, mpsc::Receiver<Delivery>) {
        let prefetch = prefetch.max(1);
        let (out, deliveries) = mpsc::channel(prefetch.into());
        let (wish, wished) = watch::channel(Wish::Run);
        let (stated, state) = watch::channel(ConsumerState::Waiting { reason: "connecting".to_owned() });
        let tasks = TaskTracker::new();
        let pump =
            Pump::new(connection, topology, Arc::from(queue), prefetch, fillers, out, wished, stated, tasks.clone());
        tasks.spawn(pump.run());
        tasks.close();
        (Self { wish, state, tasks }, deliveries)
    }

    /// A handle to something else that consumes.
    #[cfg(test)]
    pub(super) fn over(wish: watch::Sender<Wish>, state: watch::Receiver<ConsumerState>, tasks: TaskTracker) -> Self {
        tasks.close();
        Self { wish, state, tasks }
    }

    /// What it is doing, and each change of it.
    pub fn state(&self) -> watch::Receiver<ConsumerState> {
        self.state.clone()
    }

    /// Stops taking messages; returns when the broker gives us no more. What was given out before and not yet taken still
    /// comes out of the receiver; settling goes on. Cancel safe: the pause happens all the same.
    pub async fn pause(&self) {
        self.wish(Wish::Pause);
        self.reached(|state| matches!(state, ConsumerState::Paused | ConsumerState::Stopped)).await;
    }

    /// Takes messages again. Does nothing unless it is paused.
    pub fn resume(&self) {
        self.wish(Wish::Run);
    }

    /// Stops for good; returns when the broker gives us no more unasked. What was given out before still comes out of the
    /// receiver; settling goes on. A consumer that ends exactly may take one or two more when few are unsettled, to learn that
    /// the settlements before have reached the queue; only then its receiver ends, so nobody may keep receipts until it does. Cancel safe: the stop happens all the same.
    pub async fn stop(&self) {
        self.wish(Wish::Stop);
        self.reached(|state| matches!(state, ConsumerState::Stopped)).await;
    }

    /// After [`stop`](Self::stop): waits until every receipt was settled and written, or the connection was lost. There is no
    /// bound but the caller's: a receipt that somebody keeps is waited for. Cancel safe.
    pub async fn settled(&self) {
        self.tasks.wait().await;
    }

    fn wish(&self, wish: Wish) {
        self.wish.send_if_modified(|current| {
            let changes = *current != Wish::Stop && *current != wish;
            if changes {
                *current = wish;
            }
            changes
        });
    }

    async fn reached(&self, wanted: impl FnMut(&ConsumerState) -> bool) {
        // The sender is gone only when the consumer has ended.
        let _ = self.state.clone().wait_for(wanted).await;
    }
}

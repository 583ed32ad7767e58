//! A queue that jobs are taken from: its deliveries become tasks, in their order, while the worker may take any.

use super::intake::{self, Again};
use super::{Shared, halt};
use super::{chunks, handle};
use crate::amqp::{Consumer, ConsumerState, Delivery};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Which jobs a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Jobs as producers publish them.
    Jobs,
    /// Jobs that lost their workers, kept apart.
    Apart,
    /// Chunks of bulks.
    Chunks,
}

/// How a queue's messages are read that could be either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// As jobs of our own.
    #[default]
    Native,
    /// As Celery tasks.
    Celery,
}

/// Where jobs come from.
pub struct Source {
    pub(crate) kind: Kind,
    pub(crate) dialect: Dialect,
    pub(crate) consumer: Consumer,
    queue: Arc<str>,
    /// One job at a time, for those kept apart, and as many chunks as are prefetched; all others share the worker's slots.
    own: Arc<Semaphore>,
    /// No more jobs are taken from it, although the worker goes on.
    leave: CancellationToken,
}

/// A source and what comes out of it.
pub struct Intake {
    pub(super) source: Arc<Source>,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Intake {
    /// Jobs of one queue.
    pub fn new(
        kind: Kind,
        dialect: Dialect,
        queue: impl Into<Arc<str>>,
        (consumer, deliveries): (Consumer, mpsc::Receiver<Delivery>),
    ) -> Self {
        Self::with(kind, dialect, queue.into(), (consumer, deliveries), 1)
    }

    /// Chunks of bulks, so many at a time.
    pub fn chunks(queue: impl Into<Arc<str>>, prefetch: u16, consumer: (Consumer, mpsc::Receiver<Delivery>)) -> Self {
        Self::with(Kind::Chunks, Dialect::Native, queue.into(), consumer, prefetch.into())
    }

    fn with(
        kind: Kind,
        dialect: Dialect,
        queue: Arc<str>,
        (consumer, deliveries): (Consumer, mpsc::Receiver<Delivery>),
        own: usize,
    ) -> Self {
        let (own, leave) = (Arc::new(Semaphore::new(own)), CancellationToken::new());
        Self { source: Arc::new(Source { kind, dialect, consumer, queue, own, leave }), deliveries }
    }
}

impl Source {
    /// Waits until the broker gives us nothing from this queue, at most `within`. What is put into the queue before that
    /// may come straight back, and be lost on the way: then it counts as delivered before.
    pub(crate) async fn at_rest(&self, within: Duration) {
        let mut state = self.consumer.state();
        let at_rest = state.wait_for(|state| !matches!(state, ConsumerState::Consuming { .. }));
        // Late, it is given back all the same: it may become one that was delivered before, which is said honestly.
        let _ = timeout(within, at_rest).await;
    }

    /// After the stop: waits until every receipt was settled and written, or the connection was lost. Cancel safe.
    pub async fn settled(&self) {
        self.consumer.settled().await;
    }

    /// The queue's name.
    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    /// Takes no more from it; what was begun runs on.
    pub(super) fn leave(&self) {
        self.leave.cancel();
    }

    pub(super) fn is_left(&self) -> bool {
        self.leave.is_cancelled()
    }

    fn is_paused(&self) -> bool {
        *self.consumer.state().borrow() == ConsumerState::Paused
    }
}

/// Takes deliveries until the soft stop, or until the queue is left, then gives back what was not begun. What was begun runs on in the tasks of the
/// worker's [`Shutdown`](crate::shutdown::Shutdown).
pub(super) async fn serve(shared: Arc<Shared>, intake: Intake) {
    let Intake { source, mut deliveries } = intake;
    let mut held = Vec::new();
    tokio::select! {
        in_hand = take_all(&shared, &source, &mut deliveries) => held.extend(in_hand),
        never = halt::watch(&shared, &source.consumer) => match never {},
    }
    // Everything that was still in the consumer's hands was not begun. It goes back after the stop, or it might return.
    let drain = async {
        while let Some(delivery) = deliveries.recv().await {
            held.push(delivery);
        }
        pending::<Infallible>().await
    };
    tokio::select! {
        () = source.consumer.stop() => {}
        never = drain => match never {},
    }
    for delivery in held {
        shared.outbox.give_back(delivery).await;
    }
    // The consumer may take one or two more when nearly all is settled; the worker does not wait here for what is still running.
    let late = shared.clone();
    shared.shutdown.spawn(async move {
        while let Some(delivery) = deliveries.recv().await {
            late.outbox.give_back(delivery).await;
        }
    });
}

/// Ends at the soft stop, when the queue is left, or with the consumer; hands back what it had taken and not begun.
async fn take_all(
    shared: &Arc<Shared>,
    source: &Arc<Source>,
    deliveries: &mut mpsc::Receiver<Delivery>,
) -> Option<Delivery> {
    let soft = shared.shutdown.soft();
    let slots = match source.kind {
        Kind::Jobs => shared.slots.clone(),
        // Whoever kills the worker is known then; and chunks share the slots of bulks, device by device.
        Kind::Apart | Kind::Chunks => source.own.clone(),
    };
    loop {
        let ends = [&soft, &source.leave];
        let delivery = unless(ends, deliveries.recv()).await??;
        // With one queue its prefetch keeps this free; after a reconnect old and new jobs may overlap for a while.
        let Some(slot) = unless(ends, slots.clone().acquire_owned()).await.and_then(Result::ok) else {
            return Some(delivery);
        };
        let is_up = shared.commander.agent().state().borrow().is_up();
        if !is_up && source.is_paused() {
            drop(slot);
            source.at_rest(shared.options.patience).await;
            shared.outbox.give_back(delivery).await;
            continue;
        }
        if source.kind == Kind::Chunks {
            let (shared_for_task, source) = (shared.clone(), source.clone());
            shared.shutdown.spawn(async move {
                chunks::handle(&shared_for_task, source, delivery).await;
                drop(slot);
            });
            continue;
        }
        // In the order of the deliveries, and before anything waits: two commands to one device must not swap.
        let taken = Box::new(intake::take(shared, source, delivery, Again::default()));
        let shared_for_task = shared.clone();
        // On the heap at once: on its way into a task it is moved three times, and once more at its end.
        shared.shutdown.spawn(Box::pin(async move {
            handle::handle(&shared_for_task, taken).await;
            drop(slot);
        }));
    }
}

/// Does something unless one of these is cancelled first; `None` then. What is done at once never asks to be woken for that.
async fn unless<T>(ends: [&CancellationToken; 2], doing: impl Future<Output = T>) -> Option<T> {
    if ends.iter().any(|end| end.is_cancelled()) {
        return None;
    }
    let [one, other] = ends;
    tokio::select! {
        biased;
        done = doing => Some(done),
        () = one.cancelled() => None,
        () = other.cancelled() => None,
    }
}

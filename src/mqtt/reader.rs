//! One reader of one filter, as the session keeps it: a stream's sending end, or a sink.

use super::error::Error;
use super::message::Message;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Counts the readers of one agent.
pub(crate) type ReaderId = u64;

/// Somebody inside the program who takes messages as they arrive, in the driver's own task.
pub(crate) trait Sink: Send + Sync {
    /// Must not block: it runs in the task that serves everybody.
    fn message(&self, message: &Message);
    /// The broker refused the subscription on a later connection, or the agent closed; nothing comes any more.
    fn ended(&self, error: &Error);
}

/// One reader of one filter, as the session keeps it.
pub(crate) struct Reader {
    pub(crate) id: ReaderId,
    pub(crate) to: ReaderKind,
}

pub(crate) enum ReaderKind {
    Stream { messages: mpsc::Sender<Message>, shared: Arc<Shared> },
    Sink(Arc<dyn Sink>),
}

/// What a stream's two ends share besides the messages.
#[derive(Default)]
pub(crate) struct Shared {
    lagged: AtomicU64,
    pub(crate) ended: OnceLock<Error>,
}

impl Shared {
    /// How many messages were lost.
    pub(crate) fn lagged(&self) -> u64 {
        self.lagged.load(Ordering::Relaxed)
    }
}

impl Reader {
    /// Never waits: a stream that is full loses the message, counted.
    pub(crate) fn deliver(&self, message: &Message) {
        match &self.to {
            ReaderKind::Sink(sink) => sink.message(message),
            ReaderKind::Stream { messages, shared } => {
                if let Err(mpsc::error::TrySendError::Full(_)) = messages.try_send(message.clone()) {
                    shared.lagged.fetch_add(1, Ordering::Relaxed);
                    crate::metrics::metrics().reader_lagged();
                }
            }
        }
    }

    pub(crate) fn refuse(self, error: &Error) {
        match self.to {
            ReaderKind::Sink(sink) => sink.ended(error),
            // Set once at most: a reader that was refused is gone.
            ReaderKind::Stream { shared, .. } => drop(shared.ended.set(error.clone())),
        }
    }
}

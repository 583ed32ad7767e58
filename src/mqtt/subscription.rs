//! A subscription as its user holds it: a stream of messages that gives its place back when dropped.

use super::agent::Port;
use super::error::Error;
use super::message::Message;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
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
    ended: OnceLock<Error>,
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

/// Messages of one filter. Dropping it gives the place back; the broker is unsubscribed a while after the last user.
///
/// Also a [`futures_util::Stream`]. All methods are cancel-safe.
pub struct Subscription {
    messages: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    _place: Place,
}

/// A reader's place in the session, given back on drop.
pub(crate) struct Place {
    pub(crate) port: Arc<Port>,
    pub(crate) reader: ReaderId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.port.release(self.reader);
    }
}

/// Keeps a [`Sink`] subscribed until dropped.
pub(crate) struct SinkSubscription {
    pub(crate) _place: Place,
}

impl Subscription {
    pub(crate) fn new(messages: mpsc::Receiver<Message>, shared: Arc<Shared>, place: Place) -> Self {
        Self { messages, shared, _place: place }
    }

    /// The next message; `None` once the agent is closed or the broker has refused the filter ([`Self::error`] says which).
    pub async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// The next message, or [`Error::Timeout`] after this long.
    pub async fn next_within(&mut self, duration: Duration) -> Result<Message, Error> {
        match tokio::time::timeout(duration, self.messages.recv()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(self.error().unwrap_or(Error::Closed)),
            Err(_) => Err(Error::Timeout(duration)),
        }
    }

    /// How many messages this reader lost because it was too slow.
    pub fn lagged(&self) -> u64 {
        self.shared.lagged()
    }

    /// Why the stream ended, once it has.
    pub fn error(&self) -> Option<Error> {
        self.shared.ended.get().cloned()
    }
}

impl futures_util::Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.messages.poll_recv(cx)
    }
}

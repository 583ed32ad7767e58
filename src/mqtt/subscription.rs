//! A subscription as its user holds it: a stream of messages that gives its place back when dropped.

use super::error::Error;
use super::message::Message;
use super::port::Place;
use super::reader::Shared;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of one filter. Dropping it gives the place back; the broker is unsubscribed a while after the last user.
///
/// Also a [`futures_util::Stream`]. All methods are cancel-safe.
pub struct Subscription {
    messages: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    _place: Place,
}

/// Keeps a [`Sink`](super::reader::Sink) subscribed until dropped.
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

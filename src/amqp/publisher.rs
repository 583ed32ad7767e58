//! The publisher of everything that must not be lost: one task, one confirm channel, batches, and again until confirmed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flight::{Flight, Message, Nacks};
use super::isolation::Isolation;
use super::outbound::Outbound;
use super::{ChannelPool, Connection, Options, Unsendable};
use crate::envelope::Envelope;

/// Where a message is published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The exchange; empty for the default one, which routes to the queue named by the routing key.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
}

impl Address {
    /// A queue, through the default exchange.
    pub fn queue(name: impl Into<String>) -> Self {
        Self { exchange: String::new(), routing_key: name.into() }
    }
}

/// The broker has taken responsibility for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// False if it was published as mandatory and no queue wanted it: then the broker dropped it.
    pub routed: bool,
}

/// Why a message was given up. Until then it is sent again and again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The publisher, or its connection, was closed; whether the broker has the message is unknown.
    #[error("the publisher was closed before the broker confirmed")]
    Closed,
    /// AMQP cannot carry it.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    /// The broker closed a channel over this message alone, or refused to store it again and again: it does not have it.
    #[error("the broker refused the message: {reason}")]
    Refused {
        /// The broker's words.
        reason: String,
    },
    /// The time that the caller allowed has passed; whether the broker has the message is unknown.
    #[error("the broker did not confirm in time: {last}")]
    TimedOut {
        /// How the last try failed.
        last: String,
    },
}

/// Publishes with confirms; cheap to clone. All handles share one channel and its batches.
#[derive(Clone)]
pub struct Publisher {
    inbox: mpsc::Sender<Flight>,
    unroutable: Arc<AtomicU64>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("unroutable", &self.unroutable()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Starts publishing on that connection, which should be no consumer's: an alarm of the broker stops all that is
    /// written on it, acks included. Ends with the connection, or when the last handle is gone.
    pub fn start(connection: Connection, options: Options) -> Self {
        let (inbox, accepted) = mpsc::channel(options.publish_queue.max(1));
        let (unroutable, closing, tasks) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
        let (isolation, isolated) = Isolation::new(ChannelPool::new(connection.clone()), &options);
        tasks.spawn(isolation.run());
        tasks.spawn(
            Outbound::new(connection, options, accepted, isolated, Arc::clone(&unroutable), closing.clone()).run(),
        );
        tasks.close();
        Self { inbox, unroutable, closing, tasks }
    }

    /// A handle to something else that publishes.
    #[cfg(test)]
    pub(super) fn over(inbox: mpsc::Sender<Flight>, closing: CancellationToken) -> Self {
        Self { inbox, unroutable: Arc::default(), closing, tasks: TaskTracker::new() }
    }

    /// Publishes, and completes when the broker has confirmed. A nack, a lost channel or a confirm that does not come leads to
    /// the same message being sent again: a receiver may see it twice, with the same id. What is nacked is given up after
    /// [`Options::refused_for`].
    ///
    /// Dropping the future gives the message up: it is not sent again, but may have been sent.
    ///
    /// # Errors
    /// See [`PublishError`]; never `TimedOut`.
    pub fn publish(
        &self,
        to: Address,
        envelope: Envelope,
        mandatory: bool,
    ) -> impl Future<Output = Result<Confirm, PublishError>> + Send + use<'_> {
        send(&self.inbox, Message::new(to, envelope, mandatory), false)
    }

    /// The same for a message that must not be there twice: where its channel is lost before the confirm it is not sent again,
    /// and whether the broker has it is unknown.
    ///
    /// # Errors
    /// See [`PublishError`]; `TimedOut` where the confirm was lost.
    pub fn publish_once(
        &self,
        to: Address,
        envelope: Envelope,
    ) -> impl Future<Output = Result<Confirm, PublishError>> + Send + use<'_> {
        send(&self.inbox, Message::new(to, envelope, true), true)
    }

    /// How many mandatory messages no queue wanted, since the start.
    pub fn unroutable(&self) -> u64 {
        self.unroutable.load(Ordering::Relaxed)
    }

    /// Accepts no more, waits for the confirms of what was accepted, at most `close_timeout`, then fails the rest.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

/// Takes a message that is made already: a future that made it would be as large as the envelope, and so would all around it.
async fn send(
    inbox: &mpsc::Sender<Flight>,
    message: Result<Arc<Message>, Unsendable>,
    once: bool,
) -> Result<Confirm, PublishError> {
    let (done, answer) = oneshot::channel();
    let flight = Flight { message: message?, done, nacks: Nacks::default(), once };
    inbox.send(flight).await.map_err(|_| PublishError::Closed)?;
    answer.await.unwrap_or(Err(PublishError::Closed))
}

//! Channels for occasional publishers: each is used by one at a time, so what comes back is surely the answer to what was sent.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use lapin::Confirmation;
use lapin::options::ConfirmSelectOptions;
use tokio::time::{sleep, timeout};

use super::connection::{Link, backoff};
use super::flight::Message;
use super::publisher::{Address, PublishError};
use super::topology::{self, Depth, refusal};
use super::{Connection, Error};
use crate::envelope::Envelope;

/// Whether a confirmed message reached a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// At least one queue has it.
    Routed,
    /// No queue wanted it: the broker dropped it.
    Unroutable,
}

/// Publishes single messages, each alone on a channel of a small pool.
#[derive(Clone)]
pub struct ChannelPool {
    pool: Pool<Channels>,
    connection: Connection,
}

impl fmt::Debug for ChannelPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelPool").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// How one try ended.
pub(super) enum Try {
    Confirmed(Routing),
    /// The broker did not store it: a full queue, a queue without its leader.
    Nacked,
    /// The broker closed the channel over it, with this code and these words.
    Refused(u16, String),
    /// Nobody knows.
    Lost(String),
}

impl ChannelPool {
    /// A pool on that connection, with at most its options' `channels`; opens nothing yet.
    pub fn new(connection: Connection) -> Self {
        let options = connection.options();
        let deadline = Some(options.connect_timeout);
        let pool = Pool::builder(Channels { connection: connection.clone() })
            .max_size(options.channels.max(1))
            .wait_timeout(Some(options.confirm_timeout))
            .create_timeout(deadline)
            .recycle_timeout(deadline)
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .expect("a pool with timeouts and a runtime can be built");
        Self { pool, connection }
    }

    /// The connection of its channels.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Publishes and says whether a queue has it. A nack or a lost channel is tried again, with the same message, until
    /// `within` has passed.
    ///
    /// # Errors
    /// [`PublishError::Refused`] at once; [`PublishError::TimedOut`], after which the message may or may not have arrived.
    /// Dropping the future leaves it open in the same way.
    pub async fn publish_routed(
        &self,
        to: Address,
        envelope: Envelope,
        within: Duration,
    ) -> Result<Routing, PublishError> {
        let message = Message::new(to, envelope, true)?;
        let start = Instant::now();
        let mut failures = 0;
        loop {
            let left = within.saturating_sub(start.elapsed());
            let last = match timeout(left, self.alone(&message)).await {
                Ok(Try::Confirmed(routing)) => return Ok(routing),
                Ok(Try::Refused(_, reason)) => return Err(PublishError::Refused { reason }),
                Ok(Try::Nacked) => "the broker did not accept it (is a queue full?)".to_owned(),
                Ok(Try::Lost(reason)) => reason,
                Err(_) => "no confirm came".to_owned(),
            };
            failures += 1;
            let options = self.connection.options();
            let wait = backoff(failures, options.backoff_min, options.backoff_max, rand::random());
            if start.elapsed() + wait >= within {
                return Err(PublishError::TimedOut { last });
            }
            sleep(wait).await;
        }
    }

    /// How much there is at a queue, now. Waits for the connection; each step takes its connect timeout at most. Cancel safe.
    ///
    /// # Errors
    /// [`Error::MissingQueue`], [`Error::Queue`] with the broker's words, or a lost connection.
    pub async fn depth(&self, queue: &str) -> Result<Depth, Error> {
        topology::depth(queue, &self.connection.link().await?, self.connection.options().connect_timeout).await
    }

    /// One try on a channel that nobody else uses meanwhile; it is thrown away unless the broker answered. Dropping the
    /// future throws it away too.
    pub(super) async fn alone(&self, message: &Arc<Message>) -> Try {
        let channel = match self.pool.get().await {
            Ok(channel) => Unanswered(Some(channel)),
            Err(PoolError::Backend(error)) => return Try::Lost(error.to_string()),
            Err(error) => return Try::Lost(format!("no channel: {error}")),
        };
        let patience = self.connection.options().confirm_timeout;
        let answered = tokio::select! {
            () = channel.link.pulse.lost() => return Try::Lost("the connection was lost".to_owned()),
            answered = timeout(patience, message.send(&channel.channel)) => answered,
        };
        match answered {
            Ok(Ok(Confirmation::Ack(returned))) => {
                channel.give_back();
                let unroutable = returned.is_some_and(|returned| message.is(&returned));
                Try::Confirmed(if unroutable { Routing::Unroutable } else { Routing::Routed })
            }
            Ok(Ok(Confirmation::Nack(_))) => {
                channel.give_back();
                Try::Nacked
            }
            Ok(Ok(Confirmation::NotRequested)) => Try::Lost("the channel does not confirm".to_owned()),
            Ok(Err(error)) => match refusal(&error) {
                Some((code, reason)) => Try::Refused(code, reason),
                None => Try::Lost(error.to_string()),
            },
            Err(_) => Try::Lost("no confirm came".to_owned()),
        }
    }
}

/// A channel whose answer is outstanding: it must not go back to the pool, where the next user would get that answer.
struct Unanswered(Option<Object<Channels>>);

impl Unanswered {
    fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            // Out of the pool for good; dropping the last handle closes it.
            drop(Object::take(channel));
        }
    }
}

impl std::ops::Deref for Unanswered {
    type Target = ConfirmChannel;

    fn deref(&self) -> &ConfirmChannel {
        self.0.as_ref().expect("it is there until it is given back")
    }
}

struct Channels {
    connection: Connection,
}

struct ConfirmChannel {
    channel: lapin::Channel,
    link: Link,
}

impl managed::Manager for Channels {
    type Type = ConfirmChannel;
    type Error = Error;

    async fn create(&self) -> Result<ConfirmChannel, Error> {
        let link = self.connection.link().await?;
        let channel = confirm_channel(&link, self.connection.options().connect_timeout).await?;
        Ok(ConfirmChannel { channel, link })
    }

    async fn recycle(&self, found: &mut ConfirmChannel, _: &Metrics) -> RecycleResult<Error> {
        let current = self.connection.link_now().is_some_and(|link| link.epoch == found.link.epoch);
        match current && found.channel.status().connected() {
            true => Ok(()),
            false => Err(RecycleError::message("it belongs to an earlier connection")),
        }
    }
}

/// A new channel on which the broker confirms.
pub(super) async fn confirm_channel(link: &Link, deadline: Duration) -> Result<lapin::Channel, Error> {
    let channel = link.channel(deadline).await?;
    link.answer("confirm.select", deadline, channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

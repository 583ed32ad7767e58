//! Looking through a queue without taking anything away, and taking what was chosen.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::time::{sleep, timeout};

use super::connection::Link;
use super::topology::refusal;
use super::{Connection, Error, properties};
use crate::envelope::{Envelope, Value};

/// How many messages are asked for at a time: what may arrive beyond the bound of bytes.
const BATCH: u32 = 256;
/// How long the broker may be silent before it is asked whether there is anything left.
const SILENCE: Duration = Duration::from_millis(300);
/// How long messages may take to be in the queue again.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Two would do; see [`Browser::settle`].
const SETTLING_GETS: usize = 3;

/// How much of a queue is looked at, since everything that was looked at is held until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most messages.
    pub messages: usize,
    /// The most bytes of bodies and headers; the message that exceeds them is the last one.
    pub bytes: usize,
}

/// A message that is looked at. Unless it is taken, it goes back when its [`Browser`] closes.
#[derive(Debug)]
pub struct Held {
    /// Its body, properties and headers.
    pub envelope: Envelope,
    /// How often it was given out before, where the queue counts (`x-delivery-count` of quorum queues); else 0.
    pub delivery_count: u64,
    tag: u64,
}

/// Goes once through what a queue holds, on a channel of its own.
///
/// It consumes without acknowledging, so nobody else sees the messages meanwhile. Those that are not taken go back to
/// where they were when the channel closes: by [`close`](Self::close), by dropping this, or by a crash. RabbitMQ closes
/// a channel that holds a message for longer than its `consumer_timeout` (30 minutes), so look and decide within that.
///
/// It does not `basic.get`: a quorum queue takes messages back from its consumers in the order of their names, and
/// each get is a consumer with a name of the broker's. Neither does it give back by `basic.nack`: that puts messages at the
/// end of a quorum queue without a limit.
///
/// Each look counts as a delivery. RabbitMQ 4 drops a message of a quorum queue without a dead-letter exchange after
/// 20 of them, unless its queue says otherwise, and an existing queue cannot be told: so whoever looks again and again
/// at messages that nobody takes puts a fresh copy in the place of one whose `delivery_count` has grown.
pub struct Browser {
    link: Link,
    channel: lapin::Channel,
    queue: ShortString,
    deadline: Duration,
    bounds: Bounds,
    /// What was there at the beginning and was not looked at yet: what comes later is not meant.
    left: u32,
    batch: Option<Batch>,
    batches: u32,
    /// What was there at the beginning and was not taken.
    stays: u32,
    taken: u32,
}

/// A consumer of so many messages, and no more.
struct Batch {
    stream: lapin::Consumer,
    left: u32,
}

impl Browser {
    /// Opens one on that connection, which must be up within its connect timeout.
    ///
    /// # Errors
    /// [`Error::MissingQueue`], [`Error::Queue`] with the broker's words, or a lost connection.
    pub async fn open(connection: &Connection, queue: &str, bounds: Bounds) -> Result<Self, Error> {
        let deadline = connection.options().connect_timeout;
        connection.up(deadline).await?;
        let link = connection.link().await?;
        let channel = link.channel(deadline).await?;
        let wrong = |error: properties::Unsendable| Error::Queue { queue: queue.to_owned(), reason: error.to_string() };
        let queue = properties::short("queue", queue.to_owned()).map_err(wrong)?;
        let mut browser =
            Self { link, channel, queue, deadline, bounds, left: 0, batch: None, batches: 0, stays: 0, taken: 0 };
        browser.left = browser.ready(&browser.channel).await?;
        browser.stays = browser.left;
        Ok(browser)
    }

    /// The next message of those that were there when this was opened; `None` at their end, or at the bounds. Not cancel
    /// safe: a message may be skipped then.
    ///
    /// # Errors
    /// The broker refuses it, or gives nothing although there is something, or the channel is gone and everything went
    /// back.
    pub async fn next(&mut self) -> Result<Option<Held>, Error> {
        if self.left == 0 || self.bounds.messages == 0 || self.bounds.bytes == 0 {
            return Ok(None);
        }
        let mut batch = match self.batch.take().filter(|batch| batch.left > 0) {
            Some(batch) => batch,
            None => self.consume().await?,
        };
        let Some(delivery) = self.arrival(&mut batch.stream).await? else {
            // Fewer than were counted: somebody else took some.
            self.left = 0;
            return Ok(None);
        };
        batch.left -= 1;
        self.batch = Some(batch);
        self.left -= 1;
        let envelope = properties::envelope(&delivery.properties, delivery.data);
        let size = envelope.body.len() + properties::table_size(&envelope.headers, 0);
        self.bounds.messages -= 1;
        self.bounds.bytes = self.bounds.bytes.saturating_sub(size);
        let delivery_count = match envelope.headers.get("x-delivery-count") {
            Some(Value::Int(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        };
        Ok(Some(Held { envelope, delivery_count, tag: delivery.delivery_tag }))
    }

    /// Whether messages that were there at the beginning have not been looked at.
    pub fn has_more(&self) -> bool {
        self.left > 0
    }

    /// Whether what is held is still ours; false once the channel is gone.
    pub fn is_open(&self) -> bool {
        self.link.pulse.is_alive() && self.channel.status().connected()
    }

    /// Takes a message out of the queue for good. Certain only after [`close`](Self::close): until then a lost
    /// connection brings it back.
    ///
    /// # Errors
    /// The channel is gone and everything went back.
    pub async fn take(&mut self, held: Held) -> Result<(), Error> {
        let acking = self.channel.basic_ack(held.tag, BasicAckOptions { multiple: false });
        self.link.answer("basic.ack", self.deadline, acking).await?;
        self.taken += 1;
        self.stays -= 1;
        Ok(())
    }

    /// Gives back what was not taken. When this returns, the taking is done, and what goes back is in the queue again as far
    /// as that can be seen: who looks next should not find it empty.
    ///
    /// # Errors
    /// The channel was gone before: everything went back that was not taken, and perhaps some of what was.
    pub async fn close(self) -> Result<(), Error> {
        if self.taken > 0 {
            self.settle().await?;
        }
        let close = |channel: lapin::Channel| async move { channel.close(200, "done".into()).await };
        self.link.answer("channel.close", self.deadline, close(self.channel.clone())).await?;
        // A quorum queue learns of the end of a channel when its process is gone, after the broker has answered the close.
        let channel = self.link.channel(self.deadline).await?;
        let end = Instant::now() + BACK_WITHIN;
        // Somebody else may be faster than we, and then so many are never seen.
        while self.ready(&channel).await? < self.stays && Instant::now() < end {
            sleep(LOOK_EVERY).await;
        }
        self.link.answer("channel.close", self.deadline, close(channel)).await
    }

    /// Waits until the queue knows of every acknowledgement.
    ///
    /// Of a quorum queue RabbitMQ's channel hands on some 32 at a time, keeps the others until the queue has answered, and
    /// forgets them when it is closed. A get is answered by the queue itself, after all that was handed on before; so the
    /// first lets the rest be handed on, and the second waits for it. What a get finds goes back like everything else.
    async fn settle(&self) -> Result<(), Error> {
        for _ in 0..SETTLING_GETS {
            let get = self.channel.basic_get(self.queue.clone(), BasicGetOptions { no_ack: false });
            self.answer("basic.get", get).await?;
        }
        Ok(())
    }

    /// How many messages wait to be given out.
    async fn ready(&self, channel: &lapin::Channel) -> Result<u32, Error> {
        let passive = QueueDeclareOptions::durable().passive();
        let declaring = channel.queue_declare(self.queue.clone(), passive, FieldTable::default());
        Ok(self.answer("queue.declare", declaring).await?.message_count())
    }

    async fn consume(&mut self) -> Result<Batch, Error> {
        let bound = u32::try_from(self.bounds.messages).unwrap_or(u32::MAX);
        let size = BATCH.min(self.left).min(bound);
        self.batches += 1;
        // What is held goes back in the order of these names; a get's is a number, and belongs behind them.
        let name = format!("#look-{:08}", self.batches);
        let qos = self.channel.basic_qos(size as u16, BasicQosOptions { global: false });
        self.answer("basic.qos", qos).await?;
        let options = BasicConsumeOptions::default();
        let consuming =
            self.channel.basic_consume(self.queue.clone(), name.as_str().into(), options, FieldTable::default());
        Ok(Batch { stream: self.answer("basic.consume", consuming).await?, left: size })
    }

    /// The next delivery; `None` once the queue is empty.
    async fn arrival(&self, stream: &mut lapin::Consumer) -> Result<Option<lapin::message::Delivery>, Error> {
        let start = Instant::now();
        loop {
            let arrived = tokio::select! {
                biased;
                arrived = timeout(SILENCE, stream.next()) => arrived,
                () = self.link.pulse.lost() => return Err(Error::NotConnected("it was lost".to_owned())),
            };
            let arrived = match arrived {
                Ok(arrived) => Some(arrived),
                Err(_) => {
                    let ready = self.ready(&self.channel).await?;
                    // What the broker gave out before it counted came before the count.
                    match stream.next().now_or_never() {
                        None if ready == 0 => return Ok(None),
                        arrived => arrived,
                    }
                }
            };
            match arrived {
                Some(Some(Ok(delivery))) => return Ok(Some(delivery)),
                Some(Some(Err(error))) => return Err(error.into()),
                Some(None) => return Err(Error::Channel("the broker cancelled the consumer".to_owned())),
                // There is something, and another consumer alone may have it.
                None if start.elapsed() > self.deadline => return Err(Error::Timeout("basic.consume with a message")),
                None => {}
            }
        }
    }

    async fn answer<T>(
        &self,
        what: &'static str,
        operation: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        let queue = || self.queue.to_string();
        match self.link.answer(what, self.deadline, async { Ok(operation.await) }).await? {
            Ok(answer) => Ok(answer),
            Err(error) => Err(match refusal(&error) {
                Some((404, _)) => Error::MissingQueue(queue()),
                Some((_, reason)) => Error::Queue { queue: queue(), reason },
                None => error.into(),
            }),
        }
    }
}

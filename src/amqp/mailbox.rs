//! A queue of one's own with a name, bound to an exchange: what is said to all reaches it. Gone with its connection.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::connection::Link;
use super::{Connection, Error, SharedExchange, properties};
use crate::envelope::{Envelope, Headers};

/// What the broker answers to whoever wants a queue that is exclusively another's.
const LOCKED: &str = "RESOURCE_LOCKED";

/// What a mailbox should be.
#[derive(Clone, Debug, PartialEq)]
pub struct MailboxSpec {
    /// The queue's name: nobody else's, or opening fails.
    pub queue: String,
    /// What it is bound to.
    pub exchange: SharedExchange,
    /// The routing key of the binding; a fanout exchange heeds none.
    pub routing_key: String,
    /// The queue's arguments.
    pub arguments: Headers,
}

/// The queue and its consumer. A lost connection takes both, and what was in it, away; open a new one then.
///
/// Each message is acked as it is taken. Without acks the broker would send whatever there is into lapin's unbounded buffer,
/// and what is acked in batches grows old where there are few.
pub struct Mailbox {
    link: Link,
    channel: lapin::Channel,
    stream: lapin::Consumer,
    deadline: Duration,
}

impl Mailbox {
    /// Opens one on that connection as soon as it is up; each step may take its connect timeout. `capacity` (at least 1) bounds
    /// the messages held in memory.
    ///
    /// # Errors
    /// [`Error::Closed`] for good; anything else may pass, also that the queue is another's: after an unclean loss the broker
    /// takes our own former connection for somebody else until it notices that it is dead.
    pub async fn open(connection: &Connection, spec: &MailboxSpec, capacity: u16) -> Result<Self, Error> {
        let deadline = connection.options().connect_timeout;
        let link = connection.link().await?;
        spec.exchange.declare(&link, deadline).await?;
        let channel = link.channel(deadline).await?;
        let wrong = |error: properties::Unsendable| Error::Channel(error.to_string());
        let name = properties::short("queue", spec.queue.clone()).map_err(wrong)?;
        let exchange = properties::short("exchange", spec.exchange.name.to_owned()).map_err(wrong)?;
        let routing_key = properties::short("routing_key", spec.routing_key.clone()).map_err(wrong)?;
        let arguments = properties::table(spec.arguments.clone()).map_err(wrong)?;
        let declaring = channel.queue_declare(name.clone(), QueueDeclareOptions::exclusive().auto_delete(), arguments);
        link.answer("queue.declare", deadline, declaring).await.map_err(|error| spec.told(error))?;
        let binding =
            channel.queue_bind(name.clone(), exchange, routing_key, QueueBindOptions::default(), FieldTable::default());
        link.answer("queue.bind", deadline, binding).await?;
        let qos = channel.basic_qos(capacity.max(1), BasicQosOptions { global: false });
        link.answer("basic.qos", deadline, qos).await?;
        let consuming = channel.basic_consume(
            name,
            "".into(),
            BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() },
            FieldTable::default(),
        );
        let stream = link.answer("basic.consume", deadline, consuming).await.map_err(|error| spec.told(error))?;
        Ok(Self { link, channel, stream, deadline })
    }

    /// The number of its connection.
    pub fn epoch(&self) -> u64 {
        self.link.epoch
    }

    /// The next message. Not cancel safe: one that was taken may be lost.
    ///
    /// # Errors
    /// When the mailbox is gone: no later call succeeds.
    pub async fn next(&mut self) -> Result<Envelope, Error> {
        let arrived = tokio::select! {
            biased;
            arrived = self.stream.next() => arrived,
            () = self.link.pulse.lost() => None,
        };
        let delivery = match arrived {
            Some(delivery) => delivery?,
            None => return Err(Error::NotConnected("the mailbox is gone".to_owned())),
        };
        let acking = self.channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
        self.link.answer("basic.ack", self.deadline, acking).await?;
        Ok(properties::envelope(&delivery.properties, delivery.data))
    }
}

impl MailboxSpec {
    fn told(&self, error: Error) -> Error {
        match error {
            Error::Channel(words) if words.contains(LOCKED) => Error::Queue {
                queue: self.queue.clone(),
                reason: "another connection has it: a program of the same name is running, or has just been cut off"
                    .to_owned(),
            },
            other => other,
        }
    }
}

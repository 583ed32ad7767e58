//! A queue of one's own for replies, gone with its connection.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio::time::timeout;

use super::connection::Link;
use super::{Connection, Error, properties};
use crate::envelope::Envelope;

/// An exclusive, auto-deleted, server-named queue and its consumer. A lost connection takes queue and replies away; open a
/// new one then.
///
/// It acks in halves of its capacity instead of consuming without acks: that is the only way to keep the broker from
/// sending more than the capacity into lapin's unbounded buffer.
pub struct ReplyQueue {
    link: Link,
    channel: lapin::Channel,
    stream: lapin::Consumer,
    name: String,
    capacity: u16,
    unacked: u16,
    /// One that was taken by a call that did not live to return it.
    taken: Option<Envelope>,
    deadline: Duration,
}

impl ReplyQueue {
    /// Opens one on that connection, which must be up within its connect timeout. `capacity` (at least 2) bounds the replies
    /// held in memory; more of them wait in the broker.
    pub async fn open(connection: &Connection, capacity: u16) -> Result<Self, Error> {
        let (deadline, capacity) = (connection.options().connect_timeout, capacity.max(2));
        connection.up(deadline).await?;
        let link = connection.link().await?;
        let channel = link.channel(deadline).await?;
        let declaring =
            channel.queue_declare("".into(), QueueDeclareOptions::exclusive().auto_delete(), FieldTable::default());
        let queue = link.answer("queue.declare", deadline, declaring).await?;
        link.answer("basic.qos", deadline, channel.basic_qos(capacity, BasicQosOptions { global: false })).await?;
        let consuming = channel.basic_consume(
            queue.name().clone(),
            "".into(),
            BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() },
            FieldTable::default(),
        );
        let stream = link.answer("basic.consume", deadline, consuming).await?;
        let name = queue.name().to_string();
        Ok(Self { link, channel, stream, name, capacity, unacked: 0, taken: None, deadline })
    }

    /// Its name, for `reply_to`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next reply, or `None` if none came in that time. Cancel safe.
    ///
    /// # Errors
    /// When the queue is gone: no later call succeeds.
    pub async fn next_within(&mut self, within: Duration) -> Result<Option<Envelope>, Error> {
        if let Some(taken) = self.taken.take() {
            return Ok(Some(taken));
        }
        let arrived = tokio::select! {
            biased;
            arrived = timeout(within, self.stream.next()) => arrived,
            () = self.link.pulse.lost() => return Err(Error::NotConnected("it was lost, and the reply queue with it".to_owned())),
        };
        let delivery = match arrived {
            Err(_) => return Ok(None),
            Ok(Some(Ok(delivery))) => delivery,
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(None) => return Err(Error::NotConnected("the reply queue is gone".to_owned())),
        };
        // Kept while the ack is awaited: whoever stops waiting there gets it the next time.
        self.taken = Some(properties::envelope(&delivery.properties, delivery.data));
        self.unacked += 1;
        if self.unacked >= self.capacity / 2 {
            self.unacked = 0;
            let acking = self.channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: true });
            self.link.answer("basic.ack", self.deadline, acking).await?;
        }
        Ok(self.taken.take())
    }
}

//! The one active consumer of a queue, which publishes on the same channel: the mailbox and the log of an actor.
//!
//! What it publishes ends with what it consumes. Both happen on one channel, and the broker takes a channel's messages in their
//! order and gives its unacknowledged ones to the next consumer after all of them: whatever the former one had published to
//! this queue lies before the first message that the next one publishes. Two channels, even of one connection, end in any order.
//!
//! On our side lapin is the risk: it keeps what a blocked or silent broker does not read, writes it when it can, and does so
//! even when its channel is gone. So a publish without its answer costs the connection, and with it the other shards on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::Confirmation;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::connection::Link;
use super::flight::Message;
use super::ledger::Ledger;
use super::pool::confirm_channel;
use super::topology::{self, Depth};
use super::{Address, Confirm, Connection, Error, QueueSpec, Topology, properties};
use crate::envelope::Envelope;

/// Unconfirmed messages on the channel: lapin walks all of them at each confirm of several.
const WINDOW: usize = 1024;

/// Shards of this process so far: a tag of one means nothing to another.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// Names a delivery of one shard, to ack it; they grow in the order of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    shard: u64,
    number: u64,
}

#[cfg(test)]
impl Tag {
    /// One that no delivery has.
    pub(crate) fn of(number: u64) -> Self {
        Self { shard: u64::MAX, number }
    }
}

/// One message of a shard's queue.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardDelivery {
    /// What acks it.
    pub tag: Tag,
    /// Its body, properties and headers.
    pub envelope: Envelope,
    /// Whether the broker gave it out before, to us or to another.
    pub redelivered: bool,
}

/// Consumes a queue of which only one consumer is active, and publishes. It lives as long as its channel: after an error of
/// [`next`](Self::next) or [`publish`](Self::publish) drop it and open another, which is given everything unacked again.
///
/// Dropping it closes the channel in the background.
pub struct Shard {
    number: u64,
    queue: String,
    connection: Connection,
    session: Option<Session>,
    ledger: Ledger,
    over: Option<Error>,
}

/// The channel and what hangs on it.
struct Session {
    link: Link,
    channel: lapin::Channel,
    stream: lapin::Consumer,
    patience: Duration,
}

impl Shard {
    /// Opens one on that connection as soon as it is up; each step may take its connect timeout. The queue is seen to first:
    /// made if it is missing and `declare` says so, else only looked for. At most `prefetch` (at least 1) messages are held
    /// unacked; when so many are, nothing more comes.
    ///
    /// # Errors
    /// [`Error::Closed`] for good. [`Error::MissingQueue`] without `declare`. [`Error::Queue`], with the argument, where the
    /// queue exists and differs: it might have several active consumers, or drop what it holds. Only another delivery limit is
    /// let pass.
    pub async fn open(connection: &Connection, queue: &QueueSpec, declare: bool, prefetch: u16) -> Result<Self, Error> {
        let options = connection.options();
        let deadline = options.connect_timeout;
        let link = connection.link().await?;
        let topology = Topology { queues: vec![queue.clone()], declare, ..Topology::default() };
        let report = topology.apply_on(&link, deadline).await?;
        if let Some((_, found)) = report.differences().find(|(_, found)| found.argument != "x-delivery-limit") {
            let reason = format!(
                "it exists with {} = {} where {} is needed; delete it, or name another",
                found.argument, found.found, found.wanted
            );
            return Err(Error::Queue { queue: queue.name.clone(), reason });
        }
        report.log();
        let channel = confirm_channel(&link, deadline).await?;
        let name = properties::short("queue", queue.name.clone())?;
        let qos = channel.basic_qos(prefetch.max(1), BasicQosOptions { global: false });
        link.answer("basic.qos", deadline, qos).await?;
        let consuming = channel.basic_consume(name, "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let stream = link.answer("basic.consume", deadline, consuming).await?;
        Ok(Self {
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            queue: queue.name.clone(),
            connection: connection.clone(),
            session: Some(Session { link, channel, stream, patience: options.close_timeout }),
            ledger: Ledger::default(),
            over: None,
        })
    }

    /// The number of its connection.
    pub fn epoch(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.link.epoch)
    }

    /// The next message. Whoever is not the active consumer waits here. Cancel safe.
    ///
    /// # Errors
    /// When the channel or its connection is gone, the broker cancelled the consumer (the queue was deleted), or this process
    /// did not run for a heartbeat. No later call succeeds.
    pub async fn next(&mut self) -> Result<ShardDelivery, Error> {
        let session = self.usable()?;
        let arrived = tokio::select! {
            biased;
            () = session.link.pulse.lost() => None,
            arrived = session.stream.next() => Some(arrived),
        };
        match arrived {
            Some(arrived) => self.taken(arrived),
            None => Err(self.ends(lost())),
        }
    }

    /// The next message, if it is here already.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn try_next(&mut self) -> Option<Result<ShardDelivery, Error>> {
        let arrived = match self.usable() {
            Ok(session) => session.stream.next().now_or_never()?,
            Err(error) => return Some(Err(error)),
        };
        Some(self.taken(arrived))
    }

    /// Acks these deliveries, in as few frames as it can; those of another shard, and those acked before, are passed over.
    /// Never waits: they are written soon. What the broker did not get to before the channel ends comes again.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn ack(&mut self, tags: &[Tag]) -> Result<(), Error> {
        let ours = tags.iter().filter(|tag| tag.shard == self.number && !self.ledger.is_settled(tag.number));
        let mut numbers: Vec<u64> = ours.map(|tag| tag.number).collect();
        let acks = self.ledger.acks(&mut numbers);
        let session = self.usable()?;
        let failed = acks.into_iter().find_map(|ack| {
            let options = BasicAckOptions { multiple: ack.multiple };
            // The first poll hands it to lapin; further ones would wait until it is written, which an alarm puts off.
            session.channel.basic_ack(ack.tag, options).now_or_never()?.err()
        });
        failed.map_or(Ok(()), |error| Err(self.ends(error.into())))
    }

    /// Publishes all of them, in their order, once, as mandatory, and waits until the broker has confirmed each; says of each
    /// whether a queue wanted it. Where several have the same address and message id, what is said of one holds for all.
    ///
    /// While the broker has an alarm, none is sent, and there is no bound but the connection's: waiting then does not count,
    /// and the future may be dropped. After that all must be confirmed `within`; a late confirm counts as none, since the queue
    /// may have another active consumer by then. Not cancel safe any more: dropping the future is a failure.
    ///
    /// # Errors
    /// [`Error::Unsendable`] before anything was sent: the shard remains. Any other: what of them arrived is not known, and
    /// this shard is over. If an answer was outstanding, the connection was ended before this returned: nothing of it is
    /// written later.
    pub async fn publish(
        &mut self,
        messages: Vec<(Address, Envelope)>,
        within: Duration,
    ) -> Result<Vec<Confirm>, Error> {
        let messages: Vec<Arc<Message>> =
            messages.into_iter().map(|(to, envelope)| Message::new(to, envelope, true)).collect::<Result<_, _>>()?;
        let mut state = self.connection.state();
        let session = self.usable()?;
        while session.link.blocked() {
            // lapin changes its mind before it tells the supervisor, so no change is missed.
            let goes_on = tokio::select! {
                () = session.link.pulse.lost() => false,
                changed = state.changed() => changed.is_ok(),
            };
            if !goes_on {
                return Err(self.ends(lost()));
            }
        }
        let start = Instant::now();
        match session.publish(&messages, within).await {
            Ok(_) if start.elapsed() > within => Err(self.ends(Error::Timeout("basic.publish"))),
            Ok(_) if !self.is_alive() => Err(self.ends(lost())),
            Ok(returned) => {
                let is_back = |message: &Message| returned.iter().any(|returned| message.is(returned));
                Ok(messages.iter().map(|message| Confirm { routed: !is_back(message) }).collect())
            }
            Err(error) => Err(self.ends(error)),
        }
    }

    /// How much there is at a queue, any queue.
    ///
    /// # Errors
    /// [`Error::MissingQueue`], which costs nothing; as [`next`](Self::next), or no answer in time.
    pub async fn depth(&self, queue: &str) -> Result<Depth, Error> {
        let session = self.session.as_ref().ok_or(Error::Closed)?;
        topology::depth(queue, &session.link, self.connection.options().connect_timeout).await
    }

    /// Closes the channel, at most within the connection's `close_timeout`; then the connection is ended instead.
    pub async fn close(mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    fn is_alive(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.link.pulse.is_alive())
    }

    fn usable(&mut self) -> Result<&mut Session, Error> {
        if self.over.is_none() && !self.is_alive() {
            self.over = Some(lost());
        }
        match (&self.over, &mut self.session) {
            (None, Some(session)) => Ok(session),
            (over, _) => Err(over.clone().unwrap_or(Error::Closed)),
        }
    }

    /// No later call succeeds.
    fn ends(&mut self, error: Error) -> Error {
        self.over = Some(error.clone());
        error
    }

    fn taken(&mut self, arrived: Option<lapin::Result<lapin::message::Delivery>>) -> Result<ShardDelivery, Error> {
        match arrived {
            Some(Ok(delivery)) if delivery.acker.usable() => {
                let mut body = delivery.data;
                // lapin lets it grow frame by frame, to up to twice its size; a log is kept for long.
                body.shrink_to_fit();
                let mut envelope = properties::envelope(&delivery.properties, body);
                // It counts the redeliveries of this message; a copy of it begins anew.
                envelope.headers.take("x-delivery-count");
                let tag = Tag { shard: self.number, number: delivery.delivery_tag };
                Ok(ShardDelivery { tag, envelope, redelivered: delivery.redelivered })
            }
            Some(Ok(_)) => Err(self.ends(lost())),
            Some(Err(error)) => Err(self.ends(error.into())),
            None => {
                let reason = "the broker cancelled the consumer: was the queue deleted?".to_owned();
                let queue = self.queue.clone();
                Err(self.ends(Error::Queue { queue, reason }))
            }
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(session.close())),
                Err(_) => session.link.sever("a shard was dropped outside the runtime"),
            }
        }
    }
}

impl Session {
    /// What came back of these messages, once all are confirmed.
    async fn publish(&self, messages: &[Arc<Message>], within: Duration) -> Result<Vec<BasicReturnMessage>, Error> {
        let unanswered = Unanswered(Some(&self.link));
        let answered = tokio::select! {
            biased;
            () = self.link.pulse.lost() => return Err(lost()),
            answered = timeout(within, self.answers(messages)) => answered,
        };
        let (returned, refused) = answered.map_err(|_| Error::Timeout("basic.publish"))??;
        unanswered.came();
        match refused {
            0 => Ok(returned),
            refused => {
                let reason = format!("the broker did not store {refused} of {} messages", messages.len());
                Err(Error::Channel(reason))
            }
        }
    }

    /// What came back, and how many were refused. lapin attaches a return to whichever confirm is next, at the latest to the
    /// message's own: none is outstanding when all confirms are there.
    async fn answers(&self, messages: &[Arc<Message>]) -> Result<(Vec<BasicReturnMessage>, usize), Error> {
        let (mut returned, mut refused) = (Vec::new(), 0);
        let mut note = |answer: lapin::Result<Confirmation>| {
            match answer? {
                Confirmation::Ack(back) => returned.extend(back),
                Confirmation::Nack(back) => {
                    returned.extend(back);
                    refused += 1;
                }
                Confirmation::NotRequested => return Err(Error::Channel("the channel does not confirm".to_owned())),
            }
            Ok(())
        };
        let mut flying = FuturesUnordered::new();
        for message in messages {
            if flying.len() == WINDOW
                && let Some(answer) = flying.next().await
            {
                note(answer)?;
            }
            let mut sending = Box::pin(message.send(&self.channel));
            // Hands it over, so that they leave in this order.
            match (&mut sending).now_or_never() {
                Some(answer) => note(answer)?,
                None => flying.push(sending),
            }
        }
        while let Some(answer) = flying.next().await {
            note(answer)?;
        }
        Ok((returned, refused))
    }

    /// The consumer is never cancelled: a cancelled one keeps what it has not acked, while the next is given what follows.
    async fn close(self) {
        if self.channel.status().connected() {
            let closing =
                self.link.answer("channel.close", self.patience, self.channel.close(200, "done".into())).await;
            if matches!(closing, Err(Error::Timeout(_))) {
                self.link.sever("a shard's channel could not be closed");
            }
        }
    }
}

/// Publishes whose answers are outstanding: given up, they end the connection.
struct Unanswered<'l>(Option<&'l Link>);

impl Unanswered<'_> {
    fn came(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.0 {
            link.sever("a publish that must not be late has no answer");
        }
    }
}

fn lost() -> Error {
    Error::NotConnected("it was lost".to_owned())
}

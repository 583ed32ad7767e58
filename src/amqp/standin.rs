//! Ending a consumer exactly: another takes what comes while it is cancelled, and is full when it is cancelled itself.
//!
//! What RabbitMQ gives to a consumer whose cancel is on its way never arrives, and comes back as delivered before. Only a
//! consumer that holds as much as it may is surely given nothing. The window of the first one may be large, and nothing may
//! come for a while; so a stand-in with a bounded window and a higher priority takes all that comes. Then nothing is under way
//! to the first one. The stand-in is filled up, with fillers where no jobs come, before it goes as well.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::time::timeout;

use super::publisher::{Address, Publisher};
use super::session::Session;
use super::{Error, properties};
use crate::envelope::{Envelope, Headers, Value};

/// What it may hold at least, and at most: more than can come while the first one is cancelled, since once it is full the first
/// one gets jobs again. With 32 that happened at some 1,500 jobs a second on a busy machine.
const WINDOW: (u16, u16) = (32, 256);
/// How often it looks in the queue for fillers that found no place. Others than those, which it may find, go back.
const GETS: usize = 32;
/// How long everything may take; beyond that consumers are cancelled as they are.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a filler may take to come. Another stand-in on the same queue may have got it.
const COMES_WITHIN: Duration = Duration::from_millis(100);
/// The header that makes a message a filler; whoever gets one acks it and looks no further.
const FILLER: &str = "x-switchboard-filler";

/// Whether a message is there only to fill a window.
pub(super) fn is_filler(envelope: &Envelope) -> bool {
    envelope.headers.get(FILLER).is_some()
}

/// What the stand-in of a consumer with this prefetch may hold.
pub(super) fn window(prefetch: u16) -> u16 {
    prefetch.saturating_mul(4).clamp(WINDOW.0, WINDOW.1)
}

/// A consumer in another one's place.
pub(super) struct StandIn {
    session: Session,
    stream: lapin::Consumer,
    queue: ShortString,
    window: usize,
    publisher: Publisher,
    deadline: Instant,
    held: Vec<Delivery>,
    /// Fillers that were published and did not come yet.
    missing: usize,
}

impl StandIn {
    /// Takes the place of the consumers of a queue, on a channel of its own that may hold so much.
    pub(super) async fn open(session: Session, queue: &str, window: u16, publisher: Publisher) -> Result<Self, Error> {
        let queue = properties::short("queue", queue.to_owned()).map_err(|error| Error::Channel(error.to_string()))?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongInt(1));
        let consuming =
            session.channel.basic_consume(queue.clone(), "".into(), BasicConsumeOptions::default(), arguments);
        let stream = session.link.answer("basic.consume", WITHIN, consuming).await?;
        let deadline = Instant::now() + WITHIN;
        Ok(Self { session, stream, queue, window: window.into(), publisher, deadline, held: Vec::new(), missing: 0 })
    }

    /// Waits until the queue has done everything that the first consumer's channel asked of it, and the channel has written
    /// what came of it: a get is answered after that. Settlements that the channel had kept go to the queue after the first
    /// get, so a second one waits for those. What they get, if the queue had something left, is the channel's.
    pub(super) async fn fence(&self, first: &Session) -> Result<Vec<Delivery>, Error> {
        let mut found = Vec::new();
        for _ in 0..2 {
            found.extend(first.get(self.queue.clone(), WITHIN).await?);
        }
        Ok(found)
    }

    /// Fills the window and ends; returns the channel and what it was given.
    pub(super) async fn end(mut self) -> Result<(Session, Vec<Delivery>), Error> {
        let publisher = self.publisher.clone();
        loop {
            while let Some(Some(arrived)) = self.stream.next().now_or_never() {
                self.hold(arrived?);
            }
            let free = self.window.saturating_sub(self.held.len());
            if free == 0 || Instant::now() >= self.deadline {
                break;
            }
            // Half of what is free, since jobs come too: what finds no place would lie in the queue.
            let count = free.div_ceil(2);
            let fillers = (0..count).map(|_| publisher.publish(Address::queue(self.queue.as_str()), filler(), true));
            // Without confirms, as under an alarm, it ends as it is.
            if !matches!(timeout(WITHIN, try_join_all(fillers)).await, Ok(Ok(_))) {
                break;
            }
            self.missing += count;
            while self.missing > 0
                && let Ok(Some(arrived)) = timeout(COMES_WITHIN, self.stream.next()).await
            {
                self.hold(arrived?);
            }
        }
        let cancel = self.session.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default());
        self.session.link.answer("basic.cancel", WITHIN, cancel).await?;
        while let Some(arrived) = self.stream.next().await {
            self.hold(arrived?);
        }
        // A job took the last place: its filler would lie in the queue until somebody else takes it.
        for _ in 0..GETS {
            if self.missing == 0 {
                break;
            }
            let Some(found) = self.session.get(self.queue.clone(), WITHIN).await? else { break };
            self.hold(found);
        }
        Ok((self.session, self.held))
    }

    fn hold(&mut self, delivery: Delivery) {
        let is_filler =
            delivery.properties.headers().as_ref().is_some_and(|headers| headers.inner().contains_key(FILLER));
        self.missing -= usize::from(is_filler && self.missing > 0);
        self.held.push(delivery);
    }
}

fn filler() -> Envelope {
    let headers = Headers(vec![(FILLER.to_owned(), Value::Bool(true))]);
    Envelope { headers, message_id: Some(FILLER.to_owned()), ..Envelope::default() }
}

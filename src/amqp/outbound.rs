//! The task behind a publisher: it alone writes to the confirm channel, and sends again what was not confirmed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::Confirmation;
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connection::{Link, backoff};
use super::flight::{Again, Airborne, Flight, refused_exchange};
use super::isolation::Isolated;
use super::pool::confirm_channel;
use super::topology::refusal;
use super::{Confirm, Connection, Error, Options, PublishError};

/// Unconfirmed messages on the channel: lapin walks all of them at each confirm of several.
const WINDOW: usize = 1024;
/// How often late confirms are looked for.
const TICK: Duration = Duration::from_secs(1);
/// How long an exchange that refused is kept off the shared channel, and how many such are remembered.
const DISTRUST: (Duration, usize) = (Duration::from_secs(60), 256);
/// How long a queue that stayed full is asked only once, and how many such are remembered.
const FULL: (Duration, usize) = (Duration::from_secs(60), 256);

pub(super) struct Outbound {
    connection: Connection,
    options: Options,
    inbox: mpsc::Receiver<Flight>,
    isolated: Isolated,
    unroutable: Arc<AtomicU64>,
    closing: CancellationToken,
    airborne: Airborne,
    again: Again,
    distrusted: HashMap<ShortString, Instant>,
    /// Queues that stayed full until a message was given up, each with its time.
    full: HashMap<ShortString, Instant>,
}

/// Why a channel is used no more.
enum Over {
    /// The publisher is closed, or nobody has a handle to it.
    Finished,
    /// Gone with the connection, by a late confirm, or closed by the broker with these words.
    Channel { refused: Option<String> },
}

type Landed = (u64, lapin::Result<Confirmation>);

impl Outbound {
    pub(super) fn new(
        connection: Connection,
        options: Options,
        inbox: mpsc::Receiver<Flight>,
        isolated: Isolated,
        unroutable: Arc<AtomicU64>,
        closing: CancellationToken,
    ) -> Self {
        let (airborne, again) = (Airborne::default(), Again::default());
        let (distrusted, full) = (HashMap::new(), HashMap::new());
        Self { connection, options, inbox, isolated, unroutable, closing, airborne, again, distrusted, full }
    }

    pub(super) async fn run(mut self) {
        let closing = self.closing.clone();
        let patience = self.options.close_timeout;
        tokio::select! {
            () = self.over_channels() => {}
            // The loop itself ends as soon as nothing is left to confirm; this is for what never will be.
            () = async { closing.cancelled().await; sleep(patience).await } => {}
        }
        self.inbox.close();
        let mut left = self.airborne.ground();
        left.extend(self.again.take_all());
        while let Ok(flight) = self.inbox.try_recv() {
            left.push(flight);
        }
        for flight in left {
            let _ = flight.done.send(Err(PublishError::Closed));
        }
    }

    async fn over_channels(&mut self) {
        let mut failures = 0;
        loop {
            let opened = match self.connection.link().await {
                Ok(link) => confirm_channel(&link, self.options.connect_timeout).await.map(|channel| (link, channel)),
                Err(error) => Err(error),
            };
            let (link, channel) = match opened {
                Ok(opened) => opened,
                Err(Error::Closed) => return,
                Err(error) => {
                    failures += 1;
                    debug!(%error, "no confirm channel");
                    sleep(backoff(failures, self.options.backoff_min, self.options.backoff_max, rand::random())).await;
                    continue;
                }
            };
            failures = 0;
            match self.on_channel(&link, &channel).await {
                Over::Finished => return,
                Over::Channel { refused } => self.sort_out(refused),
            }
            if channel.status().connected() {
                let _ = timeout(self.options.close_timeout, channel.close(200, "replaced".into())).await;
            }
        }
    }

    async fn on_channel(&mut self, link: &Link, channel: &lapin::Channel) -> Over {
        let mut flying = FuturesUnordered::new();
        let (mut batch, mut landed): (Vec<Flight>, Vec<Landed>) = (Vec::new(), Vec::new());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = self.closing.clone();
        loop {
            let ended = self.inbox.is_closed() && self.inbox.is_empty();
            if ended && self.airborne.len() + self.again.len() == 0 {
                return Over::Finished;
            }
            let room = self.options.batch.min(WINDOW.saturating_sub(self.airborne.len()));
            let accepting = !ended && room > 0 && self.again.len() < self.options.publish_queue;
            let due = self.again.next_due();
            tokio::select! {
                biased;
                () = link.pulse.lost() => return Over::Channel { refused: None },
                Some(first) = flying.next(), if !flying.is_empty() => {
                    landed.push(first);
                    while let Some(Some(next)) = flying.next().now_or_never() {
                        landed.push(next);
                    }
                    if let Some(over) = self.land(&mut landed) {
                        return over;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() && room > 0 => {
                    self.again.take_due(Instant::now(), room, &mut batch);
                }
                _ = self.inbox.recv_many(&mut batch, room), if accepting => {}
                Some(exchange) = self.isolated.refused.recv() => self.distrust(exchange),
                () = closing.cancelled(), if !self.inbox.is_closed() => self.inbox.close(),
                _ = tick.tick() => {
                    let now = Instant::now();
                    if link.blocked() {
                        self.airborne.forgive(now);
                    } else if self.airborne.overdue(now, self.options.confirm_timeout) {
                        warn!("a confirm did not come in time; the channel is replaced and everything unconfirmed sent again");
                        return Over::Channel { refused: None };
                    }
                }
            }
            for flight in batch.drain(..) {
                if flight.done.is_closed() {
                    continue;
                }
                if self.is_distrusted(&flight) {
                    self.isolate(flight);
                    continue;
                }
                // On the heap at once: lapin's part of it is a thousand bytes, which the list would move twice more.
                let sending = Box::pin(flight.message.send(channel));
                let number = self.airborne.take_off(flight, Instant::now());
                flying.push(sending.map(move |answer| (number, answer)));
            }
        }
    }

    /// Reads the answers that came together; says so if one of them is the end of the channel.
    fn land(&mut self, landed: &mut Vec<Landed>) -> Option<Over> {
        for (_, answer) in landed.iter_mut() {
            if let Ok(Confirmation::Ack(returned) | Confirmation::Nack(returned)) = answer
                && let Some(returned) = returned.take()
            {
                self.airborne.came_back(returned);
            }
        }
        let mut over = None;
        for (number, answer) in landed.drain(..) {
            match answer {
                Ok(Confirmation::Ack(_)) => self.confirmed(number),
                Ok(Confirmation::Nack(_)) => self.nacked(number),
                // Without confirms nothing is known about it, as after a loss.
                Ok(Confirmation::NotRequested) => over = over.or(Some(Over::Channel { refused: None })),
                Err(error) => {
                    let refused = refusal(&error).map(|(_, words)| words);
                    over = over.or(Some(Over::Channel { refused }));
                }
            }
        }
        over
    }

    fn confirmed(&mut self, number: u64) {
        if let Some((flight, routed)) = self.airborne.land(number) {
            if !routed {
                self.unroutable.fetch_add(1, Ordering::Relaxed);
                debug!(exchange = %flight.message.exchange, "no queue wanted a message");
            }
            if !self.full.is_empty() {
                self.full.remove(&flight.message.routing_key);
            }
            let _ = flight.done.send(Ok(Confirm { routed }));
        }
    }

    fn nacked(&mut self, number: u64) {
        if let Some((mut flight, _)) = self.airborne.land(number) {
            let now = Instant::now();
            let is_full = self.full.get(&flight.message.routing_key).is_some_and(|until| *until > now);
            let Some(left) = flight.nacks.add(now, self.options.refused_for, is_full) else {
                // Whoever waits holds something meanwhile: one full queue must not hold everything.
                self.full.retain(|_, until| *until > now);
                if self.full.len() < FULL.1 {
                    self.full.insert(flight.message.routing_key.clone(), now + FULL.0);
                }
                let reason = "its queue does not take it: is it full?".to_owned();
                let _ = flight.done.send(Err(PublishError::Refused { reason }));
                return;
            };
            let Options { backoff_min, backoff_max, .. } = self.options;
            let wait = backoff(flight.nacks.count, backoff_min, backoff_max, rand::random());
            self.again.add(flight, now + wait.min(left));
        }
    }

    /// After the end of a channel: what may be guilty of it is tried alone, the rest is sent again at once.
    fn sort_out(&mut self, refused: Option<String>) {
        let now = Instant::now();
        let flights = self.airborne.ground();
        let exchange = refused.as_deref().and_then(refused_exchange);
        let named = exchange.filter(|name| flights.iter().any(|flight| flight.message.exchange.as_str() == *name));
        for flight in flights.into_iter().filter_map(Flight::lost) {
            let suspect = refused.is_some() && named.is_none_or(|name| flight.message.exchange.as_str() == name);
            if suspect {
                self.isolate(flight);
            } else {
                self.again.add(flight, now);
            }
        }
    }

    fn isolate(&mut self, flight: Flight) {
        if let Err(mpsc::error::TrySendError::Full(flight)) = self.isolated.suspects.try_send(flight) {
            self.again.add(flight, Instant::now() + self.options.backoff_min);
        }
    }

    fn distrust(&mut self, exchange: ShortString) {
        let now = Instant::now();
        self.distrusted.retain(|_, until| *until > now);
        if self.distrusted.len() < DISTRUST.1 {
            self.distrusted.insert(exchange, now + DISTRUST.0);
        }
    }

    fn is_distrusted(&self, flight: &Flight) -> bool {
        !self.distrusted.is_empty()
            && self.distrusted.get(&flight.message.exchange).is_some_and(|until| *until > Instant::now())
    }
}

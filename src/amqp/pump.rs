//! The task behind a consumer: from the broker's stream to the receiver, over every reconnect, pause and resume.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::acks::HANDED_ON;
use super::connection::backoff;
use super::consumer::{ConsumerState, Wish};
use super::delivery::Receipt;
use super::mend::HEADERS_DROPPED;
use super::session::Session;
use super::standin::{self, StandIn};
use super::topology::Report;
use super::{Connection, Delivery, Error, Publisher, Topology, properties};
use crate::deadline::Now;
use crate::envelope::Value;

/// How often a paused channel is looked at: nothing else tells that the broker closed it meanwhile.
const PAUSED_CHECK: Duration = Duration::from_millis(500);

/// How long the broker must have given nothing, while nothing is settled, to have given all that it may.
const QUIET: Duration = Duration::from_millis(100);

pub(super) struct Pump {
    connection: Connection,
    topology: Topology,
    queue: Arc<str>,
    prefetch: u16,
    fillers: Option<Publisher>,
    out: mpsc::Sender<Delivery>,
    wish: watch::Receiver<Wish>,
    state: watch::Sender<ConsumerState>,
    tasks: TaskTracker,
    /// The channels of stand-ins that ended, whose deliveries may not be settled yet.
    ended: Vec<Session>,
    /// Taken from the broker, not yet from us: at most what the broker lets us hold.
    backlog: VecDeque<Delivery>,
    report: Option<Report>,
}

/// How a session ended.
enum End {
    Stopped,
    /// Paused or stopped before there was anything to cancel.
    Interrupted,
    Lost(String),
}

/// How a stretch of consuming, or of a pause, ended.
enum Next {
    Consume,
    Paused,
    End(End),
}

impl Pump {
    #[expect(clippy::too_many_arguments, reason = "called once, by Consumer::start; a struct would be this one again")]
    pub(super) fn new(
        connection: Connection,
        topology: Topology,
        queue: Arc<str>,
        prefetch: u16,
        fillers: Option<Publisher>,
        out: mpsc::Sender<Delivery>,
        wish: watch::Receiver<Wish>,
        state: watch::Sender<ConsumerState>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            connection,
            topology,
            queue,
            prefetch,
            fillers,
            out,
            wish,
            state,
            tasks,
            ended: Vec::new(),
            backlog: VecDeque::new(),
            report: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let since = Instant::now();
            let reason = match self.attempt().await {
                End::Stopped => break,
                End::Interrupted => continue,
                End::Lost(reason) => reason,
            };
            // Of a channel that is gone: their receipts do nothing, the broker gives them out again.
            self.backlog.clear();
            self.ended.clear();
            let options = self.connection.options();
            failures = if since.elapsed() > options.backoff_max { 1 } else { failures + 1 };
            let wait = backoff(failures, options.backoff_min, options.backoff_max, rand::random());
            warn!(queue = %self.queue, %reason, wait_ms = wait.as_millis() as u64, "not consuming");
            if self.wished() == Wish::Run {
                self.state.send_replace(ConsumerState::Waiting { reason });
            }
            tokio::select! {
                () = sleep(wait) => {}
                changed = self.wish.changed() => if changed.is_err() { break },
                () = self.out.closed() => break,
            }
        }
        self.state.send_replace(ConsumerState::Stopped);
        self.hand_over_backlog().await;
    }

    fn wished(&mut self) -> Wish {
        // Without its handle nobody can want it any more.
        if self.wish.has_changed().is_err() { Wish::Stop } else { *self.wish.borrow_and_update() }
    }

    /// One channel, from the wish to consume to its end.
    async fn attempt(&mut self) -> End {
        loop {
            match self.wished() {
                Wish::Run => break,
                Wish::Stop => return End::Stopped,
                Wish::Pause => {
                    self.state.send_replace(ConsumerState::Paused);
                    if self.wish.changed().await.is_err() {
                        return End::Stopped;
                    }
                }
            }
        }
        let (connection, mut wish, out) = (self.connection.clone(), self.wish.clone(), self.out.clone());
        let opened = tokio::select! {
            opened = self.open(&connection) => opened,
            _ = wish.changed() => return End::Interrupted,
            () = out.closed() => return End::Stopped,
        };
        let session = match opened {
            Ok(session) => session,
            Err(Error::Closed) => return End::Stopped,
            Err(error) => return End::Lost(error.to_string()),
        };
        let mut next = Next::Consume;
        let end = loop {
            next = match next {
                Next::Consume => self.consume(&session).await,
                Next::Paused => self.rest(&session).await,
                Next::End(end) => break end,
            };
        };
        if matches!(end, End::Lost(_)) {
            session.lane.life.end();
        }
        end
    }

    async fn open(&mut self, connection: &Connection) -> Result<Session, Error> {
        let link = connection.link().await?;
        let report = self.topology.apply_on(&link, connection.options().connect_timeout).await?;
        if self.report.as_ref() != Some(&report) {
            report.log();
            self.report = Some(report);
        }
        Session::open(link, self.prefetch, connection.options(), &self.tasks).await
    }

    async fn consume(&mut self, session: &Session) -> Next {
        let deadline = self.connection.options().connect_timeout;
        let queue = match properties::short("queue", self.queue.to_string()) {
            Ok(queue) => queue,
            Err(error) => return Next::End(End::Lost(error.to_string())),
        };
        let consuming =
            session.channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut stream = match session.link.answer("basic.consume", deadline, consuming).await {
            Ok(stream) => stream,
            Err(error) => return Next::End(End::Lost(error.to_string())),
        };
        info!(queue = %self.queue, epoch = session.link.epoch, "consuming");
        self.ended.clear();
        let out = self.out.clone();
        self.state.send_replace(ConsumerState::Consuming { epoch: session.link.epoch });
        loop {
            tokio::select! {
                biased;
                _ = self.wish.changed() => if self.wished() != Wish::Run { break },
                () = session.lane.life.ended() => return lost("the channel is gone"),
                () = self.out.closed() => break,
                arrived = stream.next() => match arrived {
                    Some(Ok(delivery)) => self.take(session, delivery),
                    Some(Err(error)) => return lost(&error.to_string()),
                    // The broker cancels a consumer whose queue is deleted or whose leader is gone; the channel lives on.
                    None => return lost("the broker cancelled the consumer"),
                },
                room = out.reserve(), if !self.backlog.is_empty() => {
                    if let (Ok(room), Some(delivery)) = (room, self.backlog.pop_front()) {
                        room.send(delivery);
                    }
                }
            }
        }
        // Freed by an ack, a place in the window would be taken by what no longer arrives.
        let _held = session.lane.life.hold_settlements();
        let stand_in = match self.stand_in(session).await {
            Ok(stand_in) => stand_in,
            Err(error) => {
                debug!(%error, "no stand-in: the consumer is cancelled when nothing has come for a while");
                None
            }
        };
        if stand_in.is_none()
            && let Err(reason) = self.fall_quiet(session, &mut stream).await
        {
            return lost(&reason);
        }
        // What the broker sent before it read the cancel is ours, and comes before the stream's end.
        let cancel = session.channel.basic_cancel(stream.tag(), BasicCancelOptions::default());
        if let Err(error) = session.link.answer("basic.cancel", deadline, cancel).await {
            return lost(&error.to_string());
        }
        while let Some(arrived) = stream.next().await {
            match arrived {
                Ok(delivery) => self.take(session, delivery),
                Err(error) => return lost(&error.to_string()),
            }
        }
        if let Some(stand_in) = stand_in {
            match stand_in.end().await {
                Ok((session, held)) => {
                    {
                        let _held = session.lane.life.hold_settlements();
                        held.into_iter().for_each(|delivery| self.take(&session, delivery));
                    }
                    self.ended.push(session);
                }
                // Its channel is gone with it: what it held comes back as delivered before.
                Err(error) => warn!(%error, queue = %self.queue, "a stand-in did not end in order"),
            }
        }
        info!(queue = %self.queue, "not consuming any more");
        Next::Paused
    }

    /// Has another consumer take what comes from now on, and takes what is under way to this one.
    async fn stand_in(&mut self, session: &Session) -> Result<Option<StandIn>, Error> {
        let Some(fillers) = self.fillers.clone() else { return Ok(None) };
        let window = standin::window(self.prefetch);
        let own = Session::open(session.link.clone(), window, self.connection.options(), &self.tasks).await?;
        let stand_in = StandIn::open(own, &self.queue, window, fillers).await?;
        for delivery in stand_in.fence(session).await? {
            self.take(session, delivery);
        }
        Ok(Some(stand_in))
    }

    /// Takes what comes until nothing does for a while.
    async fn fall_quiet(&mut self, session: &Session, stream: &mut lapin::Consumer) -> Result<(), String> {
        loop {
            let arrived = tokio::select! {
                () = session.lane.life.ended() => return Err("the channel is gone".to_owned()),
                arrived = timeout(QUIET, stream.next()) => arrived,
            };
            match arrived {
                Err(_) => return Ok(()),
                Ok(Some(Ok(delivery))) => self.take(session, delivery),
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(None) => return Err("the broker cancelled the consumer".to_owned()),
            }
        }
    }

    /// Between cancel and the next consume, on the same channel, so that what is held can still be settled.
    async fn rest(&mut self, session: &Session) -> Next {
        let out = self.out.clone();
        loop {
            let outstanding = session.lane.life.outstanding();
            match self.wished() {
                _ if self.out.is_closed() => return Next::End(End::Stopped),
                // Nothing comes any more; what is out has time to be settled.
                Wish::Stop if self.fillers.is_some() && outstanding >= HANDED_ON => {
                    self.state.send_replace(ConsumerState::Stopped)
                }
                Wish::Stop => {
                    self.state.send_replace(ConsumerState::Stopped);
                    self.hand_on(session).await;
                    return match self.ended.pop() {
                        None => Next::End(End::Stopped),
                        Some(ended) => Box::pin(self.rest(&ended)).await,
                    };
                }
                // The broker counts the prefetch for each consumer anew: waiting for room keeps the sum under twice of it.
                Wish::Run if outstanding < self.prefetch.into() => return Next::Consume,
                Wish::Run => self.state.send_replace(ConsumerState::Waiting {
                    reason: format!("{outstanding} deliveries from before the pause are not settled yet"),
                }),
                Wish::Pause => self.state.send_replace(ConsumerState::Paused),
            };
            tokio::select! {
                _ = self.wish.changed(), if self.wish.has_changed().is_ok() => {}
                () = session.lane.life.ended() => return lost("the channel is gone"),
                () = self.out.closed() => {}
                () = session.lane.life.fewer() => {}
                () = sleep(PAUSED_CHECK) => if !session.channel.status().connected() {
                    return lost("the broker closed the channel during the pause");
                },
                room = out.reserve(), if !self.backlog.is_empty() => {
                    if let (Ok(room), Some(delivery)) = (room, self.backlog.pop_front()) {
                        room.send(delivery);
                    }
                }
            }
        }
    }

    /// Sees to it that all settlements reach the queue, those before and the few that may come yet.
    async fn hand_on(&mut self, session: &Session) {
        // For others a consumer is ended as it is, and a queue with a single active consumer refuses a get.
        if self.fillers.is_none() {
            return;
        }
        let Ok(queue) = properties::short("queue", self.queue.to_string()) else { return };
        match session.get(queue, self.connection.options().connect_timeout).await {
            Ok(found) => {
                session.lane.life.set_handed_on();
                if let Some(delivery) = found {
                    self.take(session, delivery);
                }
            }
            Err(error) => {
                debug!(%error, "not known whether all acks were handed on: the channel stays open for a while")
            }
        }
    }

    fn take(&mut self, session: &Session, delivery: lapin::message::Delivery) {
        if !delivery.acker.usable() {
            return;
        }
        session.lane.life.watch(&delivery.acker);
        let mut body = delivery.data;
        // lapin lets it grow frame by frame, to up to twice its size.
        body.shrink_to_fit();
        let mut envelope = properties::envelope(&delivery.properties, body);
        if let Some(Value::Int(bytes)) = envelope.headers.get(HEADERS_DROPPED) {
            warn!(queue = %self.queue, bytes, "a message came with headers too large for a frame; they are left out");
        }
        if standin::is_filler(&envelope) {
            return Receipt::new(session.lane.clone(), delivery.delivery_tag).ack();
        }
        // Taken out: a copy of the message would carry it into a queue that counts from nothing. On a message that was never
        // given out before, it is a producer's word.
        let delivery_count = match envelope.headers.take("x-delivery-count") {
            Some(Value::Int(count)) if delivery.redelivered => u64::try_from(count).ok(),
            _ => None,
        };
        let delivery = Delivery {
            envelope,
            exchange: delivery.exchange.into(),
            routing_key: delivery.routing_key.into(),
            queue: self.queue.clone(),
            redelivered: delivery.redelivered,
            delivery_count,
            received: Now::read(),
            receipt: Receipt::new(session.lane.clone(), delivery.delivery_tag),
        };
        if self.backlog.is_empty() {
            match self.out.try_send(delivery) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(delivery)) => self.backlog.push_back(delivery),
            }
        } else {
            self.backlog.push_back(delivery);
        }
    }

    async fn hand_over_backlog(mut self) {
        while let Some(delivery) = self.backlog.pop_front() {
            if self.out.send(delivery).await.is_err() {
                return;
            }
        }
    }
}

fn lost(reason: &str) -> Next {
    Next::End(End::Lost(reason.to_owned()))
}

//! The session: what is wanted of the broker and what it has said, as a machine that does no I/O and reads no clock.
//!
//! ```text
//!          on_up            every SUBACK of what was subscribed before
//!   Down ────────► Renewing ─────────────────────────────────────────► Up
//!    ▲                │                                                 │
//!    └────────────────┴──────────────── on_down ────────────────────────┘
//! ```
//! Publishes leave only while `Up`, each checked at that moment against its deadline, whether it is still wanted, and the broker's limits.

use super::fate::{Fate, NotSent, Refusal};
use super::inflight::Inflight;
use super::message::{Message, Qos};
use super::packet::{Accepted, Incoming, Outgoing};
use super::publication::{Class, Publication};
use super::pulse::{Pulse, Stall};
use super::reader::{Reader, ReaderId};
use super::seen::Seen;
use super::subscriptions::{Granted, Subscriptions};
use crate::deadline::earlier;
use crate::topic::TopicFilter;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What handles ask of the session.
pub(crate) enum Op {
    Publish(Publication),
    Subscribe { filter: TopicFilter, reader: Reader, granted: Granted },
}

/// The limits of a session, from [`super::Options`].
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) keep_alive: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) linger: Duration,
    /// Publishes that may wait here.
    pub(crate) queue: usize,
    pub(crate) max_inflight: usize,
    pub(crate) filters_per_subscribe: usize,
    pub(crate) subscribe_qos: Qos,
    /// Whether the broker may send a message again after a reconnect.
    pub(crate) kept_session: bool,
}

pub(crate) struct Session {
    limits: Limits,
    connection: Option<Connection>,
    interactive: VecDeque<Publication>,
    bulk: VecDeque<Publication>,
    /// Publishes since the last one of the bulk class.
    passed: u32,
    /// No queued publish expires before this.
    next_expiry: Option<Instant>,
    inflight: Inflight,
    subscriptions: Subscriptions,
    acks_due: Vec<u16>,
    seen: Seen,
}

/// What lasts as long as one connection.
struct Connection {
    broker: Accepted,
    pulse: Pulse,
    position: u64,
}

/// SUBSCRIBE and UNSUBSCRIBE packets under way at one time.
const MAX_SUBSCRIBES_UNDER_WAY: usize = 16;
/// A waiting bulk publish goes after this many interactive ones.
const INTERACTIVE_PER_BULK: u32 = 8;
/// Expired publishes are looked for at most this often.
const EXPIRY_GRAIN: Duration = Duration::from_millis(5);
/// The reason code with which a broker would close the connection (MQTT 5.0, section 2.4).
const RETAIN_NOT_SUPPORTED: u8 = 0x9A;
impl Session {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            connection: None,
            interactive: VecDeque::new(),
            bulk: VecDeque::new(),
            passed: 0,
            next_expiry: None,
            inflight: Inflight::default(),
            subscriptions: Subscriptions::default(),
            acks_due: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn queued(&self) -> usize {
        self.interactive.len() + self.bulk.len()
    }

    /// How many operations may be taken from the handles now: none while as many publishes wait here as may.
    pub(crate) fn room(&self) -> usize {
        self.limits.queue.saturating_sub(self.queued())
    }

    /// Whether nothing waits and nothing is unacknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.queued() == 0 && self.inflight.unacknowledged() == 0
    }

    /// Whether publishes flow.
    pub(crate) fn is_up(&self) -> bool {
        self.connection.is_some() && !self.subscriptions.is_renewing()
    }

    /// Filters, and users of them.
    pub(crate) fn subscription_counts(&self) -> (usize, usize) {
        self.subscriptions.counts()
    }

    pub(crate) fn on_op(&mut self, op: Op) {
        match op {
            Op::Subscribe { filter, reader, granted } => self.subscriptions.add(filter, reader, granted),
            Op::Publish(publication) => {
                self.expect_expiry(publication.not_after);
                match publication.class {
                    Class::Interactive => self.interactive.push_back(publication),
                    Class::Bulk => self.bulk.push_back(publication),
                }
            }
        }
    }

    fn expect_expiry(&mut self, not_after: Option<Instant>) {
        self.next_expiry = earlier(self.next_expiry, not_after.map(|at| at + EXPIRY_GRAIN));
    }

    pub(crate) fn on_release(&mut self, reader: ReaderId, now: Instant) {
        self.subscriptions.release(reader, now, self.limits.linger);
    }

    pub(crate) fn on_up(&mut self, broker: Accepted, now: Instant) {
        if !broker.session_present {
            self.seen.clear();
        }
        self.subscriptions.on_up(broker.session_present);
        let pulse = Pulse::new(self.limits.keep_alive, broker.keep_alive, now);
        self.connection = Some(Connection { broker, pulse, position: 0 });
    }

    /// The connection is gone after `written` bytes. What surely had not begun to leave waits again, first in its queue.
    pub(crate) fn on_down(&mut self, written: u64) {
        self.connection = None;
        self.acks_due.clear();
        self.subscriptions.reset();
        for publication in self.inflight.on_down(written).into_iter().rev() {
            self.expect_expiry(publication.not_after);
            match publication.class {
                Class::Interactive => self.interactive.push_front(publication),
                Class::Bulk => self.bulk.push_front(publication),
            }
        }
    }

    /// The socket has taken the bytes of this connection up to here.
    pub(crate) fn on_written(&mut self, position: u64, now: Instant) {
        self.inflight.on_written(position);
        if let Some(connection) = &mut self.connection {
            connection.pulse.on_written(position >= connection.position, now);
        }
    }

    pub(crate) fn on_packet(&mut self, packet: Incoming, now: Instant) {
        if let Some(connection) = &mut self.connection {
            connection.pulse.on_received(now);
        }
        match packet {
            Incoming::Publish { message, pkid, dup, subscription_ids } => {
                self.on_message(&message, pkid, dup, &subscription_ids)
            }
            Incoming::Oversized { pkid, size } => {
                tracing::warn!(size, "skipped a message over the size that is taken");
                crate::metrics::metrics().unmatched_message();
                self.acks_due.extend((pkid != 0).then_some(pkid));
            }
            Incoming::PubAck { pkid, code, reason } => {
                // None of ours, or one that is given up: nobody waits for it.
                let Some(publication) = self.inflight.acknowledge(pkid) else { return };
                publication.notify.done(match code {
                    0x10 => Fate::NoSubscribers,
                    code if code < 0x80 => Fate::Acknowledged,
                    code => Fate::Refused(Refusal { code, reason }),
                });
            }
            Incoming::SubAck { pkid, grants } => self.subscriptions.on_suback(pkid, &grants, now, self.limits.linger),
            Incoming::UnsubAck { pkid } => self.subscriptions.on_unsuback(pkid),
            Incoming::Pong | Incoming::Accepted(_) | Incoming::Rejected { .. } | Incoming::Disconnect { .. } => {}
        }
    }

    fn on_message(&mut self, message: &Message, pkid: u16, dup: bool, ids: &[u32]) {
        if pkid != 0 {
            self.acks_due.push(pkid);
            if self.limits.kept_session && self.seen.is_repeat(pkid, dup, message) {
                crate::metrics::metrics().duplicate_answer();
                return;
            }
        }
        if self.subscriptions.deliver(message, ids) == 0 {
            crate::metrics::metrics().unmatched_message();
        }
    }

    /// When [`Self::on_tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let pulse = self.connection.as_ref().map(|connection| connection.pulse.next_deadline());
        let waiting =
            earlier(self.inflight.oldest(), self.subscriptions.oldest()).map(|since| since + self.limits.ack_timeout);
        earlier(earlier(self.next_expiry, self.subscriptions.next_deadline()), earlier(pulse, waiting))
    }

    /// Does what is due; says why the connection is to be given up, if it is.
    pub(crate) fn on_tick(&mut self, now: Instant) -> Option<Stall> {
        self.subscriptions.tick(now);
        if self.next_expiry.is_some_and(|at| at <= now) {
            self.expire(now);
        }
        self.inflight.give_up(now, self.limits.ack_timeout);
        let stall = self.connection.as_mut()?.pulse.tick(now);
        if stall.is_some() {
            return stall;
        }
        if self.subscriptions.oldest().is_some_and(|since| since + self.limits.ack_timeout <= now) {
            return Some(Stall::UnansweredSubscription);
        }
        (self.inflight.given_up() >= self.window()).then_some(Stall::Unacknowledged)
    }

    fn expire(&mut self, now: Instant) {
        let mut next = None;
        for queue in [&mut self.interactive, &mut self.bulk] {
            let mut kept = VecDeque::with_capacity(queue.len());
            for publication in queue.drain(..) {
                if publication.not_after.is_some_and(|at| at <= now) {
                    publication.notify.done(Fate::NotSent(NotSent::Expired));
                } else if publication.notify.is_gone() {
                    publication.notify.done(Fate::NotSent(NotSent::Revoked));
                } else {
                    next = earlier(next, publication.not_after);
                    kept.push_back(publication);
                }
            }
            *queue = kept;
        }
        self.next_expiry = next.map(|at| at + EXPIRY_GRAIN);
    }

    /// Writes what may leave now, until there is nothing more or `out` is full.
    pub(crate) fn fill(&mut self, now: Instant, out: &mut dyn Outgoing) {
        let Some(connection) = &mut self.connection else { return };
        for pkid in self.acks_due.drain(..) {
            out.puback(pkid);
        }
        if connection.pulse.take_ping(now) {
            out.ping();
        }
        let ids = connection.broker.subscription_ids;
        self.fill_subscribes(ids, now, out);
        while !out.is_full() && self.is_up() {
            let Some(publication) = self.next_publication() else { break };
            self.hand_over(publication, now, out);
        }
        if let Some(connection) = &mut self.connection
            && out.position() != connection.position
        {
            connection.position = out.position();
            connection.pulse.on_sent(now);
        }
    }

    fn fill_subscribes(&mut self, ids: bool, now: Instant, out: &mut dyn Outgoing) {
        let most = self.limits.filters_per_subscribe;
        while self.subscriptions.has_requests()
            && !out.is_full()
            && self.subscriptions.packets_under_way() < MAX_SUBSCRIBES_UNDER_WAY
        {
            let pkid = self.inflight.free_pkid(|pkid| self.subscriptions.uses(pkid));
            if let Some((filters, id)) = self.subscriptions.next_subscribe(pkid, most, now) {
                out.subscribe(pkid, &filters, self.limits.subscribe_qos, ids.then_some(id));
            } else if let Some(filters) = self.subscriptions.next_unsubscribe(pkid, most, now) {
                out.unsubscribe(pkid, &filters);
            } else {
                break;
            }
        }
    }

    /// The next publish that the broker's window has room for: interactive ones first, but a waiting bulk one now and then.
    fn next_publication(&mut self) -> Option<Publication> {
        let window = self.window();
        if self.inflight.unacknowledged() >= window {
            return None;
        }
        // A quarter of the window stays free for whoever waits for an answer.
        let bulk_may = !self.bulk.is_empty() && self.inflight.bulk() < (window * 3 / 4).max(1);
        if bulk_may && (self.interactive.is_empty() || self.passed >= INTERACTIVE_PER_BULK) {
            self.passed = 0;
            return self.bulk.pop_front();
        }
        self.passed += u32::from(bulk_may);
        self.interactive.pop_front()
    }

    fn window(&self) -> usize {
        let brokers = self.connection.as_ref().map_or(0, |connection| usize::from(connection.broker.receive_maximum));
        brokers.min(self.limits.max_inflight)
    }

    /// The point of no return: checks everything that forbids it, then hands the publish to the socket's buffer.
    fn hand_over(&mut self, publication: Publication, now: Instant, out: &mut dyn Outgoing) {
        let Some(Connection { broker, .. }) = &self.connection else { return };
        let size = publication.size_bound();
        let refusal = if publication.not_after.is_some_and(|at| at <= now) {
            Some(Fate::NotSent(NotSent::Expired))
        } else if size > broker.max_packet {
            Some(Fate::NotSent(NotSent::TooLarge { size, limit: broker.max_packet }))
        } else if publication.retain && !broker.retain {
            Some(Fate::Refused(Refusal {
                code: RETAIN_NOT_SUPPORTED,
                reason: "the broker keeps no messages".to_owned(),
            }))
        } else if !publication.notify.pass(now) {
            Some(Fate::NotSent(NotSent::Revoked))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            publication.notify.done(refusal);
            return;
        }
        // Whole seconds, rounded down so that the broker forgets it no later than it should, but never 0.
        let expiry =
            publication.expires.map(|at| at.saturating_duration_since(now).as_secs().clamp(1, u32::MAX.into()) as u32);
        let qos = publication.qos.min(broker.max_qos);
        let pkid = match qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => self.inflight.free_pkid(|pkid| self.subscriptions.uses(pkid)),
        };
        let start = out.position();
        out.publish(pkid, &publication, expiry);
        match qos {
            Qos::AtMostOnce => self.inflight.push_unwritten(publication, start, out.position()),
            Qos::AtLeastOnce => self.inflight.insert_unacknowledged(pkid, publication, start, now),
        }
    }

    /// The end: everything that waits was not sent. Called without a connection.
    pub(crate) fn close(&mut self) {
        self.on_down(0);
        for publication in self.interactive.drain(..).chain(self.bulk.drain(..)) {
            publication.notify.done(Fate::NotSent(NotSent::Closed));
        }
        self.subscriptions.close();
    }
}

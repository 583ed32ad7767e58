//! The session: what is wanted of the broker and what it has said, as a machine that does no I/O and reads no clock.
//!
//! ```text
//!          on_up            every SUBACK of what was subscribed before
//!   Down ────────► Renewing ─────────────────────────────────────────► Up
//!    ▲                │                                                 │
//!    └────────────────┴──────────────── on_down ────────────────────────┘
//! ```
//! Publishes leave only while `Up`, each checked at that moment against its deadline, its permit and the broker's limits.

use super::fate::{Fate, NotSent, Progress, Refusal};
use super::inflight::Inflight;
use super::message::{Message, Qos};
use super::packet::{Accepted, Incoming, Outgoing};
use super::publish::{Class, Publication};
use super::subscription::{Reader, ReaderId};
use super::subscriptions::{Granted, Subscriptions};
use crate::deadline::earlier;
use crate::topic::TopicFilter;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
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
    pub(crate) linger: Duration,
    pub(crate) max_inflight: usize,
    pub(crate) filters_per_subscribe: usize,
    /// Whether the broker may send a message again after a reconnect.
    pub(crate) kept_session: bool,
}

/// What a tick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    Fine,
    /// Nothing has come for a whole keep-alive although it was asked for.
    Stalled,
}

pub(crate) struct Session {
    limits: Limits,
    broker: Option<Accepted>,
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
    last_received: Instant,
    last_sent: Instant,
    ping: Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    Quiet,
    Due,
    Sent(Instant),
    /// Overdue once. Our own process may have been stopped: whatever lies in the socket is read before the second look.
    Doubted(Instant),
}

/// SUBSCRIBE and UNSUBSCRIBE packets under way at one time.
const MAX_SUBSCRIBES_UNDER_WAY: usize = 16;
/// A waiting bulk publish goes after this many interactive ones.
const INTERACTIVE_PER_BULK: u32 = 8;
/// Expired publishes are looked for at most this often.
const EXPIRY_GRAIN: Duration = Duration::from_millis(5);
/// How long a pulse is doubted before the link is given up.
const DOUBT: Duration = Duration::from_millis(250);

impl Session {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            broker: None,
            interactive: VecDeque::new(),
            bulk: VecDeque::new(),
            passed: 0,
            next_expiry: None,
            inflight: Inflight::default(),
            subscriptions: Subscriptions::default(),
            acks_due: Vec::new(),
            seen: Seen::default(),
            last_received: now,
            last_sent: now,
            ping: Ping::Quiet,
        }
    }

    /// How many publishes wait here.
    pub(crate) fn queued(&self) -> usize {
        self.interactive.len() + self.bulk.len()
    }

    /// Whether nothing waits and nothing is unacknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.queued() == 0 && self.inflight.unacknowledged() == 0
    }

    /// Whether publishes flow.
    pub(crate) fn is_up(&self) -> bool {
        self.broker.is_some() && !self.subscriptions.is_renewing()
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

    pub(crate) fn on_up(&mut self, accepted: Accepted, now: Instant) {
        if !accepted.session_present {
            self.seen.clear();
        }
        self.subscriptions.on_up();
        self.broker = Some(accepted);
        (self.last_received, self.last_sent, self.ping) = (now, now, Ping::Quiet);
    }

    /// The connection is gone after `written` bytes. What surely had not begun to leave waits again, first in its queue.
    pub(crate) fn on_down(&mut self, written: u64) {
        self.broker = None;
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
    pub(crate) fn on_written(&mut self, position: u64) {
        self.inflight.on_written(position);
    }

    pub(crate) fn on_packet(&mut self, packet: Incoming, now: Instant) {
        self.last_received = now;
        self.ping = Ping::Quiet;
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
                // An id of an earlier connection, or none of ours: nobody waits for it.
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
        let half = self.half_keep_alive();
        let pulse = self.broker.as_ref().map(|_| match self.ping {
            Ping::Quiet | Ping::Due => self.last_received.min(self.last_sent) + half,
            Ping::Sent(at) => at + half,
            Ping::Doubted(at) => at + DOUBT,
        });
        earlier(earlier(self.next_expiry, self.subscriptions.next_deadline()), pulse)
    }

    fn half_keep_alive(&self) -> Duration {
        let wanted = self.broker.as_ref().and_then(|broker| broker.keep_alive).filter(|seconds| *seconds > 0);
        wanted.map_or(self.limits.keep_alive, |seconds| Duration::from_secs(seconds.into())) / 2
    }

    pub(crate) fn on_tick(&mut self, now: Instant) -> Pulse {
        self.subscriptions.tick(now);
        if self.next_expiry.is_some_and(|at| at <= now) {
            self.expire(now);
        }
        let half = self.half_keep_alive();
        if self.broker.is_none() {
            return Pulse::Fine;
        }
        match self.ping {
            Ping::Quiet if self.last_received.min(self.last_sent) + half <= now => self.ping = Ping::Due,
            Ping::Sent(at) if at + half <= now => self.ping = Ping::Doubted(now),
            Ping::Doubted(at) if at + DOUBT <= now => return Pulse::Stalled,
            _ => {}
        }
        Pulse::Fine
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
        let before = out.position();
        for pkid in self.acks_due.drain(..) {
            out.puback(pkid);
        }
        if self.ping == Ping::Due {
            out.ping();
            self.ping = Ping::Sent(now);
        }
        self.fill_subscribes(out);
        while !out.is_full() && self.is_up() {
            let Some(publication) = self.next_publication() else { break };
            self.hand_over(publication, now, out);
        }
        if out.position() != before {
            self.last_sent = now;
        }
    }

    fn fill_subscribes(&mut self, out: &mut dyn Outgoing) {
        let Some(broker) = &self.broker else { return };
        let most = self.limits.filters_per_subscribe.max(1);
        while !out.is_full() && self.subscriptions.packets_under_way() < MAX_SUBSCRIBES_UNDER_WAY {
            let pkid = self.inflight.free_pkid(|pkid| self.subscriptions.uses(pkid));
            if let Some((filters, id)) = self.subscriptions.next_subscribe(pkid, most) {
                out.subscribe(pkid, &filters, Qos::AtLeastOnce, broker.subscription_ids.then_some(id));
            } else if let Some(filters) = self.subscriptions.next_unsubscribe(pkid, most) {
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
        let bulk_may = !self.bulk.is_empty() && self.inflight.bulk() < window.div_ceil(4) * 3;
        if bulk_may && (self.interactive.is_empty() || self.passed >= INTERACTIVE_PER_BULK) {
            self.passed = 0;
            return self.bulk.pop_front();
        }
        self.passed += u32::from(bulk_may);
        self.interactive.pop_front()
    }

    fn window(&self) -> usize {
        let broker = self.broker.as_ref().map_or(0, |broker| usize::from(broker.receive_maximum));
        broker.min(self.limits.max_inflight)
    }

    /// The point of no return: checks everything that forbids it, then hands the publish to the socket's buffer.
    fn hand_over(&mut self, publication: Publication, now: Instant, out: &mut dyn Outgoing) {
        let Some(broker) = &self.broker else { return };
        let refusal = if publication.not_after.is_some_and(|at| at <= now) {
            Some(NotSent::Expired)
        } else if publication.notify.is_gone() || publication.permit.as_ref().is_some_and(|permit| !permit.granted()) {
            Some(NotSent::Revoked)
        } else {
            let size = publication.size_bound();
            (size > broker.max_packet).then_some(NotSent::TooLarge { size, limit: broker.max_packet })
        };
        if let Some(refusal) = refusal {
            publication.notify.done(Fate::NotSent(refusal));
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
        publication.notify.progress(Progress::Handed(now));
        match qos {
            Qos::AtMostOnce => self.inflight.push_unwritten(publication, start, out.position()),
            Qos::AtLeastOnce => self.inflight.insert_unacknowledged(pkid, publication, start),
        }
    }

    /// The end: everything that waits was not sent; everything under way is unknown.
    pub(crate) fn close(&mut self, written: u64) {
        self.on_down(written);
        for publication in self.interactive.drain(..).chain(self.bulk.drain(..)) {
            publication.notify.done(Fate::NotSent(NotSent::Closed));
        }
        self.subscriptions.close();
    }
}

/// Messages lately acknowledged, so that one which the broker sends again (same id, DUP, same content) is taken once.
#[derive(Default)]
struct Seen {
    digests: HashMap<u16, u64>,
    order: VecDeque<u16>,
    hasher: RandomState,
}

impl Seen {
    /// A broker repeats what was unacknowledged when the link broke, which is never more than its window towards us.
    const MOST: usize = 1024;

    fn is_repeat(&mut self, pkid: u16, dup: bool, message: &Message) -> bool {
        let digest = self.hasher.hash_one((message.topic(), &message.payload));
        if dup && self.digests.get(&pkid) == Some(&digest) {
            return true;
        }
        if self.digests.insert(pkid, digest).is_none() {
            self.order.push_back(pkid);
            if self.order.len() > Self::MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.digests.remove(&oldest);
            }
        }
        false
    }

    fn clear(&mut self) {
        self.digests.clear();
        self.order.clear();
    }
}

//! A message that the broker gave us, and the right and duty to settle it once.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::connection::Pulse;
use crate::deadline::Now;
use crate::envelope::Envelope;

/// One delivered message.
#[derive(Debug)]
pub struct Delivery {
    /// Its body, properties and headers.
    pub envelope: Envelope,
    /// The exchange it was published to; empty for the default one.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// The queue it came from.
    pub queue: Arc<str>,
    /// Whether the broker gave it out before, to us or to another.
    pub redelivered: bool,
    /// How often it was given out before, where the message says (`x-delivery-count` of quorum queues, from the first
    /// redelivery on).
    pub delivery_count: Option<u64>,
    /// When it reached this program.
    pub received: Now,
    /// What settles it.
    pub receipt: Receipt,
}

/// What the broker shall do with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ack,
    Requeue,
    Reject,
}

#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) tag: u64,
    pub(super) verdict: Verdict,
}

/// Settles one delivery, once, without waiting: the channel's one ack task writes it.
///
/// Dropped unsettled, it gives the message back (the broker counts that as a delivery). On a channel that is gone each
/// of its methods does nothing: the message belongs to whoever the broker gives it to next.
#[must_use = "a delivery that nobody settles goes back to the queue"]
pub struct Receipt {
    lane: Option<Arc<Lane>>,
    tag: u64,
}

impl Receipt {
    pub(super) fn new(lane: Arc<Lane>, tag: u64) -> Self {
        lane.life.outstanding.fetch_add(1, Ordering::AcqRel);
        Self { lane: Some(lane), tag }
    }

    /// The job is done: the broker forgets the message.
    pub fn ack(self) {
        self.settle(Verdict::Ack);
    }

    /// The job was not begun: the broker gives it out again, to anybody.
    pub fn requeue(self) {
        self.settle(Verdict::Requeue);
    }

    /// The job cannot be done: the broker dead-letters the message where the queue says so, else drops it.
    pub fn reject(self) {
        self.settle(Verdict::Reject);
    }

    /// A witness of whether the delivery is still ours, to ask right before an act that cannot be undone.
    pub fn hold(&self) -> Hold {
        Hold(self.lane.as_ref().map(|lane| lane.life.clone()))
    }

    fn settle(mut self, verdict: Verdict) {
        if let Some(lane) = self.lane.take() {
            lane.settle(self.tag, verdict);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            lane.settle(self.tag, Verdict::Requeue);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.tag)
    }
}

/// Tells whether the channel that delivered a message is still the one we own.
#[derive(Clone)]
pub struct Hold(Option<Arc<Life>>);

impl Hold {
    /// True while nobody else can have been given the message. Takes no lock.
    ///
    /// False once the channel or its connection is gone, and false in a process that did not run for a heartbeat and so
    /// cannot know.
    pub fn is_current(&self) -> bool {
        self.0.as_ref().is_some_and(|life| life.is_current())
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("is_current", &self.is_current()).finish()
    }
}

/// The way from the receipts of one channel to its ack task.
pub(super) struct Lane {
    pub(super) life: Arc<Life>,
    settlements: mpsc::Sender<Settlement>,
}

impl Lane {
    /// `capacity` is the most deliveries that the channel can have unsettled: then handing one over never waits.
    pub(super) fn new(pulse: Arc<Pulse>, capacity: usize) -> (Arc<Self>, mpsc::Receiver<Settlement>) {
        let (settlements, settled) = mpsc::channel(capacity);
        let life = Arc::new(Life {
            open: AtomicBool::new(true),
            outstanding: AtomicUsize::new(0),
            acker: OnceLock::new(),
            pulse,
            ended: CancellationToken::new(),
            held: watch::Sender::new(false),
            fewer: Notify::new(),
            handed_on: AtomicBool::new(false),
        });
        (Arc::new(Self { life, settlements }), settled)
    }

    fn settle(&self, tag: u64, verdict: Verdict) {
        if !self.life.is_current() {
            return;
        }
        if self.settlements.try_send(Settlement { tag, verdict }).is_err() && self.life.is_current() {
            // The broker gave out more than the prefetch, which it must not. Without its settlement the message would stay
            // with us for ever, so the channel ends and the broker gives everything out again.
            error!(tag, "more settlements than the prefetch allows; the channel is replaced");
            self.life.end();
        }
    }
}

/// Whether one channel is alive, and how much of it is unsettled.
pub(super) struct Life {
    open: AtomicBool,
    outstanding: AtomicUsize,
    /// Of the channel's first delivery: lapin poisons all of a channel at once, before any task of ours learns of its end.
    acker: OnceLock<lapin::Acker>,
    pulse: Arc<Pulse>,
    ended: CancellationToken,
    /// Whether settlements wait, because the broker is being told to give no more.
    held: watch::Sender<bool>,
    fewer: Notify,
    handed_on: AtomicBool,
}

/// While it lives, no settlement of the channel is written.
pub(super) struct Held<'l>(&'l Life);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.send_replace(false);
    }
}

impl Life {
    pub(super) fn is_current(&self) -> bool {
        self.open.load(Ordering::Acquire)
            && self.pulse.is_alive()
            && !self.acker.get().is_some_and(lapin::Acker::poisoned)
    }

    /// Lets settlements wait until the guard is dropped; what is being written now may still be.
    pub(super) fn hold_settlements(&self) -> Held<'_> {
        self.held.send_replace(true);
        Held(self)
    }

    /// Completes while settlements may be written. Cancel safe.
    pub(super) async fn may_settle(&self) {
        if *self.held.borrow() {
            // Its sender lives as long as this.
            let _ = self.held.subscribe().wait_for(|held| !held).await;
        }
    }

    pub(super) fn watch(&self, acker: &lapin::Acker) {
        self.acker.get_or_init(|| acker.clone());
    }

    /// Deliveries given out by this channel and not yet settled at the broker.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    pub(super) fn settled(&self, count: usize) {
        self.outstanding.fetch_sub(count, Ordering::AcqRel);
        self.fewer.notify_one();
    }

    /// Completes when some were settled since it was last asked. One may ask at a time. Cancel safe.
    pub(super) async fn fewer(&self) {
        self.fewer.notified().await;
    }

    /// Says that whatever was and will be settled here reaches its queue although the channel is closed right after.
    pub(super) fn set_handed_on(&self) {
        self.handed_on.store(true, Ordering::Release);
    }

    pub(super) fn is_handed_on(&self) -> bool {
        self.handed_on.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.open.store(false, Ordering::Release);
        self.ended.cancel();
    }

    /// Completes when the channel or its connection is gone. Cancel safe.
    pub(super) async fn ended(&self) {
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = self.pulse.lost() => self.end(),
        }
    }
}

//! An AMQP broker in memory, for tests that break a program between any two of its steps.
//!
//! It stands behind the same [`Consumer`], [`Delivery`] and [`Publisher`] as RabbitMQ, and outlives the program that uses it.
//! Before each of its acts it asks what is to happen there.

use super::consumer::{ConsumerState, Wish};
use super::delivery::{Lane, Receipt, Settlement, Verdict};
use super::flight::Flight;
use super::{Confirm, Consumer, Delivery, LinkState, Publisher, Stream, StreamRecord, StreamState, connection::Pulse};
use crate::deadline::Now;
use crate::envelope::Envelope;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// What should.
    Go,
    /// Nothing, now and ever after: the program is dead.
    Dead,
    /// The connection breaks, right before.
    Cut,
    /// It happens, and right after it every connection breaks.
    CutAll,
}

/// Decides what happens at each step.
pub(crate) trait Steps: Send + Sync {
    /// Asked once for each step, in the order in which they come.
    fn step(&self, name: &'static str) -> Pass;
}

/// A message, and how often it was delivered.
struct Stored {
    envelope: Envelope,
    deliveries: u64,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Stored>,
    unacked: BTreeMap<u64, Stored>,
    last_tag: u64,
    /// What was appended to the stream.
    stream: Vec<Envelope>,
    /// Everything that was published to another queue than the one that is consumed.
    published: Vec<(String, Envelope)>,
}

/// One queue that is consumed, one stream, and whatever is published.
#[derive(Clone)]
pub(crate) struct Memory {
    queue: Arc<str>,
    stream: Arc<str>,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    appended: Arc<Notify>,
    /// That the consuming connection breaks together with another.
    cut: Arc<Notify>,
}

/// The consuming side of one program.
#[derive(Clone)]
struct Consuming {
    memory: Memory,
    steps: Arc<dyn Steps>,
    lane: Arc<Mutex<Option<Arc<Lane>>>>,
}

const PREFETCH: usize = 100;
/// How long a lost connection is away.
const RECONNECT: Duration = Duration::from_millis(20);

impl Memory {
    pub(crate) fn new(queue: &str, stream: &str) -> Self {
        let (queue, stream) = (queue.into(), stream.into());
        let (state, changed, appended, cut) = Default::default();
        Self { queue, stream, state, changed, appended, cut }
    }

    pub(crate) fn publish(&self, queue: &str, envelope: Envelope) {
        let mut state = self.state();
        if queue == &*self.queue {
            state.ready.push_back(Stored { envelope, deliveries: 0 });
        } else if queue == &*self.stream {
            state.stream.push(envelope);
        } else {
            state.published.push((queue.to_owned(), envelope));
        }
        drop(state);
        self.appended.notify_one();
        self.changed.notify_one();
    }

    /// Everything that was published to other queues, in its order.
    pub(crate) fn published(&self) -> Vec<(String, Envelope)> {
        self.state().published.clone()
    }

    /// Whether no message is left, ready or unacknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        state.ready.is_empty() && state.unacked.is_empty()
    }

    /// What is unacknowledged goes back, as RabbitMQ does it when a channel is gone.
    pub(crate) fn take_back(&self) {
        let mut state = self.state();
        for stored in std::mem::take(&mut state.unacked).into_values().rev() {
            state.ready.push_front(stored);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Consumes the queue for a program, on whose runtime this runs from now on.
    pub(crate) fn consume(&self, steps: Arc<dyn Steps>) -> (Consumer, mpsc::Receiver<Delivery>) {
        let (wish, wished) = watch::channel(Wish::Run);
        let (stated, state) = watch::channel(ConsumerState::Consuming { epoch: 1 });
        let (out, deliveries) = mpsc::channel(PREFETCH);
        let consuming = Consuming { memory: self.clone(), steps, lane: Arc::default() };
        consuming.open();
        tokio::spawn(consuming.deliver(out, wished, stated));
        (Consumer::over(wish, state, TaskTracker::new()), deliveries)
    }

    /// Takes what a program publishes.
    pub(crate) fn publisher(&self, steps: Arc<dyn Steps>) -> (Publisher, watch::Receiver<LinkState>) {
        let (inbox, flights) = mpsc::channel(PREFETCH);
        tokio::spawn(self.clone().confirm(flights, steps));
        (Publisher::over(inbox, CancellationToken::new()), watch::channel(LinkState::Up { epoch: 1 }).1)
    }

    /// Reads the stream from its first record on.
    pub(crate) fn read(&self, steps: Arc<dyn Steps>) -> (Stream, mpsc::Receiver<StreamRecord>) {
        let (out, records) = mpsc::channel(PREFETCH);
        let (stated, state) = watch::channel(StreamState::Reading);
        let memory = self.clone();
        tokio::spawn(async move {
            // For as long as it is read, it reads.
            let _stated = stated;
            for offset in 0.. {
                let envelope = loop {
                    let next = memory.state().stream.get(offset).cloned();
                    match next {
                        Some(envelope) => break envelope,
                        None => memory.appended.notified().await,
                    }
                };
                // Cut here, it is read after the connection is back.
                if steps.step("read") == Pass::Dead {
                    return;
                }
                let record = StreamRecord { offset: offset as u64, follows: offset > 0, envelope };
                if out.send(record).await.is_err() {
                    return;
                }
            }
        });
        (Stream::over(state), records)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn confirm(self, mut flights: mpsc::Receiver<Flight>, steps: Arc<dyn Steps>) {
        while let Some(flight) = flights.recv().await {
            let (queue, envelope) = flight.message.content();
            // Cut here, it is not there yet, and sent again.
            let publish = steps.step("publish");
            if publish == Pass::Dead {
                return;
            }
            self.publish(&queue, envelope.clone());
            if publish == Pass::CutAll {
                self.cut.notify_one();
                // What comes back is given out again long before this is sent again and confirmed.
                sleep(RECONNECT).await;
            }
            let confirm = steps.step("confirm");
            if confirm == Pass::Dead {
                return;
            }
            if confirm == Pass::CutAll {
                self.cut.notify_one();
            }
            // Nobody knows that it is there, so it is sent again, unless it must not be.
            let is_lost = publish == Pass::CutAll || confirm == Pass::Cut;
            let Some(flight) = (if is_lost { flight.lost() } else { Some(flight) }) else { continue };
            if is_lost {
                self.publish(&queue, envelope);
            }
            let _ = flight.done.send(Ok(Confirm { routed: true }));
        }
    }
}

impl Consuming {
    /// A channel of its own, in place of an earlier one.
    fn open(&self) {
        let (lane, settlements) = Lane::new(Arc::new(Pulse::new(Duration::from_secs(3600))), 2 * PREFETCH);
        *self.lane.lock().unwrap() = Some(lane.clone());
        tokio::spawn(self.clone().settle(lane, settlements));
    }

    fn cut(&self) {
        if let Some(lane) = self.lane.lock().unwrap().take() {
            lane.life.end();
        }
        self.memory.take_back();
        self.open();
    }

    async fn deliver(
        self,
        out: mpsc::Sender<Delivery>,
        mut wished: watch::Receiver<Wish>,
        stated: watch::Sender<ConsumerState>,
    ) {
        loop {
            match *wished.borrow_and_update() {
                Wish::Run => {}
                Wish::Pause => drop(stated.send_replace(ConsumerState::Paused)),
                Wish::Stop => return drop(stated.send_replace(ConsumerState::Stopped)),
            }
            let runs = *wished.borrow() == Wish::Run;
            while runs && !self.memory.state().ready.is_empty() && self.memory.state().unacked.len() < PREFETCH {
                let deliver = self.steps.step("deliver");
                match deliver {
                    Pass::Go | Pass::CutAll => {}
                    Pass::Dead => return,
                    Pass::Cut => self.cut(),
                }
                let delivery = self.next();
                if out.try_send(delivery).is_err() {
                    return;
                }
                if deliver == Pass::CutAll {
                    self.cut();
                }
            }
            tokio::select! {
                () = self.memory.changed.notified() => {}
                () = self.memory.cut.notified() => self.cut(),
                changed = wished.changed() => if changed.is_err() { return },
            }
        }
    }

    fn next(&self) -> Delivery {
        let lane = self.lane.lock().unwrap().clone().unwrap();
        let mut state = self.memory.state();
        let mut stored = state.ready.pop_front().unwrap();
        state.last_tag += 1;
        let (tag, before) = (state.last_tag, stored.deliveries);
        stored.deliveries += 1;
        let envelope = stored.envelope.clone();
        state.unacked.insert(tag, stored);
        Delivery {
            envelope,
            exchange: String::new(),
            routing_key: self.memory.queue.to_string(),
            queue: self.memory.queue.clone(),
            redelivered: before > 0,
            delivery_count: (before > 0).then_some(before),
            received: Now::read(),
            receipt: Receipt::new(lane, tag),
        }
    }

    async fn settle(self, lane: Arc<Lane>, mut settlements: mpsc::Receiver<Settlement>) {
        let life = lane.life.clone();
        drop(lane);
        while let Some(Settlement { tag, verdict }) = settlements.recv().await {
            let settle = self.steps.step("settle");
            match settle {
                Pass::Go | Pass::CutAll => {}
                Pass::Dead => return,
                Pass::Cut => return self.cut(),
            }
            let settled = self.memory.state().unacked.remove(&tag);
            if let (Verdict::Requeue, Some(stored)) = (verdict, settled) {
                self.memory.state().ready.push_front(stored);
            }
            life.settled(1);
            self.memory.changed.notify_one();
            if settle == Pass::CutAll {
                return self.cut();
            }
            match self.steps.step("settled") {
                Pass::Go => {}
                Pass::Dead => return,
                Pass::Cut | Pass::CutAll => return self.cut(),
            }
        }
    }
}

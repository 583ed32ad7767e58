//! The main job: deliveries in, commands out, results confirmed, acks last.
//!
//! [`Worker::run`] takes deliveries while it may and starts [`handle::handle`] for each. What is decided about one is in
//! the pure tables [`admission`] and [`settlement`].

mod admission;
mod claimed;
mod handle;
mod intake;
mod many;
mod outbox;
mod recent;
mod settlement;

pub use recent::Limits as RecentLimits;

use crate::amqp::{ChannelPool, Consumer, ConsumerState, Delivery, Publisher};
use crate::claims::Log;
use crate::commander::Commander;
use crate::mqtt::LinkState;
use crate::shutdown::Shutdown;
use crate::wire::native;
use outbox::Outbox;
use recent::Recent;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in results.
    pub name: Arc<str>,
    /// Jobs under way at one time.
    pub concurrency: usize,
    /// Where dead letters go.
    pub dead_letter_queue: Arc<str>,
    /// The bounds of a job's form.
    pub limits: native::Limits,
    /// What is remembered of finished jobs.
    pub recent: RecentLimits,
    /// How long the MQTT connection may be away before jobs are left to other replicas.
    pub patience: Duration,
    /// The longest that a job with a later start is held here; beyond that it waits in the broker.
    pub hold: Duration,
    /// Late answers that may wait to be published.
    pub late_queue: usize,
    /// Devices of one bulk commanded at one time, where the bulk does not say.
    pub bulk_concurrency: usize,
    /// The longest that one delivery of a bulk is kept; then the rest goes back as a message of its own. Far below the
    /// broker's own limit for an unacknowledged delivery (30 minutes).
    pub bulk_hold: Duration,
    /// The log in which commands are claimed before they are sent; none where they are not.
    pub claims: Option<Log>,
}

/// Everything that the handling of a delivery needs.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) commander: Commander,
    pub(crate) outbox: Outbox,
    pub(crate) recent: Mutex<Recent>,
    pub(crate) shutdown: Shutdown,
    /// Whether deliveries are settled: not while the broker is told to give no more.
    settles: watch::Sender<bool>,
}

impl Shared {
    /// Waits while nothing is to be settled: a moment, when the worker stops.
    pub(crate) async fn quiet(&self) {
        if *self.settles.borrow() {
            return;
        }
        // Its sender lives as long as this.
        let _ = self.settles.subscribe().wait_for(|settles| *settles).await;
    }
}

/// A worker over its connections.
pub struct Worker {
    shared: Arc<Shared>,
    consumer: Consumer,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Worker {
    /// Puts one together; nothing is taken until [`Worker::run`].
    pub fn new(
        options: Options,
        commander: Commander,
        (consumer, deliveries): (Consumer, mpsc::Receiver<Delivery>),
        publisher: Publisher,
        channels: ChannelPool,
        shutdown: Shutdown,
    ) -> Self {
        let outbox = Outbox::start(publisher, channels, options.dead_letter_queue.clone(), options.late_queue);
        let settles = watch::Sender::new(true);
        let shared = Shared { options, commander, outbox, recent: Mutex::default(), shutdown, settles };
        Self { shared: Arc::new(shared), consumer, deliveries }
    }

    /// Takes deliveries until the soft stop, then gives back what was not begun. What was begun runs on in the tasks of
    /// the given [`Shutdown`], which the caller waits for; the consumer is handed back for its last acks.
    pub async fn run(self) -> Arc<Consumer> {
        let Self { shared, consumer, mut deliveries } = self;
        let soft = shared.shutdown.soft();
        let slots = Arc::new(Semaphore::new(shared.options.concurrency.max(1)));
        let consumer = Arc::new(consumer);
        let mut paused = Box::pin(watch_link(shared.clone(), consumer.clone()));
        loop {
            let delivery = tokio::select! {
                biased;
                () = soft.cancelled() => break,
                _ = &mut paused => break,
                delivery = deliveries.recv() => delivery,
            };
            let Some(delivery) = delivery else { break };
            // The broker's prefetch keeps this free; after a reconnect old and new jobs may overlap for a while.
            let slot = tokio::select! {
                biased;
                () = soft.cancelled() => None,
                slot = slots.clone().acquire_owned() => slot.ok(),
            };
            let is_up = shared.commander.agent().state().borrow().is_up();
            let (Some(slot), true) = (slot, is_up || !is_paused(&consumer)) else {
                shared.outbox.give_back(delivery).await;
                continue;
            };
            // In the order of the deliveries, and before anything waits: two commands to one device must not swap.
            let taken = intake::take(&shared, delivery);
            let shared_for_task = shared.clone();
            shared.shutdown.spawn(async move {
                handle::handle(&shared_for_task, taken).await;
                drop(slot);
            });
        }
        // What the broker gives out for an ack that overtakes the cancel never arrives, and comes back as delivered before:
        // so it first gives all that it may, then is told to stop, and only then hears of acks and returned jobs again.
        shared.settles.send_replace(false);
        let mut held = Vec::new();
        while let Ok(Some(delivery)) = timeout(QUIET, deliveries.recv()).await {
            held.push(delivery);
        }
        let stopped = async {
            consumer.stop().await;
            shared.settles.send_replace(true);
        };
        let drain = async {
            while let Some(delivery) = deliveries.recv().await {
                held.push(delivery);
            }
        };
        tokio::join!(stopped, drain);
        // Everything that was still in the consumer's hands was not begun.
        for delivery in held {
            shared.outbox.give_back(delivery).await;
        }
        consumer
    }
}

/// How long the broker must have given nothing, while nothing is settled, to have given all that it may.
const QUIET: Duration = Duration::from_millis(100);

fn is_paused(consumer: &Consumer) -> bool {
    *consumer.state().borrow() == ConsumerState::Paused
}

/// While the MQTT connection is away for longer than the patience, jobs are left to others. Never returns.
async fn watch_link(shared: Arc<Shared>, consumer: Arc<Consumer>) {
    let mut state = shared.commander.agent().state();
    loop {
        let away = state.wait_for(|state| !state.is_up()).await.is_ok();
        let back = async { state.clone().wait_for(LinkState::is_up).await.is_ok() };
        tokio::select! {
            back = back, if away => if back { continue },
            () = sleep(shared.options.patience) => {}
        }
        tracing::warn!("the MQTT connection is away: jobs are left to other workers until it is back");
        consumer.pause().await;
        if state.wait_for(LinkState::is_up).await.is_err() {
            // Closed for good: the program is about to stop.
            std::future::pending::<()>().await;
        }
        tracing::info!("the MQTT connection is back: taking jobs again");
        consumer.resume();
    }
}

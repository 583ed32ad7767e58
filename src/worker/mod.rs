//! The main job: deliveries in, commands out, results confirmed, acks last.
//!
//! [`Worker::run`] takes deliveries while it may and starts [`handle::handle`] for each. What is decided about one is in
//! the pure tables [`admission`] and [`settlement`].

mod admission;
#[cfg(test)]
mod crash;
mod halt;
mod handle;
mod intake;
mod many;
mod outbox;
mod quarantine;
mod recent;
mod settlement;
mod source;

pub use quarantine::queue as quarantine_queue;
pub use recent::Limits as RecentLimits;
pub use source::{Intake, Kind, Source};

use crate::amqp::{self, ChannelPool, Publisher};
use crate::commander::Commander;
use crate::shutdown::Shutdown;
use crate::wire::native;
use futures_util::future::join_all;
use outbox::Outbox;
use recent::Recent;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

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
    /// How long a connection may be away, or results impossible to publish, before jobs are left to other replicas.
    pub patience: Duration,
    /// The longest that a job with a later start is held here; beyond that it waits in the broker.
    pub hold: Duration,
    /// How long the broker may take to confirm a dead letter or a job that goes back.
    pub confirm_timeout: Duration,
    /// Late answers that may wait to be published.
    pub late_queue: usize,
    /// Devices that all bulks together command at one time.
    pub bulk_concurrency: usize,
    /// Devices that all bulks under way have together; a bulk for which there is no room waits.
    pub bulk_devices: usize,
    /// The longest that one delivery of a bulk is kept; then the rest goes back as a message of its own. Far below the
    /// broker's own limit for an unacknowledged delivery (30 minutes).
    pub bulk_hold: Duration,
}

/// Everything that the handling of a delivery needs.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) commander: Commander,
    pub(crate) outbox: Outbox,
    /// Whether results can be published.
    pub(crate) publishing: watch::Receiver<amqp::LinkState>,
    pub(crate) recent: Mutex<Recent>,
    /// One for each device that a bulk commands.
    pub(crate) bulk_slots: Arc<Semaphore>,
    /// One for each device of the bulks under way.
    pub(crate) bulk_room: Arc<Semaphore>,
    pub(crate) shutdown: Shutdown,
}

/// A worker over its connections.
pub struct Worker {
    shared: Arc<Shared>,
    sources: Vec<Intake>,
}

impl Worker {
    /// Puts one together; nothing is taken until [`Worker::run`]. `publishing` is the state of the publisher's connection.
    pub fn new(
        options: Options,
        commander: Commander,
        sources: Vec<Intake>,
        (publisher, publishing): (Publisher, watch::Receiver<amqp::LinkState>),
        channels: ChannelPool,
        shutdown: Shutdown,
    ) -> Self {
        let outbox = Outbox::start(publisher, channels, &options);
        let bulk_slots = Arc::new(Semaphore::new(options.bulk_concurrency.max(1)));
        let bulk_room = Arc::new(Semaphore::new(options.bulk_devices.max(1)));
        let recent = Mutex::default();
        let shared = Shared { options, commander, outbox, publishing, recent, bulk_slots, bulk_room, shutdown };
        Self { shared: Arc::new(shared), sources }
    }

    /// Takes deliveries until the soft stop, then gives back what was not begun. What was begun runs on in the tasks of
    /// the given [`Shutdown`], which the caller waits for; the sources are handed back for their last acks.
    pub async fn run(self) -> Vec<Arc<Source>> {
        let Self { shared, sources } = self;
        let served = sources.iter().map(|intake| intake.source.clone()).collect();
        join_all(sources.into_iter().map(|intake| source::serve(shared.clone(), intake))).await;
        served
    }
}

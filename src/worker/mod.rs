//! The main job: deliveries in, commands out, results confirmed, acks last.
//!
//! [`Worker::run`] takes deliveries while it may and starts [`handle::handle`] for each. What is decided about one is in
//! the pure tables [`admission`] and [`settlement`].

mod admission;
mod cancels;
mod celery;
mod chunk_course;
mod chunks;
mod claimed;
mod control;
#[cfg(test)]
mod crash;
mod done;
mod follow;
mod halt;
mod handle;
mod intake;
mod many;
mod outbox;
mod parts;
mod quarantine;
mod recent;
mod reporter;
mod running;
mod settlement;
mod source;
mod spread;
mod window;

pub use cancels::KEPT as CANCELS_KEPT;
pub use celery::Options as CeleryOptions;
pub use control::stream as control_stream;
pub use quarantine::queue as quarantine_queue;
pub use recent::Limits as RecentLimits;
pub use source::{Dialect, Intake, Kind, Source};
pub use spread::Spread;

use crate::amqp::{self, ChannelPool, Publisher, Stream, StreamRecord};
use crate::bulk::Slots;
use crate::bulk::coordinator::{CalledOff, Watch};
use crate::claims::Log;
use crate::commander::Commander;
use crate::deadline::Now;
use crate::shutdown::Shutdown;
use crate::wire::native;
use cancels::Cancels;
use futures_util::stream::{FuturesUnordered, StreamExt};
use outbox::Outbox;
use parts::Parts;
use recent::Recent;
use reporter::Reporter;
use running::Coordinated;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use window::Window;

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
    /// Cancelled ids that are remembered.
    pub cancel_ids: usize,
    /// Devices that all bulks together command at one time.
    pub bulk_concurrency: usize,
    /// Devices that all bulks under way have together; a bulk for which there is no room waits.
    pub bulk_devices: usize,
    /// The longest that one delivery of a bulk is kept; then the rest goes back as a message of its own. Far below the
    /// broker's own limit for an unacknowledged delivery (30 minutes).
    pub bulk_hold: Duration,
    /// Which bulks are handed over to a coordinator, and where those are; none where every bulk is run by one worker.
    pub spread: Option<Spread>,
    /// The log in which commands are claimed before they are sent; none where they are not.
    pub claims: Option<Log>,
    /// How Celery tasks are served; none where they are not.
    pub celery: Option<CeleryOptions>,
}

/// What is remembered of the chunks that were reported: what comes again after a lost connection.
pub(crate) const PIECES: RecentLimits = RecentLimits { ids: 4_096, bytes: 0, keep: Duration::from_secs(600) };

/// A change of what a worker takes jobs from, while it works.
pub enum Change {
    /// Takes from this queue too.
    Take(Intake),
    /// Takes no more from the queue of that name; the answer is whether it did before.
    Leave(String, oneshot::Sender<bool>),
}

/// Everything that the handling of a delivery needs.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) commander: Commander,
    pub(crate) outbox: Outbox,
    /// Whether results can be published.
    pub(crate) publishing: watch::Receiver<amqp::LinkState>,
    pub(crate) recent: Mutex<Recent>,
    /// The same for chunks of bulks, by id and release.
    pub(crate) pieces: Mutex<Recent>,
    pub(crate) reporter: Reporter,
    /// What the chunks of each bulk that are here have together.
    parts: Parts,
    cancels: Mutex<Cancels>,
    /// One for each job under way, whichever queue it came from.
    slots: Arc<Semaphore>,
    /// One for each device that a bulk commands.
    pub(crate) bulk_slots: Slots,
    /// When a job of a single device was taken.
    pub(crate) last_single: window::Last,
    /// How many devices bulks began since the width of their window was last looked at.
    pub(crate) bulk_begun: AtomicU64,
    /// One for each device of the bulks under way.
    pub(crate) bulk_room: Arc<Semaphore>,
    pub(crate) shutdown: Shutdown,
}

impl Shared {
    /// Which jobs are called off.
    pub(crate) fn cancels(&self) -> MutexGuard<'_, Cancels> {
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let slots = Arc::new(Semaphore::new(options.concurrency.max(1)));
        let bulk_slots = Slots::new(Window::new(options.bulk_concurrency).width());
        let bulk_room = Arc::new(Semaphore::new(options.bulk_devices.max(1)));
        let reporter = Reporter::start(outbox.clone());
        let shared = Shared {
            cancels: Mutex::new(Cancels::new(options.cancel_ids)),
            recent: Mutex::default(),
            pieces: Mutex::default(),
            options,
            commander,
            outbox,
            publishing,
            reporter,
            parts: Parts::default(),
            slots,
            bulk_slots,
            last_single: window::Last::default(),
            bulk_begun: AtomicU64::new(0),
            bulk_room,
            shutdown,
        };
        let shared = Arc::new(shared);
        if let Some(celery) = &shared.options.celery {
            let of_bulks = Arc::downgrade(&shared);
            celery.book.on_terminated(move |id| {
                let now = Now::read().unix_ms;
                of_bulks.upgrade().is_some_and(|shared| shared.cancels().cancel(id, now, now))
            });
        }
        Self { shared, sources }
    }

    /// Heeds what calls jobs off, from now on and as far back as the stream reaches. Returns when everything up to now is
    /// known, or when that takes too long: then it says why, and the worker works without until it is.
    pub async fn heed(&self, stream: (Stream, mpsc::Receiver<StreamRecord>), name: &str) {
        control::heed(&self.shared, stream, name).await;
    }

    /// Says whether the job of an id, made then (milliseconds since the Unix epoch), is called off, as far as was read by now.
    pub fn called_off(&self) -> CalledOff {
        let shared = self.shared.clone();
        Box::new(move |id, made_at| shared.cancels().is_cancelled(id, made_at))
    }

    /// Enters a bulk that is coordinated here as one that runs, until what comes of it is dropped.
    pub fn watch(&self) -> Watch {
        let shared = self.shared.clone();
        Box::new(move |id, made_at| Box::new(Coordinated::enter(&shared, id, made_at)))
    }

    /// Takes deliveries until the soft stop, then gives back what was not begun. What was begun runs on in the tasks of
    /// the given [`Shutdown`], which the caller waits for; the sources are handed back for their last acks.
    pub async fn run(self, mut changes: mpsc::Receiver<Change>) -> Vec<Arc<Source>> {
        let Self { shared, sources } = self;
        tokio::spawn(window::keep(shared.clone()));
        let mut served: Vec<_> = sources.iter().map(|intake| intake.source.clone()).collect();
        let serve = |intake| source::serve(shared.clone(), intake);
        let mut serving: FuturesUnordered<_> = sources.into_iter().map(serve).collect();
        let soft = shared.shutdown.soft();
        loop {
            tokio::select! {
                biased;
                () = soft.cancelled() => break,
                Some(()) = serving.next() => {}
                Some(change) = changes.recv() => match change {
                    Change::Take(intake) => {
                        served.push(intake.source.clone());
                        serving.push(serve(intake));
                    }
                    Change::Leave(queue, answer) => {
                        let left = served.iter().filter(|source| source.queue() == queue && !source.is_left());
                        let left = left.inspect(|source| source.leave()).count();
                        // Whoever asked may have gone.
                        let _ = answer.send(left > 0);
                    }
                },
                else => break,
            }
        }
        serving.collect::<()>().await;
        served
    }
}

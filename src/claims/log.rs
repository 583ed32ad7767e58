//! The claim log as a worker uses it: claim, hear what others did, know when everything was read.

use super::claim::Claim;
use super::ledger::{Limits, Standing};
use super::reading;
use super::record::{Nonce, Record, Subject};
use super::table::{Table, Verdict};
use crate::amqp::{Address, Connection, PublishError, Publisher, Stream, StreamRecord, StreamSpec};
use crate::deadline::Now;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What a claim log is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the stream.
    pub stream: String,
    /// Whether to make it where it is missing.
    pub declare: bool,
    /// Whether no job was anywhere when it was looked for, before this: if the log is new, it lacks nothing.
    pub clean: bool,
    /// For how long a command is remembered.
    pub window: Duration,
    /// How many commands are remembered.
    pub ids: usize,
    /// How many bytes of replies are kept in memory.
    pub reply_bytes: usize,
    /// How large a reply may be to be kept, in bytes.
    pub max_reply: usize,
    /// How many bytes the stream may have at the broker.
    pub log_bytes: u64,
    /// How long to wait for the confirm of a result, and for a mark of one's own.
    pub wait: Duration,
    /// How often a mark is written when all is well. A reader that starts later knows everything from the first mark on that
    /// it reads.
    pub mark_every: Duration,
    /// By how much the clocks of producers and workers may differ.
    pub skew: Duration,
    /// How long the owner of a claim may take beyond the device's time: for the result's record, and for a loaded machine.
    pub slack: Duration,
}

impl Options {
    /// A log of this name that is made where it is missing, with everything else at its default.
    pub fn new(stream: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            declare: true,
            clean: false,
            window: Duration::from_secs(3600),
            ids: 500_000,
            reply_bytes: 64 << 20,
            max_reply: 64 << 10,
            log_bytes: 1 << 30,
            wait: Duration::from_secs(10),
            mark_every: Duration::from_secs(60),
            skew: Duration::from_secs(2),
            slack: Duration::from_secs(10),
        }
    }

    /// RabbitMQ drops whole segments, and never the newest one.
    fn stream(&self) -> StreamSpec {
        StreamSpec {
            name: self.stream.clone(),
            max_age: self.since() + self.mark_every,
            max_bytes: self.log_bytes,
            segment_bytes: (self.log_bytes / 20).clamp(1 << 20, 100 << 20),
            declare: self.declare,
        }
    }

    /// Far enough back that the first mark to be read lies before the window.
    fn since(&self) -> Duration {
        self.window + 2 * self.mark_every + Duration::from_secs(60)
    }
}

/// Whether a log can be relied upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It cannot be: nothing can be claimed now.
    CatchingUp {
        /// What is in the way.
        reason: String,
    },
    /// Everything up to a mark of one's own was read.
    Ready,
}

/// How an attempt to claim ended.
#[derive(Debug)]
pub enum Claimed {
    /// The command may be sent, by whoever holds this and nobody else.
    Mine(Claim),
    /// It is somebody else's, or done.
    Taken(Standing),
    /// The log did not say so in time.
    Unavailable,
}

/// A claim log; clones share it. It is read for as long as a clone lives.
#[derive(Clone)]
pub struct Log {
    pub(super) shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) publisher: Publisher,
    table: Mutex<Table>,
    pub(super) state: watch::Sender<LogState>,
    /// Results and releases being written.
    tasks: TaskTracker,
    ends: Arc<Semaphore>,
}

/// Unread records held in memory.
const PREFETCH: u16 = 500;
/// The pauses between two tries to write to a log that is not there, doubling from the first to the second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Results and releases being written at a time. Beyond that a claim stands until its time is over.
const ENDS: usize = 8192;
/// How long each of them is tried.
const END_WITHIN: Duration = Duration::from_secs(300);

impl Log {
    /// Starts reading on one connection, and writes through a publisher on another. Needs a Tokio runtime.
    pub fn start(reading: Connection, publisher: Publisher, options: Options) -> Self {
        let reading = Stream::start(reading, options.stream(), options.since(), PREFETCH);
        Self::over(reading, publisher, options)
    }

    /// Reads what comes out of a stream that is read already.
    pub(crate) fn over(
        (stream, records): (Stream, mpsc::Receiver<StreamRecord>),
        publisher: Publisher,
        options: Options,
    ) -> Self {
        let limits = Limits { ids: options.ids, reply_bytes: options.reply_bytes, window: options.window };
        let shared = Arc::new(Shared {
            options,
            publisher,
            table: Mutex::new(Table::new(limits)),
            state: watch::Sender::new(LogState::CatchingUp { reason: "connecting".to_owned() }),
            tasks: TaskTracker::new(),
            ends: Arc::new(Semaphore::new(ENDS)),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(reading::run(shared.clone(), stream, records)));
        Self { shared, _stop: Arc::new(stop.drop_guard()) }
    }

    /// How long the owner of a claim may take beyond the device's time.
    pub fn slack(&self) -> Duration {
        self.shared.options.slack
    }

    /// Whether it can be relied upon, and each change of that.
    pub fn state(&self) -> watch::Receiver<LogState> {
        self.shared.state.subscribe()
    }

    /// Waits until it can be relied upon, until then at most. Cancel safe.
    pub async fn ready(&self, not_after: Instant) -> bool {
        let mut state = self.state();
        let ready = async { state.wait_for(|state| *state == LogState::Ready).await.is_ok() };
        timeout_at(not_after.into(), ready).await.unwrap_or(false)
    }

    /// Where a command stands, as far as was read.
    pub fn standing(&self, subject: &Subject) -> Standing {
        self.shared.table().ledger.standing(subject.key())
    }

    /// Whether everything is known that happened since a job was made. A job that does not say when is
    /// older than anything that was forgotten.
    pub fn covers(&self, made_at: Option<u64>) -> bool {
        let horizon = self.shared.table().ledger.horizon(Now::read().unix_ms);
        let skew = u64::try_from(self.shared.options.skew.as_millis()).unwrap_or(u64::MAX);
        match (made_at, horizon) {
            (_, Some(0)) => true,
            (Some(made_at), Some(horizon)) => made_at >= horizon.saturating_add(skew),
            _ => false,
        }
    }

    /// Claims a command. `until` is when its outcome is known, at the latest (milliseconds since the Unix epoch); `fresh` says
    /// that this is a new submission, which may try anew what surely did not reach its device.
    ///
    /// Returns when the claim was read back, or when the log says better, or at `not_after`. Cancel safe: a claim that nobody
    /// waits for is released.
    pub async fn claim(&self, subject: &Subject, until: u64, fresh: bool, not_after: Instant) -> Claimed {
        loop {
            // A log that is away would be asked over and over by every job that waits.
            if !self.ready(not_after).await {
                return Claimed::Unavailable;
            }
            match self.standing(subject) {
                Standing::Nobody => {}
                Standing::Done { reached: false, .. } if fresh => {}
                taken => return Claimed::Taken(taken),
            }
            let by = Nonce::random();
            let mut heard = self.shared.table().wait_for(by);
            // Released on drop, from now on.
            let claim = Claim::new(self.shared.clone(), subject.clone(), by);
            let record = Record::Claim { subject: subject.clone(), by, until, fresh };
            let writing = async {
                match self.shared.write(&record).await {
                    Ok(()) => std::future::pending().await,
                    Err(PublishError::Closed) => {}
                    Err(error) => tracing::error!("a claim cannot be written: {error}"),
                }
            };
            let verdict = async {
                tokio::select! {
                    biased;
                    verdict = &mut heard => verdict.ok(),
                    () = writing => None,
                }
            };
            match timeout_at(not_after.into(), verdict).await.ok().flatten() {
                Some(Verdict::Won) => return Claimed::Mine(claim),
                Some(Verdict::Lost) => claim.forget(),
                Some(Verdict::Again) => {}
                None => return Claimed::Unavailable,
            }
        }
    }

    /// A claim in name only: to write down what comes of a command that is sent without one, because it may run twice.
    pub fn without_claim(&self, subject: &Subject) -> Claim {
        Claim::in_name(self.shared.clone(), subject.clone(), Nonce::random())
    }

    /// Waits for the end of somebody else's claim, until then at most, and returns where the command stands. Cancel safe.
    pub async fn outcome_of(&self, subject: &Subject, until: Instant) -> Standing {
        let key = subject.key();
        loop {
            let watched = self.shared.table().watch(key);
            let ended = match watched {
                Ok(ended) => ended,
                Err(standing) => return standing,
            };
            if timeout_at(until.into(), ended).await.is_err() {
                let mut table = self.shared.table();
                table.unwatch(key);
                return table.ledger.standing(key);
            }
        }
    }

    /// Waits until every result and release that was begun is written, at most `within`.
    pub async fn flush(&self, within: Duration) {
        self.shared.tasks.close();
        if timeout(within, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(
                "some claims could not be released; their commands stand as claimed until their time is over"
            );
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("state", &*self.shared.state.borrow()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a record; returns when the broker has it. A log that is missing is waited for.
    pub(super) async fn write(&self, record: &Record) -> Result<(), PublishError> {
        let envelope = record.envelope();
        let mut wait = AGAIN.0;
        loop {
            match self.publisher.publish(Address::queue(&*self.options.stream), envelope.clone(), true).await {
                Ok(confirm) if confirm.routed => return Ok(()),
                // No such queue, or not allowed to write to it: the reader of the log says so.
                Ok(_) | Err(PublishError::Refused { .. } | PublishError::TimedOut { .. }) => {}
                Err(error) => return Err(error),
            }
            sleep(wait).await;
            wait = (2 * wait).min(AGAIN.1);
        }
    }

    /// Writes the end of a claim in the background: whoever has ended it may be gone by then. True once it is confirmed.
    pub(super) fn end(self: &Arc<Self>, record: Record) -> JoinHandle<bool> {
        let (shared, permit) = (self.clone(), self.ends.clone().try_acquire_owned());
        self.tasks.spawn(async move {
            let Ok(_permit) = permit else { return false };
            matches!(timeout(END_WITHIN, shared.write(&record)).await, Ok(Ok(())))
        })
    }
}

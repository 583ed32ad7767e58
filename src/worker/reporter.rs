//! What came of the devices of chunks, told to the coordinators: many devices in one record, each confirmed.

use super::outbox::Outbox;
use crate::amqp::{Address, PublishError};
use crate::outcome::Status;
use crate::wire::bulk::{Done, Ranges, Record, Report};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a report waits for others: a quorum queue takes as long for a record of one device as for one of a thousand.
const TOGETHER: Duration = Duration::from_millis(20);
/// How long it waits while all goes well, few came, and most of the devices that are here are still to be told of.
const LONGEST: Duration = Duration::from_millis(100);
/// Devices with which a record is full; it does not wait then.
const FULL: usize = 1_000;
/// Reports that wait; further ones keep their devices from counting as done.
const WAITING: usize = 4_096;
/// Records on their way at one time.
const UNDER_WAY: usize = 64;
/// How long a shard queue may be missing: its coordinator makes it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells coordinators what came of devices; cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    inbox: mpsc::Sender<Told>,
    untold: Arc<Untold>,
}

/// Devices of the chunks that are here, of which nothing was told yet.
#[derive(Default)]
struct Untold {
    devices: AtomicUsize,
    /// Notified when there are none any more.
    none: Notify,
}

impl Untold {
    fn forget(&self, devices: usize) {
        if devices > 0 && self.devices.fetch_sub(devices, Ordering::Relaxed) == devices {
            self.none.notify_one();
        }
    }
}

/// Something of a chunk to be told.
struct Told {
    about: About,
    /// Places of devices.
    at: Vec<u32>,
    /// What they came to; nothing where they go back.
    status: Option<Status>,
    ticket: Ticket,
}

/// A chunk, for its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct About {
    to: Arc<str>,
    id: Arc<str>,
    release: u32,
}

/// Says, when it is gone, whether the broker has what it stands for.
struct Ticket {
    confirmed: bool,
    failed: Arc<AtomicBool>,
    _token: TaskTrackerToken,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.confirmed {
            self.failed.store(true, Ordering::Release);
        }
    }
}

/// Everything that is told of one chunk.
pub(super) struct Account {
    reporter: Reporter,
    about: About,
    failed: Arc<AtomicBool>,
    tickets: TaskTracker,
    /// How many of its devices the reporter counts as untold.
    untold: AtomicUsize,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.forget(usize::MAX);
    }
}

impl Account {
    /// These devices came to this; without a status they were not begun, and go back. Waits while too much is to be told.
    pub(super) async fn tell(&self, at: Vec<u32>, status: Option<Status>) {
        if at.is_empty() {
            return;
        }
        let devices = at.len();
        let ticket = Ticket { confirmed: false, failed: self.failed.clone(), _token: self.tickets.token() };
        let told = Told { about: self.about.clone(), at, status, ticket };
        // Without the reporter the ticket is dropped, and says so.
        let _ = self.reporter.inbox.send(told).await;
        self.forget(devices);
    }

    /// So many devices fewer are untold, as long as there are any.
    fn forget(&self, devices: usize) {
        let fewer = |untold: usize| Some(untold.saturating_sub(devices));
        let before = self.untold.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).unwrap_or_default();
        self.reporter.untold.forget(before.min(devices));
    }

    /// Something of the chunk is not told at all: somebody else has to see to it.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Waits until everything is confirmed, or will not be; says whether all of it is.
    pub(super) async fn settled(&self) -> bool {
        self.tickets.close();
        self.tickets.wait().await;
        !self.failed.load(Ordering::Acquire)
    }
}

impl Reporter {
    /// Starts to tell; ends with its last handle.
    pub(crate) fn start(outbox: Outbox) -> Self {
        let (inbox, told) = mpsc::channel(WAITING);
        let untold = Arc::<Untold>::default();
        tokio::spawn(tell_all(outbox, told, untold.clone()));
        Self { inbox, untold }
    }

    /// For a chunk of that bulk and release with so many devices, whose coordinator reads that queue.
    pub(super) fn account(&self, to: &str, id: &Arc<str>, release: u32, devices: usize) -> Account {
        let about = About { to: to.into(), id: id.clone(), release };
        self.untold.devices.fetch_add(devices, Ordering::Relaxed);
        let (failed, tickets) = (Arc::default(), TaskTracker::new());
        Account { reporter: self.clone(), about, failed, tickets, untold: devices.into() }
    }
}

/// Whether what is gathered is to be told now: at once where it is full or the last; after a while where it is half of what is here,
/// since a coordinator may let only so many devices be under way, or where some failed, since it may be told to stop then.
fn is_due(batch: &Batch, untold: usize, waited: Duration) -> bool {
    let is_awaited = batch.devices >= untold || !batch.is_fine;
    batch.devices >= FULL || untold == 0 || waited >= LONGEST || (waited >= TOGETHER && is_awaited)
}

async fn tell_all(outbox: Outbox, mut told: mpsc::Receiver<Told>, untold: Arc<Untold>) {
    let mut sending = FuturesUnordered::new();
    loop {
        let first = tokio::select! {
            first = told.recv() => first,
            Some(()) = sending.next() => continue,
        };
        let Some(first) = first else { break };
        let mut batch = Batch::default();
        batch.add(first);
        let since = Instant::now();
        loop {
            while batch.devices < FULL
                && let Ok(next) = told.try_recv()
            {
                batch.add(next);
            }
            if is_due(&batch, untold.devices.load(Ordering::Relaxed), since.elapsed()) {
                break;
            }
            // What comes meanwhile wakes nobody, unless it is the last: it waits in the channel, or with its device.
            let mut pause = pin!(sleep(TOGETHER));
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = untold.none.notified() => break,
                    Some(()) = sending.next() => {}
                }
            }
        }
        for (to, reports, tickets) in batch.records() {
            if sending.len() >= UNDER_WAY {
                sending.next().await;
            }
            sending.push(send(&outbox, to, Record::Reports(reports), tickets));
        }
    }
    while sending.next().await.is_some() {}
}

/// Publishes one record until the broker has it, which does no harm to one that has it already.
async fn send(outbox: &Outbox, to: Arc<str>, record: Record, mut tickets: Vec<Ticket>) {
    let (envelope, until) = (record.encode(), Instant::now() + PATIENCE);
    loop {
        match outbox.send_on(Address::queue(&*to), envelope.clone()).await {
            Ok(true) => return tickets.iter_mut().for_each(|ticket| ticket.confirmed = true),
            Ok(false) if Instant::now() < until => sleep(AGAIN).await,
            Ok(false) => return tracing::error!(to = &*to, "the queue of a coordinator is gone; its chunks go back"),
            Err(PublishError::Closed) => return,
            Err(error) => return tracing::error!(to = &*to, "a report cannot be published: {error}"),
        }
    }
}

/// What is told together.
struct Batch {
    chunks: BTreeMap<About, Chunk>,
    tickets: BTreeMap<Arc<str>, Vec<Ticket>>,
    devices: usize,
    /// Whether every device succeeded.
    is_fine: bool,
}

impl Default for Batch {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), tickets: BTreeMap::new(), devices: 0, is_fine: true }
    }
}

/// Places by what their devices came to.
#[derive(Default)]
struct Chunk {
    done: [Vec<u32>; Status::ALL.len()],
    back: Vec<u32>,
}

impl Batch {
    fn add(&mut self, told: Told) {
        let Told { about, at, status, ticket } = told;
        self.devices += at.len();
        self.is_fine &= status == Some(Status::Succeeded);
        self.tickets.entry(about.to.clone()).or_default().push(ticket);
        let chunk = self.chunks.entry(about).or_default();
        match status {
            Some(status) => chunk.done[status as usize].extend(at),
            None => chunk.back.extend(at),
        }
    }

    /// One record for each queue.
    fn records(self) -> Vec<(Arc<str>, Vec<Report>, Vec<Ticket>)> {
        let mut reports: BTreeMap<Arc<str>, Vec<Report>> = BTreeMap::new();
        for (About { to, id, release }, Chunk { done, back }) in self.chunks {
            let by_status = Status::ALL.into_iter().zip(done).filter(|(_, at)| !at.is_empty());
            let done = by_status.map(|(status, at)| Done { status, at: at.into_iter().collect() }).collect();
            let back: Ranges = back.into_iter().collect();
            reports.entry(to).or_default().push(Report { id, release, done, back });
        }
        let tickets = self.tickets.into_iter();
        tickets.filter_map(|(to, tickets)| reports.remove(&to).map(|reports| (to, reports, tickets))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tracker: &TaskTracker, failed: &Arc<AtomicBool>, (to, release): (&str, u32), at: &[u32]) -> Told {
        let about = About { to: to.into(), id: "b".into(), release };
        let ticket = Ticket { confirmed: false, failed: failed.clone(), _token: tracker.token() };
        let status =
            at.first().and_then(|first| [None, Some(Status::Succeeded), Some(Status::Unknown)][*first as usize % 3]);
        Told { about, at: at.to_vec(), status, ticket }
    }

    #[test]
    fn what_is_told_together_is_one_record_for_each_queue_with_one_report_for_each_chunk() {
        let (tracker, failed) = (TaskTracker::new(), Arc::default());
        let mut batch = Batch::default();
        let all: [((&str, u32), &[u32]); 6] = [
            (("a", 1), &[4]),
            (("b", 2), &[7]),
            (("a", 1), &[3]),
            (("a", 1), &[1]),
            (("a", 2), &[2]),
            (("a", 1), &[6, 5]),
        ];
        for (chunk, at) in all {
            batch.add(told(&tracker, &failed, chunk, at));
        }
        assert_eq!(batch.devices, 7);
        let records = batch.records();
        let said: Vec<_> = records.iter().map(|(to, reports, tickets)| (&**to, reports.len(), tickets.len())).collect();
        assert_eq!(said, [("a", 2, 5), ("b", 1, 1)]);
        let Report { release, done, back, .. } = &records[0].1[0];
        let at = [1, 4].into_iter().collect();
        assert_eq!((*release, &done[..]), (1, &[Done { status: Status::Succeeded, at }][..]));
        assert_eq!(back.iter().collect::<Vec<_>>(), [3, 5, 6]);
        assert_eq!(records[0].1[1].done, [Done { status: Status::Unknown, at: Ranges::of(2, 3) }]);
    }

    #[test]
    fn a_report_waits_while_all_is_well_and_most_of_it_is_to_come() {
        // Gathered, all succeeded, untold, milliseconds waited.
        let rows = [
            (1, true, 5_000, 20, false),
            (999, true, 5_000, 99, false),
            (999, true, 5_000, 19, false),
            (1, true, 5_000, 100, true),
            (1, false, 5_000, 20, true),
            (99, true, 100, 20, false),
            (100, true, 100, 20, true),
            (1, true, 0, 0, true),
            (1_000, true, 5_000, 0, true),
            (1, false, 5_000, 19, false),
            (100, true, 100, 19, false),
        ];
        for (devices, is_fine, untold, waited, expected) in rows {
            let batch = Batch { devices, is_fine, ..Batch::default() };
            let due = is_due(&batch, untold, Duration::from_millis(waited));
            assert_eq!(due, expected, "{devices} of {untold} to come, fine: {is_fine}, {waited} ms");
        }
    }

    #[tokio::test]
    async fn what_is_untold_is_what_the_chunks_that_are_here_have_not_told() {
        let (inbox, mut told) = mpsc::channel(8);
        let reporter = Reporter { inbox, untold: Arc::default() };
        let untold = || reporter.untold.devices.load(Ordering::Relaxed);
        let (one, other) = (reporter.account("a", &"b".into(), 1, 10), reporter.account("a", &"b".into(), 2, 5));
        assert_eq!(untold(), 15);
        one.tell(vec![0, 1, 2], Some(Status::Succeeded)).await;
        assert_eq!((untold(), told.recv().await.map(|told| told.at.len())), (12, Some(3)));
        drop(one);
        assert_eq!(untold(), 5);
        // More than it has, as where a device is told twice: others keep theirs.
        let third = reporter.account("a", &"b".into(), 3, 2);
        other.tell((0..9).collect(), None).await;
        assert_eq!(untold(), 2);
        drop((other, third));
        assert_eq!(untold(), 0);
    }

    #[test]
    fn a_chunk_is_told_when_every_ticket_of_it_is_confirmed() {
        for confirmed in [true, false] {
            let (tracker, failed) = (TaskTracker::new(), Arc::<AtomicBool>::default());
            let mut told = told(&tracker, &failed, ("a", 1), &[0]);
            told.ticket.confirmed = confirmed;
            tracker.close();
            assert_eq!(tracker.len(), 1);
            drop(told);
            assert_eq!((tracker.len(), failed.load(Ordering::Acquire)), (0, !confirmed));
        }
    }
}

//! What came of the devices of chunks, told to the coordinators: many devices in one record, each confirmed.

use super::outbox::Outbox;
use crate::amqp::{Address, PublishError};
use crate::outcome::Status;
use crate::wire::bulk::{Done, Ranges, Record, Report};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a report waits for others.
const TOGETHER: Duration = Duration::from_millis(20);
/// Devices with which a record is full.
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
}

impl Account {
    /// These devices came to this; without a status they were not begun, and go back. Waits while too much is to be told.
    pub(super) async fn tell(&self, at: Vec<u32>, status: Option<Status>) {
        if at.is_empty() {
            return;
        }
        let ticket = Ticket { confirmed: false, failed: self.failed.clone(), _token: self.tickets.token() };
        let told = Told { about: self.about.clone(), at, status, ticket };
        // Without the reporter the ticket is dropped, and says so.
        let _ = self.reporter.inbox.send(told).await;
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
        tokio::spawn(tell_all(outbox, told));
        Self { inbox }
    }

    /// For a chunk of that bulk and release, whose coordinator reads that queue.
    pub(super) fn account(&self, to: &str, id: &Arc<str>, release: u32) -> Account {
        let about = About { to: to.into(), id: id.clone(), release };
        Account { reporter: self.clone(), about, failed: Arc::default(), tickets: TaskTracker::new() }
    }
}

async fn tell_all(outbox: Outbox, mut told: mpsc::Receiver<Told>) {
    let mut sending = FuturesUnordered::new();
    loop {
        let first = tokio::select! {
            first = told.recv() => first,
            Some(()) = sending.next() => continue,
        };
        let Some(first) = first else { break };
        // Nothing that comes meanwhile wakes it: it waits in the channel, or with its device.
        let mut pause = pin!(sleep(TOGETHER));
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(()) = sending.next() => {}
            }
        }
        let mut batch = Batch::default();
        batch.add(first);
        while batch.devices < FULL
            && let Ok(next) = told.try_recv()
        {
            batch.add(next);
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
#[derive(Default)]
struct Batch {
    chunks: BTreeMap<About, Chunk>,
    tickets: BTreeMap<Arc<str>, Vec<Ticket>>,
    devices: usize,
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

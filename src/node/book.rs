//! The book of Celery tasks under way: what `celery inspect` shows, what calls tasks off, and what events tell.

use super::record::{ACTIVE, RESERVED, Record, SCHEDULED, Terminate, Via};
use super::register::{Register, Terms};
use super::revoked::{MOST, Revoked};
use crate::wire::celery::event::{Happening, What, seconds};
use crate::wire::celery::{End, Head, Task};
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait to be taken; those beyond are dropped and counted. They are taken five times a second, so it is enough for
/// 13,000 tasks in a second.
const EVENTS: usize = 8192;

/// The tasks that this worker has, by the moment. Cheap to clone; all clones are the same book.
///
/// It is on the way of every task: one short lock when it comes and one when it goes, and texts are made only when somebody
/// asks. Neither waits for anything, and an event that nobody takes off its queue is dropped.
#[derive(Clone)]
pub struct Book {
    shared: Arc<Shared>,
}

struct Shared {
    pages: Mutex<Pages>,
    register: Register,
    revoked: Mutex<Revocations>,
    /// Whether anything at all is called off: without it, no task takes the lock.
    any_revoked: AtomicBool,
    on_revoked: OnceLock<mpsc::Sender<Vec<Arc<str>>>>,
    elsewhere: OnceLock<EndsElsewhere>,
    events: AtomicBool,
    happenings: mpsc::Sender<Happening>,
    reader: Mutex<Option<mpsc::Receiver<Happening>>>,
    missed: AtomicU64,
    clock: AtomicU64,
    active: AtomicUsize,
    begun: AtomicU64,
}

/// Ends what has that id, and says whether there was anything.
struct EndsElsewhere(Box<dyn Fn(&str) -> bool + Send + Sync>);

/// The records, each in a place of its own, and the places that are free.
#[derive(Default)]
struct Pages {
    records: Vec<Option<Arc<Record>>>,
    free: Vec<usize>,
}

struct Revocations {
    ids: Revoked,
    /// Names and values of stamps, see [`stamp`].
    stamps: Revoked,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("active", &self.active()).finish_non_exhaustive()
    }
}

impl Book {
    /// An empty book for tasks of these names: only they are counted by name, and only for them limits can be set.
    pub fn new(names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let (happenings, reader) = mpsc::channel(EVENTS);
        let shared = Shared {
            pages: Mutex::default(),
            register: Register::new(names.into_iter().map(Into::into)),
            revoked: Mutex::new(Revocations { ids: Revoked::new(MOST), stamps: Revoked::new(MOST) }),
            any_revoked: AtomicBool::new(false),
            on_revoked: OnceLock::new(),
            elsewhere: OnceLock::new(),
            events: AtomicBool::new(false),
            happenings,
            reader: Mutex::new(Some(reader)),
            missed: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Hears the ids that control calls off, a list for each request; they are as the request has them, known to us or not. At
    /// most one listener, the first. Lists for which its channel has no room are dropped, and logged.
    pub fn on_revoked(&self, listener: mpsc::Sender<Vec<Arc<str>>>) {
        let _ = self.shared.on_revoked.set(listener);
    }

    /// Asks this, too, about each id that is terminated and is no task here, as a bulk that was handed over. The first one stays.
    pub fn on_terminated(&self, ends: impl Fn(&str) -> bool + Send + Sync + 'static) {
        let _ = self.shared.elsewhere.set(EndsElsewhere(Box::new(ends)));
    }

    /// A task has come, and waits for its turn. What was called off before should be asked for with [`is_revoked`] first:
    /// of such a task Celery tells only its end, with [`refused`].
    ///
    /// [`is_revoked`]: Self::is_revoked
    /// [`refused`]: Self::refused
    pub fn receive(&self, task: &Arc<Task>, via: Via) -> Entry {
        let named = self.shared.register.place(&task.head.name);
        let record = Arc::new(Record::new(task.clone(), via, named));
        let place = self.pages().enter(record.clone());
        self.tell(&task.head.id, || What::Received(task.clone()));
        Entry { book: self.clone(), record, place }
    }

    /// A task ends that was never entered: it was refused, expired, or called off before it came.
    pub fn refused(&self, head: &Head, end: &End) {
        self.tell(&head.id, || What::end(end, 0.0, None));
    }

    /// Whether a task is called off, by its id or by a stamp. To be asked when it comes, and again before it starts.
    pub fn is_revoked(&self, task: &Task) -> bool {
        if !self.shared.any_revoked.load(Ordering::Acquire) {
            return false;
        }
        let (now, revoked) = (Instant::now(), self.revoked());
        revoked.ids.has(&task.head.id, now)
            || task
                .stamps
                .iter()
                .any(|(name, values)| values.iter().any(|value| revoked.stamps.has(&stamp(name, value), now)))
    }

    /// The time limits that control has set for tasks of that name, in seconds: soft and hard.
    pub fn limits(&self, name: &str) -> (Option<f64>, Option<f64>) {
        self.shared.register.read(name, |terms| (terms.soft, terms.hard)).unwrap_or_default()
    }

    /// Takes the next place that the rate of that name allows: how long to wait for it, if at all. To be asked once for each
    /// task, right before it would start.
    pub fn turn(&self, name: &str) -> Option<Duration> {
        self.shared.register.change(name, |terms| terms.turn(Instant::now())).flatten()
    }

    /// Tasks that run.
    pub fn active(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Tasks that were begun since the start.
    pub fn begun(&self) -> u64 {
        self.shared.begun.load(Ordering::Relaxed)
    }

    /// Events that were dropped because nobody took them in time.
    pub fn events_missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// Calls tasks off, whether we have them or they are still to come. With `terminate` those that run are ended too; gives
    /// the ids of ours. Without it what runs is left alone, and gives nothing.
    pub(super) fn revoke(&self, ids: &[Arc<str>], terminate: Option<Terminate>) -> Vec<Arc<str>> {
        self.remember(ids);
        if let Some(listener) = self.shared.on_revoked.get()
            && listener.try_send(ids.to_vec()).is_err()
        {
            tracing::warn!(ids = ids.len(), "revoked tasks are not marked as such: too many revokes at a time");
        }
        let asked: HashSet<&str> = ids.iter().map(|id| &**id).collect();
        let mut ended = self.call_off(terminate, |task| asked.contains(&*task.head.id));
        if let (Some(_), Some(EndsElsewhere(ends))) = (terminate, self.shared.elsewhere.get()) {
            let further: Vec<_> = ids.iter().filter(|id| !ended.contains(id) && ends(id)).cloned().collect();
            ended.extend(further);
        }
        ended
    }

    /// Calls off what others have called off: without telling anybody, and without ending what runs.
    pub(super) fn merge(&self, ids: &[Arc<str>]) {
        self.remember(ids);
        let ids: HashSet<&str> = ids.iter().map(|id| &**id).collect();
        self.call_off(None, |task| ids.contains(&*task.head.id));
    }

    /// Calls tasks off by their stamps, each a name with values of which one is enough.
    pub(super) fn revoke_stamped(
        &self,
        stamps: &[(String, Vec<String>)],
        terminate: Option<Terminate>,
    ) -> Vec<Arc<str>> {
        let now = Instant::now();
        let all: HashSet<String> =
            stamps.iter().flat_map(|(name, values)| values.iter().map(|value| stamp(name, value))).collect();
        let mut revoked = self.revoked();
        all.iter().for_each(|stamp| revoked.stamps.add(stamp, now));
        drop(revoked);
        self.shared.any_revoked.store(true, Ordering::Release);
        self.call_off(terminate, |task| {
            task.stamps.iter().any(|(name, values)| values.iter().any(|value| all.contains(&stamp(name, value))))
        })
    }

    /// What is called off by id, the oldest first.
    pub(super) fn revoked_ids(&self) -> Vec<Arc<str>> {
        self.revoked().ids.ids(Instant::now())
    }

    /// The tasks that we have.
    pub(super) fn records(&self) -> Vec<Arc<Record>> {
        self.pages().records.iter().flatten().cloned().collect()
    }

    /// The names that we serve, and what is set for them.
    pub(super) fn register(&self) -> &Register {
        &self.shared.register
    }

    /// Changes the terms of a name; `None` if we do not serve it.
    pub(super) fn change<T>(&self, name: &str, change: impl FnOnce(&mut Terms) -> T) -> Option<T> {
        self.shared.register.set(name, change)
    }

    /// Tells events of tasks from the start, before anybody asks for them.
    pub fn enable_events(&self) {
        self.set_events(true);
    }

    /// Tells events of tasks from now on, or no more; what was so before.
    pub(super) fn set_events(&self, on: bool) -> bool {
        self.shared.events.swap(on, Ordering::Relaxed)
    }

    /// What happens to tasks while events are told. There is one reader; whoever asks later gets none.
    pub(super) fn happenings(&self) -> Option<mpsc::Receiver<Happening>> {
        self.shared.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The logical clock, one further.
    pub(super) fn tick(&self) -> u64 {
        self.shared.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The logical clock's reading.
    pub(super) fn clock(&self) -> u64 {
        self.shared.clock.load(Ordering::Relaxed)
    }

    /// Another clock was seen: ours is beyond it from now on.
    pub(super) fn adjust(&self, other: u64) {
        // Beyond that no JSON number of other programs counts by ones, so it is nobody's clock.
        if other < 1 << 53 {
            self.shared.clock.fetch_max(other, Ordering::Relaxed);
        }
        self.tick();
    }

    fn remember(&self, ids: &[Arc<str>]) {
        let (now, mut revoked) = (Instant::now(), self.revoked());
        ids.iter().for_each(|id| revoked.ids.add(id, now));
        drop(revoked);
        self.shared.any_revoked.store(true, Ordering::Release);
    }

    fn call_off(&self, terminate: Option<Terminate>, is_meant: impl Fn(&Task) -> bool) -> Vec<Arc<str>> {
        let mut ended = Vec::new();
        // Outside the lock: whoever hears of it may end the task, and that takes the lock.
        for record in self.records().into_iter().filter(|record| is_meant(&record.task)) {
            record.call_off(terminate);
            if terminate.is_some() {
                ended.push(record.task.head.id.clone());
            }
        }
        ended
    }

    fn tell(&self, id: &Arc<str>, what: impl FnOnce() -> What) {
        if !self.shared.events.load(Ordering::Relaxed) {
            return;
        }
        // The place first: a text that nobody takes need not be made.
        match self.shared.happenings.try_reserve() {
            Ok(place) => {
                let at = seconds(SystemTime::now());
                place.send(Happening { id: id.clone(), at, clock: self.tick(), what: what() });
            }
            Err(_) => {
                self.shared.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.shared.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoked(&self) -> MutexGuard<'_, Revocations> {
        self.shared.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stamp as one text: no name has a NUL in it by any program that writes stamps, and if it had, it would only be called
/// off with more than was meant.
fn stamp(name: &str, value: &str) -> String {
    format!("{name}\0{value}")
}

impl Pages {
    fn enter(&mut self, record: Arc<Record>) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.records[place] = Some(record);
                place
            }
            None => {
                self.records.push(Some(record));
                self.records.len() - 1
            }
        }
    }

    fn leave(&mut self, place: usize) -> Option<Arc<Record>> {
        self.free.push(place);
        self.records[place].take()
    }
}

/// One task in the book. Dropped without [`end`](Self::end), it is forgotten, as if it had never come: it was given back.
#[must_use = "a task whose entry is dropped is no longer in the book"]
pub struct Entry {
    book: Book,
    record: Arc<Record>,
    place: usize,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("id", &self.record.task.head.id).finish_non_exhaustive()
    }
}

impl Entry {
    /// It waits for its time, or for its place in a rate.
    pub fn schedule(&self) {
        self.record.turn(RESERVED, SCHEDULED);
    }

    /// Its time has come; it waits for its turn again.
    pub fn due(&self) {
        self.record.turn(SCHEDULED, RESERVED);
    }

    /// Its message is acknowledged before it is done.
    pub fn acknowledged(&self) {
        self.record.acknowledge();
    }

    /// It runs from now on. Again is a no-op.
    pub fn start(&self) {
        if !self.record.start() {
            return;
        }
        self.record.begin(seconds(SystemTime::now()));
        self.book.shared.active.fetch_add(1, Ordering::Relaxed);
        self.book.shared.begun.fetch_add(1, Ordering::Relaxed);
        if let Some(named) = self.record.named {
            self.book.shared.register.count(named);
        }
        self.book.tell(&self.record.task.head.id, || What::Started);
    }

    /// It has ended so, after running so long. A task that was terminated must end as `Revoked` with the reason `terminated`.
    pub fn end(self, end: &End, runtime: Duration) {
        let signum = self.record.signum();
        self.book.tell(&self.record.task.head.id, || What::end(end, runtime.as_secs_f64(), signum));
    }

    /// Cancelled when the task is to be ended even while it runs, by its id or by a stamp.
    pub fn terminated(&self) -> CancellationToken {
        self.record.terminated().clone()
    }

    /// Cancelled when the task is called off in whatever way: what was not sent yet need not be. Where it is terminated, that one is
    /// cancelled before.
    pub fn called_off(&self) -> CancellationToken {
        self.record.called_off().clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.record.state() == ACTIVE {
            self.book.shared.active.fetch_sub(1, Ordering::Relaxed);
        }
        // Dropped after the lock: a task can be large.
        let gone = self.book.pages().leave(self.place);
        drop(gone);
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;

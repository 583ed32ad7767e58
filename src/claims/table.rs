//! The ledger together with those who wait for what is read next; behind a plain lock that is never held over a wait.

use super::ledger::{Event, Ledger, Limits, Standing};
use super::record::{Key, Nonce, Record};
use std::collections::{HashMap, HashSet};
use tokio::sync::oneshot;

/// What a claim that waits to be read back hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was the first.
    Won,
    /// It was not.
    Lost,
    /// Reading began anew, and it may have been passed over: claim again.
    Again,
}

/// What the reading of a record asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// A claim that its owner has given up was read back as the first one: release it (again).
    Release(Nonce),
    /// This mark was read.
    Marked(Nonce),
}

pub(super) struct Table {
    pub(super) ledger: Ledger,
    waiting: HashMap<Nonce, oneshot::Sender<Verdict>>,
    watching: HashMap<Key, Vec<oneshot::Sender<()>>>,
    /// Claims that were given up before they were read back.
    given_up: HashSet<Nonce>,
}

/// Claims given up and not read back; beyond that they stand until their time is over.
const MAX_GIVEN_UP: usize = 10_000;

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            ledger: Ledger::new(limits),
            waiting: HashMap::new(),
            watching: HashMap::new(),
            given_up: HashSet::new(),
        }
    }

    /// Reading begins, with the record of this offset.
    pub(super) fn begin(&mut self, offset: u64) {
        self.ledger.begin(offset);
        for (_, waiter) in self.waiting.drain() {
            // Gone: it gave up this instant.
            let _ = waiter.send(Verdict::Again);
        }
        self.watching.clear();
    }

    pub(super) fn read(&mut self, record: Record, now: u64) -> Next {
        match self.ledger.apply(record, now) {
            Event::Nothing => Next::Nothing,
            Event::Won(_, by) if self.given_up.remove(&by) => Next::Release(by),
            Event::Won(_, by) => self.tell(by, Verdict::Won),
            Event::Lost(_, by) => {
                self.given_up.remove(&by);
                self.tell(by, Verdict::Lost)
            }
            Event::Ended(key) => {
                // Dropping the senders wakes them.
                self.watching.remove(&key);
                Next::Nothing
            }
            Event::Marked(by) => Next::Marked(by),
        }
    }

    fn tell(&mut self, by: Nonce, verdict: Verdict) -> Next {
        if let Some(waiter) = self.waiting.remove(&by) {
            let _ = waiter.send(verdict);
        }
        Next::Nothing
    }

    /// Hears when this claim is read back. To be entered before it is written.
    pub(super) fn wait_for(&mut self, by: Nonce) -> oneshot::Receiver<Verdict> {
        let (waiter, verdict) = oneshot::channel();
        self.waiting.insert(by, waiter);
        verdict
    }

    /// The owner of a claim will not send.
    pub(super) fn give_up(&mut self, by: Nonce) {
        if self.waiting.remove(&by).is_some() && self.given_up.len() < MAX_GIVEN_UP {
            self.given_up.insert(by);
        }
    }

    /// Hears (an error, since the sender is dropped) when a claimed command ends; `Err` with its standing where it is not
    /// claimed now.
    pub(super) fn watch(&mut self, key: Key) -> Result<oneshot::Receiver<()>, Standing> {
        match self.ledger.standing(key) {
            Standing::Claimed { .. } => {
                let (watcher, ended) = oneshot::channel();
                let watchers = self.watching.entry(key).or_default();
                watchers.retain(|watcher| !watcher.is_closed());
                watchers.push(watcher);
                Ok(ended)
            }
            standing => Err(standing),
        }
    }

    /// Takes out watchers that nobody listens to any more.
    pub(super) fn unwatch(&mut self, key: Key) {
        if let Some(watchers) = self.watching.get_mut(&key) {
            watchers.retain(|watcher| !watcher.is_closed());
            if watchers.is_empty() {
                self.watching.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Subject;
    use super::*;
    use std::time::Duration;

    fn table() -> Table {
        let mut table = Table::new(Limits { ids: 10, reply_bytes: 10, window: Duration::from_secs(60) });
        table.begin(0);
        table
    }

    fn claim(by: u128) -> Record {
        Record::Claim { subject: Subject::single("a".into()), by: Nonce(by), until: 9, fresh: true }
    }

    #[test]
    fn who_waits_hears_of_its_own_claim_and_of_a_new_beginning() {
        let mut table = table();
        let (mut first, mut second, mut third) =
            (table.wait_for(Nonce(1)), table.wait_for(Nonce(2)), table.wait_for(Nonce(3)));
        assert_eq!(table.read(claim(1), 0), Next::Nothing);
        table.read(claim(2), 0);
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(Verdict::Won), Ok(Verdict::Lost)));
        assert!(third.try_recv().is_err());
        table.begin(7);
        assert_eq!(third.try_recv(), Ok(Verdict::Again));
    }

    #[test]
    fn a_claim_that_was_given_up_before_it_was_read_is_released_when_it_is() {
        let mut table = table();
        drop(table.wait_for(Nonce(1)));
        table.give_up(Nonce(1));
        assert_eq!(table.read(claim(1), 0), Next::Release(Nonce(1)));
        // Read before it was given up: its owner releases it.
        drop(table.wait_for(Nonce(2)));
        table.read(claim(2), 0);
        table.give_up(Nonce(2));
        assert!(table.given_up.is_empty());
    }

    #[test]
    fn who_watches_a_claimed_command_is_woken_by_its_end() {
        let (mut table, key) = (table(), Subject::single("a".into()).key());
        assert_eq!(table.watch(key).err(), Some(Standing::Nobody));
        table.read(claim(1), 0);
        let mut ended = table.watch(key).unwrap();
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        table.read(Record::Release { subject: Subject::single("a".into()), by: Nonce(1) }, 0);
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        table.read(claim(2), 0);
        drop(table.watch(key).unwrap());
        table.unwatch(key);
        assert!(table.watching.is_empty());
    }
}

//! Who may send what, as far as the claim log was read: a pure machine over its records, bounded, and aware of its horizon.

use super::record::{Key, Nonce, Record};
use crate::envelope::Envelope;
use crate::outcome::Status;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many commands.
    pub ids: usize,
    /// How many bytes of replies.
    pub reply_bytes: usize,
    /// For how long after it was claimed.
    pub window: Duration,
}

/// Where a command stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Nobody has claimed it, or whoever did has released it.
    Nobody,
    /// Somebody may be sending it.
    Claimed {
        /// Which claim.
        by: Nonce,
        /// When its owner has an outcome, at the latest: milliseconds since the Unix epoch.
        until: u64,
    },
    /// It has an outcome.
    Done {
        /// False if it surely never reached its device.
        reached: bool,
        /// How it ended.
        status: Status,
        /// What was said, where that is still known.
        reply: Option<Arc<Envelope>>,
    },
}

/// What a record meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing new.
    Nothing,
    /// This claim may send.
    Won(Key, Nonce),
    /// This claim may not, and never will.
    Lost(Key, Nonce),
    /// The command has an outcome, or is free again.
    Ended(Key),
    /// Somebody's mark.
    Marked(Nonce),
}

struct Entry {
    state: State,
    /// Claims that had their chance. A publisher sends a record again where it heard no confirm, so each may come twice.
    spent: Vec<Nonce>,
    /// When the present claim was read.
    stamp: u64,
}

enum State {
    Free,
    Claimed { by: Nonce, until: u64 },
    Done { by: Nonce, reached: bool, status: Status, reply: Option<Arc<Envelope>> },
}

/// Everything that was read. Times are milliseconds since the Unix epoch.
pub struct Ledger {
    limits: Limits,
    entries: HashMap<Key, Entry>,
    /// In the order of their stamps; an entry that was claimed anew is in it again.
    order: VecDeque<(u64, Key)>,
    /// Those that are kept, oldest first.
    replies: VecDeque<(Key, Nonce)>,
    bytes: usize,
    /// Whether reading began at the first record there ever was in this log.
    whole: bool,
    horizon: Option<u64>,
}

/// Claims that had their chance, remembered for one command; the oldest is forgotten first.
const SPENT: usize = 8;
/// Where reading began amid a log: a mark may be this much younger than it says, because its publisher sent it again.
const RESENT: u64 = 60_000;
/// What a reply takes besides its body.
const OVERHEAD: usize = 128;

impl Ledger {
    /// One that has read nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            order: VecDeque::new(),
            replies: VecDeque::new(),
            bytes: 0,
            whole: false,
            horizon: None,
        }
    }

    /// Reading begins, or begins anew: what was known before is void. `offset` is the number of the first record to come.
    pub fn begin(&mut self, offset: u64) {
        *self = Self { whole: offset == 0, ..Self::new(self.limits) };
    }

    /// Takes the next record, at this time.
    pub fn apply(&mut self, record: Record, now: u64) -> Event {
        self.forget_old(now);
        match record {
            Record::Claim { subject, by, until, fresh } => self.claim(subject.key(), by, until, fresh, now),
            Record::Result { subject, by, reached, status, reply } => {
                let reply = reply.map(|said| Arc::new(said.into_envelope()));
                self.result(subject.key(), by, State::Done { by, reached, status, reply }, now)
            }
            Record::Release { subject, by } => self.release(subject.key(), by, now),
            Record::Mark { by, at, clean } => {
                self.horizon.get_or_insert(match (self.whole, clean) {
                    (true, true) => 0,
                    // The very first record may come after an earlier log that was deleted: nothing is known before it.
                    (true, false) => at,
                    (false, _) => at.saturating_add(RESENT),
                });
                Event::Marked(by)
            }
        }
    }

    /// Where a command stands, as far as was read.
    pub fn standing(&self, key: Key) -> Standing {
        match self.entries.get(&key).map(|entry| &entry.state) {
            None | Some(State::Free) => Standing::Nobody,
            Some(State::Claimed { by, until }) => Standing::Claimed { by: *by, until: *until },
            Some(State::Done { reached, status, reply, .. }) => {
                Standing::Done { reached: *reached, status: *status, reply: reply.clone() }
            }
        }
    }

    /// The time from which on it knows every claim; `None` before it can say, 0 if there is none that it does not know.
    pub fn horizon(&self, now: u64) -> Option<u64> {
        Some(match self.horizon? {
            0 => 0,
            horizon => horizon.max(now.saturating_sub(self.window())),
        })
    }

    fn window(&self) -> u64 {
        u64::try_from(self.limits.window.as_millis()).unwrap_or(u64::MAX)
    }

    fn claim(&mut self, key: Key, by: Nonce, until: u64, fresh: bool, now: u64) -> Event {
        let entry = self.entry(key, now);
        if entry.spent.contains(&by) {
            return Event::Nothing;
        }
        match &entry.state {
            State::Claimed { by: owner, .. } | State::Done { by: owner, .. } if *owner == by => return Event::Nothing,
            State::Free => {}
            // A "no" may be tried again by whoever sends the command anew; a repeated delivery is the same submission.
            State::Done { reached: false, .. } if fresh => {}
            State::Claimed { .. } | State::Done { .. } => {
                entry.spend(by);
                return Event::Lost(key, by);
            }
        }
        let before = std::mem::replace(&mut entry.state, State::Claimed { by, until });
        if let State::Done { by: earlier, .. } = &before {
            entry.spend(*earlier);
        }
        if std::mem::replace(&mut entry.stamp, now) != now {
            self.order.push_back((now, key));
        }
        self.give_up(&before);
        Event::Won(key, by)
    }

    fn result(&mut self, key: Key, by: Nonce, done: State, now: u64) -> Event {
        let State::Done { reached, ref reply, .. } = done else { return Event::Nothing };
        let size = reply.as_ref().map(|reply| reply.body.len() + OVERHEAD);
        let entry = self.entry(key, now);
        let counts = match &entry.state {
            State::Claimed { by: holder, .. } if *holder == by => true,
            // A device's answer is true whoever brings it; a "no" speaks of its own claim alone.
            State::Claimed { .. } | State::Done { reached: false, .. } => reached,
            State::Done { reached: true, .. } => false,
            // Its claim may be older than what was read, but only where nothing at all is known of it.
            State::Free => reached || entry.spent.is_empty(),
        };
        if !counts {
            return Event::Nothing;
        }
        let before = std::mem::replace(&mut entry.state, done);
        self.give_up(&before);
        if let Some(size) = size {
            self.bytes += size;
            self.replies.push_back((key, by));
        }
        self.forget_replies();
        Event::Ended(key)
    }

    fn release(&mut self, key: Key, by: Nonce, now: u64) -> Event {
        let entry = self.entry(key, now);
        entry.spend(by);
        match &entry.state {
            State::Claimed { by: holder, .. } if *holder == by => {
                entry.state = State::Free;
                Event::Ended(key)
            }
            _ => Event::Nothing,
        }
    }

    fn entry(&mut self, key: Key, now: u64) -> &mut Entry {
        self.entries.entry(key).or_insert_with(|| {
            self.order.push_back((now, key));
            Entry { state: State::Free, spent: Vec::new(), stamp: now }
        })
    }

    /// A state is left behind, and the reply in it.
    fn give_up(&mut self, before: &State) {
        if let State::Done { reply: Some(reply), .. } = before {
            self.bytes -= reply.body.len() + OVERHEAD;
        }
    }

    fn forget_old(&mut self, now: u64) {
        let window = self.window();
        while let Some((stamp, key)) = self.order.front().copied() {
            if stamp.saturating_add(window) > now && self.order.len() <= self.limits.ids {
                break;
            }
            self.order.pop_front();
            if self.entries.get(&key).is_some_and(|entry| entry.stamp == stamp)
                && let Some(entry) = self.entries.remove(&key)
            {
                self.give_up(&entry.state);
                self.horizon = self.horizon.map(|horizon| horizon.max(stamp));
            }
        }
        self.forget_replies();
    }

    fn forget_replies(&mut self) {
        while let Some((key, by)) = self.replies.front() {
            let mut nothing = None;
            let kept = match self.entries.get_mut(key).map(|entry| &mut entry.state) {
                Some(State::Done { by: author, reply, .. }) if author == by => reply,
                _ => &mut nothing,
            };
            if kept.is_some() && self.bytes <= self.limits.reply_bytes {
                return;
            }
            if let Some(reply) = kept.take() {
                self.bytes -= reply.body.len() + OVERHEAD;
            }
            self.replies.pop_front();
        }
    }
}

impl Entry {
    fn spend(&mut self, by: Nonce) {
        if !self.spent.contains(&by) {
            if self.spent.len() == SPENT {
                self.spent.remove(0);
            }
            self.spent.push(by);
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;

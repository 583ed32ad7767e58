//! The desired subscriptions, counted by their readers, and how far the broker is with each: pure, time is an argument.
//!
//! ```text
//!            first reader            SUBSCRIBE sent        SUBACK
//!   (none) ───────────────► Wanted ────────────────► Asked ───────► Granted ──┐ last reader gone for `linger`:
//!                              ▲                                              ▼ UNSUBSCRIBE sent
//!                              └──────── UNSUBACK, and a reader came ──── Leaving ── UNSUBACK ──► (none)
//! ```
//! A lost connection makes every entry with readers `Wanted` again. One filter is never asked for and given up at a time.

use super::error::Error;
use super::message::{Message, Qos};
use super::router::Router;
use super::subscription::{Reader, ReaderId};
use crate::topic::TopicFilter;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Who waits for the broker's word on a subscription.
pub(crate) type Granted = oneshot::Sender<Result<(), Error>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Wanted,
    Asked,
    Granted,
    Leaving,
}

struct Entry {
    filter: TopicFilter,
    readers: Vec<Reader>,
    waiters: Vec<Granted>,
    phase: Phase,
    /// Whether publishes wait for it: it was there before the connection was.
    renewed: bool,
    idle_until: Option<Instant>,
}

/// The identifier under which all filters without wildcards are asked for: at most one of them matches a topic.
const EXACT_ID: u32 = 1;

#[derive(Default)]
pub(crate) struct Subscriptions {
    entries: HashMap<u32, Entry>,
    router: Router<u32>,
    of_reader: HashMap<ReaderId, u32>,
    last_key: u32,
    to_ask: VecDeque<u32>,
    to_leave: VecDeque<u32>,
    /// SUBSCRIBE and UNSUBSCRIBE packets under way, by packet id.
    under_way: HashMap<u16, Vec<u32>>,
    idle: BTreeSet<(Instant, u32)>,
    /// Entries whose SUBACK the publishes of this connection wait for.
    renewing: usize,
}

impl Subscriptions {
    /// Adds a reader; `granted` hears when the broker has granted or refused the filter.
    pub(crate) fn add(&mut self, filter: TopicFilter, reader: Reader, granted: Granted) {
        if granted.is_closed() {
            return;
        }
        let key = match self.router.get(&filter) {
            Some(key) => *key,
            None => self.insert(&filter),
        };
        self.of_reader.insert(reader.id, key);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let Some(until) = entry.idle_until.take() {
            self.idle.remove(&(until, key));
        }
        entry.readers.push(reader);
        match entry.phase {
            // The waiter may be gone by now; its release follows.
            Phase::Granted => drop(granted.send(Ok(()))),
            _ => entry.waiters.push(granted),
        }
    }

    fn insert(&mut self, filter: &TopicFilter) -> u32 {
        // Above EXACT_ID, and within the 28 bits of a subscription identifier (MQTT 5.0, section 3.8.2.1.2).
        let free = |key: &u32| *key > EXACT_ID && !self.entries.contains_key(key);
        let key = (self.last_key + 1..1 << 28).chain(2..).find(free).unwrap_or(EXACT_ID + 1);
        self.last_key = key % ((1 << 28) - 1);
        self.router.insert(filter, key);
        let entry = Entry {
            filter: filter.clone(),
            readers: Vec::new(),
            waiters: Vec::new(),
            phase: Phase::Wanted,
            renewed: false,
            idle_until: None,
        };
        self.entries.insert(key, entry);
        self.to_ask.push_back(key);
        key
    }

    /// Takes a reader out; the last one of a filter leaves it lingering.
    pub(crate) fn release(&mut self, reader: ReaderId, now: Instant, linger: Duration) {
        let Some(key) = self.of_reader.remove(&reader) else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.readers.retain(|r| r.id != reader);
        if entry.readers.is_empty() && entry.idle_until.is_none() {
            let until = now + linger;
            entry.idle_until = Some(until);
            self.idle.insert((until, key));
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.idle.first().map(|(until, _)| *until)
    }

    /// Moves what nobody has read for long enough towards UNSUBSCRIBE.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((until, key)) = self.idle.first().copied().filter(|(until, _)| *until <= now) {
            self.idle.remove(&(until, key));
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.idle_until = None;
            match entry.phase {
                Phase::Granted => self.to_leave.push_back(key),
                // Never asked for: nothing to give up.
                Phase::Wanted => self.forget(key),
                // The SUBACK is due: look again then.
                Phase::Asked | Phase::Leaving => {
                    let again = now + Duration::from_secs(1);
                    entry.idle_until = Some(again);
                    self.idle.insert((again, key));
                }
            }
        }
    }

    fn forget(&mut self, key: u32) {
        if let Some(entry) = self.entries.remove(&key) {
            self.router.remove(&entry.filter);
            self.renewing -= usize::from(entry.renewed);
        }
    }

    /// A new connection: everything with readers is asked for again. Returns whether publishes have to wait for that.
    pub(crate) fn on_up(&mut self) -> bool {
        self.reset();
        self.renewing = self.entries.len();
        for entry in self.entries.values_mut() {
            entry.renewed = true;
        }
        self.renewing > 0
    }

    /// The connection is gone, and with it every grant; what nobody reads is forgotten.
    pub(crate) fn reset(&mut self) {
        self.under_way.clear();
        self.to_leave.clear();
        self.to_ask.clear();
        self.idle.clear();
        self.renewing = 0;
        let router = &mut self.router;
        self.entries.retain(|_, entry| {
            let keep = !entry.readers.is_empty();
            if !keep {
                router.remove(&entry.filter);
            }
            keep
        });
        for (key, entry) in &mut self.entries {
            (entry.phase, entry.renewed, entry.idle_until) = (Phase::Wanted, false, None);
            self.to_ask.push_back(*key);
        }
    }

    /// Whether publishes of this connection still wait for a subscription that an earlier one had.
    pub(crate) fn is_renewing(&self) -> bool {
        self.renewing > 0
    }

    /// The filters of the next SUBSCRIBE, and its subscription identifier; the packet is then under way as `pkid`.
    ///
    /// A filter with wildcards goes alone, so that its identifier tells its copies of a message from those of others.
    pub(crate) fn next_subscribe(&mut self, pkid: u16, most: usize) -> Option<(Vec<&TopicFilter>, u32)> {
        let mut keys = Vec::new();
        while let Some(key) = self.to_ask.front().copied() {
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.phase == Phase::Wanted) else {
                self.to_ask.pop_front();
                continue;
            };
            let wild = entry.filter.has_wildcard();
            if (wild && !keys.is_empty()) || keys.len() >= most {
                break;
            }
            self.to_ask.pop_front();
            keys.push(key);
            if wild {
                break;
            }
        }
        let first = *keys.first()?;
        for key in &keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.phase = Phase::Asked;
            }
        }
        let filters: Vec<_> = keys.iter().filter_map(|key| Some(&self.entries.get(key)?.filter)).collect();
        let id = if filters.iter().any(|filter| filter.has_wildcard()) { first } else { EXACT_ID };
        self.under_way.insert(pkid, keys);
        Some((filters, id))
    }

    /// The filters of the next UNSUBSCRIBE; the packet is then under way as `pkid`.
    pub(crate) fn next_unsubscribe(&mut self, pkid: u16, most: usize) -> Option<Vec<&TopicFilter>> {
        let mut keys = Vec::new();
        while keys.len() < most {
            let Some(key) = self.to_leave.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            // A reader came back while it waited to leave.
            if entry.readers.is_empty() && entry.phase == Phase::Granted {
                entry.phase = Phase::Leaving;
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return None;
        }
        let filters = keys.iter().filter_map(|key| Some(&self.entries.get(key)?.filter)).collect();
        self.under_way.insert(pkid, keys);
        Some(filters)
    }

    /// Whether a packet id belongs to a SUBSCRIBE or UNSUBSCRIBE under way.
    pub(crate) fn uses(&self, pkid: u16) -> bool {
        self.under_way.contains_key(&pkid)
    }

    /// How many SUBSCRIBE and UNSUBSCRIBE packets are under way.
    pub(crate) fn packets_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// SUBACK: one grant per filter, in the order of the packet. A refused filter fails all its users at once.
    pub(crate) fn on_suback(
        &mut self,
        pkid: u16,
        grants: &[Result<Qos, (u8, String)>],
        now: Instant,
        linger: Duration,
    ) {
        let Some(keys) = self.under_way.remove(&pkid) else { return };
        for (index, key) in keys.into_iter().enumerate() {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            self.renewing -= usize::from(std::mem::take(&mut entry.renewed));
            match grants.get(index) {
                Some(Ok(_)) => {
                    entry.phase = Phase::Granted;
                    for waiter in entry.waiters.drain(..) {
                        drop(waiter.send(Ok(())));
                    }
                    if entry.readers.is_empty() && entry.idle_until.is_none() {
                        let until = now + linger;
                        entry.idle_until = Some(until);
                        self.idle.insert((until, key));
                    }
                }
                refused => {
                    let reason = match refused {
                        Some(Err((code, reason))) => format!("{reason} (0x{code:02X})"),
                        _ => "its SUBACK has no answer for this filter".to_owned(),
                    };
                    let error = Error::Refused { filter: entry.filter.to_string(), reason };
                    for waiter in entry.waiters.drain(..) {
                        drop(waiter.send(Err(error.clone())));
                    }
                    for reader in entry.readers.drain(..) {
                        self.of_reader.remove(&reader.id);
                        reader.refuse(&error);
                    }
                    if let Some(until) = entry.idle_until.take() {
                        self.idle.remove(&(until, key));
                    }
                    self.forget(key);
                }
            }
        }
    }

    /// UNSUBACK: forgotten, unless a reader came meanwhile.
    pub(crate) fn on_unsuback(&mut self, pkid: u16) {
        for key in self.under_way.remove(&pkid).unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.readers.is_empty() {
                self.forget(key);
            } else {
                entry.phase = Phase::Wanted;
                self.to_ask.push_back(key);
            }
        }
    }

    /// Hands a message to every reader whose filter matches, once; returns how many filters with readers that were.
    ///
    /// Where the broker says which subscriptions a copy is for, it goes to those alone: brokers send one copy for each
    /// overlapping filter, and without that each user would see each copy.
    pub(crate) fn deliver(&self, message: &Message, ids: &[u32]) -> usize {
        let mut reached = 0;
        self.router.for_each_match(message.topic(), |key| {
            let Some(entry) = self.entries.get(key) else { return };
            let id = if entry.filter.has_wildcard() { *key } else { EXACT_ID };
            if (ids.is_empty() || ids.contains(&id)) && !entry.readers.is_empty() {
                reached += 1;
                for reader in &entry.readers {
                    reader.deliver(message);
                }
            }
        });
        reached
    }

    /// Filters, and users of them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.entries.len(), self.of_reader.len())
    }

    /// The end: every waiter hears it, every stream ends.
    pub(crate) fn close(&mut self) {
        for (_, entry) in self.entries.drain() {
            for waiter in entry.waiters {
                drop(waiter.send(Err(Error::Closed)));
            }
            for reader in entry.readers {
                reader.refuse(&Error::Closed);
            }
        }
        *self = Self::default();
    }
}

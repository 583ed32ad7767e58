//! The desired subscriptions, counted by their readers, and how far the broker is with each: pure, time is an argument.
//!
//! ```text
//!            first reader            SUBSCRIBE sent        SUBACK
//!   (none) ───────────────► Wanted ────────────────► Asked ───────► Granted ──┐ last reader gone for `linger`:
//!                              ▲                                              ▼ UNSUBSCRIBE sent
//!                              └──────── UNSUBACK, and a reader came ──── Leaving ── UNSUBACK ──► (none)
//! ```
//! A lost connection makes every entry `Wanted` again. One that nobody reads by then is kept only because the broker may
//! hold it in the session that it keeps; it then leaves as soon as there is a connection. One filter is never asked for and
//! given up at a time.

use super::error::Error;
use super::message::{Message, Qos};
use super::reader::{Reader, ReaderId};
use super::router::Router;
use crate::table::Table;
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
    /// With each reader whoever waits for the grant on its behalf.
    readers: Vec<(Reader, Option<Granted>)>,
    phase: Phase,
    /// Whether publishes wait for it: it was there before the connection was.
    renewed: bool,
    /// Whether the broker may have it: it was asked for in the session that the broker may have kept.
    held: bool,
    /// Only while `Granted` and without readers.
    idle_until: Option<Instant>,
}

/// The identifier under which all filters without wildcards are asked for: at most one of them matches a topic.
const EXACT_ID: u32 = 1;
/// No SUBSCRIBE is larger than this, one filter excepted: brokers limit the size of a packet.
const MAX_SUBSCRIBE_BYTES: usize = 8 * 1024;
/// Filters that linger without a reader; beyond that the one that lingered for longest leaves.
pub(super) const MAX_IDLE: usize = 10_000;

#[derive(Default)]
pub(crate) struct Subscriptions {
    entries: Table<u32, Entry>,
    router: Router<u32>,
    of_reader: Table<ReaderId, u32>,
    last_key: u32,
    /// Exactly the entries that are `Wanted`; those without wildcards apart, since they share packets.
    exact_to_ask: BTreeSet<u32>,
    wild_to_ask: BTreeSet<u32>,
    to_leave: VecDeque<u32>,
    /// SUBSCRIBE and UNSUBSCRIBE packets under way, by packet id, and since when.
    under_way: HashMap<u16, (Vec<u32>, Instant)>,
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
        let waiter = match entry.phase {
            Phase::Granted => {
                // The waiter may be gone by now; its release follows.
                drop(granted.send(Ok(())));
                None
            }
            _ => Some(granted),
        };
        entry.readers.push((reader, waiter));
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
            phase: Phase::Wanted,
            renewed: false,
            held: false,
            idle_until: None,
        };
        self.entries.insert(key, entry);
        self.want(key);
        key
    }

    fn want(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.phase = Phase::Wanted;
            if entry.filter.has_wildcard() { &mut self.wild_to_ask } else { &mut self.exact_to_ask }.insert(key);
        }
    }

    /// Takes a reader out; the last one of a filter leaves it lingering.
    pub(crate) fn release(&mut self, reader: ReaderId, now: Instant, linger: Duration) {
        let Some(key) = self.of_reader.remove(&reader) else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.readers.retain(|(r, _)| r.id != reader);
        if !entry.readers.is_empty() {
            return;
        }
        match entry.phase {
            Phase::Granted => self.linger(key, now + linger),
            // Never asked for: nothing to give up.
            Phase::Wanted if !entry.held => self.forget(key),
            // Its turn, or the broker's answer, decides.
            Phase::Wanted | Phase::Asked | Phase::Leaving => {}
        }
    }

    fn linger(&mut self, key: u32, until: Instant) {
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.idle_until.is_none()
        {
            entry.idle_until = Some(until);
            self.idle.insert((until, key));
        }
        if self.idle.len() > MAX_IDLE
            && let Some((_, oldest)) = self.idle.first().copied()
        {
            self.leave(oldest);
        }
    }

    fn leave(&mut self, key: u32) {
        if let Some(until) = self.entries.get_mut(&key).and_then(|entry| entry.idle_until.take()) {
            self.idle.remove(&(until, key));
            self.to_leave.push_back(key);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.idle.first().map(|(until, _)| *until)
    }

    /// Moves what nobody has read for long enough towards UNSUBSCRIBE.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((_, key)) = self.idle.first().copied().filter(|(until, _)| *until <= now) {
            self.leave(key);
        }
    }

    fn forget(&mut self, key: u32) {
        if let Some(entry) = self.entries.remove(&key) {
            self.router.remove(&entry.filter);
            self.renewing -= usize::from(entry.renewed);
            self.exact_to_ask.remove(&key);
            self.wild_to_ask.remove(&key);
            if let Some(until) = entry.idle_until {
                self.idle.remove(&(until, key));
            }
        }
    }

    /// A new connection: everything with readers is asked for again, and publishes wait for that. Of what has none, the
    /// broker still holds what was asked for in a session that it kept.
    pub(crate) fn on_up(&mut self, session_present: bool) {
        for entry in self.entries.values_mut() {
            entry.held &= session_present;
        }
        self.reset();
        for entry in self.entries.values_mut().filter(|entry| !entry.readers.is_empty()) {
            entry.renewed = true;
            self.renewing += 1;
        }
    }

    /// The connection is gone, and with it every grant.
    pub(crate) fn reset(&mut self) {
        self.under_way.clear();
        self.to_leave.clear();
        self.idle.clear();
        self.renewing = 0;
        let keys: Vec<u32> = self.entries.keys().copied().collect();
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            (entry.renewed, entry.idle_until) = (false, None);
            if entry.readers.is_empty() && !entry.held {
                self.forget(key);
            } else {
                self.want(key);
            }
        }
    }

    /// Whether publishes of this connection still wait for a subscription that an earlier one had.
    pub(crate) fn is_renewing(&self) -> bool {
        self.renewing > 0
    }

    /// Whether there may be anything to send.
    pub(crate) fn has_requests(&self) -> bool {
        !(self.exact_to_ask.is_empty() && self.wild_to_ask.is_empty() && self.to_leave.is_empty())
    }

    /// The filters of the next SUBSCRIBE, and its subscription identifier; the packet is then under way as `pkid`.
    ///
    /// A filter with wildcards goes alone, so that its identifier tells its copies of a message from those of others.
    pub(crate) fn next_subscribe(&mut self, pkid: u16, most: usize, now: Instant) -> Option<(Vec<&TopicFilter>, u32)> {
        let mut keys = Vec::new();
        let mut bytes = 0;
        let mut id = EXACT_ID;
        while keys.len() < most && id == EXACT_ID {
            let Some(key) = self.exact_to_ask.first().or(self.wild_to_ask.first()).copied() else { break };
            let Some(entry) = self.entries.get_mut(&key) else { break };
            let (wild, unread) = (entry.filter.has_wildcard(), entry.readers.is_empty());
            bytes += entry.filter.as_str().len();
            if !unread && !keys.is_empty() && (wild || bytes > MAX_SUBSCRIBE_BYTES) {
                break;
            }
            if wild { &mut self.wild_to_ask } else { &mut self.exact_to_ask }.remove(&key);
            if unread {
                // The broker kept it, and nobody wants it any more.
                entry.phase = Phase::Granted;
                self.renewing -= usize::from(std::mem::take(&mut entry.renewed));
                self.to_leave.push_back(key);
                continue;
            }
            if wild {
                id = key;
            }
            (entry.phase, entry.held) = (Phase::Asked, true);
            keys.push(key);
        }
        if keys.is_empty() {
            return None;
        }
        let filters: Vec<_> = keys.iter().filter_map(|key| Some(&self.entries.get(key)?.filter)).collect();
        self.under_way.insert(pkid, (keys, now));
        Some((filters, id))
    }

    /// The filters of the next UNSUBSCRIBE; the packet is then under way as `pkid`.
    pub(crate) fn next_unsubscribe(&mut self, pkid: u16, most: usize, now: Instant) -> Option<Vec<&TopicFilter>> {
        let mut keys = Vec::new();
        while keys.len() < most {
            let Some(key) = self.to_leave.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            // A reader came back while it waited to leave.
            if entry.readers.is_empty() && entry.phase == Phase::Granted {
                entry.phase = Phase::Leaving;
                if let Some(until) = entry.idle_until.take() {
                    self.idle.remove(&(until, key));
                }
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return None;
        }
        let filters = keys.iter().filter_map(|key| Some(&self.entries.get(key)?.filter)).collect();
        self.under_way.insert(pkid, (keys, now));
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

    /// Since when the oldest of them is.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.under_way.values().map(|(_, since)| *since).min()
    }

    /// SUBACK: one grant per filter, in the order of the packet. A refused filter fails all its users at once.
    pub(crate) fn on_suback(
        &mut self,
        pkid: u16,
        grants: &[Result<Qos, (u8, String)>],
        now: Instant,
        linger: Duration,
    ) {
        for (index, key) in self.take_under_way(pkid, Phase::Asked).into_iter().enumerate() {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            self.renewing -= usize::from(std::mem::take(&mut entry.renewed));
            let reason = match grants.get(index) {
                Some(Ok(_)) => {
                    entry.phase = Phase::Granted;
                    for waiter in entry.readers.iter_mut().filter_map(|(_, waiter)| waiter.take()) {
                        drop(waiter.send(Ok(())));
                    }
                    if entry.readers.is_empty() {
                        self.linger(key, now + linger);
                    }
                    continue;
                }
                Some(Err((code, reason))) => format!("{reason} (0x{code:02X})"),
                None => "its SUBACK has no answer for this filter".to_owned(),
            };
            let error = Error::Refused { filter: entry.filter.to_string(), reason };
            for (reader, waiter) in entry.readers.drain(..) {
                self.of_reader.remove(&reader.id);
                reader.refuse(&error);
                if let Some(waiter) = waiter {
                    drop(waiter.send(Err(error.clone())));
                }
            }
            self.forget(key);
        }
    }

    /// The entries of a packet under way; none if the broker answers what was not asked.
    fn take_under_way(&mut self, pkid: u16, phase: Phase) -> Vec<u32> {
        let in_phase = |key: &u32| self.entries.get(key).is_some_and(|entry| entry.phase == phase);
        if !self.under_way.get(&pkid).is_some_and(|(keys, _)| keys.iter().all(in_phase)) {
            return Vec::new();
        }
        self.under_way.remove(&pkid).map(|(keys, _)| keys).unwrap_or_default()
    }

    /// UNSUBACK: forgotten, unless a reader came meanwhile.
    pub(crate) fn on_unsuback(&mut self, pkid: u16) {
        for key in self.take_under_way(pkid, Phase::Leaving) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.held = false;
            if entry.readers.is_empty() {
                self.forget(key);
            } else {
                self.want(key);
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
                for (reader, _) in &entry.readers {
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
            for (reader, waiter) in entry.readers {
                reader.refuse(&Error::Closed);
                if let Some(waiter) = waiter {
                    drop(waiter.send(Err(Error::Closed)));
                }
            }
        }
        *self = Self::default();
    }
}

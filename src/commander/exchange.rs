//! The commands under way and how each answer finds its own: a table that is touched from the driver's task and never waits.

use super::acknowledgements::Acknowledgements;
use super::attempt::Times;
use super::permit::Permit;
use crate::metrics::metrics;
use crate::mqtt::{Fate, Message, Progress, Watcher};
use crate::outcome::{Executed, Failure, Outcome, Status};
use crate::profile::{Answer, Key, Profile, Reading};
use crate::table::Table;
use crate::topic::TopicName;
use bytes::Bytes;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Takes the answer that came after its command was given up as `timed_out` or `unknown`. Must not block.
pub type LateHandler = Box<dyn FnOnce(Outcome) + Send>;

/// How an attempt ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// The device answered.
    Answered { payload: Bytes, failure: Option<Failure>, at: Instant },
    /// The publish ended without an answer to wait for.
    Fate(Fate),
}

/// What is known of an attempt while it is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When it passed the point of no return.
    pub(crate) handed: Option<Instant>,
    /// When the device last said that it is working on it.
    pub(crate) progress: Option<Instant>,
    /// Whether the connection was lost after that point, so that an answer may have been lost too.
    pub(crate) link_lost: bool,
}

/// What an attempt is, as the table knows it.
pub(crate) struct Exchange {
    /// Who must answer.
    pub(crate) device: Arc<str>,
    /// Whether an answer is awaited.
    pub(crate) awaits_answer: bool,
    /// The topics that name this attempt, where its answers name nothing else.
    pub(crate) topics: Vec<TopicName>,
    /// Whether a lost connection ends it, because it may be sent again.
    pub(crate) ends_with_link: bool,
    pub(crate) permit: Option<Arc<dyn Permit>>,
    /// What has to live as long as an answer may come.
    pub(crate) subscriptions: Vec<Arc<dyn Any + Send + Sync>>,
}

struct Entry {
    exchange: Exchange,
    facts: Facts,
    phase: Phase,
}

enum Phase {
    Waiting(oneshot::Sender<End>),
    /// Given up; an answer within the grace is still news.
    Late {
        until: Instant,
        attempt: u32,
        handler: LateHandler,
    },
    /// Answered; kept for a while to know repetitions from strangers.
    Answered,
    /// Ended without an answer; its owner is about to take it out.
    Ended,
}

#[derive(Default)]
struct Attempts {
    /// Each in a place of its own: the table has room for more than there are.
    entries: Table<u128, Box<Entry>>,
    /// The attempt that owns an answer topic, for dialects whose answers name no request.
    by_topic: Table<TopicName, u128>,
    late: VecDeque<(Instant, u128)>,
    answered: VecDeque<u128>,
}

/// The table of all attempts of one commander.
pub(crate) struct Exchanges {
    table: Mutex<Attempts>,
    max_late: usize,
    pub(crate) acknowledgements: Acknowledgements,
}

/// How many answered attempts are remembered to recognise a repetition.
const MAX_ANSWERED: usize = 2048;

/// One attempt in the table; taken out on drop unless it was left there for a late answer.
pub(crate) struct Open {
    exchanges: Arc<Exchanges>,
    key: u128,
    end: oneshot::Receiver<End>,
}

impl Exchanges {
    pub(crate) fn new(max_late: usize) -> Self {
        Self { table: Mutex::default(), max_late, acknowledgements: Acknowledgements::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an attempt, before its request is sent.
    pub(crate) fn open(self: &Arc<Self>, key: u128, exchange: Exchange) -> Open {
        let (waiter, end) = oneshot::channel();
        let (facts, phase) = (Facts::default(), Phase::Waiting(waiter));
        let mut table = self.lock();
        let entry = Entry { exchange, facts, phase };
        for topic in &entry.exchange.topics {
            table.by_topic.insert(topic.clone(), key);
        }
        let dropped = table.forget_old(Instant::now(), self.max_late);
        table.entries.insert(key, Box::new(entry));
        drop(table);
        // Outside the lock: dropping an entry may give a subscription back.
        drop(dropped);
        Open { exchanges: self.clone(), key, end }
    }

    /// A message on an answer filter of `profile`.
    pub(crate) fn on_message(&self, profile: &Profile, inbox: &str, message: &Message) {
        // What was kept from before cannot answer what was asked after.
        let found = (!message.retain || profile.retained_answers())
            .then(|| profile.identify(inbox, message.topic(), &message.payload, message.correlation()))
            .flatten();
        let Some(found) = found else { return metrics().unmatched_message() };
        let user_properties = message.properties.as_ref().map_or(&[][..], |properties| &properties.user);
        let reading = profile.judge(&Answer { payload: &message.payload, code: found.code, user_properties });
        let now = Instant::now();
        let mut table = self.lock();
        let key = match found.key {
            Key::Attempt(key) => Some(key),
            Key::AnswerTopic => {
                TopicName::new(message.topic()).ok().and_then(|topic| table.by_topic.get(&topic).copied())
            }
        };
        let mine =
            |entry: &&mut Box<Entry>| entry.exchange.awaits_answer && found.device == Some(&*entry.exchange.device);
        // Matched by attempt and by device: what anybody else says about it is nobody's answer.
        let Some(entry) = key.and_then(|key| table.entries.get_mut(&key)).filter(mine) else {
            drop(table);
            return metrics().unmatched_message();
        };
        let failure = match reading {
            Reading::Progress => {
                entry.facts.progress = Some(now);
                return;
            }
            Reading::Success => None,
            Reading::Error { code, message } => Some(Failure { code: code.into(), message }),
        };
        let handed = entry.facts.handed.unwrap_or(now);
        // Given back once the lock is released: a remembered answer needs neither.
        let released = (entry.exchange.permit.take(), std::mem::take(&mut entry.exchange.subscriptions));
        let phase = std::mem::replace(&mut entry.phase, Phase::Answered);
        if !matches!(phase, Phase::Answered) {
            table.answered.extend(key);
        }
        drop(table);
        drop(released);
        match phase {
            // The waiter may have gone this instant; then nobody asks any more.
            Phase::Waiting(waiter) => {
                drop(waiter.send(End::Answered { payload: message.payload.clone(), failure, at: now }))
            }
            Phase::Late { until, attempt, handler } if now < until => {
                metrics().late_answer();
                let device = now.saturating_duration_since(handed);
                handler(Outcome { late: true, attempt, device, ..answered(message.payload.clone(), failure) });
            }
            Phase::Late { .. } | Phase::Ended => metrics().unmatched_message(),
            Phase::Answered => metrics().duplicate_answer(),
        }
    }
}

/// The outcome that an answer means.
pub(crate) fn answered(payload: Bytes, failure: Option<Failure>) -> Outcome {
    let status = if failure.is_some() { Status::Rejected } else { Status::Succeeded };
    Outcome { response: Some(payload), ..Outcome::new(status, Executed::Yes, failure) }
}

impl Attempts {
    /// Takes out what nobody will ask for any more; the caller drops it outside the lock.
    fn forget_old(&mut self, now: Instant, max_late: usize) -> Vec<Entry> {
        let mut gone = Vec::new();
        while self.answered.len() > MAX_ANSWERED {
            let Some(key) = self.answered.pop_front() else { break };
            gone.extend(self.take(key, |phase| matches!(phase, Phase::Answered)));
        }
        while self.late.front().is_some_and(|(until, _)| *until <= now || self.late.len() > max_late) {
            let Some((_, key)) = self.late.pop_front() else { break };
            gone.extend(self.take(key, |phase| matches!(phase, Phase::Late { .. })));
        }
        gone
    }

    fn take(&mut self, key: u128, is_meant: impl Fn(&Phase) -> bool) -> Option<Entry> {
        if !self.entries.get(&key).is_some_and(|entry| is_meant(&entry.phase)) {
            return None;
        }
        let entry = self.entries.remove(&key)?;
        for topic in &entry.exchange.topics {
            if self.by_topic.get(topic) == Some(&key) {
                self.by_topic.remove(topic);
            }
        }
        Some(*entry)
    }
}

impl Watcher for Exchanges {
    fn progress(&self, key: u128, progress: Progress) {
        let mut table = self.lock();
        let Some(entry) = table.entries.get_mut(&key) else { return };
        let fate = match progress {
            Progress::Handed(at) => return entry.facts.handed = Some(at),
            Progress::Recalled => return entry.facts.handed = None,
            Progress::Done(fate) => fate,
        };
        if let (Fate::Acknowledged, Some(handed)) = (&fate, entry.facts.handed) {
            self.acknowledgements.add(handed.elapsed());
        }
        entry.facts.link_lost |= fate == Fate::Unknown;
        let awaits_answer = entry.exchange.awaits_answer;
        let ends = match fate {
            Fate::Acknowledged | Fate::Written => !awaits_answer,
            Fate::Unknown => !awaits_answer || entry.exchange.ends_with_link,
            Fate::NoSubscribers | Fate::Refused(_) | Fate::NotSent(_) => true,
        };
        if !ends || !matches!(entry.phase, Phase::Waiting(_)) {
            return;
        }
        if let Phase::Waiting(waiter) = std::mem::replace(&mut entry.phase, Phase::Ended) {
            drop(table);
            drop(waiter.send(End::Fate(fate)));
        }
    }

    fn wants(&self, key: u128) -> bool {
        let table = self.lock();
        let Some(entry) = table.entries.get(&key).filter(|entry| matches!(entry.phase, Phase::Waiting(_))) else {
            return false;
        };
        let permit = entry.exchange.permit.clone();
        drop(table);
        permit.is_none_or(|permit| permit.pass())
    }

    fn pass(&self, key: u128, now: Instant) -> bool {
        // Asked outside the lock; whether it was withdrawn meanwhile is looked at under the lock that hands it over.
        if !self.wants(key) {
            return false;
        }
        let mut table = self.lock();
        let waiting = table.entries.get_mut(&key).filter(|entry| matches!(entry.phase, Phase::Waiting(_)));
        let Some(entry) = waiting else { return false };
        entry.facts.handed = Some(now);
        true
    }
}

impl Open {
    /// What is known so far.
    pub(crate) fn facts(&self) -> Facts {
        self.exchanges.lock().entries.get(&self.key).map(|entry| entry.facts).unwrap_or_default()
    }

    /// The end of the attempt, or `None` once nothing can come in time any more: the timeout after it passed the point of no
    /// return, or after the device's last word, but at most `most` after the former.
    ///
    /// Before that point it waits without a limit of its own: the session ends a publish that is not sent in time. When that was is
    /// first looked at `at`, which need not be before any timeout can be over.
    pub(crate) async fn end(&mut self, times: &Times, at: Instant) -> Option<End> {
        let mut deadline = at;
        loop {
            match tokio::time::timeout_at(deadline.into(), &mut self.end).await {
                Ok(Ok(end)) => return Some(end),
                // The table is gone: so is everybody who could answer.
                Ok(Err(_)) => return None,
                Err(_) => {}
            }
            let now = Instant::now();
            let facts = self.facts();
            let due = match facts.handed {
                None => now + Duration::from_millis(50),
                Some(handed) => (facts.progress.unwrap_or(handed) + times.timeout).min(handed + times.most),
            };
            if due <= now {
                return self.end.try_recv().ok();
            }
            deadline = due;
        }
    }

    /// Takes the attempt back, if it surely has not passed the point of no return: from then on it cannot.
    pub(crate) fn withdraw(&mut self) -> bool {
        let mut table = self.exchanges.lock();
        let Some(entry) = table.entries.get_mut(&self.key) else { return false };
        let unsent = matches!(entry.phase, Phase::Waiting(_)) && entry.facts.handed.is_none();
        if unsent {
            entry.phase = Phase::Ended;
        }
        unsent
    }

    /// Leaves the attempt in the table, for an answer that comes within `grace`; returns the end if it came this instant.
    pub(crate) fn leave(mut self, grace: Duration, attempt: u32, handler: LateHandler) -> Option<End> {
        let until = Instant::now() + grace;
        let mut table = self.exchanges.lock();
        let waiting = table.entries.get_mut(&self.key).filter(|entry| matches!(entry.phase, Phase::Waiting(_)));
        let Some(entry) = waiting else {
            drop(table);
            return self.end.try_recv().ok();
        };
        entry.phase = Phase::Late { until, attempt, handler };
        table.late.push_back((until, self.key));
        None
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let entry = self.exchanges.lock().take(self.key, |phase| matches!(phase, Phase::Waiting(_) | Phase::Ended));
        drop(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (Arc<Exchanges>, Open) {
        let exchanges = Arc::new(Exchanges::new(10));
        let exchange = Exchange {
            device: "d".into(),
            awaits_answer: true,
            topics: Vec::new(),
            ends_with_link: false,
            permit: None,
            subscriptions: Vec::new(),
        };
        let open = exchanges.open(1, exchange);
        (exchanges, open)
    }

    #[test]
    fn what_was_withdrawn_cannot_pass_and_what_has_passed_cannot_be_withdrawn() {
        let (exchanges, mut open) = opened();
        assert!(open.withdraw() && !exchanges.wants(1) && !exchanges.pass(1, Instant::now()));
        let (exchanges, mut open) = opened();
        assert!(exchanges.wants(1) && exchanges.pass(1, Instant::now()) && !open.withdraw());
        assert!(exchanges.wants(1), "it goes on: nobody said that it was not sent");
        exchanges.progress(1, Progress::Recalled);
        assert!(open.withdraw(), "not a byte of it had left");
        let (exchanges, mut open) = opened();
        exchanges.progress(1, Progress::Done(Fate::NoSubscribers));
        assert!(!open.withdraw(), "it has its end");
    }

    #[test]
    fn of_two_at_the_same_instant_one_comes_first() {
        for _ in 0..500 {
            let (exchanges, mut open) = opened();
            let start = Arc::new(std::sync::Barrier::new(2));
            let (ready, passing) = (start.clone(), exchanges.clone());
            let passed = std::thread::spawn(move || {
                ready.wait();
                passing.pass(1, Instant::now())
            });
            start.wait();
            let withdrawn = open.withdraw();
            assert_ne!(withdrawn, passed.join().unwrap());
        }
    }
}

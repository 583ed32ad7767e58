//! The breakers of the devices that have trouble: a bounded table, and the passage of one command through it.

use super::breaker::{Allowed, Breaker, Event, Rules, after, allowed};
use super::refusal::Refusal;
use crate::outcome::{Executed, Outcome, Status};
use crate::table::Table;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The longest name of a device that is remembered, in bytes, so that their number bounds the memory: anybody may write any
/// status topic. Profiles take none longer unless they say so; such a device is commanded however often it fails.
const MAX_NAME_BYTES: usize = 256;

/// The breakers of one commander. A device without trouble takes no memory, and nothing here waits.
pub(crate) struct Breakers {
    rules: Rules,
    most: usize,
    table: Mutex<Known>,
    /// The table's length, so that nobody locks a table that is empty.
    troubled: AtomicUsize,
}

#[derive(Default)]
struct Known {
    devices: Table<Arc<str>, Entry>,
    /// By the last event, the oldest first: beyond the bound the one that was quiet for longest is forgotten.
    order: BTreeMap<u64, Arc<str>>,
    events: u64,
    probes: u64,
}

struct Entry {
    breaker: Breaker,
    at: u64,
}

/// A command that was let through; what comes of it is told with [`Passage::end`]. Dropped, it was no news.
pub(crate) struct Passage {
    breakers: Arc<Breakers>,
    device: Arc<str>,
    probe: Option<u64>,
}

impl Breakers {
    /// No breaker ever opens where `rules.failures` is 0; no more than `most` devices are remembered.
    pub(crate) fn new(rules: Rules, most: usize) -> Self {
        Self { rules, most: most.max(1), table: Mutex::default(), troubled: AtomicUsize::new(0) }
    }

    /// Whether any breaker can open at all.
    pub(crate) fn are_on(&self) -> bool {
        self.rules.failures > 0
    }

    /// Whether there is nothing that a sign of life could change.
    pub(crate) fn are_all_quiet(&self) -> bool {
        self.troubled.load(Ordering::Relaxed) == 0
    }

    /// A cheap look, before a command takes a place in the lane: why it would be refused now.
    pub(crate) fn refusal(&self, device: &str) -> Option<Refusal> {
        if self.are_all_quiet() {
            return None;
        }
        let now = Instant::now();
        refusal(allowed(self.lock().breaker(device), now), now)
    }

    /// Lets a command through, or refuses it. One that may have been sent before always passes: "no" would not be true
    /// of it, and it is to be tried again.
    ///
    /// # Errors
    ///
    /// Why it is not to be sent.
    pub(crate) fn pass(self: &Arc<Self>, device: &Arc<str>, sent_before: bool) -> Result<Passage, Refusal> {
        let passage = |probe| Passage { breakers: self.clone(), device: device.clone(), probe };
        if sent_before || self.are_all_quiet() {
            return Ok(passage(None));
        }
        let now = Instant::now();
        let mut table = self.lock();
        let answer = allowed(table.breaker(device), now);
        if let Some(refusal) = refusal(answer, now) {
            return Err(refusal);
        }
        if answer != Allowed::AsProbe {
            return Ok(passage(None));
        }
        // Under the same lock as the look: of two commands at one time only one is the probe.
        table.probes += 1;
        let probe = table.probes;
        self.apply(&mut table, device, Event::Probed(probe), now);
        Ok(passage(Some(probe)))
    }

    /// Something was heard of the device. Never blocks: it is called from the driver's task.
    pub(crate) fn spoke(&self, device: &str) {
        if !self.are_all_quiet() {
            self.happened(device, Event::Spoke, Instant::now());
        }
    }

    /// The device says that it is not there. Never blocks: it is called from the driver's task.
    pub(crate) fn offline(&self, device: &str) {
        self.happened(device, Event::Offline, Instant::now());
    }

    fn happened(&self, device: &str, event: Event, now: Instant) {
        if !self.are_on() || device.len() > MAX_NAME_BYTES {
            return;
        }
        self.apply(&mut self.lock(), device, event, now);
    }

    fn apply(&self, table: &mut Known, device: &str, event: Event, now: Instant) {
        match after(table.breaker(device), event, now, &self.rules) {
            None => table.remove(device),
            Some(breaker) => table.put(device, breaker, self.most),
        }
        self.troubled.store(table.devices.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(answer: Allowed, now: Instant) -> Option<Refusal> {
    let Allowed::No { silence, again } = answer else { return None };
    let again = again.map(|at| at.saturating_duration_since(now));
    Some(Refusal::Offline { silent: now.saturating_duration_since(silence.since), cause: silence.cause, again })
}

impl Known {
    fn breaker(&self, device: &str) -> Option<Breaker> {
        self.devices.get(device).map(|entry| entry.breaker)
    }

    fn remove(&mut self, device: &str) {
        if let Some(entry) = self.devices.remove(device) {
            self.order.remove(&entry.at);
        }
    }

    fn put(&mut self, device: &str, breaker: Breaker, most: usize) {
        self.events += 1;
        let at = self.events;
        let known = self.devices.get_mut(device).map(|entry| std::mem::replace(entry, Entry { breaker, at }));
        let name = known.and_then(|entry| self.order.remove(&entry.at));
        let name = name.unwrap_or_else(|| {
            let name: Arc<str> = device.into();
            self.devices.insert(name.clone(), Entry { breaker, at });
            name
        });
        self.order.insert(at, name);
        if self.devices.len() > most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.devices.remove(&oldest);
        }
    }
}

impl Passage {
    /// Tells what came of the command; `None` where it was not started.
    pub(crate) fn end(self, outcome: Option<&Outcome>) {
        if let Some(event) = outcome.and_then(|outcome| self.event(outcome)) {
            self.breakers.happened(&self.device, event, Instant::now());
        }
    }

    /// What an outcome says of the device; `None` where it says nothing, as a one-way command that the broker took.
    fn event(&self, outcome: &Outcome) -> Option<Event> {
        let failed = Event::Failed { probe: self.probe };
        let code = outcome.failure.as_ref().map(|failure| &*failure.code);
        match (outcome.status, outcome.executed) {
            (_, Executed::Yes) => Some(Event::Spoke),
            (Status::TimedOut, _) => Some(failed),
            (Status::Undeliverable, _) if code == Some("no_subscribers") => Some(failed),
            _ => None,
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(probe) = self.probe {
            // Changes nothing where its end was told.
            self.breakers.happened(&self.device, Event::Released(probe), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure;
    use std::time::Duration;

    fn breakers(failures: u32, most: usize) -> Arc<Breakers> {
        Arc::new(Breakers::new(Rules { failures, pause: Duration::ZERO }, most))
    }

    fn timed_out() -> Outcome {
        Outcome::new(Status::TimedOut, Executed::Unknown, None)
    }

    fn fail(breakers: &Arc<Breakers>, device: &str) {
        breakers.pass(&device.into(), false).ok().unwrap().end(Some(&timed_out()));
    }

    #[test]
    fn what_an_outcome_says_of_the_device() {
        let passage = breakers(5, 5).pass(&"d".into(), false).ok().unwrap();
        let failed = Some(Event::Failed { probe: None });
        let not_sent = |code| Outcome::not_sent(Status::Undeliverable, Failure::new(code, ""));
        let cases = [
            (Outcome::new(Status::Succeeded, Executed::Yes, None), Some(Event::Spoke)),
            (Outcome::new(Status::Rejected, Executed::Yes, None), Some(Event::Spoke)),
            (timed_out(), failed),
            (not_sent("no_subscribers"), failed),
            (not_sent("refused"), None),
            (not_sent("too_large"), None),
            (Outcome::new(Status::Succeeded, Executed::Unknown, None), None),
            (Outcome::new(Status::Unknown, Executed::Unknown, None), None),
            (Outcome::not_sent(Status::Expired, Failure::new("expired", "")), None),
        ];
        for (outcome, event) in cases {
            assert_eq!(passage.event(&outcome), event, "{outcome:?}");
        }
    }

    #[test]
    fn one_probe_at_a_time_and_a_dropped_one_makes_room() {
        let (breakers, device) = (breakers(1, 5), Arc::from("d"));
        fail(&breakers, "d");
        let probe = breakers.pass(&device, false).ok().unwrap();
        assert!(matches!(breakers.pass(&device, false), Err(Refusal::Offline { again: None, .. })));
        assert!(breakers.refusal("d").is_some());
        assert!(breakers.pass(&device, true).is_ok(), "what may have been sent before is never refused");
        drop(probe);
        assert!(breakers.refusal("d").is_none());
        let probe = breakers.pass(&device, false).ok().unwrap();
        breakers.spoke("d");
        probe.end(Some(&Outcome::new(Status::Succeeded, Executed::Yes, None)));
        assert!(breakers.are_all_quiet());
    }

    #[test]
    fn only_so_many_devices_are_remembered_and_the_longest_quiet_one_is_forgotten() {
        let breakers = breakers(9, 3);
        for device in ["a", "b", "c", "a", "d"] {
            fail(&breakers, device);
        }
        let table = breakers.lock();
        let mut known: Vec<&str> = table.devices.keys().map(|name| &**name).collect();
        known.sort_unstable();
        assert_eq!((known, table.order.len()), (vec!["a", "c", "d"], 3));
    }

    #[test]
    fn a_name_that_is_too_long_is_not_remembered() {
        let breakers = breakers(1, 3);
        breakers.offline(&"x".repeat(MAX_NAME_BYTES + 1));
        assert!(breakers.are_all_quiet());
        breakers.offline(&"x".repeat(MAX_NAME_BYTES));
        assert!(!breakers.are_all_quiet());
    }

    #[test]
    fn switched_off_it_remembers_nothing() {
        let breakers = breakers(0, 3);
        breakers.offline("a");
        fail(&breakers, "a");
        assert!(breakers.are_all_quiet() && breakers.pass(&"a".into(), false).is_ok());
    }
}

//! Which fires of a schedule are due now, which have lapsed, and when to look again.

use super::memory::Memory;
use super::{Misfire, Overlap, Schedule, millis};
use std::sync::Arc;

/// The most fires of one decision besides one that waited: what is due beyond them, the next decision finds at once.
const MOST_FIRES: usize = 100;

/// What is to be done about a schedule now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be fired, in this order, once `memory` is safe.
    pub fires: Vec<Fire>,
    /// What will not be fired, one entry for each reason there is.
    pub lapses: Vec<Lapse>,
    /// The running fire that is to be cancelled for the new one.
    pub cancel: Option<Arc<str>>,
    /// When to decide again, in milliseconds since the Unix epoch: not in the future where more is due already, `None` where
    /// nothing will be. The end of a fire is another reason to decide again, since one may wait for it.
    pub wake: Option<u64>,
    /// What is remembered from here on.
    pub memory: Memory,
}

impl Decision {
    /// Whether nothing is to be done that was not done before, by what was remembered before.
    pub fn is_nothing(&self, before: Memory) -> bool {
        self.fires.is_empty() && self.memory == before
    }
}

/// One fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    /// Its id, by which all replicas know it.
    pub id: Arc<str>,
    /// The instant that it is the fire of, in milliseconds since the Unix epoch.
    pub instant: u64,
    /// How long after its time, jitter included, in milliseconds.
    pub late_ms: u64,
}

/// Fires that will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// Why.
    pub reason: Reason,
    /// How many; of a cron pattern's thousands, at least so many.
    pub count: u64,
}

/// Why a fire lapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was late by more than its grace, and is not the one that makes up for all of those.
    Misfire,
    /// It was too late to be made up for.
    TooOld,
    /// The fire before it was still running.
    Overlap,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Misfire, Self::TooOld, Self::Overlap];

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Misfire => "misfire",
            Self::TooOld => "too_old",
            Self::Overlap => "overlap",
        }
    }
}

/// Decides about a schedule at `now`, in milliseconds since the Unix epoch; `is_running` is asked about ids of its fires.
///
/// No instant is settled twice, whatever the clock does: what lies before the last that was settled never fires again. A
/// schedule that is looked at for the first time begins now. The cost does not depend on how long nobody looked.
pub fn due(schedule: &Schedule, memory: Memory, now: u64, is_running: impl Fn(&str) -> bool) -> Decision {
    let mut desk = Desk { schedule, now, is_running, decision: Decision { memory, ..Decision::default() } };
    match memory.last {
        None => desk.decision.memory.last = Some(now),
        Some(last) if !schedule.enabled => desk.decision.memory.last = desk.between(last, now).latest.or(memory.last),
        Some(last) => desk.settle_all(last),
    }
    desk.decision.wake = desk.wake();
    desk.decision
}

struct Desk<'s, R> {
    schedule: &'s Schedule,
    now: u64,
    is_running: R,
    decision: Decision,
}

impl<R: Fn(&str) -> bool> Desk<'_, R> {
    fn settle_all(&mut self, last: u64) {
        let schedule = self.schedule;
        let (grace, catch_up, jitter) = (millis(schedule.grace), millis(schedule.catch_up), millis(schedule.jitter));
        // Three stretches of time, each counted or walked: too old; late for sure; and to be looked at one by one.
        let old = self.between(last, self.now.saturating_sub(catch_up).saturating_sub(jitter).saturating_sub(1));
        let last = old.latest.unwrap_or(last);
        let mut missed = self.between(last, self.now.saturating_sub(grace).saturating_sub(jitter).saturating_sub(1));
        let mut at = missed.latest.unwrap_or(last);
        let mut on_time = Vec::new();
        while let Some(next) = schedule.calendar.next_after(at)
            && let Some(late) = self.now.checked_sub(next.saturating_add(schedule.delay(next)))
            && on_time.len() < MOST_FIRES
        {
            at = next;
            // Jitter may make a later one late while an earlier one is not: the order of the instants goes before.
            if late > grace && on_time.is_empty() {
                missed.count += 1;
                missed.latest = Some(next);
            } else {
                on_time.push(next);
            }
        }
        if let Some(latest) = old.latest {
            self.lapse(Reason::TooOld, old.count);
            self.settle(latest);
        }
        if let Some(latest) = missed.latest {
            let makes_up = schedule.misfire == Misfire::Once && on_time.is_empty();
            self.lapse(Reason::Misfire, missed.count - u64::from(makes_up));
            match makes_up {
                true => self.take(latest),
                false => self.settle(latest),
            }
        }
        // Only what nothing later has passed still waits.
        if let Some(waiting) = self.decision.memory.waiting()
            && self.running().is_none()
        {
            self.fire(waiting);
        }
        on_time.into_iter().for_each(|instant| self.take(instant));
    }

    fn between(&self, from: u64, to: u64) -> super::calendar::Passed {
        self.schedule.calendar.between(from, to)
    }

    /// An instant whose turn has come: it fires, unless the fire before is in its way.
    fn take(&mut self, instant: u64) {
        let running = self.running();
        match (self.schedule.overlap, running) {
            (Overlap::Skip, Some(_)) => {
                self.settle(instant);
                self.lapse(Reason::Overlap, 1);
            }
            (Overlap::Queue, Some(_)) => {
                self.settle(instant);
                self.decision.memory.queued = Some(instant);
            }
            (Overlap::Cancel, Some(id)) => {
                self.settle(instant);
                match self.decision.fires.pop_if(|fire| fire.id == id) {
                    Some(_) => self.lapse(Reason::Overlap, 1),
                    None => self.decision.cancel = Some(id),
                }
                self.fire(instant);
            }
            (Overlap::Allow, _) | (_, None) => {
                self.settle(instant);
                self.fire(instant);
            }
        }
    }

    /// The fire that others may have to wait for.
    fn running(&self) -> Option<Arc<str>> {
        let id = self.schedule.fire_id(self.decision.memory.fired?);
        let fired_now = self.decision.fires.iter().any(|fire| fire.id == id);
        (fired_now || (self.is_running)(&id)).then_some(id)
    }

    fn settle(&mut self, instant: u64) {
        // What waits gives way to what comes after it.
        if self.decision.memory.waiting().is_some() {
            self.lapse(Reason::Overlap, 1);
        }
        self.decision.memory.last = self.decision.memory.last.max(Some(instant));
    }

    fn fire(&mut self, instant: u64) {
        let id = self.schedule.fire_id(instant);
        let late_ms = self.now.saturating_sub(instant.saturating_add(self.schedule.delay(instant)));
        self.decision.memory.fired = self.decision.memory.fired.max(Some(instant));
        self.decision.fires.push(Fire { id, instant, late_ms });
    }

    fn lapse(&mut self, reason: Reason, count: u64) {
        match self.decision.lapses.iter_mut().find(|lapse| lapse.reason == reason) {
            Some(lapse) => lapse.count += count,
            None if count > 0 => self.decision.lapses.push(Lapse { reason, count }),
            None => {}
        }
    }

    fn wake(&self) -> Option<u64> {
        let next = self.schedule.calendar.next_after(self.decision.memory.last?)?;
        // One that is switched off still settles its instants, or it would make up for them when it is switched on.
        let delay = if self.schedule.enabled { self.schedule.delay(next) } else { 0 };
        Some(next.saturating_add(delay))
    }
}

//! The course of one bulk: which devices go out next, what came of them, and when nothing is left. Pure.

use super::cells::Cell;
use super::division::Division;
use super::known::{Known, Purpose, Sent};
use super::pace::Pace;
use super::plan::{ChunkLimits, Plan};
use crate::job::Target;
use crate::outcome::Status;
use crate::wire::bulk::{Part, Ranges, Report, Stand};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What holds for every bulk of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) chunk: ChunkLimits,
    /// A chunk that is not begun within this goes back.
    pub(super) lease: Duration,
    /// The longest that a command waits for its answer where its job says nothing.
    pub(super) timeout: Duration,
    /// The longest that it waits whatever its job says.
    pub(super) max_timeout: Duration,
    /// What a report may take beyond that.
    pub(super) slack: Duration,
    /// Workers that take chunks, as they were counted last.
    pub(super) workers: u32,
}

/// Devices that are only told something, in one chunk: nothing waits for a device.
const TOLD: usize = 1000;
/// So many of them are out at a time.
const TOLD_OUT: usize = 20_000;

/// Devices that go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) number: u32,
    pub(super) sent: Sent,
    pub(super) at: Ranges,
}

/// How many devices of a release are where.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    out: usize,
    back: usize,
}

/// A bulk that is being carried out.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) plan: Plan,
    pub(super) known: Known,
    /// The first place that was never released.
    next: u32,
    /// Places that came back and have to go out again.
    again: BTreeSet<u32>,
    /// Places of which nobody can say what became of them.
    lost: BTreeSet<u32>,
    open: BTreeMap<u32, Open>,
    counts: [usize; Status::ALL.len()],
    last_release: u32,
    /// Where there is a rate.
    pace: Pace,
    /// What was out before is waited for from here on: who was away heard nothing.
    watching_since: u64,
}

impl Course {
    /// Goes on with what is known.
    pub(super) fn new(plan: Plan, mut known: Known, now: u64) -> Self {
        let (mut next, mut again, mut lost) = (0, BTreeSet::new(), BTreeSet::new());
        let mut open: BTreeMap<u32, Open> = BTreeMap::new();
        // Of ended devices too: a worker remembers the chunks that it reported, and takes none of the same number.
        let last_release = known.cells.last_release().max(known.sent.keys().next_back().copied().unwrap_or(0));
        for place in 0..plan.len() {
            let cell = known.cells.get(place);
            if cell != Cell::Waiting {
                next = place + 1;
            }
            match cell {
                Cell::Out(release) => {
                    open.entry(release).or_default().out += 1;
                }
                Cell::Back(release) => {
                    open.entry(release).or_default().back += 1;
                    match known.sent.get(&release).map(|sent| sent.purpose) {
                        Some(Purpose::TellUnknown) => lost.insert(place),
                        _ => again.insert(place),
                    };
                }
                Cell::Waiting | Cell::Ended(_) => {}
            }
        }
        // Places before `next` that were never out: a release is a set of places, and the later one may be known first.
        again.extend((0..next).filter(|place| known.cells.get(*place) == Cell::Waiting));
        known.sent.retain(|release, _| open.contains_key(release));
        // A release of which nobody wrote down when it went out went out now.
        for release in open.keys() {
            known.sent.entry(*release).or_insert(Sent { at: now, purpose: Purpose::Run, workers: 0, perhaps: false });
        }
        let counts = known.counts(plan.len());
        Self { plan, known, next, again, lost, open, counts, last_release, pace: Pace::new(now), watching_since: now }
    }

    /// What a worker reports. True if it says anything new.
    pub(super) fn report(&mut self, report: &Report) -> bool {
        let mut is_new = false;
        let places = self.plan.len();
        for done in &report.done {
            for place in done.at.iter().take_while(|place| *place < places) {
                let before = self.known.cells.get(place);
                self.known.cells.end(place, done.status);
                is_new |= self.moved(place, before);
            }
        }
        for place in report.back.iter().take_while(|place| *place < places) {
            is_new |= self.bring_back(place, report.release);
        }
        is_new
    }

    fn bring_back(&mut self, place: u32, release: u32) -> bool {
        let before = self.known.cells.get(place);
        self.known.cells.bring_back(place, release);
        self.moved(place, before)
    }

    /// Keeps the books after a cell changed; false if it did not.
    fn moved(&mut self, place: u32, before: Cell) -> bool {
        let after = self.known.cells.get(place);
        if before == after {
            return false;
        }
        self.again.remove(&place);
        self.lost.remove(&place);
        match after {
            Cell::Ended(status) => self.counts[status as usize] += 1,
            Cell::Out(release) => self.open.entry(release).or_default().out += 1,
            Cell::Back(release) => {
                self.open.entry(release).or_default().back += 1;
                match self.known.sent.get(&release).map(|sent| sent.purpose) {
                    Some(Purpose::TellUnknown) => self.lost.insert(place),
                    _ => self.again.insert(place),
                };
            }
            Cell::Waiting => {}
        }
        // Last: with its last place a release is forgotten, and with it what it was for.
        match before {
            Cell::Ended(status) => self.counts[status as usize] -= 1,
            Cell::Out(release) => self.close(release, |open| &mut open.out),
            Cell::Back(release) => self.close(release, |open| &mut open.back),
            Cell::Waiting => {}
        }
        true
    }

    fn close(&mut self, release: u32, which: impl Fn(&mut Open) -> &mut usize) {
        let Some(open) = self.open.get_mut(&release) else { return };
        let count = which(open);
        *count = count.saturating_sub(1);
        if open.out + open.back == 0 {
            self.open.remove(&release);
            self.known.sent.remove(&release);
        }
    }

    /// Devices with an outcome.
    pub(super) fn ended(&self) -> usize {
        self.counts.iter().sum()
    }

    pub(super) fn counts(&self) -> [usize; Status::ALL.len()] {
        self.counts
    }

    /// The first devices that came to anything but success.
    pub(super) fn failed(&self, most: usize) -> Vec<Arc<str>> {
        let failed = |(place, target): (u32, &Target)| match self.known.cells.get(place) {
            Cell::Ended(status) if status != Status::Succeeded => Some(target.device.clone()),
            _ => None,
        };
        (0..).zip(self.plan.targets.iter()).filter_map(failed).take(most).collect()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.ended() == self.plan.targets.len()
    }

    /// Releases with which devices are out.
    fn sent(&self) -> impl Iterator<Item = (u32, Sent)> {
        let is_out = |release: &u32| self.open.get(release).is_some_and(|open| open.out > 0);
        self.known.sent.iter().filter(move |(release, _)| is_out(release)).map(|(release, sent)| (*release, *sent))
    }

    /// Devices that are out with a release.
    pub(super) fn outstanding(&self) -> usize {
        self.open.values().map(|open| open.out).sum()
    }

    fn out_for(&self, is_run: bool) -> usize {
        let purpose = |release| self.known.sent.get(release).map_or(Purpose::Run, |sent| sent.purpose);
        let outs = self.open.iter().filter(|(release, _)| (purpose(release) == Purpose::Run) == is_run);
        outs.map(|(_, open)| open.out).sum()
    }

    /// Its requester calls it off. True if that is new.
    pub(super) fn cancel(&mut self) -> bool {
        !std::mem::replace(&mut self.known.cancelled, true)
    }

    /// It rests or goes on, as was asked last. True if that is new.
    pub(super) fn pause(&mut self, at: u64, paused: bool) -> bool {
        let said = self.known.paused.max((at, paused));
        std::mem::replace(&mut self.known.paused, said) != said
    }

    /// Gives the rest up if too many failed. True if that is new.
    pub(super) fn judge(&mut self) -> bool {
        let (ended, succeeded) = (self.ended(), self.counts[Status::Succeeded as usize]);
        let is_over = self.plan.rules().abort.is_some_and(|rule| {
            let failed = (ended - succeeded) as f64;
            ended >= rule.after.max(1) && failed * 100.0 >= rule.failed_percent * ended as f64
        });
        let is_new = is_over && !self.known.aborted && !self.known.cancelled && !self.is_finished();
        self.known.aborted |= is_new;
        is_new
    }

    pub(super) fn stand(&self) -> Stand {
        match (self.known.cancelled, self.known.aborted, self.is_finished()) {
            (true, _, true) => Stand::Cancelled,
            (true, _, false) => Stand::Cancelling,
            (_, true, true) => Stand::Aborted,
            (_, true, false) => Stand::Aborting,
            (_, _, true) => Stand::Completed,
            _ if self.known.paused.1 => Stand::Paused,
            _ => Stand::Running,
        }
    }

    /// The instant until which a release is waited for: begun within the lease, a turn in a lane, the device's time, the report.
    fn deadline(&self, sent: Sent, rules: &Rules) -> u64 {
        let each = self.plan.timeout(rules.timeout, rules.max_timeout).saturating_mul(2).saturating_add(rules.slack);
        let in_all = sent.at.saturating_add(millis(rules.lease.saturating_add(each)));
        in_all.max(self.watching_since.saturating_add(millis(each)))
    }

    /// Takes back what was not heard of in time. What was only told, or may run twice, goes out again; of the rest nobody can say
    /// what became of it.
    pub(super) fn take_back(&mut self, now: u64, rules: &Rules) {
        let late: Vec<(u32, Sent)> = self.sent().filter(|(_, sent)| self.deadline(*sent, rules) <= now).collect();
        if late.is_empty() {
            return;
        }
        for place in 0..self.next {
            let Cell::Out(release) = self.known.cells.get(place) else { continue };
            let Some((_, sent)) = late.iter().find(|(number, _)| *number == release) else { continue };
            if sent.purpose == Purpose::Run && self.plan.is_at_most_once() {
                self.lost.insert(place);
            } else {
                self.known.taken_back |= sent.purpose == Purpose::Run;
                self.bring_back(place, release);
            }
        }
    }

    /// When something has to be looked at again, although nobody reports anything: milliseconds since the Unix epoch.
    pub(super) fn wakes_at(&self, rules: &Rules) -> Option<u64> {
        let late = self.sent().map(|(_, sent)| self.deadline(sent, rules)).min();
        let has_more = self.next < self.plan.len() || !self.again.is_empty();
        let paced = (has_more && self.plan.rules().rate_per_second.is_some() && self.stand() == Stand::Running)
            .then(|| self.pace.at());
        late.into_iter().chain(paced).min()
    }

    /// What the worker of a chunk that went out like this has of the concurrency.
    pub(super) fn part(&self, sent: Sent) -> Option<Part> {
        Division::of(sent.workers, self.plan.rules()).part()
    }

    /// Whether devices are out with another part of the concurrency than they would be given now.
    fn is_divided_otherwise(&self, workers: u32) -> bool {
        self.sent().any(|(_, sent)| sent.purpose == Purpose::Run && sent.workers != workers)
    }

    /// How many devices may be out at a time. Until enough have answered to judge by, no more than that are asked.
    fn window(&self, capacity: usize, division: Division) -> usize {
        let rules = self.plan.rules();
        let unjudged = rules.abort.filter(|abort| self.ended() < abort.after).map_or(usize::MAX, |abort| abort.after);
        division.out().min(capacity).min(unjudged).max(1)
    }

    /// What goes out now: at most `most` chunks. It counts as out from here on; the caller writes it down before it publishes it.
    pub(super) fn release(&mut self, now: u64, capacity: usize, most: usize, rules: &Rules) -> Vec<Release> {
        let mut releases = Vec::new();
        let mut told = self.out_for(false);
        let mut out = self.out_for(true);
        let division = Division::over(rules.workers, self.plan.rules());
        // Whoever came or went: the parts of before and those of now are never under way together.
        let waits = self.is_divided_otherwise(division.workers);
        while releases.len() < most {
            let is_told = told < TOLD_OUT;
            let gives_up = self.known.cancelled || self.known.aborted || self.plan.is_expired(now);
            let (purpose, places) = if !self.lost.is_empty() {
                if !is_told {
                    break;
                }
                (Purpose::TellUnknown, self.lost.iter().take(TOLD).copied().collect::<Vec<_>>())
            } else if gives_up {
                if !is_told {
                    break;
                }
                (Purpose::GiveUp, self.waiting(TOLD, usize::MAX))
            } else {
                let window = self.window(capacity, division);
                let devices = self.plan.chunk_devices(window, &rules.chunk);
                if waits
                    || division.is_ahead(out, self.open.len())
                    || self.known.paused.1
                    || !self.pace.is_due(now)
                    || (out > 0 && out.saturating_add(devices) > window)
                {
                    break;
                }
                (Purpose::Run, self.waiting(devices, rules.chunk.bytes))
            };
            if places.is_empty() {
                break;
            }
            match purpose {
                Purpose::Run => out += places.len(),
                Purpose::GiveUp | Purpose::TellUnknown => told += places.len(),
            }
            let workers = if purpose == Purpose::Run { division.workers } else { 0 };
            let perhaps = purpose != Purpose::TellUnknown && self.tells_apart();
            releases.push(self.go_out(Sent { at: now, purpose, workers, perhaps }, &places));
        }
        releases
    }

    /// Whether what goes out next came back, and may have been commanded; nothing that was never out goes with it.
    fn tells_apart(&self) -> bool {
        self.known.taken_back && !self.again.is_empty()
    }

    /// The next places that have to go out.
    fn waiting(&self, devices: usize, bytes: usize) -> Vec<u32> {
        let limits = ChunkLimits { devices, bytes };
        let mut size = 0;
        let mut places = Vec::new();
        let never_out = if self.tells_apart() { 0..0 } else { self.next..self.plan.len() };
        for place in self.again.iter().copied().chain(never_out).take(devices) {
            if !self.plan.fits(place, &mut size, &limits) && !places.is_empty() {
                break;
            }
            places.push(place);
        }
        places
    }

    fn go_out(&mut self, sent: Sent, places: &[u32]) -> Release {
        self.last_release += 1;
        let number = self.last_release;
        self.known.sent.insert(number, sent);
        for place in places {
            let before = self.known.cells.get(*place);
            self.known.cells.release(*place, number);
            self.moved(*place, before);
            self.next = self.next.max(place + 1);
        }
        if let (Purpose::Run, Some(rate)) = (sent.purpose, self.plan.rules().rate_per_second) {
            self.pace.takes(sent.at, places.len(), rate);
        }
        Release { number, sent, at: places.iter().copied().collect() }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

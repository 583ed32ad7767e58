//! What one coordinator knows of its shard: which messages it holds, what they add up to, and what they ask of it. Pure.

use super::cells::MOST;
use super::course::{Course, Release, Rules};
use super::held::{Held, Log, PATIENCE};
use super::known::Known;
use super::log::{self, Entry, Out, Releases, Snapshot};
use super::plan::Plan;
use super::standing::{Ended, Standing};
use crate::amqp::Tag;
use crate::envelope::Envelope;
use crate::wire::bulk::{self, Ask, End, Fire, Record, Report, Start, What};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many bulks and bytes there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) bulks: usize,
    pub(super) bytes: usize,
}

/// A bulk of this shard.
#[derive(Debug)]
pub(super) struct Bulk {
    pub(super) course: Course,
    /// The message that handed it over, to be sent again before the broker loses patience with it.
    pub(super) start: Held,
    pub(super) body: Bytes,
    pub(super) log: Log,
}

impl Bulk {
    /// The message that handed it over, once more.
    fn start_message(&self) -> Envelope {
        let id = Some(self.course.plan.id.to_string());
        Envelope { message_id: id, body: self.body.clone(), ..bulk::json("start", &()) }
    }
}

/// What was found of a bulk whose list of devices is not there, or not yet.
#[derive(Debug, Default)]
struct Piece {
    known: Known,
    log: Log,
    starts: Vec<(Held, Envelope)>,
}

/// What somebody wants of the coordinator.
#[derive(Debug)]
pub(super) enum Wish {
    /// To be told how a bulk stands.
    Tell { tag: Tag, ask: Ask, reply_to: Option<String>, correlation_id: Option<String> },
    /// That a schedule fires.
    Fire { tag: Tag, fire: Fire },
    /// That a bulk begins, for which there is no room now.
    Later { tag: Tag, start: Box<Envelope> },
    /// To hear again how a bulk ended.
    Repeat { tag: Tag, end: Box<End>, ended: Ended },
    /// That another bulk begins under an id that is taken.
    Refuse { tag: Tag, start: Box<Start> },
}

/// A shard as its messages have it.
#[derive(Debug)]
pub(super) struct Office {
    by: String,
    room: Room,
    /// The schedules that there are.
    schedules: BTreeSet<Arc<str>>,
    /// The profiles whose devices say that they are at it.
    with_progress: BTreeSet<String>,
    /// Until everything that was there before is read.
    recovering: bool,
    pieces: BTreeMap<Arc<str>, Piece>,
    pub(super) bulks: BTreeMap<Arc<str>, Bulk>,
    pub(super) standing: Standing,
    pub(super) standing_log: Log,
    pub(super) wishes: Vec<Wish>,
    /// Devices came back: there may be other workers than were counted.
    pub(super) came_back: bool,
    /// What needs not be held any longer.
    pub(super) done: Vec<Tag>,
}

impl Office {
    /// One that has read nothing, and writes under this name.
    pub(super) fn new(by: String, room: Room, schedules: BTreeSet<Arc<str>>, with_progress: BTreeSet<String>) -> Self {
        Self {
            by,
            room,
            schedules,
            with_progress,
            recovering: true,
            pieces: BTreeMap::new(),
            bulks: BTreeMap::new(),
            standing: Standing::default(),
            standing_log: Log::default(),
            wishes: Vec::new(),
            came_back: false,
            done: Vec::new(),
        }
    }

    pub(super) fn is_recovering(&self) -> bool {
        self.recovering
    }

    /// Takes a message in. Everything that the log of a former coordinator holds adds up in any order; what it asks for is done
    /// after its barrier.
    pub(super) fn take(&mut self, tag: Tag, envelope: Envelope, redelivered: bool, now: u64) {
        let is_own = log::is_own(&envelope, &self.by);
        match log::read(&envelope) {
            Err(problem) => {
                tracing::warn!(kind = envelope.kind, "a message of a shard queue is dropped: {problem}");
                self.done.push(tag);
            }
            Ok(Entry::Barrier) => {
                self.done.push(tag);
                if is_own && self.recovering {
                    self.recovered(now);
                }
            }
            Ok(Entry::Standing(standing)) => {
                self.standing_log.hold(tag, !is_own, now);
                if !is_own {
                    self.standing.merge(standing);
                }
            }
            Ok(Entry::Releases(releases)) => {
                let id = releases.id.clone();
                self.keep(tag, &id, !is_own, now, |piece| piece.known.went_out(&releases));
            }
            Ok(Entry::Snapshot(Snapshot { id, known })) => {
                self.keep(tag, &id, !is_own, now, |piece| piece.known.merge(known));
            }
            Ok(Entry::Record(record)) => {
                // One that was given out before counts towards a limit that some brokers have: it is sent anew at once.
                let held = Held { tag, since: if redelivered { 0 } else { now } };
                self.record(held, record, envelope, is_own, now);
            }
        }
    }

    fn record(&mut self, held: Held, record: Record, envelope: Envelope, is_own: bool, now: u64) {
        let tag = held.tag;
        match record {
            Record::Start(start) => self.start(held, *start, envelope, is_own, now),
            Record::Reports(reports) => self.reports(tag, &reports, now),
            Record::Ask(ask) => {
                let Envelope { reply_to, correlation_id, .. } = envelope;
                self.wishes.push(Wish::Tell { tag, ask, reply_to, correlation_id });
            }
            Record::Fire(fire) => self.wishes.push(Wish::Fire { tag, fire }),
        }
    }

    /// A message about one bulk that says something of it, if anything new.
    fn keep(&mut self, tag: Tag, id: &Arc<str>, is_news: bool, now: u64, read: impl FnOnce(&mut Piece)) {
        if let Some(bulk) = self.bulks.get_mut(id) {
            bulk.log.hold(tag, is_news, now);
            // Of our own we know what it says. Of somebody else's there is none once the barrier is read; if there is, it counts.
            if is_news {
                let mut piece = Piece { known: bulk.course.known.clone(), ..Piece::default() };
                read(&mut piece);
                bulk.course = Course::new(bulk.course.plan.clone(), piece.known, now);
            }
        } else if self.recovering {
            let piece = self.pieces.entry(id.clone()).or_default();
            piece.log.hold(tag, true, now);
            read(piece);
        } else {
            self.done.push(tag);
        }
    }

    /// What workers report, perhaps of several bulks. The message is held for one of them, which is enough: what is known of
    /// all bulks is written down at one time.
    fn reports(&mut self, tag: Tag, reports: &[Report], now: u64) {
        let mut holder = None;
        for report in reports {
            self.came_back |= !report.back.is_empty();
            if let Some(bulk) = self.bulks.get_mut(&report.id) {
                if bulk.course.report(report) {
                    bulk.log.learnt(now);
                    holder = Some(report.id.clone());
                }
            } else if self.recovering {
                self.pieces.entry(report.id.clone()).or_default().known.report(report, MOST);
                holder = Some(report.id.clone());
            }
        }
        let Some(holder) = holder else { return self.done.push(tag) };
        match self.bulks.get_mut(&holder) {
            Some(bulk) => bulk.log.hold(tag, false, now),
            None => self.pieces.entry(holder).or_default().log.hold(tag, true, now),
        }
    }

    fn start(&mut self, held: Held, start: Start, envelope: Envelope, is_own: bool, now: u64) {
        if self.recovering {
            return self.pieces.entry(start.id.clone()).or_default().starts.push((held, envelope));
        }
        self.begin(held, start, envelope, Known::default(), Log::default(), is_own, now);
    }

    #[expect(clippy::too_many_arguments, reason = "all of what is known of a bulk")]
    fn begin(&mut self, held: Held, start: Start, envelope: Envelope, known: Known, log: Log, is_own: bool, now: u64) {
        let plan = match Plan::read(&start, &self.with_progress) {
            Ok(plan) => plan,
            Err(problem) => {
                // It was a job when it was handed over: by a worker of another version.
                tracing::error!(job_id = &*start.id, "a bulk cannot be read, and is given up: {problem}");
                self.done.push(held.tag);
                return self.done.extend(log.held);
            }
        };
        if let Some(ended) = self.standing.ended.get(&start.id).cloned() {
            self.done.extend(log.held);
            if ended.digest != plan.digest {
                return self.wishes.push(Wish::Refuse { tag: held.tag, start: Box::new(start) });
            }
            return match start.end.filter(|_| !is_own) {
                Some(end) => self.wishes.push(Wish::Repeat { tag: held.tag, end: Box::new(end), ended }),
                None => self.done.push(held.tag),
            };
        }
        if let Some(bulk) = self.bulks.get_mut(&start.id) {
            self.done.extend(log.held);
            if bulk.course.plan.digest != plan.digest {
                return self.wishes.push(Wish::Refuse { tag: held.tag, start: Box::new(start) });
            }
            if is_own {
                // The same message, sent again by us: the older one has served.
                self.done.push(std::mem::replace(&mut bulk.start, held).tag);
                return;
            }
            if let Some(end) = start.end {
                bulk.course.known.add_end((start.at, end));
                bulk.log.hold(held.tag, true, now);
            } else {
                self.done.push(held.tag);
            }
            return;
        }
        let is_new = known == Known::default();
        let bytes: usize = self.bulks.values().map(|bulk| bulk.course.plan.bytes).sum();
        let is_room =
            self.bulks.len() < self.room.bulks && (self.bulks.is_empty() || bytes + plan.bytes <= self.room.bytes);
        // One that has begun goes on: its devices are out.
        if is_new && !is_room {
            self.done.extend(log.held);
            return self.wishes.push(Wish::Later { tag: held.tag, start: Box::new(envelope) });
        }
        let mut known = Known { digest: plan.digest, ..known };
        if let Some(end) = start.end {
            known.add_end((start.at, end));
        }
        tracing::info!(job_id = &*start.id, devices = plan.targets.len(), "a bulk for all replicas");
        let course = Course::new(plan, known, now);
        self.bulks.insert(start.id, Bulk { course, start: held, body: envelope.body, log });
    }

    /// Everything that was there before is read: what has its list of devices goes on.
    fn recovered(&mut self, now: u64) {
        self.recovering = false;
        // Whoever takes over a queue that is empty otherwise learns of it by this. And each snapshot is made anew.
        self.standing_news(now);
        for mut piece in std::mem::take(&mut self.pieces).into_values() {
            if piece.starts.is_empty() {
                // It ended, and this was not acked any more. A report among it may tell of other bulks too: it is held until they
                // are written down.
                piece.log.held.into_iter().for_each(|tag| self.standing_log.hold(tag, true, now));
                continue;
            }
            let read = |(held, envelope): (Held, Envelope)| match Record::decode(&envelope) {
                Some(Ok(Record::Start(start))) => Some((held, *start, envelope)),
                _ => None,
            };
            let mut starts: Vec<_> = piece.starts.into_iter().filter_map(read).collect();
            // What is known is known of one list; before anything is, the first one counts, and the others are known by it.
            let digest = piece.known.digest;
            starts.sort_by_key(|(_, start, _)| (bulk::digest(start.job.get().as_bytes()) != digest, start.at));
            for (held, start, envelope) in starts {
                let (known, log) = (std::mem::take(&mut piece.known), std::mem::take(&mut piece.log));
                self.begin(held, start, envelope, known, log, false, now);
            }
        }
        self.bulks.values_mut().for_each(|bulk| bulk.log.learnt(now));
    }

    /// What goes out now, as it is written down, and the releases of each bulk.
    pub(super) fn releases(
        &mut self,
        now: u64,
        capacity: usize,
        most: usize,
        rules: &Rules,
    ) -> Vec<(Arc<str>, Vec<Release>)> {
        let active = self.bulks.len().max(1);
        // Each has its share; what one does not use, the others have the next time.
        let share = (capacity / active).max(1);
        let mut released = Vec::new();
        for (id, bulk) in &mut self.bulks {
            bulk.course.take_back(now, rules);
            let releases = bulk.course.release(now, share, most, rules);
            if !releases.is_empty() {
                released.push((id.clone(), releases));
            }
        }
        released
    }

    /// Releases as they are written down.
    pub(super) fn written(&self, id: &Arc<str>, releases: &[Release]) -> Envelope {
        let out = |release: &Release| Out { number: release.number, sent: release.sent, at: release.at.clone() };
        log::releases(&self.by, &Releases { id: id.clone(), releases: releases.iter().map(out).collect() })
    }

    /// Whether what is not written down yet has to be, for its number or its age.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let is_old = |bulk: &Bulk| bulk.start.since.saturating_add(PATIENCE.longest) <= now;
        self.bulks.values().any(is_old)
            || self.logs().any(|log| log.news >= PATIENCE.news || PATIENCE.is_over(log, now))
    }

    /// When that will be for its age, if nothing else happens.
    pub(super) fn due_at(&self) -> Option<u64> {
        let starts = self.bulks.values().map(|bulk| bulk.start.since.saturating_add(PATIENCE.longest));
        self.logs().filter_map(|log| PATIENCE.over_at(log)).chain(starts).min()
    }

    fn logs(&self) -> impl Iterator<Item = &Log> {
        self.bulks.values().map(|bulk| &bulk.log).chain([&self.standing_log])
    }

    /// Everything that is known and not written down, as it is written down, and what is held in vain once that is safe.
    pub(super) fn write_down(&mut self, now: u64) -> (Vec<Envelope>, Vec<Tag>) {
        let (mut written, mut served) = (Vec::new(), Vec::new());
        for (id, bulk) in &mut self.bulks {
            if bulk.log.news > 0 || PATIENCE.is_over(&bulk.log, now) {
                let known = bulk.course.known.clone();
                written.push(log::snapshot(&self.by, &Snapshot { id: id.clone(), known }));
                served.extend(bulk.log.written_down());
            }
            if bulk.start.since.saturating_add(PATIENCE.longest) <= now {
                let again = Envelope { app_id: Some(self.by.clone()), ..bulk.start_message() };
                written.push(again);
                bulk.start.since = now;
            }
        }
        if self.standing_log.news > 0 || PATIENCE.is_over(&self.standing_log, now) {
            let schedules = &self.schedules;
            self.standing.forget(now, |name| schedules.contains(name));
            written.push(log::standing(&self.by, &self.standing));
            served.extend(self.standing_log.written_down());
        }
        (written, served)
    }

    /// Something is known besides the bulks that is not written down.
    pub(super) fn standing_news(&mut self, now: u64) {
        self.standing_log.learnt(now);
    }

    /// Takes a bulk that has ended out, and remembers that it did. What was held for it, once that is written down.
    pub(super) fn ended(&mut self, id: &Arc<str>, now: u64) -> Vec<Tag> {
        let Some(bulk) = self.bulks.remove(id) else { return Vec::new() };
        let course = &bulk.course;
        let ended = Ended {
            at: now,
            began: course.plan.at,
            digest: course.plan.digest,
            stand: course.stand(),
            counts: course.counts(),
            failed: course.failed(super::standing::FAILED),
        };
        self.standing.add(id.clone(), ended);
        self.standing_news(now);
        let mut held = bulk.log.held;
        held.push(bulk.start.tag);
        held
    }

    /// Does what is asked for a bulk that goes on, and says how it stands after that.
    pub(super) fn asked(&mut self, ask: &Ask, now: u64) {
        let paused = match ask.what {
            What::Status => return,
            What::Pause => true,
            What::Resume => false,
        };
        if let Some(bulk) = self.bulks.get_mut(&ask.id)
            && bulk.course.pause(ask.at, paused)
        {
            bulk.log.learnt(now);
        }
    }
}

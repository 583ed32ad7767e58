//! Schedules: what is due becomes a bulk of this very shard, under an id that every replica would give it.

use super::actor::Actor;
use super::office::Wish;
use crate::amqp::{Error, Tag};
use crate::bulk::Targets;
use crate::deadline::Now;
use crate::job::{self, Job, Target};
use crate::metrics::metrics;
use crate::schedule::{self, Decision, Devices, Schedule};
use crate::wire::bulk::{Carried, End, Fire, Record, Start, shard_of};
use crate::wire::native;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// A schedule that settled an instant so far ahead was told a wrong time.
const FUTURE_MS: u64 = 60_000;

/// Devices that were asked for, and what for.
pub(super) struct Discovered {
    schedule: Arc<Schedule>,
    wanted: Wanted,
    targets: Result<Vec<Target>, String>,
}

/// What is to be fired.
enum Wanted {
    /// What the time says.
    Due(Decision),
    /// What somebody asked for, and the message that asks.
    Asked(Fire, Tag),
}

impl Wanted {
    /// The ids of the bulks, and the lag of each that has one.
    fn ids(&self) -> Vec<(Arc<str>, Option<Duration>)> {
        match self {
            Self::Due(decision) => {
                let lag = |fire: &schedule::Fire| Some(Duration::from_millis(fire.late_ms));
                decision.fires.iter().map(|fire| (fire.id.clone(), lag(fire))).collect()
            }
            Self::Asked(fire, _) => vec![(fire.id.clone(), None)],
        }
    }
}

impl Actor {
    fn mine(&self) -> impl Iterator<Item = &Arc<Schedule>> {
        let shards = self.options.shards;
        self.options.schedules.iter().filter(move |schedule| shard_of(&schedule.name, shards) == self.number)
    }

    /// When the next schedule may fire; now, if one has become due since it was looked at last.
    pub(super) fn next_fire(&self, now: u64) -> Option<u64> {
        let next = |schedule: &Arc<Schedule>| {
            let memory = self.office.standing.schedules.get(&schedule.name).copied().unwrap_or_default();
            let decision = schedule::due(schedule, memory, now, |id| self.office.bulks.contains_key(id));
            // Whoever waits for the end of another fire is looked at then.
            if decision.is_nothing(memory) { decision.wake } else { Some(now) }
        };
        self.mine().filter(|schedule| !self.discovering.contains(&schedule.name)).filter_map(next).min()
    }

    /// Fires what is due.
    pub(super) async fn fire_due(&mut self, now: u64) -> Result<(), Error> {
        let mine: Vec<_> = self.mine().filter(|schedule| !self.discovering.contains(&schedule.name)).cloned().collect();
        for schedule in mine {
            let memory = self.office.standing.schedules.get(&schedule.name).copied().unwrap_or_default();
            let decision = schedule::due(&schedule, memory, now, |id| self.office.bulks.contains_key(id));
            if memory.last.is_some_and(|last| last > now.saturating_add(FUTURE_MS))
                && self.wrong_clock.insert(schedule.name.clone())
            {
                tracing::error!(
                    schedule = &*schedule.name,
                    "it does not fire before {}: somebody's clock was that far ahead once",
                    schedule::in_utc(memory.last.unwrap_or_default())
                );
            }
            if decision.is_nothing(memory) {
                continue;
            }
            self.fire(schedule, Wanted::Due(decision)).await?;
        }
        Ok(())
    }

    /// Fires what somebody asked for, and lets go of the message that asks when that is safe.
    pub(super) async fn fire_now(&mut self, tag: Tag, fire: Fire) -> Result<(), Error> {
        let Some(schedule) = self.mine().find(|schedule| *schedule.name == *fire.schedule).cloned() else {
            tracing::error!(schedule = fire.schedule, "no schedule of this name is configured here; it does not fire");
            self.office.done.push(tag);
            return Ok(());
        };
        if self.discovering.contains(&schedule.name) {
            // Its devices are being looked for: it is this one's turn after that.
            self.office.wishes.push(Wish::Fire { tag, fire });
            return Ok(());
        }
        self.fire(schedule, Wanted::Asked(fire, tag)).await
    }

    async fn fire(&mut self, schedule: Arc<Schedule>, wanted: Wanted) -> Result<(), Error> {
        if wanted.ids().is_empty() {
            return self.publish_fires(&schedule, &wanted, Ok(Vec::new())).await;
        }
        let limits = self.options.limits;
        let found: BoxFuture<'static, Result<Vec<Target>, String>> = match &schedule.work.devices {
            Devices::Listed(targets) => {
                let targets = targets.clone();
                return self.publish_fires(&schedule, &wanted, Ok(targets)).await;
            }
            // Off this thread, which serves everybody.
            Devices::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || Targets::of_file(&path, limits));
                async move {
                    let read = read.await.map_err(|error| error.to_string())?;
                    read.map(|found| found.targets).map_err(|wrong| wrong.to_string())
                }
                .boxed()
            }
            Devices::Online => (self.outside.online)(&schedule.work.template().profile),
        };
        self.discovering.insert(schedule.name.clone());
        let to = self.discovered.0.clone();
        tokio::spawn(async move {
            let targets = found.await;
            // The actor is gone: whoever is active next decides anew.
            let _ = to.send(Discovered { schedule, wanted, targets }).await;
        });
        Ok(())
    }

    /// Devices are known now.
    pub(super) async fn fire_discovered(&mut self, discovered: Discovered) -> Result<(), Error> {
        let Discovered { schedule, wanted, targets } = discovered;
        self.discovering.remove(&schedule.name);
        if self.office.is_recovering() {
            return Ok(());
        }
        self.publish_fires(&schedule, &wanted, targets).await
    }

    /// The bulks and, in the same breath, that they were fired.
    async fn publish_fires(
        &mut self,
        schedule: &Schedule,
        wanted: &Wanted,
        targets: Result<Vec<Target>, String>,
    ) -> Result<(), Error> {
        let now = Now::read().unix_ms;
        let ids = wanted.ids();
        let mut records = Vec::new();
        match targets {
            Ok(targets) if targets.is_empty() && !ids.is_empty() => {
                tracing::warn!(schedule = &*schedule.name, "it fires for nobody: there is no device");
            }
            Ok(targets) => records.extend(ids.iter().map(|(id, _)| self.start(schedule, id, &targets, now))),
            Err(problem) => {
                tracing::error!(
                    schedule = &*schedule.name,
                    "its devices are not known, and it does not fire: {problem}"
                );
                metrics().schedule_lapsed("devices", ids.len() as u64);
            }
        }
        let (fired, mut called_off) = (!records.is_empty(), None);
        if let Wanted::Due(decision) = wanted {
            for lapse in &decision.lapses {
                let reason = lapse.reason.as_str();
                tracing::warn!(schedule = &*schedule.name, reason, count = lapse.count, "fires have lapsed");
                metrics().schedule_lapsed(reason, lapse.count);
            }
            if let Some(id) = &decision.cancel
                && let Some(bulk) = self.office.bulks.get_mut(id)
                && bulk.course.cancel()
            {
                bulk.log.learnt(now);
                called_off = Some(id.clone());
            }
            let memory = self.office.standing.schedules.entry(schedule.name.clone()).or_default();
            *memory = memory.merge(decision.memory);
            self.office.standing_news(now);
        }
        // First the bulks: what is said to be fired is there.
        let (written, served) = self.office.write_down(now);
        records.extend(written);
        if !records.is_empty() {
            self.publish_here(records).await?;
        }
        self.office.done.extend(served);
        if let Some(id) = called_off {
            self.call_off(&[id], "the next fire of its schedule", now).await?;
        }
        if let Wanted::Asked(_, tag) = wanted {
            self.office.done.push(*tag);
        }
        for (id, lag) in ids.iter().filter(|_| fired) {
            tracing::info!(schedule = &*schedule.name, job_id = &**id, "fired");
            metrics().schedule_fired(lag.unwrap_or_default());
        }
        Ok(())
    }

    fn start(&self, schedule: &Schedule, id: &Arc<str>, targets: &[Target], now: u64) -> crate::envelope::Envelope {
        let job = Job { id: id.clone(), enqueued_at: Some(now), ..schedule.job(now, targets.to_vec()) };
        let body = native::encode(&job).body;
        let end = schedule.reply_to.clone().map(|reply_to| {
            let mut rest = job;
            if let job::Targets::Many(bulk) = &mut rest.targets {
                bulk.targets.clear();
            }
            let mut message = native::encode(&rest);
            message.reply_to = Some(reply_to);
            End { queue: self.options.jobs_queue.clone(), message: Carried::of(message) }
        });
        let start = Start {
            id: id.clone(),
            // It is JSON that we wrote.
            job: serde_json::from_slice(&body).unwrap_or_default(),
            made_at: Some(now),
            at: now,
            reply_to: schedule.reply_to.clone(),
            correlation_id: None,
            end,
        };
        Record::Start(Box::new(start)).encode()
    }
}

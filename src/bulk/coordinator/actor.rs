//! The actor of one shard: it reads its queue, does what follows from it, and holds on to what it has not written down.

use super::course::{Release, Rules};
use super::gauges::Gauges;
use super::office::{Office, Room};
use super::plan::ChunkLimits;
use super::watch::CANCELS_EVERY;
use super::{Options, Outside, Watched, fires, log, words};
use crate::amqp::{Address, Confirm, Connection, Error, QueueSpec, Shard, ShardDelivery};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::outcome::Status;
use crate::wire::bulk::{Chunk, Report, shard_queue};
use crate::wire::native::Control;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Messages held unacked: several times what snapshots let come together.
const PREFETCH: u16 = 20_000;
/// Messages taken at a time, before anything follows from them.
const TAKEN: usize = 1000;
/// Chunks that go out at a time.
const CHUNKS: usize = 64;
/// A publish that is not confirmed within this is none: somebody else may be the active one by then.
const FENCE: Duration = Duration::from_secs(10);
/// How often the workers are counted.
const WORKERS_EVERY: Duration = Duration::from_secs(2);
/// How often the clock is looked at where something is to fire.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// The pause after chunks found no queue.
const NO_QUEUE: Duration = Duration::from_secs(2);
/// Discoveries of devices under way or waiting to be taken.
const DISCOVERIES: usize = 16;

/// One that reads the queue of a shard until its channel ends.
pub(super) struct Actor {
    pub(super) options: Arc<Options>,
    pub(super) outside: Arc<Outside>,
    pub(super) number: u32,
    pub(super) queue: String,
    pub(super) shard: Shard,
    pub(super) office: Office,
    by: String,
    rules: Rules,
    /// Whether anything came yet: only the active consumer is given anything.
    is_active: bool,
    /// Whether its barrier is on its way.
    has_barrier: bool,
    gauges: Gauges,
    workers_at: Option<Instant>,
    pub(super) cancels_at: Option<Instant>,
    /// The bulks that whoever calls them off finds here.
    pub(super) watched: HashMap<Arc<str>, Watched>,
    resting_until: Option<Instant>,
    pub(super) discovering: HashSet<Arc<str>>,
    /// Schedules of which it was said that they wait for a time that a wrong clock told.
    pub(super) wrong_clock: HashSet<Arc<str>>,
    pub(super) discovered: (mpsc::Sender<fires::Discovered>, mpsc::Receiver<fires::Discovered>),
    pub(super) has_ladder: bool,
    /// The broker would not make one; it is asked again then.
    pub(super) no_ladder_until: Option<Instant>,
    /// There is more to do than was done.
    more: bool,
}

impl Actor {
    pub(super) async fn open(
        options: Arc<Options>,
        outside: Arc<Outside>,
        connection: &Connection,
        number: u32,
    ) -> Result<Self, Error> {
        let queue = shard_queue(&options.bulk_queue, number);
        let shard = Shard::open(connection, &QueueSpec::shard(&queue), options.declare, PREFETCH).await?;
        let by = format!("{}/{:032x}", options.name, rand::random::<u128>());
        let room = Room { bulks: options.active, bytes: options.plan_bytes / options.shards.max(1) as usize };
        let rules = Rules {
            chunk: ChunkLimits { devices: options.chunk, bytes: options.chunk_bytes },
            lease: options.lease,
            timeout: options.timeout,
            max_timeout: options.max_timeout,
            slack: options.slack,
            workers: 1,
        };
        Ok(Self {
            office: Office::new(
                by.clone(),
                room,
                options.schedules.iter().map(|schedule| schedule.name.clone()).collect(),
                options.with_progress.clone(),
            ),
            options,
            outside,
            number,
            queue,
            shard,
            by,
            rules,
            is_active: false,
            has_barrier: false,
            gauges: Gauges::default(),
            workers_at: None,
            cancels_at: None,
            watched: HashMap::new(),
            resting_until: None,
            discovering: HashSet::new(),
            wrong_clock: HashSet::new(),
            discovered: mpsc::channel(DISCOVERIES),
            has_ladder: false,
            no_ladder_until: None,
            more: false,
        })
    }

    /// Until the stop, or until it is not the one any more.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), Error> {
        // To an empty queue, so that the active one learns that it is. Nobody's barrier.
        self.publish_here(vec![log::barrier("")]).await?;
        loop {
            let wake = self.wake_in();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(discovered) = self.discovered.1.recv() => self.fire_discovered(discovered).await?,
                delivery = self.shard.next() => self.take(delivery?),
                () = sleep(wake) => {}
            }
            for _ in 0..TAKEN {
                let Some(delivery) = self.shard.try_next() else { break };
                self.take(delivery?);
            }
            if !self.office.is_recovering() {
                self.act().await?;
            } else if self.is_active && !std::mem::replace(&mut self.has_barrier, true) {
                self.publish_here(vec![log::barrier(&self.by)]).await?;
            }
        }
        if !self.office.is_recovering() {
            self.write_down(true).await?;
            self.ack_done()?;
        }
        self.shard.close().await;
        Ok(())
    }

    fn take(&mut self, delivery: ShardDelivery) {
        self.is_active = true;
        self.office.take(delivery.tag, delivery.envelope, delivery.redelivered, Now::read().unix_ms);
    }

    async fn act(&mut self) -> Result<(), Error> {
        let now = Now::read().unix_ms;
        self.more = false;
        self.gauges.count(self.office.bulks.len(), self.options.has_schedules(self.number));
        self.watch();
        self.heed_cancels(now);
        self.count_workers().await?;
        self.grant_wishes(now).await?;
        self.fire_due(now).await?;
        self.release(now).await?;
        self.finish(now).await?;
        self.write_down(false).await?;
        self.ack_done()
    }

    fn wake_in(&self) -> Duration {
        if self.office.is_recovering() {
            // Nothing is done before more comes.
            return Duration::from_secs(60);
        }
        if self.more {
            return Duration::ZERO;
        }
        let now = Now::read().unix_ms;
        let fire = self.next_fire(now);
        if fire.is_some_and(|at| at <= now) {
            return Duration::ZERO;
        }
        let courses = self.office.bulks.values().filter_map(|bulk| bulk.course.wakes_at(&self.rules));
        let at = courses.chain(self.office.due_at()).chain(fire).filter(|at| *at > now).min();
        let wait = at.map_or(Duration::from_secs(60), |at| Duration::from_millis(at - now));
        match (self.office.bulks.is_empty(), fire) {
            (true, None) => wait,
            // Its clock may be set meanwhile.
            (true, Some(_)) => wait.min(CLOCK_EVERY),
            (false, _) => wait.min(CANCELS_EVERY),
        }
    }

    /// Devices that all workers together can command at one time, and as many again: their outcome is being told, or they wait.
    fn capacity(&self) -> usize {
        (self.rules.workers as usize).saturating_mul(self.options.slots).saturating_mul(2)
    }

    /// More workers, more chunks under way.
    async fn count_workers(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.office.came_back) {
            self.workers_at = None;
        }
        let is_known = self.workers_at.is_some_and(|at| at.elapsed() < WORKERS_EVERY);
        if self.office.bulks.is_empty() || is_known {
            return Ok(());
        }
        self.workers_at = Some(Instant::now());
        match self.shard.depth(&self.options.bulk_queue).await {
            Ok(depth) => {
                // A node that is busy says that there are none.
                if depth.consumers > 0 {
                    self.rules.workers = depth.consumers;
                }
                Ok(())
            }
            Err(Error::MissingQueue(queue)) => {
                tracing::warn!(queue, "the queue of chunks is not there: bulks wait for it");
                self.resting_until = Some(Instant::now() + NO_QUEUE);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes down what goes out, then lets it go out. In this order nothing that may run once goes out twice.
    async fn release(&mut self, now: u64) -> Result<(), Error> {
        if self.resting_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let aborted = self.office.bulks.iter_mut().filter_map(|(id, bulk)| bulk.course.judge().then(|| id.clone()));
        let aborted: Vec<Arc<str>> = aborted.collect();
        if !aborted.is_empty() {
            for id in &aborted {
                tracing::warn!(job_id = &**id, "a bulk is given up: too many of its devices failed");
                if let Some(bulk) = self.office.bulks.get_mut(id) {
                    bulk.log.learnt(now);
                }
            }
            self.write_down(true).await?;
            self.call_off(&aborted, "the abort rule of the bulk", now).await?;
        }
        let released = self.office.releases(now, self.capacity(), CHUNKS, &self.rules);
        if released.is_empty() {
            return Ok(());
        }
        self.more = released.iter().any(|(_, releases)| releases.len() == CHUNKS);
        let written = released.iter().map(|(id, releases)| self.office.written(id, releases)).collect();
        self.publish_here(written).await?;
        let mut chunks = Vec::new();
        for (id, releases) in &released {
            chunks.extend(releases.iter().filter_map(|release| Some((id.clone(), release, self.chunk(id, release)?))));
        }
        let to = Address::queue(&*self.options.bulk_queue);
        let confirms = {
            let messages = chunks.iter().map(|(_, _, envelope)| (to.clone(), envelope.clone())).collect();
            self.shard.publish(messages, FENCE).await?
        };
        for ((id, release, _), _) in chunks.iter().zip(confirms).filter(|(_, confirm)| !confirm.routed) {
            self.resting_until = Some(Instant::now() + NO_QUEUE);
            let report = Report { id: id.clone(), release: release.number, done: Vec::new(), back: release.at.clone() };
            if let Some(bulk) = self.office.bulks.get_mut(id)
                && bulk.course.report(&report)
            {
                bulk.log.learnt(now);
            }
        }
        Ok(())
    }

    /// What workers hold of these bulks and have not begun ends there, sooner than its turn comes.
    pub(super) async fn call_off(&mut self, ids: &[Arc<str>], by: &str, now: u64) -> Result<(), Error> {
        let cancel = |id: &Arc<str>| Control::Cancel { id: id.to_string(), at_ms: now, by: by.to_owned() }.encode();
        let to = Address::queue(&*self.options.control);
        self.publish(ids.iter().map(|id| (to.clone(), cancel(id))).collect()).await.map(drop)
    }

    fn chunk(&self, id: &Arc<str>, release: &Release) -> Option<Envelope> {
        let course = &self.office.bulks.get(id)?.course;
        let plan = &course.plan;
        let chunk = Chunk {
            to: self.queue.clone(),
            release: release.number,
            at: release.at.clone(),
            until: release.sent.at.saturating_add(u64::try_from(self.rules.lease.as_millis()).unwrap_or(u64::MAX)),
            say: words::said(course, release.sent.purpose),
            part: course.part(release.sent),
            perhaps: release.sent.perhaps,
        };
        let job = plan.chunk_job(release.at.iter());
        Some(chunk.encode(&job, plan.reply_to.as_deref(), plan.correlation_id.as_deref()))
    }

    /// Tells the end of what has ended, remembers it, and lets its messages go.
    async fn finish(&mut self, now: u64) -> Result<(), Error> {
        let finished = self.office.bulks.iter().filter(|(_, bulk)| bulk.course.is_finished());
        let finished: Vec<Arc<str>> = finished.map(|(id, _)| id.clone()).collect();
        if finished.is_empty() {
            return Ok(());
        }
        let mut messages = Vec::new();
        for id in &finished {
            let Some(bulk) = self.office.bulks.get(id) else { continue };
            let course = &bulk.course;
            let counts = course.counts();
            let (devices, succeeded) = (course.plan.targets.len(), counts[Status::Succeeded as usize]);
            tracing::info!(job_id = &**id, devices, succeeded, "a bulk has ended: {:?}", course.stand());
            let tally = words::tally(course, now);
            messages.extend(course.known.ends.iter().map(|(_, end)| words::ending(end, &tally)));
        }
        let unrouted = self.publish(messages).await?.iter().filter(|confirm| !confirm.routed).count();
        if unrouted > 0 {
            tracing::error!(unrouted, "the queue that a bulk came from is gone, and nobody hears how it ended");
        }
        let mut held = Vec::new();
        for id in &finished {
            held.extend(self.office.ended(id, now));
        }
        self.write_down(true).await?;
        self.office.done.extend(held);
        Ok(())
    }

    /// Writes down what is known and not written down, if it is time, or all of it at once.
    pub(super) async fn write_down(&mut self, all: bool) -> Result<(), Error> {
        let now = Now::read().unix_ms;
        if !all && !self.office.is_due(now) {
            return Ok(());
        }
        let (written, served) = self.office.write_down(now);
        if !written.is_empty() {
            self.publish_here(written).await?;
        }
        self.office.done.extend(served);
        Ok(())
    }

    fn ack_done(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.office.done) {
            done if done.is_empty() => Ok(()),
            done => self.shard.ack(&done),
        }
    }

    /// To its own queue: without it nothing holds.
    pub(super) async fn publish_here(&mut self, records: Vec<Envelope>) -> Result<(), Error> {
        let to = Address::queue(&*self.queue);
        let confirms = self.publish(records.into_iter().map(|record| (to.clone(), record)).collect()).await?;
        match confirms.iter().all(|confirm| confirm.routed) {
            true => Ok(()),
            false => Err(Error::MissingQueue(self.queue.clone())),
        }
    }

    pub(super) async fn publish(&mut self, messages: Vec<(Address, Envelope)>) -> Result<Vec<Confirm>, Error> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.shard.publish(messages, FENCE).await
    }
}

/// Opens the actor of a shard, and again whenever it ends, until the stop.
pub(super) async fn keep(
    options: Arc<Options>,
    outside: Arc<Outside>,
    connection: Connection,
    number: u32,
    stop: CancellationToken,
) {
    loop {
        let opened = Actor::open(options.clone(), outside.clone(), &connection, number);
        let ended = match stop.run_until_cancelled(opened).await {
            None => return,
            Some(Ok(actor)) => actor.run(&stop).await,
            Some(Err(error)) => Err(error),
        };
        match ended {
            Ok(()) | Err(Error::Closed) => return,
            Err(error) => tracing::warn!(shard = number, "the coordinator of a shard begins anew: {error}"),
        }
        // Not all replicas at one time.
        let pause = Duration::from_millis(rand::random_range(200..1000));
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

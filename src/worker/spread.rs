//! A bulk that is too large for one worker: which one is, and how it is handed over to its coordinator.

use super::celery::{self, Asked, TURN};
use super::intake::{Taken, command_of};
use super::settlement::Happened;
use super::{Shared, many, quarantine};
use crate::amqp::{Address, PublishError};
use crate::bulk::TALLY;
use crate::commander::Command;
use crate::deadline::Now;
use crate::envelope::{Envelope, Value};
use crate::job::{Bulk, Job, Targets};
use crate::outcome::Failure;
use crate::wire::bulk::{CHUNK, Carried, End, Record, Start, shard_of, shard_queue};
use crate::wire::native;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout_at};

/// The pause before a shard queue that was not there is tried again: its coordinator makes it.
const AGAIN: Duration = Duration::from_secs(1);

/// Which bulks are spread over all workers, and where their coordinators are.
#[derive(Clone, Debug)]
pub struct Spread {
    /// The queue of chunks; those of the coordinators are named after it.
    pub queue: Arc<str>,
    /// How many coordinators there are.
    pub shards: u32,
    /// Up to how many devices one worker runs a bulk alone.
    pub short: usize,
    /// And up to which time at its own rate.
    pub short_for: Duration,
}

impl Spread {
    /// Whether a bulk is too large for one worker, or takes too long.
    fn is_long(&self, bulk: &Bulk) -> bool {
        let devices = bulk.targets.len();
        let at_rate = bulk.rate_per_second.map(|rate| devices as f64 / rate);
        devices > self.short || at_rate.is_some_and(|seconds| seconds > self.short_for.as_secs_f64())
    }
}

/// Whether a job is to be handed over. Not one that is part of a bulk already, nor one whose caller has set it a time limit:
/// that ends whatever is under way, and only a worker that has all of it can do that.
pub(super) fn is_for_all(shared: &Shared, message: &Envelope, job: &Job, asked: Option<&Asked>) -> bool {
    let (Some(spread), Targets::Many(bulk)) = (&shared.options.spread, &job.targets) else { return false };
    let is_part = message.headers.get(TALLY).is_some() || message.headers.get(CHUNK).is_some();
    let is_limited = || asked.zip(celery::options(shared)).is_some_and(|(asked, options)| asked.is_limited(options));
    !is_part && spread.is_long(bulk) && !is_limited()
}

/// What keeps it from being carried to any device.
pub(super) fn refusal(shared: &Shared, job: &Job) -> Option<Failure> {
    let Targets::Many(bulk) = &job.targets else { return None };
    // One that gets what most get, rather than what is wrong with its own payload alone.
    let plain = bulk.targets.iter().find(|target| target.payload.is_none());
    let target = plain.or(bulk.targets.first())?;
    let payload = target.payload.clone().unwrap_or_else(|| job.payload.clone());
    shared.commander.refusal(&Command { device: target.device.clone(), payload, ..command_of(job) })
}

/// Publishes a bulk to its coordinator, for whom it is the same however often it comes. `None` if the broker does not take the
/// message: then it has to be run here.
pub(super) async fn hand_over(shared: &Shared, taken: &Taken, job: Job) -> Option<Happened> {
    let spread = shared.options.spread.as_ref()?;
    let (job_id, until) = (job.id.clone(), Instant::now() + shared.options.confirm_timeout);
    let to = shard_queue(&spread.queue, shard_of(&job_id, spread.shards));
    let start = Record::Start(Box::new(start(shared, taken, job)?)).encode();
    let (soft, hard) = (shared.shutdown.soft(), shared.shutdown.hard());
    loop {
        let sending = timeout_at(until.into(), shared.outbox.send_on(Address::queue(&*to), start.clone()));
        // Whether the broker has it or not: whoever gets the job next hands it over as well.
        let Some(sent) = hard.run_until_cancelled(sending).await else { return Some(Happened::Interrupted) };
        match sent {
            Ok(Ok(true)) => {
                tracing::info!(job_id = &*job_id, to, "handed over to the coordinator of bulks");
                return Some(Happened::Continued);
            }
            Ok(Err(PublishError::Closed)) => return Some(Happened::Interrupted),
            Ok(Err(error)) => {
                let job_id = &*job_id;
                tracing::warn!(job_id, to, "it cannot be handed over, and is run by this worker alone: {error}");
                return None;
            }
            Ok(Ok(false)) if Instant::now() + AGAIN < until => {
                if soft.run_until_cancelled(sleep(AGAIN)).await.is_none() {
                    return Some(Happened::NotStarted);
                }
            }
            Ok(Ok(false)) | Err(_) => {
                tracing::warn!(job_id = &*job_id, to, "it could not be handed over in time, and goes back");
                return Some(Happened::NotStarted);
            }
        }
    }
}

/// The record that hands a bulk over; `None` for a job that is none.
fn start(shared: &Shared, taken: &Taken, job: Job) -> Option<Start> {
    let original = &taken.delivery.envelope;
    let reply_to = original.reply_to.clone().filter(|queue| !queue.is_empty() && taken.asked.is_none());
    // Resolved here, so that it is the same for every chunk, whatever other workers are told.
    let guarantee = Some(shared.commander.guarantee(&job.profile, job.guarantee));
    let job = Job { guarantee, ..job };
    let whole = native::encode(&job);
    Some(Start {
        id: job.id.clone(),
        job: serde_json::from_slice(&whole.body).ok()?,
        made_at: job.enqueued_at,
        at: Now::read().unix_ms,
        correlation_id: reply_to.is_some().then(|| taken.origin.correlation_id.clone()),
        end: (reply_to.is_some() || taken.asked.is_some()).then(|| end(taken, job)).flatten(),
        reply_to,
    })
}

/// The same job without devices, for the queue that it came from.
fn end(taken: &Taken, job: Job) -> Option<End> {
    let Targets::Many(bulk) = &job.targets else { return None };
    let nobody = Bulk { targets: Vec::new(), ..without_targets(bulk) };
    let mut message = many::remainder(taken, job, nobody);
    // It is a new message, of which no worker died.
    drop(message.headers.take(quarantine::DELIVERIES));
    if taken.asked.is_some() {
        message.headers.set(TURN, Value::Bool(true));
    }
    let queue = quarantine::home(&taken.delivery.queue).to_owned();
    Some(End { queue, message: Carried::of(message) })
}

fn without_targets(bulk: &Bulk) -> Bulk {
    let Bulk { rate_per_second, concurrency, abort, results, .. } = *bulk;
    Bulk { targets: Vec::new(), rate_per_second, concurrency, abort, results }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{BulkResults, Target};

    #[test]
    fn a_bulk_is_long_by_its_devices_or_by_its_rate() {
        let spread = Spread { queue: "q".into(), shards: 4, short: 1000, short_for: Duration::from_secs(10) };
        let rows = [
            (1000, None, false),
            (1001, None, true),
            (1000, Some(100.0), false),
            (1000, Some(99.0), true),
            (1001, Some(1e9), true),
            (1, Some(0.001), true),
        ];
        for (devices, rate_per_second, expected) in rows {
            let targets = vec![Target { device: "d".into(), payload: None }; devices];
            let bulk = Bulk { targets, rate_per_second, concurrency: None, abort: None, results: BulkResults::Stream };
            assert_eq!(spread.is_long(&bulk), expected, "{devices} at {rate_per_second:?}");
        }
    }
}

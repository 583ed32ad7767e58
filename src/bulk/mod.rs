//! One command to many devices within one worker: a window, a pace, a threshold, and a tally that always adds up.

mod tally;

pub use tally::Tally;

use crate::commander::{Command, Commander, LateHandler, NotStarted};
use crate::job::{Bulk, Target};
use crate::metrics::metrics;
use crate::outcome::{Failure, Outcome, Status};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// A bulk to be carried out.
pub struct Order {
    /// What every device is commanded; device and payload are set for each.
    pub command: Command,
    /// The devices and the rules.
    pub bulk: Bulk,
    /// What came of it before it came here.
    pub tally: Tally,
    /// Shared by all bulks: each device that is commanded has one of these.
    pub slots: Arc<Semaphore>,
    /// Nothing new begins after this; the rest is for somebody else.
    pub until: Instant,
    /// The worker stops: nothing new begins, the rest is for somebody else.
    pub stop: CancellationToken,
}

/// How the carrying out ended.
pub enum Ended {
    /// Every device has its outcome.
    Finished(Tally),
    /// These devices have not been commanded.
    Interrupted(Tally, Vec<Target>),
    /// The job is no longer ours: whoever has it now decides.
    Lost,
}

/// Who hears what came of each device; awaited before the device counts as done, so that nothing piles up.
pub trait Report: Sync {
    /// Called once for each device.
    fn outcome(&self, device: Arc<str>, outcome: Outcome) -> impl Future<Output = ()> + Send;
    /// What takes an answer that comes after its outcome was reported.
    fn late(&self, device: &Arc<str>) -> Option<LateHandler>;
}

enum One {
    Done(Arc<str>, Status),
    NotStarted(Target, NotStarted),
}

/// Carries a bulk out. Cancel-safe: dropping the future stops it where it is, untold.
pub async fn run(commander: &Commander, order: Order, report: &impl Report) -> Ended {
    let Order { command, mut bulk, mut tally, slots, until, stop } = order;
    let window = bulk.concurrency.unwrap_or(usize::MAX).max(1);
    let pace = bulk.rate_per_second.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let mut waiting: VecDeque<Target> = std::mem::take(&mut bulk.targets).into();
    let mut running = FuturesUnordered::new();
    let mut next_start = Instant::now();
    let mut given_back = Vec::new();
    let mut lost = false;
    let mut free = None;
    let _active = Active::count();
    loop {
        let aborted = tally.is_aborted(bulk.abort.as_ref());
        if aborted {
            cancel(&mut waiting, &mut tally, report).await;
        }
        let may_start = !waiting.is_empty() && !lost && !stop.is_cancelled() && Instant::now() < until;
        let has_room = may_start && running.len() < window;
        if has_room
            && next_start <= Instant::now()
            && let Some(slot) = free.take().or_else(|| slots.clone().try_acquire_owned().ok())
            && let Some(target) = waiting.pop_front()
        {
            running.push(with(slot, one(commander, &command, target, stop.clone(), report)));
            // From the plan, not from now: a pause is caught up with, but by no more than a second's worth.
            next_start =
                pace.map_or(next_start, |pace| (next_start + pace).max(Instant::now() - Duration::from_secs(1)));
            continue;
        }
        if running.is_empty() && !may_start {
            break;
        }
        // Not needed after all: other bulks wait for it.
        free = None;
        let wake = async {
            if !has_room {
                return pending().await;
            }
            sleep_until(next_start.min(until).into()).await;
            // In turn with the other bulks. Kept once it is there: given back and asked for again, it would be the next one's.
            timeout_at(until.into(), slots.clone().acquire_owned()).await.ok()?.ok()
        };
        tokio::select! {
            biased;
            Some(one) = running.next() => match one {
                One::Done(device, status) => {
                    metrics().bulk_device(status);
                    tally.record(&device, status);
                }
                One::NotStarted(target, why) => {
                    lost |= why == NotStarted::Revoked;
                    given_back.push(target);
                }
            },
            slot = wake => free = slot,
            () = stop.cancelled(), if !stop.is_cancelled() => {}
        }
    }
    given_back.extend(waiting);
    match (lost, given_back.is_empty()) {
        (true, _) => Ended::Lost,
        (false, true) => Ended::Finished(tally),
        (false, false) => Ended::Interrupted(tally, given_back),
    }
}

/// Keeps the slot until the device's outcome is told.
async fn with<T>(slot: OwnedSemaphorePermit, one: impl Future<Output = T>) -> T {
    let done = one.await;
    drop(slot);
    done
}

async fn one(
    commander: &Commander,
    command: &Command,
    target: Target,
    stop: CancellationToken,
    report: &impl Report,
) -> One {
    let payload = target.payload.clone().unwrap_or_else(|| command.payload.clone());
    let command = Command { device: target.device.clone(), payload, bulk: true, ..command.clone() };
    let outcome = match commander.begin(command, stop) {
        Err(failure) => Ok(Outcome::not_sent(Status::Invalid, failure)),
        Ok(begun) => commander.finish(begun, || report.late(&target.device)).await,
    };
    match outcome {
        Err(why) => One::NotStarted(target, why),
        Ok(outcome) => {
            let status = outcome.status;
            report.outcome(target.device.clone(), outcome).await;
            One::Done(target.device, status)
        }
    }
}

/// What is left after an abort was surely not sent, and everybody hears so.
async fn cancel(waiting: &mut VecDeque<Target>, tally: &mut Tally, report: &impl Report) {
    for target in waiting.drain(..) {
        let failure = Failure::new("aborted", "the bulk was aborted because too many devices failed");
        metrics().bulk_device(Status::Cancelled);
        tally.record(&target.device, Status::Cancelled);
        report.outcome(target.device, Outcome::not_sent(Status::Cancelled, failure)).await;
    }
}

/// One bulk under way, in the gauge until dropped.
struct Active;

impl Active {
    fn count() -> Self {
        metrics().bulk_active(1);
        Self
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        metrics().bulk_active(-1);
    }
}

//! One command to many devices within one worker: a window, a pace, a threshold, and a tally that always adds up.

pub mod coordinator;
mod slots;
mod tally;
mod targets;

pub use slots::{Slot, Slots};
pub use tally::{TALLY, Tally};
pub use targets::{Targets, WrongTargets};

use crate::commander::{Command, NotStarted};
use crate::job::{Bulk, Target};
use crate::metrics::metrics;
use crate::outcome::{Failure, Outcome, Status};
use futures_util::future::OptionFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::VecDeque;
use std::pin::pin;
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
    pub slots: Slots,
    /// Whoever has its permit may begin devices, and gives it back when all are begun. None where nobody else has it.
    pub line: Option<Arc<Semaphore>>,
    /// Nothing new begins after this; the rest is for somebody else.
    pub until: Instant,
    /// The worker stops: nothing new begins, the rest is for somebody else.
    pub stop: CancellationToken,
    /// Its requester calls it off: nothing new begins, and the rest is told so. What is under way is the command's to end.
    pub cancel: CancellationToken,
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

/// Who commands the devices and says what came of each; awaited before the device counts as done, so that nothing piles up.
pub trait Crew: Sync {
    /// Commands one device and reports what came of it, unless it was not begun. Called in the order of the devices. The slot
    /// is kept until the outcome is reported; where that takes its time, it hears of the outcome before.
    fn command(
        &self,
        command: Command,
        stop: CancellationToken,
        slot: Slot,
    ) -> impl Future<Output = Result<Status, NotStarted>> + Send;
    /// Reports what came of a device that is not commanded.
    fn report(&self, device: Arc<str>, outcome: Outcome) -> impl Future<Output = ()> + Send;
    /// Hears that nothing more begins: the last so many devices will not be commanded here. What runs may take its time.
    fn leave(&self, _count: usize) -> impl Future<Output = ()> + Send {
        async {}
    }
}

enum One {
    Done(Arc<str>, Status),
    NotStarted(Target, NotStarted),
}

/// Carries a bulk out. Cancel-safe: dropping the future stops it where it is, untold.
pub async fn run(order: Order, crew: &impl Crew) -> Ended {
    let Order { command, mut bulk, mut tally, slots, line, until, stop, cancel } = order;
    let window = bulk.concurrency.unwrap_or(usize::MAX).max(1);
    let pace = bulk.rate_per_second.map(|rate| Duration::from_secs_f64(1.0 / rate));
    // Chunks of a bulk with a pace were spread over time already.
    let line = line.filter(|_| pace.is_none());
    let mut waiting: VecDeque<Target> = std::mem::take(&mut bulk.targets).into();
    let mut running = FuturesUnordered::new();
    let mut next_start = Instant::now();
    let (mut given_back, mut left) = (Vec::new(), VecDeque::new());
    let mut lost = false;
    let mut free = None;
    let mut in_line: Option<OwnedSemaphorePermit> = None;
    let mut turn = pin!(None);
    let (mut stopped, mut called_off) = (pin!(stop.cancelled()), pin!(cancel.cancelled()));
    let mut over = pin!(sleep_until(until.into()));
    loop {
        if cancel.is_cancelled() && !(waiting.is_empty() && running.is_empty()) {
            tally.cancel();
            give_up(&mut waiting, &mut tally, crew, &Failure::new("cancelled", CANCELLED)).await;
        }
        if tally.is_aborted(bulk.abort.as_ref()) {
            give_up(&mut waiting, &mut tally, crew, &Failure::new("aborted", ABORTED)).await;
        }
        if !waiting.is_empty() && (lost || stop.is_cancelled() || Instant::now() >= until) {
            crew.leave(waiting.len()).await;
            left.append(&mut waiting);
        }
        let may_start = !waiting.is_empty();
        if !may_start {
            in_line = None;
        }
        let has_room = may_start && running.len() < window;
        if has_room
            && (pace.is_none() || next_start <= Instant::now())
            && (line.is_none() || in_line.is_some())
            && let Some(slot) = free.take().or_else(|| slots.try_one())
            && let Some(target) = waiting.pop_front()
        {
            running.push(one(slot, &command, target, stop.clone(), crew));
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
        // What is waited for over several turns keeps its place in the queue of those who wait, and its timer.
        if !has_room {
            turn.set(None);
        } else if turn.is_none() {
            let (slots, at) = (slots.clone(), next_start.min(until));
            let line = line.clone().filter(|_| in_line.is_none());
            turn.set(Some(async move {
                let in_line = OptionFuture::from(line.map(Semaphore::acquire_owned));
                let in_line = timeout_at(until.into(), in_line).await.ok()?.transpose().ok()?;
                sleep_until(at.into()).await;
                // In turn with the other bulks. Kept once it is there: given back and asked for again, it would be the next one's.
                let slot = timeout_at(until.into(), slots.one()).await.ok()??;
                Some((slot, in_line))
            }));
        }
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
            Some(had) = OptionFuture::from(turn.as_mut().as_pin_mut()) => {
                turn.set(None);
                if let Some((slot, permit)) = had {
                    free = Some(slot);
                    in_line = in_line.or(permit);
                }
            }
            () = &mut over, if !waiting.is_empty() => {}
            () = &mut stopped, if !stop.is_cancelled() => {}
            () = &mut called_off, if !cancel.is_cancelled() => {}
        }
    }
    given_back.extend(left);
    match (lost, given_back.is_empty()) {
        (true, _) => Ended::Lost,
        (false, true) => Ended::Finished(tally),
        (false, false) => Ended::Interrupted(tally, given_back),
    }
}

/// Commands one device.
fn one<'a, C: Crew>(
    slot: Slot,
    command: &Command,
    target: Target,
    stop: CancellationToken,
    crew: &'a C,
) -> impl Future<Output = One> + use<'a, C> {
    let payload = target.payload.clone().unwrap_or_else(|| command.payload.clone());
    let command = Command { device: target.device.clone(), payload, bulk: true, ..command.clone() };
    let rest = slot.rest();
    // Thousands of bytes, which every future around it would copy once more.
    let commanded = Box::pin(crew.command(command, stop, slot));
    async move {
        rest.await;
        match commanded.await {
            Err(why) => One::NotStarted(target, why),
            Ok(status) => One::Done(target.device, status),
        }
    }
}

const CANCELLED: &str = "the bulk was cancelled before this device had its turn";
const ABORTED: &str = "the bulk was aborted because too many devices failed";

/// What is left is not sent from here, and everybody hears so.
async fn give_up(waiting: &mut VecDeque<Target>, tally: &mut Tally, crew: &impl Crew, why: &Failure) {
    for target in waiting.drain(..) {
        metrics().bulk_device(Status::Cancelled);
        tally.record(&target.device, Status::Cancelled);
        crew.report(target.device, Outcome::not_sent(Status::Cancelled, why.clone())).await;
    }
}

/// One bulk under way, in the gauge until dropped. Whoever answers for all of it counts it.
pub struct Active(());

impl Active {
    /// Counts one more.
    pub fn count() -> Self {
        metrics().bulk_active(1);
        Self(())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        metrics().bulk_active(-1);
    }
}

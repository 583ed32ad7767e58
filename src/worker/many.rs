//! A bulk job on this worker: results as they come, a summary at the end, the rest handed on when the worker stops.

use super::admission::{unfit, unsure};
use super::claimed::{self, Ran, unsaid};
use super::done::said_again;
use super::intake::{Taken, claimant, command, with_claim};
use super::running::Running;
use super::{Shared, handle, quarantine};
use crate::amqp::PublishError;
use crate::bulk::{self, Crew, Order, Slot, Tally};
use crate::claims::{Claim, Subject};
use crate::commander::{Command, NotStarted};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::job::{Bulk, BulkResults, Guarantee, Job, Target, Targets};
use crate::outcome::{Executed, Outcome, Status};
use crate::wire::celery;
use crate::wire::native::{self, Summary, Timing};
use futures_util::FutureExt;
use futures_util::future::{OptionFuture, join};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// What came of the delivery of a bulk.
pub(super) enum Ended {
    /// Every device has its outcome.
    Summary(Summary, Running),
    /// What is left is a message of its own.
    Continued,
    /// It is no longer ours.
    Lost,
}

pub(super) async fn run(shared: &Arc<Shared>, taken: &Taken, job: Job, mut bulk: Bulk, running: Running) -> Ended {
    let _active = bulk::Active::count();
    let now = Now::read();
    let before = Tally::carried(&taken.delivery.envelope);
    let tally = before.unwrap_or_else(|| Tally::new(bulk.targets.len(), now.unix_ms));
    let guarantee = shared.commander.guarantee(&job.profile, job.guarantee);
    let crew = Devices::new(shared, taken, &bulk, guarantee, job.enqueued_at);
    let targets = std::mem::take(&mut bulk.targets);
    let rules = bulk.clone();
    bulk.targets = targets;
    let order = Order {
        command: Command { cancel: Some(running.cancel()), ..command(&job, guarantee, &taken.delivery) },
        bulk,
        tally,
        slots: shared.bulk_slots.clone(),
        line: None,
        until: now.instant + shared.options.bulk_hold,
        stop: shared.shutdown.soft(),
        cancel: running.cancel(),
    };
    let hard = shared.shutdown.hard();
    let ended = tokio::select! {
        biased;
        ended = bulk::run(order, &crew) => ended,
        // The grace is over: whoever gets the job next knows that it was delivered before.
        () = hard.cancelled() => bulk::Ended::Lost,
    };
    match ended {
        bulk::Ended::Finished(tally) => Ended::Summary(tally.summary(Now::read().unix_ms), running),
        bulk::Ended::Lost => Ended::Lost,
        bulk::Ended::Interrupted(tally, rest) => {
            // Before the rest is in the queue: it has the same id and another body, and may come back to this very worker.
            drop(running);
            match hand_on(shared, taken, job, rules, &tally, rest).await {
                true => Ended::Continued,
                false => Ended::Lost,
            }
        }
    }
}

/// A bulk that is not run: every device gets the same outcome.
pub(super) async fn answer_all(shared: &Arc<Shared>, taken: &Taken, bulk: Bulk, outcome: &Outcome) -> Summary {
    let now = Now::read();
    let before = Tally::carried(&taken.delivery.envelope);
    let mut tally = before.unwrap_or_else(|| Tally::new(bulk.targets.len(), now.unix_ms));
    if outcome.status == Status::Cancelled {
        tally.cancel();
    }
    let stream = bulk.results == BulkResults::Stream;
    for target in bulk.targets {
        tally.record(&target.device, outcome.status);
        if stream {
            let result = result(taken, &target.device, outcome);
            // What the broker refuses is lost for this device alone, and the end of the publisher is the program's.
            let _ = publish(shared, taken, &target.device, result).await;
        }
    }
    tally.summary(Now::read().unix_ms)
}

/// Publishes what is left of a bulk as a job of its own, with the tally so far, to the queue it came from.
async fn hand_on(shared: &Shared, taken: &Taken, job: Job, rules: Bulk, tally: &Tally, rest: Vec<Target>) -> bool {
    let mut envelope = remainder(taken, job, Bulk { targets: rest, ..rules });
    // Whoever had it before may have commanded them, and the broker takes this for a fresh message.
    if taken.delivery.redelivered {
        envelope = quarantine::counted(&envelope, quarantine::carried(&envelope).max(1));
    }
    tally.carry(&mut envelope);
    shared.outbox.enqueue(&taken.delivery.queue, envelope).await
}

/// The job of a delivery for the devices that are left of it, as whoever asked for it would have sent it.
pub(super) fn remainder(taken: &Taken, job: Job, left: Bulk) -> Envelope {
    let original = &taken.delivery.envelope;
    let task = taken.asked.as_ref().and_then(|asked| asked.task.as_deref());
    let mut envelope = match task {
        Some(task) => celery::task_message(&celery::rest(task, &job, &left)),
        None => native::encode(&Job { targets: Targets::Many(left), ..job }),
    };
    envelope.reply_to.clone_from(&original.reply_to);
    envelope.correlation_id.clone_from(&original.correlation_id);
    envelope.priority = original.priority;
    // A task's own headers are in its message already, as they are to be from now on.
    let ours = |name: &str| task.is_none() || name.starts_with("x-switchboard-");
    for (name, value) in original.headers.0.iter().filter(|(name, _)| ours(name)) {
        envelope.headers.set(name.clone(), value.clone());
    }
    envelope
}

/// Commands the devices of one bulk, and streams their results to the requester, if it asked for that.
pub(super) struct Devices<'a> {
    shared: &'a Arc<Shared>,
    taken: &'a Taken,
    stream: bool,
    guarantee: Guarantee,
    made_at: Option<u64>,
    /// How many commands are still to come for each device that is named more than once; empty where nothing is claimed.
    left: Mutex<HashMap<Arc<str>, u32>>,
}

impl<'a> Devices<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        taken: &'a Taken,
        bulk: &Bulk,
        guarantee: Guarantee,
        made_at: Option<u64>,
    ) -> Self {
        let mut left: HashMap<Arc<str>, u32> = HashMap::new();
        if shared.options.claims.is_some() {
            for target in &bulk.targets {
                *left.entry(target.device.clone()).or_default() += 1;
            }
            left.retain(|_, times| *times > 1);
        }
        let (stream, left) = (bulk.results == BulkResults::Stream, Mutex::new(left));
        Self { shared, taken, stream, guarantee, made_at, left }
    }

    /// Which of the commands to a device the next one is, from the last: with the device, it names a claim.
    fn nth(&self, device: &Arc<str>) -> u32 {
        match self.left.lock().unwrap_or_else(PoisonError::into_inner).get_mut(device) {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left
            }
            None => 0,
        }
    }

    /// Commands one device, and says what came of it: the status, and whether that was said.
    ///
    /// Thousands of these wait at one time, for a device or for the broker. So each part of the way is a future of its own, and what
    /// it needs is gone when the next begins.
    pub(super) async fn run(
        &self,
        command: &Command,
        nth: u32,
        stop: &CancellationToken,
        slot: &mut Slot,
    ) -> Result<(Status, Said), NotStarted> {
        self.shared.bulk_begun.fetch_add(1, Ordering::Relaxed);
        loop {
            let (outcome, claim) = match self.carry_out(command, nth, stop).await {
                Ran::Outcome(outcome, claim) => (outcome, claim),
                Ran::Repeat(reply, status) => {
                    let said = Box::pin(self.repeat(&command.device, &reply, slot)).await;
                    return Ok((status, said));
                }
                Ran::Unsaid(status) if !self.stream => return Ok((status, Ok(()))),
                Ran::Unsaid(status) => (unsaid(status), None),
                Ran::NotStarted(why) => return Err(why),
                Ran::Again => continue,
            };
            let status = outcome.status;
            let result = self.write_down(&command.device, outcome, claim, slot).await;
            return Ok((status, self.say(&command.device, result).await));
        }
    }

    async fn carry_out(&self, command: &Command, nth: u32, stop: &CancellationToken) -> Ran {
        let Self { shared, taken, .. } = *self;
        let device = &command.device;
        let subject = || Subject { id: taken.origin.id.clone(), device: Some(device.clone()), nth };
        let claimant = claimant(shared, self.made_at, self.guarantee, &taken.delivery, subject);
        match shared.commander.begin(with_claim(command.clone(), claimant.as_ref()), stop.clone()) {
            Err(failure) => Ran::Outcome(unfit(failure, taken.delivery.redelivered), None),
            Ok(begun) => {
                let late = || self.stream.then(|| handle::late_handler(shared, taken, device));
                claimed::run(shared, claimant.as_deref(), begun, &late).await
            }
        }
    }

    /// Says once more what was said of a device before.
    async fn repeat(&self, device: &Arc<str>, reply: &Envelope, slot: &mut Slot) -> Said {
        slot.answered().await;
        self.say(device, self.stream.then(|| said_again(reply, self.taken))).await
    }

    /// Writes an outcome down, where the device was claimed, and has the slot know it; what is left is the result to be said.
    async fn write_down(
        &self,
        device: &Arc<str>,
        outcome: Outcome,
        claim: Option<Claim>,
        slot: &mut Slot,
    ) -> Option<Envelope> {
        let result = self.stream.then(|| result(self.taken, device, &outcome));
        // On the heap, where there is one: most devices are not claimed.
        let written =
            OptionFuture::from(claim.map(|claim| {
                Box::pin(claim.finish(outcome.executed != Executed::No, outcome.status, result.as_ref()))
            }));
        // At one time: what is known is not lost because others are still told of theirs.
        match self.stream {
            true => join(written, slot.answered()).await.0,
            false => written.await,
        };
        result
    }

    /// The delivery that it is for.
    pub(super) fn taken(&self) -> &'a Taken {
        self.taken
    }

    /// Says of a device that had not had its turn that it has none. Another worker may have given it one: before, or since the
    /// connection was lost.
    pub(super) async fn give_up(&self, device: &Arc<str>, outcome: Outcome) -> Said {
        let delivery = &self.taken.delivery;
        let is_ours_alone = !delivery.redelivered && delivery.receipt.hold().is_current();
        self.end(device, &if is_ours_alone { outcome } else { unsure(outcome) }).await
    }

    /// Says an outcome that nobody claimed.
    pub(super) async fn end(&self, device: &Arc<str>, outcome: &Outcome) -> Said {
        self.say(device, self.stream.then(|| result(self.taken, device, outcome))).await
    }

    fn say<'s>(
        &'s self,
        device: &'s Arc<str>,
        result: Option<Envelope>,
    ) -> impl Future<Output = Said> + Send + use<'s> {
        let saying = result.map(|result| publish(self.shared, self.taken, device, result));
        OptionFuture::from(saying).map(|said| said.unwrap_or(Ok(())))
    }
}

impl Crew for Devices<'_> {
    fn command(
        &self,
        command: Command,
        stop: CancellationToken,
        mut slot: Slot,
    ) -> impl Future<Output = Result<Status, NotStarted>> + Send {
        // Now, in the order of the devices, and not when the future is first polled.
        let nth = self.nth(&command.device);
        // Unsaid, it is because the program ends; then the delivery is not acked either.
        async move { self.run(&command, nth, &stop, &mut slot).await.map(|(status, _)| status) }
    }

    async fn report(&self, device: Arc<str>, outcome: Outcome) {
        let _ = self.give_up(&device, outcome).await;
    }
}

fn result(taken: &Taken, device: &Arc<str>, outcome: &Outcome) -> Envelope {
    let total = taken.queued + taken.delivery.received.instant.elapsed();
    let timing = Timing { queued: taken.queued, waiting: outcome.waiting, device: outcome.device, total };
    native::result(&taken.origin, device, outcome, &timing)
}

/// Whether a result was said to whoever wants it; nobody may.
pub(super) type Said = Result<(), Closed>;

/// The program ends before the broker has confirmed a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

fn publish<'p>(
    shared: &'p Shared,
    taken: &'p Taken,
    device: &'p Arc<str>,
    result: Envelope,
) -> impl Future<Output = Said> + Send + use<'p> {
    let reply_to = taken.delivery.envelope.reply_to.as_deref().filter(|queue| !queue.is_empty());
    let publishing = reply_to.map(|reply_to| shared.outbox.reply(reply_to, result));
    OptionFuture::from(publishing).map(|published| match published {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(PublishError::Closed)) => Err(Closed),
        // For good: it is as if nobody had asked.
        Some(Err(error)) => {
            let job_id = &*taken.origin.id;
            tracing::warn!(job_id, device = &**device, "a device's result could not be published: {error}");
            Ok(())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commander::{Begun, Commander, LateHandler};

    #[test]
    fn what_waits_for_a_device_by_the_thousand_is_small() {
        const LATE: fn() -> Option<LateHandler> = || None;
        fn size_of_future<A, F>(_: fn(A) -> F) -> usize {
            size_of::<F>()
        }
        let command: fn((&'static Commander, Box<Begun>)) -> _ = |(commander, begun)| commander.finish(begun, &LATE);
        let job: fn((&'static Arc<Shared>, Box<Taken>)) -> _ = |(shared, taken)| handle::handle(shared, taken);
        type Device = (&'static Devices<'static>, &'static Command, &'static CancellationToken, &'static mut Slot);
        let device: fn(Device) -> _ = |(devices, command, stop, slot)| devices.run(command, 0, stop, slot);
        let sizes = [size_of_future(command), size_of_future(job), size_of_future(device)];
        assert!(sizes[0] <= 700 && sizes[1] <= 1_200 && sizes[2] <= 1_200, "{sizes:?}");
    }
}

//! One delivery from first byte to ack; reading [`handle`] is reading the way of a job.

use super::Shared;
use super::admission::{called_off, hold};
use super::celery::{self, Ended, TURN, Turn, call_off};
use super::claimed::{self, Claimant, Ran};
use super::done::{self, Done};
use super::follow::{self, Untold};
use super::intake::{self, Again, Taken, What};
use super::recent::End;
use super::running::Running;
use super::settlement::{Happened, Reply, Settle, settle};
use super::{many, spread};
use crate::amqp::{Delivery, PublishError};
use crate::commander::{Begun, LateHandler, NotStarted};
use crate::deadline::Now;
use crate::envelope::{Envelope, Value};
use crate::job::{Bulk, Guarantee, Job};
use crate::metrics::{Protocol, Stage, metrics};
use crate::outcome::{Executed, Failure, Outcome, Status};
use crate::wire::native::{self, Timing};
use futures_util::FutureExt;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Decoded and admitted already; from here: command, answer, outcome, reply confirmed, ack.
///
/// Most of its time it waits for the device, and as many do at once as there are slots: whatever comes before or after that, or seldom,
/// is a future of its own on the heap.
pub(super) async fn handle(shared: &Arc<Shared>, mut taken: Box<Taken>) {
    let _counted = InFlight::count();
    loop {
        let done = match std::mem::replace(&mut taken.what, What::Begun) {
            What::Later { not_before } => match Box::pin(wait_here(shared, &taken, not_before)).await {
                Some(()) => {
                    taken = again(shared, taken, Again::default());
                    continue;
                }
                None => Done::without_result(if shared.shutdown.soft().is_cancelled() {
                    Happened::NotStarted
                } else {
                    Happened::TooEarly { not_before }
                }),
            },
            What::NoRoom { devices } => match Box::pin(room(shared, devices)).await {
                Some(room) => {
                    taken = again(shared, taken, Again { room: Some(room), ..Again::default() });
                    continue;
                }
                None => Done::without_result(Happened::NotStarted),
            },
            What::HandOver { job, running } => match Box::pin(hand_over(shared, &taken, *job, running)).await {
                Some(done) => done,
                None => {
                    taken = again(shared, taken, Again { stay: true, ..Again::default() });
                    continue;
                }
            },
            What::Join(heard) => match heard.await {
                Ok(Some(reply)) => Done::repeated(reply, &taken),
                // The first one did nothing to the device: this one may.
                _ => {
                    taken = again(shared, taken, Again::default());
                    continue;
                }
            },
            what => match done(shared, &taken, what).await {
                Some(done) => done,
                // Somebody else had it and has let go of it.
                None => {
                    taken = again(shared, taken, Again::default());
                    continue;
                }
            },
        };
        return Box::pin(finish(shared, taken, done)).await;
    }
}

/// Looks at a delivery once more, with what is known of it.
fn again(shared: &Arc<Shared>, taken: Box<Taken>, known: Again) -> Box<Taken> {
    let Taken { source, delivery, asked, .. } = *taken;
    Box::new(intake::take(shared, &source, delivery, Again { asked, ..known }))
}

/// Hands a bulk over to its coordinator, when its turn has come; `None` if it has to be run here.
async fn hand_over(shared: &Arc<Shared>, taken: &Taken, job: Job, running: Running) -> Option<Done> {
    let cancel = running.cancel();
    if let Some(done) = begin(shared, taken, &cancel).await {
        return Some(done);
    }
    // Revoked while it waited for its turn.
    if cancel.is_cancelled() && taken.asked.is_some() && !taken.delivery.redelivered {
        return Some(Done::outcome(shared, taken, called_off(false), None));
    }
    spread::hand_over(shared, taken, job).await.map(Done::without_result)
}

/// Runs a job; a panic of ours costs this job alone. `None` if it is to be looked at anew.
fn done<'t>(
    shared: &'t Arc<Shared>,
    taken: &'t Taken,
    what: What,
) -> impl Future<Output = Option<Done>> + Send + use<'t> {
    let run = async move {
        Some(match what {
            What::Undecodable(failure) => {
                Done::outcome(shared, taken, Outcome::not_sent(Status::Invalid, *failure), None)
            }
            What::Refused(exception) => Done::refused(shared, taken, *exception),
            What::Answer(outcome) => Done::outcome(shared, taken, *outcome, None),
            What::Reused(failure) => {
                Done::outcome(shared, taken, Outcome::not_sent(Status::Invalid, *failure), None).under_another_id()
            }
            What::Unserved => Done {
                detail: "it is a Celery task, and celery.enabled is false".to_owned(),
                ..Done::without_result(Happened::Unserved)
            },
            What::Course(course) => Done::unread(taken, course),
            What::Repeat(reply) => Done::repeated(reply, taken),
            What::Run { begun, claimant, guarantee, running } => {
                return run_one(shared, taken, (begun, claimant), guarantee, running).await;
            }
            What::RunBulk { job, bulk, running } => match Box::pin(run_many(shared, taken, *job, *bulk, running)).await
            {
                Err(done) => done,
                Ok(many::Ended::Summary(summary, running)) => Done::summary(shared, taken, &summary, Some(running)),
                // The rest is a message of its own by now, and its summary will count what was done here.
                Ok(many::Ended::Continued) => Done::without_result(Happened::Continued),
                Ok(many::Ended::Lost) => Done::without_result(Happened::Lost),
            },
            // Its caller knows exceptions, and one says it for all devices.
            What::AnswerAll { outcome, running, .. } if taken.asked.is_some() => {
                Done::outcome(shared, taken, *outcome, Some(running))
            }
            What::AnswerAll { bulk, outcome, running } => {
                let summary = Box::pin(many::answer_all(shared, taken, *bulk, &outcome)).await;
                Done {
                    status: Some(outcome.status),
                    not_reached: outcome.executed == Executed::No,
                    ..Done::summary(shared, taken, &summary, Some(running))
                }
            }
            What::Tell(tally) => Done::summary(shared, taken, &tally.summary(Now::read().unix_ms), None),
            What::Later { .. } | What::Join(_) | What::NoRoom { .. } | What::HandOver { .. } | What::Begun => {
                Done::without_result(Happened::NotStarted)
            }
        })
    };
    let panicked = |_| {
        tracing::error!(job_id = &*taken.origin.id, "a job made the worker panic; only this job is affected");
        let failure = Failure::new("internal", "the worker failed on this job; the device may have acted");
        let outcome = Outcome::new(Status::Unknown, Executed::Unknown, Some(failure));
        Some(Done { happened: Happened::Panicked, ..Done::outcome(shared, taken, outcome, None) })
    };
    AssertUnwindSafe(run).catch_unwind().map(move |ended| ended.unwrap_or_else(panicked))
}

async fn run_one(
    shared: &Arc<Shared>,
    taken: &Taken,
    (mut begun, claimant): (Box<Begun>, Option<Arc<Claimant>>),
    guarantee: Guarantee,
    running: Running,
) -> Option<Done> {
    let hard = shared.shutdown.hard();
    let cancel = running.cancel();
    if let Some(done) = begin(shared, taken, &cancel).await {
        return Some(done);
    }
    let asked = taken.asked.as_deref();
    let recall = asked.map(|_| begun.recall());
    let late = || Some(late_handler(shared, taken, &taken.device));
    let ran = tokio::select! {
        biased;
        ran = claimed::run(shared, claimant.as_deref(), begun, &late) => ran,
        never = call_off(shared, asked, &cancel, recall.as_ref()) => match never {},
        () = hard.cancelled() => match guarantee {
            Guarantee::AtMostOnce => Ran::Outcome(stopped(), claimant.and_then(|claimant| claimant.take())),
            // Perhaps at the device already: not as if nobody had begun it.
            Guarantee::AtLeastOnce => return Some(Done::without_result(Happened::Interrupted)),
        },
    };
    Some(match ran {
        Ran::Outcome(outcome, claim) => Done { claim, ..Done::outcome(shared, taken, outcome, Some(running)) },
        Ran::Repeat(reply, status) => {
            // A "no" that is said again must not keep a new submission from being tried.
            let running = (!status.is_certain_no()).then_some(running);
            Done { running, ..Done::said_elsewhere(shared, taken, reply) }
        }
        Ran::Unsaid(status) => Done::outcome(shared, taken, claimed::unsaid(status), Some(running)),
        Ran::NotStarted(NotStarted::Revoked) => Done::without_result(Happened::Lost),
        Ran::NotStarted(NotStarted::Closed | NotStarted::Denied) => Done::without_result(Happened::NotStarted),
        Ran::Again => return None,
    })
}

async fn run_many(
    shared: &Arc<Shared>,
    taken: &Taken,
    job: Job,
    bulk: Bulk,
    running: Running,
) -> Result<many::Ended, Done> {
    let cancel = running.cancel();
    if let Some(done) = begin(shared, taken, &cancel).await {
        return Err(done);
    }
    if let Some(outcome) = done::misfit(shared, taken, &job, &bulk) {
        return Err(Done::outcome(shared, taken, outcome, Some(running)));
    }
    tokio::select! {
        biased;
        ended = many::run(shared, taken, job, bulk, running) => Ok(ended),
        never = call_off(shared, taken.asked.as_deref(), &cancel, None) => match never {},
    }
}

/// A Celery task begins: in its turn, if its name has a rate limit. What is done instead, if its turn is far away.
async fn begin(shared: &Shared, taken: &Taken, cancel: &CancellationToken) -> Option<Done> {
    let (asked, options) = (taken.asked.as_ref()?, celery::options(shared)?);
    let soft = shared.shutdown.soft();
    // The stop is the command's to see: it gives back what was not begun.
    match soft.run_until_cancelled(Box::pin(asked.turn(options, shared.options.hold))).await {
        Some(Turn::Later { not_before }) => {
            return Some(Done { has_turn: true, ..Done::without_result(Happened::TooEarly { not_before }) });
        }
        Some(Turn::Never) => cancel.cancel(),
        Some(Turn::Now) if asked.is_revoked(shared) => {
            asked.revoke();
            cancel.cancel();
        }
        _ => {}
    }
    if let Some(entry) = &asked.entry {
        entry.start();
    }
    None
}

/// Replies, and settles when the broker has confirmed that.
async fn finish(shared: &Arc<Shared>, taken: Box<Taken>, done: Done) {
    let received = taken.delivery.received.instant;
    let (reply, mut end) = settle(done.happened, is_heard(shared, &taken));
    let mut detail = done.detail;
    if let (Some(claim), Some(status)) = (done.claim, done.status) {
        // Before anybody hears it: who asks again must not be told less.
        claim.finish(!done.not_reached, status, done.result.as_deref()).await;
    }
    let ended = done.ended.as_deref();
    if let Some(result) = done.result.as_deref().filter(|_| reply == Reply::Send || ended.is_some()) {
        let started = Instant::now();
        match tell(shared, &taken, ended, result).await {
            Ok(()) => {}
            // Ours, not the reply queue's: the next worker answers.
            Err(Untold::Closed) => (_, end) = settle(Happened::Interrupted, true),
            Err(Untold::Failed(why)) => {
                detail = why;
                (_, end) = settle(Happened::Unanswerable, true);
            }
        }
        metrics().stage(Stage::Reply, started.elapsed());
    }
    if let Some(running) = done.running {
        running.finish(match done.result {
            None => End::Nothing,
            Some(reply) if done.not_reached => End::NotReached(reply),
            Some(reply) => End::Reached(reply),
        });
    }
    let Taken { source, mut delivery, mode, room, asked, .. } = *taken;
    match end {
        Settle::Ack => delivery.receipt.ack(),
        Settle::DeadLetter(reason) => Box::pin(shared.outbox.dead_letter(delivery, reason, &detail)).await,
        Settle::Requeue => delivery.receipt.requeue(),
        Settle::GiveBack => {
            source.at_rest(shared.options.patience).await;
            Box::pin(shared.outbox.give_back(delivery)).await;
        }
        Settle::KeepApart => Box::pin(shared.outbox.keep_apart(delivery)).await,
        Settle::Count => Box::pin(shared.outbox.count(delivery)).await,
        Settle::Park { not_before } => {
            if done.has_turn {
                delivery.envelope.headers.set(TURN, Value::Bool(true));
            }
            Box::pin(shared.outbox.park(delivery, not_before)).await;
        }
        Settle::Leave => drop(delivery),
    }
    drop(room);
    if let Some(status) = done.status {
        let protocol = if asked.is_some() { Protocol::Celery } else { Protocol::Native };
        metrics().job_finished(protocol, mode, status, received.elapsed().as_secs_f64());
    }
    if let (Some(asked), Some(ended), Some(options)) = (asked, &done.ended, celery::options(shared)) {
        asked.end_in_book(options, &ended.end, received.elapsed());
    }
}

/// Whether anybody hears a result.
pub(super) fn is_heard(shared: &Shared, taken: &Taken) -> bool {
    match (&taken.asked, celery::options(shared)) {
        (Some(asked), Some(options)) => asked.is_heard(options),
        _ => reply_to(&taken.delivery).is_some(),
    }
}

fn reply_to(delivery: &Delivery) -> Option<&str> {
    delivery.envelope.reply_to.as_deref().filter(|queue| !queue.is_empty())
}

async fn tell(shared: &Shared, taken: &Taken, ended: Option<&Ended>, result: &Envelope) -> Result<(), Untold> {
    if let (Some(asked), Some(options)) = (&taken.asked, celery::options(shared)) {
        return Box::pin(follow::tell(&shared.outbox, options, asked, ended, result)).await;
    }
    let Some(reply_to) = reply_to(&taken.delivery) else { return Ok(()) };
    match shared.outbox.reply(reply_to, result.clone()).await {
        Ok(_) => Ok(()),
        Err(PublishError::Closed) => Err(Untold::Closed),
        Err(error) => Err(Untold::Failed(format!("its reply cannot be delivered to {reply_to:?}: {error}"))),
    }
}

/// Waits for a job's time, if that is near; `None` if it is not, or if the worker stops first.
async fn wait_here(shared: &Shared, taken: &Taken, not_before: u64) -> Option<()> {
    let wait = hold(not_before, Now::read(), shared.options.hold)?;
    let entry = taken.asked.as_ref().and_then(|asked| asked.entry.as_ref());
    let terminated = async {
        match entry {
            Some(entry) => {
                entry.schedule();
                entry.terminated().cancelled().await;
            }
            None => pending().await,
        }
    };
    tokio::select! {
        // A millisecond more: the wall clock must have passed the instant, not merely reached it.
        () = sleep(wait + Duration::from_millis(1)) => Some(()),
        // It is looked at again, and found revoked.
        () = terminated => Some(()),
        () = shared.shutdown.soft().cancelled_owned() => None,
    }
}

/// Waits, in turn, for room for the devices of a bulk; `None` if the worker stops first.
async fn room(shared: &Shared, devices: u32) -> Option<OwnedSemaphorePermit> {
    let free = shared.bulk_room.clone().acquire_many_owned(devices);
    shared.shutdown.soft().run_until_cancelled_owned(free).await?.ok()
}

/// What publishes the answer that comes after its command was given up; nobody may listen, but it is no stranger's message.
pub(super) fn late_handler(shared: &Arc<Shared>, taken: &Taken, device: &Arc<str>) -> LateHandler {
    // To a Celery client the first result is final: one more would wait in its queue for nobody.
    let Some(reply_to) = reply_to(&taken.delivery).filter(|_| taken.asked.is_none()) else { return Box::new(drop) };
    let reply_to: Arc<str> = reply_to.into();
    let (outbox, origin, device) = (shared.outbox.clone(), taken.origin.clone(), device.clone());
    let (received, queued) = (taken.delivery.received.instant, taken.queued);
    Box::new(move |outcome: Outcome| {
        let timing =
            Timing { queued, waiting: outcome.waiting, device: outcome.device, total: queued + received.elapsed() };
        outbox.reply_late(reply_to, native::result(&origin, &device, &outcome, &timing));
    })
}

/// The grace of a stop was over while the device had not answered.
pub(super) fn stopped() -> Outcome {
    let message = "the worker was stopped while it waited for the device's answer; the device may have acted";
    Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new("stopped", message)))
}

/// One job under way, in the gauge until dropped.
pub(super) struct InFlight;

impl InFlight {
    pub(super) fn count() -> Self {
        metrics().job_started();
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics().job_ended();
    }
}

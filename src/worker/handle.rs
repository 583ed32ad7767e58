//! One delivery from first byte to ack; reading [`handle`] is reading the way of a job.

use super::Shared;
use super::admission::hold;
use super::claimed::{self, Claimant, Ran};
use super::intake::{self, Running, Taken, What};
use super::many;
use super::quarantine::Course;
use super::recent::End;
use super::settlement::{Happened, Reply, Settle, settle};
use crate::amqp::PublishError;
use crate::claims::Claim;
use crate::commander::{Begun, LateHandler, NotStarted};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::job::Guarantee;
use crate::metrics::{Protocol, Stage, metrics};
use crate::outcome::{Executed, Failure, Outcome, Status};
use crate::wire::native::{self, Origin, Timing};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

/// What came of a job, and the message that says so.
struct Done {
    happened: Happened,
    result: Option<Arc<Envelope>>,
    status: Option<Status>,
    /// Whether the device surely did not get it.
    not_reached: bool,
    running: Option<Running>,
    /// Where it is to be written down before it is said.
    claim: Option<Claim>,
    detail: String,
}

/// Decoded and admitted already; from here: command, answer, outcome, reply confirmed, ack.
pub(super) async fn handle(shared: &Arc<Shared>, mut taken: Taken) {
    let _counted = InFlight::count();
    loop {
        let done = match std::mem::replace(&mut taken.what, What::Answer(Box::new(stopped()))) {
            What::Later { not_before } => match wait_here(shared, not_before).await {
                Some(()) => {
                    taken = intake::take(shared, &taken.source, taken.delivery, None);
                    continue;
                }
                None => Done::without_result(if shared.shutdown.soft().is_cancelled() {
                    Happened::NotStarted
                } else {
                    Happened::TooEarly { not_before }
                }),
            },
            What::NoRoom { devices } => match room(shared, devices).await {
                Some(room) => {
                    taken = intake::take(shared, &taken.source, taken.delivery, Some(room));
                    continue;
                }
                None => Done::without_result(Happened::NotStarted),
            },
            What::Join(heard) => match heard.await {
                Ok(Some(reply)) => Done::repeated(reply, &taken.origin),
                // The first one did nothing to the device: this one may.
                _ => {
                    taken = intake::take(shared, &taken.source, taken.delivery, None);
                    continue;
                }
            },
            what => match done(shared, &taken, what).await {
                Some(done) => done,
                // Somebody else had it and has let go of it.
                None => {
                    taken = intake::take(shared, &taken.source, taken.delivery, None);
                    continue;
                }
            },
        };
        return finish(shared, taken, done).await;
    }
}

/// Runs a job; a panic of ours costs this job alone. `None` if it is to be looked at anew.
async fn done(shared: &Arc<Shared>, taken: &Taken, what: What) -> Option<Done> {
    let run = async {
        Some(match what {
            What::Undecodable(failure) => Done::undecodable(taken, failure),
            What::Answer(outcome) => Done::outcome(taken, *outcome, None),
            What::Reused(failure) => {
                Done::outcome(taken, Outcome::not_sent(Status::Invalid, failure), None).under_another_id()
            }
            What::Unserved => Done {
                detail: "Celery tasks are not served by this version".to_owned(),
                ..Done::without_result(Happened::Unserved)
            },
            What::Course(course) => Done::unread(taken, course),
            What::Repeat(reply) => Done::repeated(reply, &taken.origin),
            What::Run { begun, claimant, guarantee, running } => {
                return run_one(shared, taken, (begun, claimant), guarantee, running).await;
            }
            What::RunBulk { job, bulk, running } => match many::run(shared, taken, job, bulk, running).await {
                many::Ended::Summary(summary, running) => {
                    let result = native::summary(&taken.origin, &summary);
                    Done { status: Some(Status::Succeeded), ..Done::with(Happened::Outcome, result, Some(running)) }
                }
                // The rest is a message of its own by now, and its summary will count what was done here.
                many::Ended::Continued => Done::without_result(Happened::Continued),
                many::Ended::Lost => Done::without_result(Happened::Lost),
            },
            What::AnswerAll { bulk, outcome, running } => {
                let summary = many::answer_all(shared, taken, bulk, &outcome).await;
                Done {
                    status: Some(outcome.status),
                    not_reached: outcome.executed == Executed::No,
                    ..Done::with(Happened::Outcome, native::summary(&taken.origin, &summary), Some(running))
                }
            }
            What::Later { .. } | What::Join(_) | What::NoRoom { .. } => Done::without_result(Happened::NotStarted),
        })
    };
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(job_id = &*taken.origin.id, "a job made the worker panic; only this job is affected");
        let failure = Failure::new("internal", "the worker failed on this job; the device may have acted");
        let outcome = Outcome::new(Status::Unknown, Executed::Unknown, Some(failure));
        Some(Done { happened: Happened::Panicked, ..Done::outcome(taken, outcome, None) })
    })
}

async fn run_one(
    shared: &Arc<Shared>,
    taken: &Taken,
    (begun, claimant): (Begun, Option<Arc<Claimant>>),
    guarantee: Guarantee,
    running: Running,
) -> Option<Done> {
    let hard = shared.shutdown.hard();
    let ran = tokio::select! {
        biased;
        ran = claimed::run(shared, claimant.as_deref(), begun, || late_handler(shared, taken, &taken.device)) => ran,
        () = hard.cancelled() => match guarantee {
            Guarantee::AtMostOnce => Ran::Outcome(stopped(), claimant.and_then(|claimant| claimant.take())),
            // Perhaps at the device already: not as if nobody had begun it.
            Guarantee::AtLeastOnce => return Some(Done::without_result(Happened::Interrupted)),
        },
    };
    Some(match ran {
        Ran::Outcome(outcome, claim) => Done { claim, ..Done::outcome(taken, outcome, Some(running)) },
        Ran::Repeat(reply, status) => {
            // A "no" that is said again must not keep a new submission from being tried.
            let running = (!status.is_certain_no()).then_some(running);
            Done { running, ..Done::repeated(reply, &taken.origin) }
        }
        Ran::Unsaid(status) => Done::outcome(taken, claimed::unsaid(status), Some(running)),
        Ran::NotStarted(NotStarted::Revoked) => Done::without_result(Happened::Lost),
        Ran::NotStarted(NotStarted::Closed | NotStarted::Denied) => Done::without_result(Happened::NotStarted),
        Ran::Again => return None,
    })
}

/// Replies, and settles when the broker has confirmed that.
async fn finish(shared: &Arc<Shared>, taken: Taken, done: Done) {
    let Taken { source, delivery, mode, room, .. } = taken;
    let received = delivery.received.instant;
    let reply_to = delivery.envelope.reply_to.clone().filter(|queue| !queue.is_empty());
    let (reply, mut end) = settle(done.happened, reply_to.is_some());
    let mut detail = done.detail;
    if let (Some(claim), Some(status)) = (done.claim, done.status) {
        // Before anybody hears it: who asks again must not be told less.
        claim.finish(!done.not_reached, status, done.result.as_deref()).await;
    }
    if let (Reply::Send, Some(reply_to), Some(result)) = (reply, &reply_to, &done.result) {
        let started = Instant::now();
        match shared.outbox.reply(reply_to, Envelope::clone(result)).await {
            Ok(()) => {}
            // Ours, not the reply queue's: the next worker answers.
            Err(PublishError::Closed) => (_, end) = settle(Happened::Interrupted, true),
            Err(error) => {
                detail = format!("its reply cannot be delivered to {reply_to:?}: {error}");
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
    match end {
        Settle::Ack => delivery.receipt.ack(),
        Settle::DeadLetter(reason) => shared.outbox.dead_letter(delivery, reason, &detail).await,
        Settle::Requeue => delivery.receipt.requeue(),
        Settle::GiveBack => {
            source.at_rest(shared.options.patience).await;
            shared.outbox.give_back(delivery).await;
        }
        Settle::KeepApart => shared.outbox.keep_apart(delivery).await,
        Settle::Count => shared.outbox.count(delivery).await,
        Settle::Park { not_before } => shared.outbox.park(delivery, not_before).await,
        Settle::Leave => drop(delivery),
    }
    drop(room);
    if let Some(status) = done.status {
        metrics().job_finished(Protocol::Native, mode, status, received.elapsed().as_secs_f64());
    }
}

/// Waits for a job's time, if that is near; `None` if it is not, or if the worker stops first.
async fn wait_here(shared: &Shared, not_before: u64) -> Option<()> {
    let wait = hold(not_before, Now::read(), shared.options.hold)?;
    tokio::select! {
        // A millisecond more: the wall clock must have passed the instant, not merely reached it.
        () = sleep(wait + Duration::from_millis(1)) => Some(()),
        () = shared.shutdown.soft().cancelled_owned() => None,
    }
}

/// Waits, in turn, for room for the devices of a bulk; `None` if the worker stops first.
async fn room(shared: &Shared, devices: u32) -> Option<OwnedSemaphorePermit> {
    let free = shared.bulk_room.clone().acquire_many_owned(devices);
    shared.shutdown.soft().run_until_cancelled_owned(free).await?.ok()
}

/// What publishes the answer that comes after its command was given up; nothing where nobody listens.
pub(super) fn late_handler(shared: &Arc<Shared>, taken: &Taken, device: &Arc<str>) -> Option<LateHandler> {
    let reply_to: Arc<str> = taken.delivery.envelope.reply_to.as_deref().filter(|queue| !queue.is_empty())?.into();
    let (outbox, origin, device) = (shared.outbox.clone(), taken.origin.clone(), device.clone());
    let (received, queued) = (taken.delivery.received.instant, taken.queued);
    Some(Box::new(move |outcome: Outcome| {
        let timing =
            Timing { queued, waiting: outcome.waiting, device: outcome.device, total: queued + received.elapsed() };
        outbox.reply_late(reply_to, native::result(&origin, &device, &outcome, &timing));
    }))
}

/// The grace of a stop was over while the device had not answered.
fn stopped() -> Outcome {
    let message = "the worker was stopped while it waited for the device's answer; the device may have acted";
    Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new("stopped", message)))
}

impl Done {
    fn with(happened: Happened, result: Envelope, running: Option<Running>) -> Self {
        let result = Some(Arc::new(result));
        Self { happened, result, status: None, not_reached: false, running, claim: None, detail: String::new() }
    }

    fn without_result(happened: Happened) -> Self {
        Self {
            happened,
            result: None,
            status: None,
            not_reached: false,
            running: None,
            claim: None,
            detail: String::new(),
        }
    }

    fn outcome(taken: &Taken, outcome: Outcome, running: Option<Running>) -> Self {
        let total = taken.queued + taken.delivery.received.instant.elapsed();
        let timing = Timing { queued: taken.queued, waiting: outcome.waiting, device: outcome.device, total };
        let result = native::result(&taken.origin, &taken.device, &outcome, &timing);
        let (job_id, device, command) = (&*taken.origin.id, &*taken.device, &*taken.origin.command);
        match &outcome.failure {
            None => tracing::debug!(job_id, device, command, status = outcome.status.as_str(), "done"),
            Some(failure) => {
                let (status, code) = (outcome.status.as_str(), &*failure.code);
                tracing::info!(job_id, device, command, status, code, "not succeeded: {}", failure.message);
            }
        }
        // A job that its profile cannot carry is as wrong as one that cannot be read, and nobody must lose it unseen.
        let happened = if outcome.status == Status::Invalid { Happened::Undecodable } else { Happened::Outcome };
        let detail = outcome.failure.map(|failure| failure.message).unwrap_or_default();
        let (status, not_reached) = (Some(outcome.status), outcome.executed == Executed::No);
        Self { status, not_reached, detail, ..Self::with(happened, result, running) }
    }

    /// The result's `message_id` is made from the job's id, and here that belongs to another job.
    fn under_another_id(mut self) -> Self {
        if let Some(result) = self.result.as_mut().and_then(Arc::get_mut) {
            result.message_id = Some(ulid::Ulid::generate().to_string());
        }
        self
    }

    /// What lost its workers before is not looked into.
    fn unread(taken: &Taken, course: Course) -> Self {
        let lost = taken.delivery.delivery_count.unwrap_or(0);
        let detail = format!("it was delivered {lost} times by itself, and no worker lived to settle it");
        match course {
            Course::GiveUp => Self { detail, ..Self::without_result(Happened::Poison) },
            Course::Count => Self::without_result(Happened::Uncounted),
            Course::KeepApart | Course::Take => Self::without_result(Happened::Suspect),
        }
    }

    fn undecodable(taken: &Taken, failure: Failure) -> Self {
        Self::outcome(taken, Outcome::not_sent(Status::Invalid, failure), None)
    }

    /// The same result to whoever asked again, under their own correlation.
    fn repeated(reply: Arc<Envelope>, origin: &Origin) -> Self {
        let mut result = Envelope::clone(&reply);
        result.correlation_id = Some(origin.correlation_id.clone());
        Self::with(Happened::Outcome, result, None)
    }
}

/// One job under way, in the gauge until dropped.
struct InFlight;

impl InFlight {
    fn count() -> Self {
        metrics().job_started();
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics().job_ended();
    }
}

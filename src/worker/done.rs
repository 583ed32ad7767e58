//! What came of a delivery: the message that says so, and what else is to be done about it.

use super::Shared;
use super::admission::unfit;
use super::celery::{self, Ended};
use super::handle::is_heard;
use super::intake::{Taken, command_of};
use super::quarantine::Course;
use super::running::Running;
use super::settlement::Happened;
use crate::amqp::Delivery;
use crate::bulk::TALLY;
use crate::claims::Claim;
use crate::commander::Command;
use crate::envelope::Envelope;
use crate::job::{Bulk, Job, Target};
use crate::outcome::{Executed, Outcome, Status};
use crate::wire::celery::{About, End, Exception, named, summary_end};
use crate::wire::native::{self, Summary, Timing};
use std::sync::Arc;

/// What came of a job, and the message that says so.
pub(super) struct Done {
    pub(super) happened: Happened,
    pub(super) result: Option<Arc<Envelope>>,
    pub(super) status: Option<Status>,
    /// Whether the device surely did not get it.
    pub(super) not_reached: bool,
    pub(super) running: Option<Running>,
    /// Where it is to be written down before it is said.
    pub(super) claim: Option<Claim>,
    /// The end of a Celery task, and what follows on it; none where that was seen to before.
    pub(super) ended: Option<Box<Ended>>,
    /// It goes back for a while, and need not ask for its turn again.
    pub(super) has_turn: bool,
    pub(super) detail: String,
}

impl Done {
    fn with(happened: Happened, result: Envelope, running: Option<Running>) -> Self {
        let result = Some(Arc::new(result));
        Self { result, running, ..Self::without_result(happened) }
    }

    pub(super) fn without_result(happened: Happened) -> Self {
        Self {
            happened,
            result: None,
            status: None,
            not_reached: false,
            running: None,
            claim: None,
            ended: None,
            has_turn: false,
            detail: String::new(),
        }
    }

    pub(super) fn outcome(shared: &Shared, taken: &Taken, outcome: Outcome, running: Option<Running>) -> Self {
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
        let (status, not_reached) = (Some(outcome.status), outcome.executed == Executed::No);
        let done = match &taken.asked {
            None => {
                let total = taken.queued + taken.delivery.received.instant.elapsed();
                let timing = Timing { queued: taken.queued, waiting: outcome.waiting, device: outcome.device, total };
                Self::with(happened, native::result(&taken.origin, &taken.device, &outcome, &timing), running)
            }
            Some(asked) => {
                let about = About { id: &taken.origin.id, device: &taken.device, command: &taken.origin.command };
                let end = celery::options(shared).map(|options| asked.end(options, &outcome, &about));
                Self::ended(shared, taken, happened, end, running)
            }
        };
        let detail = outcome.failure.map(|failure| failure.message).unwrap_or_default();
        Self { status, not_reached, detail, ..done }
    }

    /// The end of a Celery task, which is told as that.
    fn ended(shared: &Shared, taken: &Taken, happened: Happened, end: Option<End>, running: Option<Running>) -> Self {
        let (Some(asked), Some(options), Some(end)) = (&taken.asked, celery::options(shared), end) else {
            return Self::without_result(Happened::Unserved);
        };
        let (ended, result) = asked.ended(options, end);
        Self { ended: Some(Box::new(ended)), ..Self::with(happened, result, running) }
    }

    /// A Celery task that cannot be read, or asks for what is not served.
    pub(super) fn refused(shared: &Shared, taken: &Taken, exception: Exception) -> Self {
        let detail = exception.to_string();
        let [device, command] = named(&exception);
        tracing::info!(job_id = &*taken.origin.id, task = &*taken.origin.command, device, command, "refused: {detail}");
        let end = Some(End::Failure(exception));
        let status = Some(Status::Invalid);
        Self { status, not_reached: true, detail, ..Self::ended(shared, taken, Happened::Undecodable, end, None) }
    }

    /// The end of a bulk.
    pub(super) fn summary(shared: &Shared, taken: &Taken, summary: &Summary, running: Option<Running>) -> Self {
        let done = match &taken.asked {
            None => Self::with(Happened::Outcome, native::summary(&taken.origin, summary), running),
            Some(asked) => {
                let told = || summary_end(&taken.origin.id, &taken.origin.command, summary);
                let end = asked.stopped().unwrap_or_else(told);
                Self::ended(shared, taken, Happened::Outcome, Some(end), running)
            }
        };
        Self { status: Some(Status::Succeeded), ..done }
    }

    /// The result's `message_id` is made from the job's id, and here that belongs to another job.
    pub(super) fn under_another_id(mut self) -> Self {
        if let Some(result) = self.result.as_mut().and_then(Arc::get_mut) {
            result.message_id = Some(ulid::Ulid::generate().to_string());
        }
        self
    }

    /// What lost its workers before is not looked into.
    pub(super) fn unread(taken: &Taken, course: Course) -> Self {
        let lost = taken.delivery.delivery_count.unwrap_or(0);
        let detail = format!("it was delivered {lost} times by itself, and no worker lived to settle it");
        match course {
            Course::GiveUp => Self { detail, ..Self::without_result(Happened::Poison) },
            Course::Count => Self::without_result(Happened::Uncounted),
            Course::KeepApart | Course::Take => Self::without_result(Happened::Suspect),
        }
    }

    /// The same result to whoever asked again.
    pub(super) fn repeated(reply: Arc<Envelope>, taken: &Taken) -> Self {
        Self::with(Happened::Outcome, said_again(&reply, taken), None)
    }

    /// The same, where whoever said it may not have lived to see to what follows on it.
    pub(super) fn said_elsewhere(shared: &Shared, taken: &Taken, reply: Arc<Envelope>) -> Self {
        let ended = match (&taken.asked, celery::options(shared)) {
            (Some(asked), Some(options)) => asked.ended_before(options, &reply).map(Box::new),
            _ => None,
        };
        Self { ended, ..Self::repeated(reply, taken) }
    }
}

/// What is said of a bulk that can be carried to none of its devices, where nobody hears of each: it is as wrong as a job for one
/// device would be, and nobody must lose it unseen. What was delivered or worked on before is not wrong as a whole.
pub(super) fn misfit(shared: &Shared, taken: &Taken, job: &Job, bulk: &Bulk) -> Option<Outcome> {
    let is_begun = taken.delivery.redelivered || taken.delivery.envelope.headers.get(TALLY).is_some();
    if is_begun || is_heard(shared, taken) {
        return None;
    }
    let of = |target: &Target| {
        let payload = target.payload.clone().unwrap_or_else(|| job.payload.clone());
        shared.commander.misfit(&Command { device: target.device.clone(), payload, ..command_of(job) })
    };
    let (first, others) = bulk.targets.split_first()?;
    let failure = of(first)?;
    others.iter().all(|target| of(target).is_some()).then(|| unfit(failure, false))
}

/// The same result to whoever asked again, under their own correlation.
///
/// The first time that a delivery comes back, whoever said this had it before; after that perhaps somebody else, who may have run it.
pub(super) fn said_again(reply: &Envelope, taken: &Taken) -> Envelope {
    let result = Envelope { correlation_id: Some(taken.origin.correlation_id.clone()), ..reply.clone() };
    let Delivery { redelivered, delivery_count, .. } = taken.delivery;
    match redelivered && delivery_count.is_none_or(|count| count > 1) {
        true => native::redelivered(result),
        false => result,
    }
}

//! What a delivery is, decided at once and in the order of the deliveries: decoded, looked up, admitted, in its lane.

use super::admission::{Admission, admit, called_off, unfit};
use super::celery::{self, Asked};
use super::claimed::{Asks, Claimant};
use super::quarantine::{self, Course};
use super::recent::{Recall, Reply};
use super::running::Running;
use super::spread;
use super::{Dialect, Kind, Shared, Source};
use crate::amqp::{Delivery, Hold};
use crate::bulk::{TALLY, Tally};
use crate::claims::Subject;
use crate::commander::{Begun, Command, Permit};
use crate::deadline::Now;
use crate::job::{Bulk, Guarantee, Job, Mode, Targets};
use crate::metrics::{Stage, metrics};
use crate::node::Via;
use crate::outcome::{Failure, Outcome};
use crate::table;
use crate::wire;
use crate::wire::celery::{Exception, Refusal};
use crate::wire::native::{self, Origin};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A delivery and what is to be done about it.
pub(crate) struct Taken {
    pub(crate) source: Arc<Source>,
    pub(crate) delivery: Delivery,
    pub(crate) origin: Origin,
    /// The device that results name; empty where the job names none that can be read.
    pub(crate) device: Arc<str>,
    pub(crate) mode: Mode,
    /// How long it waited in the queue, as far as its message says.
    pub(crate) queued: Duration,
    pub(crate) what: What,
    /// What a bulk has of the room for devices.
    pub(crate) room: Option<OwnedSemaphorePermit>,
    /// Who asked, where a Celery client did.
    pub(crate) asked: Option<Box<Asked>>,
}

/// What is kept of a delivery that is looked at once more.
#[derive(Default)]
pub(crate) struct Again {
    /// For the devices of a bulk that had to wait for it.
    pub(crate) room: Option<OwnedSemaphorePermit>,
    /// The task, which is not read twice.
    pub(crate) asked: Option<Box<Asked>>,
    /// Whether it is to be run here whatever its size: its coordinator cannot get it.
    pub(crate) stay: bool,
}

/// What is to be done about a delivery.
pub(crate) enum What {
    /// Say what became of it.
    Answer(Box<Outcome>),
    /// It is no job; say what is wrong. On the heap, as all that is large and rare: every command waits with the place for it.
    Undecodable(Box<Failure>),
    /// Run the command.
    Run { begun: Box<Begun>, claimant: Option<Arc<Claimant>>, guarantee: Guarantee, running: Running },
    /// Run the command on many devices.
    RunBulk { job: Box<Job>, bulk: Box<Bulk>, running: Running },
    /// Hand the command over to the bulk's coordinator.
    HandOver { job: Box<Job>, running: Running },
    /// Every device has its outcome: say what came of them.
    Tell(Box<Tally>),
    /// It is a Celery task that cannot be read or is not served; say so.
    Refused(Box<Exception>),
    /// It is a Celery task, and none are taken here.
    Unserved,
    /// It lost too many workers to be taken among others, or at all.
    Course(Course),
    /// Its id is another job's; say so, but not as if it were that job's result.
    Reused(Box<Failure>),
    /// Say of every device what became of it.
    AnswerAll { bulk: Box<Bulk>, outcome: Box<Outcome>, running: Running },
    /// Wait until its time comes, here or in the broker, and look again.
    Later { not_before: u64 },
    /// Wait until there is room for so many devices, and look again.
    NoRoom { devices: u32 },
    /// Say again what was said before.
    Repeat(Reply),
    /// Hear what becomes of the same job, which is being run here.
    Join(oneshot::Receiver<Option<Reply>>),
    /// It is being done.
    Begun,
}

/// Looks at a delivery; nothing here waits.
pub(crate) fn take(shared: &Arc<Shared>, source: &Arc<Source>, mut delivery: Delivery, again: Again) -> Taken {
    if delivery.redelivered {
        metrics().redelivery();
    }
    let carried = quarantine::carried(&delivery.envelope);
    let apart = source.kind == Kind::Apart;
    let course = quarantine::course(delivery.delivery_count, carried, delivery.redelivered, apart);
    // A copy of what was delivered before is no fresh job, although the broker takes it for one.
    delivery.redelivered |= carried > 0;
    // Before anything looks into it: that may be what kills.
    if course != Course::Take {
        return Taken::unread(shared, source, delivery, What::Course(course));
    }
    if again.asked.is_some() || wire::celery::is_task(&delivery.envelope) {
        return take_task(shared, source, delivery, again);
    }
    native::lives_from(&mut delivery.envelope, delivery.received.unix_ms);
    match native::decode(&delivery.envelope, &limits(shared, &delivery)) {
        Ok(job) => {
            let origin = origin(shared, &delivery, job.id.clone(), job.command.clone());
            take_job(shared, source, delivery, (origin, job), again)
        }
        // Nothing in it says whose it is, but for the queue it came by.
        Err(wrong) if source.dialect == Dialect::Celery && wrong.device.is_none() && wrong.command.is_none() => {
            take_task(shared, source, delivery, again)
        }
        Err(wrong) => {
            // A requester knows repeated answers by what is made of it: two wrong jobs must not share one.
            let id = wrong.id.unwrap_or_else(native::made_id);
            let origin = origin(shared, &delivery, id, wrong.command.unwrap_or_else(|| "".into()));
            let device = wrong.device.unwrap_or_else(|| "".into());
            Taken {
                origin,
                device,
                ..Taken::unread(shared, source, delivery, What::Undecodable(Box::new(wrong.failure)))
            }
        }
    }
}

fn take_task(shared: &Arc<Shared>, source: &Arc<Source>, delivery: Delivery, again: Again) -> Taken {
    let Some(options) = celery::options(shared) else {
        return Taken::unread(shared, source, delivery, What::Unserved);
    };
    let asked = again.asked.map_or_else(|| ask(options, &delivery), Ok);
    let (asked, read) = match asked {
        Ok(asked) => {
            let read = asked.read(options, &limits(shared, &delivery));
            (asked, read)
        }
        Err(refusal) => (Box::new(Asked::refused(refusal.head)), Err(refusal.exception)),
    };
    let head = &asked.head;
    let origin = Origin {
        id: head.id.clone(),
        command: head.name.clone(),
        correlation_id: head.correlation_id.clone(),
        worker: shared.options.name.clone(),
        redelivered: delivery.redelivered,
    };
    match read {
        Err(exception) => {
            let asked = Some(asked);
            Taken { origin, asked, ..Taken::unread(shared, source, delivery, What::Refused(Box::new(exception))) }
        }
        Ok(job) => {
            let origin = Origin { command: job.command.clone(), ..origin };
            take_job(shared, source, delivery, (origin, job), Again { asked: Some(asked), ..again })
        }
    }
}

/// Reads a task, and enters it in the book of what is under way.
fn ask(options: &celery::Options, delivery: &Delivery) -> Result<Box<Asked>, Box<Refusal>> {
    let task = Arc::new(wire::celery::decode(&delivery.envelope, &options.bounds)?);
    let via = Via {
        exchange: delivery.exchange.clone(),
        routing_key: wire::celery::routing_key(&delivery.routing_key).to_owned(),
        redelivered: delivery.redelivered,
        priority: delivery.envelope.priority,
        acknowledged: false,
    };
    let entry = options.book.receive(&task, via);
    Ok(Box::new(Asked::task(task, entry, &delivery.envelope)))
}

/// Only what tells the end of a bulk may have no devices left, and only what is left of one may name a device again: earlier
/// versions counted it as often.
fn limits(shared: &Shared, delivery: &Delivery) -> native::Limits {
    let repeats = delivery.envelope.headers.get(TALLY).is_some();
    native::Limits { no_devices: complete(delivery).is_some(), repeats, ..shared.options.limits }
}

/// The tally of a bulk whose devices have all been seen to.
fn complete(delivery: &Delivery) -> Option<Tally> {
    Tally::carried(&delivery.envelope).filter(Tally::is_complete)
}

impl Taken {
    /// One of which nothing is known but what is to be done.
    pub(super) fn unread(shared: &Shared, source: &Arc<Source>, delivery: Delivery, what: What) -> Self {
        let origin = origin(shared, &delivery, "".into(), "".into());
        let (source, mode, queued) = (source.clone(), Mode::Request, Duration::ZERO);
        Self { source, delivery, origin, device: "".into(), mode, queued, what, room: None, asked: None }
    }
}

pub(super) fn origin(shared: &Shared, delivery: &Delivery, id: Arc<str>, command: Arc<str>) -> Origin {
    let correlation_id = delivery.envelope.correlation_id.clone().unwrap_or_else(|| id.to_string());
    Origin { id, command, correlation_id, worker: shared.options.name.clone(), redelivered: delivery.redelivered }
}

fn take_job(
    shared: &Arc<Shared>,
    source: &Arc<Source>,
    delivery: Delivery,
    (origin, job): (Origin, Job),
    Again { mut room, asked, stay }: Again,
) -> Taken {
    let received = delivery.received;
    let queued = job.enqueued_at.map(|at| Duration::from_millis(received.unix_ms.saturating_sub(at)));
    // Of a job that does not say when it was made, and no task does, nobody knows it.
    if let Some(queued) = queued {
        metrics().stage(Stage::Queued, queued);
    }
    let device = match &job.targets {
        Targets::One(device) => device.clone(),
        Targets::Many(_) => "".into(),
    };
    let mode = job.mode;
    let is_revoked = asked.as_ref().is_some_and(|asked| asked.is_revoked(shared));
    let nobody_left = matches!(&job.targets, Targets::Many(bulk) if bulk.targets.is_empty());
    let what = match complete(&delivery).filter(|_| nobody_left) {
        // What happened is said whatever happened since.
        Some(tally) => What::Tell(Box::new(tally)),
        None if is_revoked => What::Answer(Box::new(called_off(delivery.redelivered))),
        None => {
            let spread = !stay && spread::is_for_all(shared, &delivery.envelope, &job, asked.as_deref());
            decide(shared, &delivery, job, (digest(&delivery, asked.is_some()), spread), &mut room)
        }
    };
    let (source, queued) = (source.clone(), queued.unwrap_or_default());
    Taken { source, delivery, origin, device, mode, queued, what, room, asked }
}

fn decide(
    shared: &Arc<Shared>,
    delivery: &Delivery,
    job: Job,
    (digest, spread): (u64, bool),
    room: &mut Option<OwnedSemaphorePermit>,
) -> What {
    let now = Now::read();
    let guarantee = shared.commander.guarantee(&job.profile, job.guarantee);
    // A job that waits for its time is not yet anything to remember.
    if let Some(not_before) = job.not_before.filter(|at| !now.is_past(*at))
        && !shared.cancels().is_cancelled(&job.id, job.enqueued_at)
    {
        return What::Later { not_before };
    }
    let limits = &shared.options.recent;
    let recall = shared.recent.lock().unwrap_or_else(PoisonError::into_inner).begin(
        &job.id,
        digest,
        delivery.redelivered,
        now.instant,
        limits,
    );
    match recall {
        Recall::Done(reply) => return What::Repeat(reply),
        Recall::Running(heard) => return What::Join(heard),
        Recall::Different => {
            let message = format!(
                "id: {:?} was used a moment ago for another command; every command has an id of its own",
                job.id
            );
            return What::Reused(Box::new(Failure::new("id_reused", message)));
        }
        Recall::New => {}
    }
    let running = Running::job(shared, &job.id, job.enqueued_at);
    // Whoever had it before may have handed it over: whatever there is to say, its coordinator says it.
    let was_spread = spread && delivery.redelivered;
    let is_cancelled = running.cancel().is_cancelled() && !was_spread;
    // A cancelled one needs no room to say so, and one that goes elsewhere none to go.
    if let (Targets::Many(bulk), None, false) = (&job.targets, &room, is_cancelled || spread) {
        // One that is larger than the whole room waits for all of it.
        let devices = bulk.targets.len().min(shared.options.bulk_devices);
        let devices = u32::try_from(devices).unwrap_or(u32::MAX);
        match shared.bulk_room.clone().try_acquire_many_owned(devices) {
            Ok(free) => *room = Some(free),
            // What was read of it is let go: only its message waits.
            Err(_) => return What::NoRoom { devices },
        }
    }
    let admission = match is_cancelled {
        true => Admission::Answer(Box::new(called_off(delivery.redelivered))),
        false if was_spread => Admission::Run,
        false => admit(&job, guarantee, delivery.redelivered, shared.options.claims.is_some(), now),
    };
    match admission {
        Admission::Answer(outcome) => match job.targets {
            Targets::One(_) => What::Answer(outcome),
            Targets::Many(bulk) => What::AnswerAll { bulk: Box::new(bulk), outcome, running },
        },
        Admission::Later { not_before } => What::Later { not_before },
        Admission::Run if spread => match spread::refusal(shared, &job) {
            Some(failure) if !was_spread => What::Answer(Box::new(unfit(failure, false))),
            _ => What::HandOver { job: Box::new(job), running },
        },
        Admission::Run => run(shared, delivery, job, guarantee, running),
    }
}

fn run(shared: &Arc<Shared>, delivery: &Delivery, mut job: Job, guarantee: Guarantee, running: Running) -> What {
    let template = Command { cancel: Some(running.cancel()), ..command(&job, guarantee, delivery) };
    match std::mem::replace(&mut job.targets, Targets::One("".into())) {
        Targets::Many(bulk) => What::RunBulk { job: Box::new(job), bulk: Box::new(bulk), running },
        Targets::One(device) => {
            shared.last_single.now();
            let subject = || Subject::single(job.id.clone());
            let claimant = claimant(shared, job.enqueued_at, guarantee, delivery, subject);
            let command = with_claim(Command { device, ..template }, claimant.as_ref());
            match shared.commander.begin(command, shared.shutdown.soft()) {
                Ok(begun) => What::Run { begun, claimant, guarantee, running },
                Err(failure) => What::Answer(Box::new(unfit(failure, delivery.redelivered))),
            }
        }
    }
}

/// Who claims a command of a job, where commands are claimed.
pub(crate) fn claimant(
    shared: &Shared,
    made_at: Option<u64>,
    guarantee: Guarantee,
    delivery: &Delivery,
    subject: impl FnOnce() -> Subject,
) -> Option<Arc<Claimant>> {
    let (log, hold) = (shared.options.claims.clone()?, delivery.receipt.hold());
    let asks = Asks { guarantee, redelivered: delivery.redelivered, apart: quarantine::is_apart(&delivery.queue) };
    Some(Arc::new(Claimant::new(log, hold, subject(), asks, made_at)))
}

/// The command of a job, to be given a device.
pub(crate) fn command(job: &Job, guarantee: Guarantee, delivery: &Delivery) -> Command {
    Command {
        guarantee: Some(guarantee),
        permit: Some(Arc::new(HoldPermit(delivery.receipt.hold()))),
        sent_before: delivery.redelivered,
        ..command_of(job)
    }
}

/// What a job says of its command.
pub(super) fn command_of(job: &Job) -> Command {
    Command {
        profile: job.profile.clone(),
        mode: job.mode,
        timeout: job.timeout,
        expires_at: job.expires_at,
        ..Command::with_id(job.id.clone(), "".into(), job.command.clone(), job.payload.clone())
    }
}

/// The same command, sent only with a claim.
pub(crate) fn with_claim(command: Command, claimant: Option<&Arc<Claimant>>) -> Command {
    let Some(claimant) = claimant else { return command };
    // With a claim of its own nobody else has sent it before; without one it is sent only where it may run twice.
    let sent_before = command.sent_before && command.guarantee == Some(Guarantee::AtLeastOnce);
    Command { permit: Some(claimant.clone()), sent_before, ..command }
}

/// A command may pass the point of no return only while its delivery is still ours.
struct HoldPermit(Hold);

impl Permit for HoldPermit {
    fn granted(&self) -> bool {
        self.0.is_current()
    }
}

/// Tells apart two commands with one id. A Celery task is its id: sent again as what follows on a task that ran twice, it
/// may have other arguments, and is the same task all the same.
fn digest(delivery: &Delivery, is_task: bool) -> u64 {
    if is_task { 0 } else { table::digest(&delivery.envelope.body) }
}

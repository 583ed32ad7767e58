//! What a coordinator says to others: to whoever asks, to whoever waits for the end, to devices that are not commanded. Pure.

use super::course::Course;
use super::known::Purpose;
use super::office::Office;
use super::plan::Plan;
use super::standing::Ended;
use crate::amqp::Address;
use crate::bulk::Tally;
use crate::envelope::Envelope;
use crate::outcome::{Failure, Outcome, Status};
use crate::wire::bulk::{self, End, Say, Stand, Start, Word};
use crate::wire::native::{self, FAILED_LISTED, Origin, Timing};
use std::sync::Arc;

/// What the devices of a release are told; nothing where they are commanded.
pub(super) fn said(course: &Course, purpose: Purpose) -> Option<Say> {
    let (status, code, message) = match purpose {
        Purpose::Run => return None,
        Purpose::TellUnknown => (
            Status::Unknown,
            "lost",
            "nobody can say whether the device was commanded: its worker or coordinator was lost",
        ),
        Purpose::GiveUp if course.known.cancelled => {
            (Status::Cancelled, "cancelled", "the bulk was cancelled before this device had its turn")
        }
        Purpose::GiveUp if course.known.aborted => {
            (Status::Cancelled, "aborted", "the bulk was aborted because too many devices failed")
        }
        Purpose::GiveUp => {
            (Status::Expired, "expired", "the time of the bulk was over before this device had its turn")
        }
    };
    Some(Say { status, code: code.to_owned(), message: message.to_owned() })
}

/// The tally of a bulk that has ended.
pub(super) fn tally(course: &Course, now: u64) -> Tally {
    let end = (course.known.aborted, course.known.cancelled);
    let counts = (course.plan.targets.len(), course.counts());
    Tally::of(counts, course.failed(FAILED_LISTED), (course.plan.at, now), end)
}

/// The same, from what is remembered of it.
pub(super) fn tally_of(ended: &Ended) -> Tally {
    let end = (ended.stand == Stand::Aborted, ended.stand == Stand::Cancelled);
    Tally::of((ended.counts.iter().sum(), ended.counts), ended.failed.clone(), (ended.began, ended.at), end)
}

/// The message that has a worker tell how a bulk ended, and where it goes.
pub(super) fn ending(end: &End, tally: &Tally) -> (Address, Envelope) {
    let mut envelope = end.message.clone().into_envelope();
    tally.carry(&mut envelope);
    (Address::queue(&*end.queue), envelope)
}

/// How a bulk stands.
pub(super) fn word(office: &Office, id: &Arc<str>, now: u64) -> Word {
    let nothing = Word {
        id: id.clone(),
        state: Stand::NotKnown,
        total: 0,
        counts: Default::default(),
        outstanding: 0,
        failed: Vec::new(),
        duration_ms: 0,
    };
    let named = |counts: [usize; Status::ALL.len()]| {
        Status::ALL.into_iter().zip(counts).map(|(status, count)| (status.as_str().to_owned(), count)).collect()
    };
    if let Some(bulk) = office.bulks.get(id) {
        let course = &bulk.course;
        return Word {
            state: course.stand(),
            total: course.plan.targets.len(),
            counts: named(course.counts()),
            outstanding: course.outstanding(),
            failed: course.failed(FAILED_LISTED),
            duration_ms: now.saturating_sub(course.plan.at),
            ..nothing
        };
    }
    match office.standing.ended.get(id) {
        None => nothing,
        Some(ended) => Word {
            state: ended.stand,
            total: ended.counts.iter().sum(),
            counts: named(ended.counts),
            failed: ended.failed.clone(),
            duration_ms: ended.at.saturating_sub(ended.began),
            ..nothing
        },
    }
}

/// As a message to whoever asked.
pub(super) fn answer(word: &Word) -> Envelope {
    bulk::json("word", word)
}

/// The answer to whoever wants another bulk under an id that is taken; nothing where nobody hears it.
pub(super) fn refusal(start: &Start, worker: &Arc<str>) -> Option<(Address, Envelope)> {
    let message = format!("id: {:?} is another bulk's; every job has an id of its own", start.id);
    tracing::warn!(job_id = &*start.id, "a bulk is refused: {message}");
    let reply_to = start.reply_to.clone()?;
    let origin = Origin {
        id: start.id.clone(),
        command: Plan::command_of(start),
        correlation_id: start.correlation_id.clone().unwrap_or_default(),
        worker: worker.clone(),
        redelivered: false,
    };
    let outcome = Outcome::not_sent(Status::Invalid, Failure::new("id_reused", message));
    let mut result = native::result(&origin, "", &outcome, &Timing::default());
    // Made from the id it would be the other bulk's.
    result.message_id = Some(ulid::Ulid::generate().to_string());
    Some((Address::queue(reply_to), result))
}

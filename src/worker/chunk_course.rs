//! What becomes of the devices of a chunk: a pure table, asked before anything is done about them.

use super::admission::{Admission, admit, called_off, perhaps_run, unsure};
use crate::deadline::Now;
use crate::job::{Guarantee, Job};
use crate::outcome::Outcome;
use crate::wire::bulk::Chunk;

/// Workers that a chunk may lose before its devices are given up.
const TRIES: u64 = 3;

/// What becomes of all devices of a chunk.
#[derive(Debug, PartialEq)]
pub(super) enum Course {
    /// They are commanded.
    Run,
    /// They are told this; nothing is sent.
    Say(Box<Outcome>),
    /// They are not begun, and released anew.
    Back,
    /// They are looked at again at this time: milliseconds since the Unix epoch.
    Later(u64),
}

/// What is known of a chunk besides what it says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The bulk is called off.
    pub(super) cancelled: bool,
    /// Somebody had it before.
    pub(super) redelivered: bool,
    /// How often.
    pub(super) lost: u64,
    /// Whether commands are claimed: then the log knows what became of each device.
    pub(super) claimed: bool,
}

/// The table.
pub(super) fn course(chunk: &Chunk, job: &Job, guarantee: Guarantee, seen: Seen, now: Now) -> Course {
    let say = |outcome| Course::Say(Box::new(outcome));
    if let Some(said) = &chunk.say {
        return say(if chunk.perhaps { unsure(said.outcome()) } else { said.outcome() });
    }
    if seen.cancelled {
        return say(called_off(seen.redelivered));
    }
    if seen.lost >= TRIES {
        let why = format!("it was delivered {} times before, and no worker lived to report it", seen.lost);
        return say(perhaps_run(&why));
    }
    // Nothing but its being delivered again says that its devices may have been commanded: they do not go back as if nobody had
    // begun them.
    let is_over = now.is_past(chunk.until) && !seen.redelivered;
    match admit(job, guarantee, seen.redelivered, seen.claimed, now) {
        Admission::Answer(outcome) => Course::Say(outcome),
        _ if is_over => Course::Back,
        Admission::Later { not_before } if not_before < chunk.until => Course::Later(not_before),
        Admission::Later { .. } => Course::Back,
        Admission::Run => Course::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Targets;
    use crate::outcome::{Executed, Status};
    use crate::wire::bulk::{Ranges, Say};
    use Guarantee::{AtLeastOnce, AtMostOnce};
    use std::time::Instant;

    const NOW: u64 = 1_000;

    fn chunk(until: u64) -> Chunk {
        Chunk { to: "q".into(), release: 1, at: Ranges::of(0, 1), until, say: None, part: None, perhaps: false }
    }

    fn job(expires_at: Option<u64>, not_before: Option<u64>) -> Job {
        Job { expires_at, not_before, ..Job::new("b", Targets::One("".into()), "c") }
    }

    fn of(chunk: &Chunk, job: &Job, guarantee: Guarantee, seen: Seen) -> Course {
        course(chunk, job, guarantee, seen, Now { instant: Instant::now(), unix_ms: NOW })
    }

    fn said(course: Course) -> (Status, Executed) {
        match course {
            Course::Say(outcome) => (outcome.status, outcome.executed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fresh_chunk_runs_in_its_time_and_goes_back_afterwards() {
        for guarantee in [AtMostOnce, AtLeastOnce] {
            let fresh = |chunk: &Chunk, job: &Job| of(chunk, job, guarantee, Seen::default());
            assert_eq!(fresh(&chunk(NOW + 1), &job(None, None)), Course::Run);
            assert_eq!(fresh(&chunk(NOW), &job(None, None)), Course::Back);
            assert_eq!(fresh(&chunk(NOW + 9), &job(None, Some(NOW + 5))), Course::Later(NOW + 5));
            assert_eq!(fresh(&chunk(NOW + 9), &job(None, Some(NOW + 9))), Course::Back);
            let expired = fresh(&chunk(NOW), &job(Some(NOW), None));
            assert_eq!(said(expired), (Status::Expired, Executed::No));
        }
    }

    #[test]
    fn one_that_somebody_had_is_unknown_or_runs_again_and_never_looks_as_if_nobody_had() {
        let seen = Seen { redelivered: true, lost: 1, ..Seen::default() };
        for until in [NOW - 1, NOW + 1] {
            let unknown = of(&chunk(until), &job(None, None), AtMostOnce, seen);
            assert_eq!(said(unknown), (Status::Unknown, Executed::Unknown));
            assert_eq!(of(&chunk(until), &job(None, None), AtLeastOnce, seen), Course::Run);
        }
        let lost = of(&chunk(NOW + 1), &job(None, None), AtLeastOnce, Seen { lost: TRIES, ..seen });
        assert_eq!(said(lost), (Status::Unknown, Executed::Unknown));
    }

    #[test]
    fn where_commands_are_claimed_the_log_is_asked_about_each_device() {
        let seen = Seen { redelivered: true, lost: 1, claimed: true, ..Seen::default() };
        for guarantee in [AtMostOnce, AtLeastOnce] {
            assert_eq!(of(&chunk(NOW + 1), &job(Some(NOW - 1), None), guarantee, seen), Course::Run);
            assert_eq!(
                of(&chunk(NOW), &job(None, None), guarantee, seen),
                Course::Run,
                "the log is asked as who had it"
            );
        }
    }

    #[test]
    fn what_is_to_be_said_is_said_before_all_else_and_then_a_cancel() {
        let say = Say { status: Status::Expired, code: "expired".into(), message: String::new() };
        let told = Chunk { say: Some(say), ..chunk(1) };
        for redelivered in [false, true] {
            let seen = Seen { cancelled: true, redelivered, lost: 9, claimed: false };
            assert_eq!(said(of(&told, &job(None, None), AtMostOnce, seen)), (Status::Expired, Executed::No));
            let executed = if redelivered { Executed::Unknown } else { Executed::No };
            assert_eq!(said(of(&chunk(1), &job(None, None), AtMostOnce, seen)), (Status::Cancelled, executed));
            let perhaps = Chunk { perhaps: true, ..told.clone() };
            assert_eq!(said(of(&perhaps, &job(None, None), AtLeastOnce, seen)), (Status::Expired, Executed::Unknown));
        }
    }
}

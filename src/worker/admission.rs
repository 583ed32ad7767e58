//! Whether a job may run: a pure table, asked before anything is done about it.

use crate::deadline::Now;
use crate::job::{Guarantee, Job};
use crate::outcome::{Executed, Failure, Outcome, Status};
use std::time::Duration;

/// What is to be done with a job.
#[derive(Debug, PartialEq)]
pub(crate) enum Admission {
    /// Run it.
    Run,
    /// Its time has not come.
    Later { not_before: u64 },
    /// Do not run it: this is what became of it.
    Answer(Box<Outcome>),
}

/// A delivery that somebody else may have begun is run again only where the job allows it: nothing in a message says how
/// far the other one got. Where commands are claimed, the log of the claims does, and is asked later.
pub(crate) fn admit(job: &Job, guarantee: Guarantee, redelivered: bool, claimed: bool, now: Now) -> Admission {
    if claimed {
        return when(job, now);
    }
    if redelivered && guarantee == Guarantee::AtMostOnce {
        return Admission::Answer(Box::new(perhaps_run("it was delivered before, to a worker that did not finish it")));
    }
    if job.expires_at.is_some_and(|at| now.is_past(at)) {
        return Admission::Answer(Box::new(match redelivered {
            true => perhaps_run("it expired after it was delivered to a worker that did not finish it"),
            false => Outcome::not_sent(
                Status::Expired,
                Failure::new("expired", "its expires_at had passed when it was taken from the queue"),
            ),
        }));
    }
    when(job, now)
}

fn when(job: &Job, now: Now) -> Admission {
    match job.not_before.filter(|at| !now.is_past(*at)) {
        Some(not_before) => Admission::Later { not_before },
        None => Admission::Run,
    }
}

/// Its requester called it off before it was taken here, whatever else may be said of it.
pub(crate) fn called_off(redelivered: bool) -> Outcome {
    match redelivered {
        false => {
            Outcome::not_sent(Status::Cancelled, Failure::new("cancelled", "it was cancelled before it was begun"))
        }
        true => {
            let message =
                "it was cancelled after it was delivered to a worker that did not finish it; the device may have acted";
            Outcome::new(Status::Cancelled, Executed::Unknown, Some(Failure::new("cancelled", message)))
        }
    }
}

/// This worker cannot carry the command to the device, for what is wrong with it. A worker that had it before may have known
/// better: profiles change from one configuration to the next, and while replicas are replaced there are two of them.
pub(crate) fn unfit(failure: Failure, redelivered: bool) -> Outcome {
    match redelivered {
        false => Outcome::not_sent(Status::Invalid, failure),
        true => unsure(Outcome::not_sent(Status::Unknown, failure)),
    }
}

/// An outcome of a command that another worker may have sent all the same: what would be "no" is not known.
pub(crate) fn unsure(outcome: Outcome) -> Outcome {
    let Outcome { executed: Executed::No, failure: Some(failure), .. } = outcome else { return outcome };
    let why = "a worker that did not finish it had it before, and the device may have acted";
    let failure = Failure { message: format!("{}; {why}", failure.message), ..failure };
    Outcome { executed: Executed::Unknown, failure: Some(failure), ..outcome }
}

/// Nobody can say how far a worker came that had the job before.
pub(crate) fn perhaps_run(why: &str) -> Outcome {
    let message = format!("{why}; the device may have acted");
    Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new("redelivered", message)))
}

/// How long a job is held here until its time comes; beyond that it waits in the broker.
pub(crate) fn hold(not_before: u64, now: Now, most: Duration) -> Option<Duration> {
    let wait = Duration::from_millis(not_before.saturating_sub(now.unix_ms));
    (wait <= most).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Targets;
    use std::time::Instant;

    fn job(expires_at: Option<u64>, not_before: Option<u64>) -> Job {
        Job { expires_at, not_before, ..Job::new("j", Targets::One("d".into()), "c") }
    }

    fn now() -> Now {
        Now { instant: Instant::now(), unix_ms: 1000 }
    }

    fn said(admission: Admission) -> (Status, Executed) {
        match admission {
            Admission::Answer(outcome) => (outcome.status, outcome.executed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fresh_job_in_time_runs() {
        for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
            assert_eq!(admit(&job(Some(1001), Some(1000)), guarantee, false, false, now()), Admission::Run);
        }
    }

    #[test]
    fn where_commands_are_claimed_the_log_is_asked_about_everything_whose_time_has_come() {
        for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
            for redelivered in [true, false] {
                assert_eq!(admit(&job(Some(1), None), guarantee, redelivered, true, now()), Admission::Run);
            }
        }
        let early = admit(&job(None, Some(1500)), Guarantee::AtMostOnce, true, true, now());
        assert_eq!(early, Admission::Later { not_before: 1500 });
    }

    #[test]
    fn a_redelivered_job_runs_again_only_if_it_may() {
        assert_eq!(
            said(admit(&job(None, None), Guarantee::AtMostOnce, true, false, now())),
            (Status::Unknown, Executed::Unknown)
        );
        assert_eq!(admit(&job(None, None), Guarantee::AtLeastOnce, true, false, now()), Admission::Run);
    }

    #[test]
    fn an_expired_job_was_not_sent_unless_somebody_else_may_have_sent_it() {
        assert_eq!(
            said(admit(&job(Some(1000), None), Guarantee::AtMostOnce, false, false, now())),
            (Status::Expired, Executed::No)
        );
        assert_eq!(
            said(admit(&job(Some(1000), None), Guarantee::AtLeastOnce, true, false, now())),
            (Status::Unknown, Executed::Unknown)
        );
    }

    #[test]
    fn a_cancelled_job_was_not_sent_unless_somebody_else_may_have_sent_it() {
        let said = |outcome: Outcome| (outcome.status, outcome.executed);
        assert_eq!(said(called_off(false)), (Status::Cancelled, Executed::No));
        assert_eq!(said(called_off(true)), (Status::Cancelled, Executed::Unknown));
    }

    #[test]
    fn what_cannot_be_carried_here_was_not_sent_unless_another_worker_could() {
        let failure = || Failure::new("invalid", "profile: there is none named \"x\"");
        let (fresh, again) = (unfit(failure(), false), unfit(failure(), true));
        assert_eq!((fresh.status, fresh.executed), (Status::Invalid, Executed::No));
        assert_eq!((again.status, again.executed), (Status::Unknown, Executed::Unknown));
        let again = again.failure.unwrap();
        assert_eq!(again.code, "invalid");
        assert!(again.message.starts_with("profile: there is none named \"x\"; "), "{}", again.message);
    }

    #[test]
    fn a_job_whose_time_has_not_come_waits_here_or_in_the_broker() {
        assert_eq!(
            admit(&job(None, Some(1500)), Guarantee::AtMostOnce, false, false, now()),
            Admission::Later { not_before: 1500 }
        );
        assert_eq!(hold(1500, now(), Duration::from_millis(500)), Some(Duration::from_millis(500)));
        assert_eq!(hold(1501, now(), Duration::from_millis(500)), None);
    }
}

//! What a claim's standing means for a job that wants to run: a pure table.

use super::ledger::Standing;
use crate::envelope::Envelope;
use crate::job::Guarantee;
use crate::outcome::Status;
use std::sync::Arc;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// What may happen to the command.
    pub guarantee: Guarantee,
    /// Whether the broker delivered the job before.
    pub redelivered: bool,
    /// Whether the log is known as far back as the job is old.
    pub covered: bool,
    /// Milliseconds since the Unix epoch.
    pub now: u64,
}

/// What is to be done with the job.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Claim it and run it.
    Run,
    /// Run it whoever claimed it: it may run twice.
    RunAnyway,
    /// Wait for the outcome of whoever claimed it, until then at most: milliseconds since the Unix epoch.
    Wait {
        /// When its owner has an outcome, at the latest.
        until: u64,
    },
    /// It was run: say again what was said.
    Repeat(Arc<Envelope>, Status),
    /// It was run and ended so; what was said is not known any more.
    Unsaid(Status),
    /// Somebody claimed it and never said what came of it.
    Abandoned,
    /// It was delivered before, and what happened then is older than what is known.
    Uncovered,
}

/// The table.
pub fn decide(standing: &Standing, asking: Asking) -> Decision {
    let Asking { guarantee, redelivered, covered, now } = asking;
    let may_repeat = guarantee == Guarantee::AtLeastOnce;
    match standing {
        Standing::Nobody if may_repeat || !redelivered || covered => Decision::Run,
        Standing::Nobody => Decision::Uncovered,
        // Whoever claimed it is most likely the one that lost it.
        Standing::Claimed { .. } if may_repeat && redelivered => Decision::RunAnyway,
        Standing::Claimed { until, .. } if now < *until => Decision::Wait { until: *until },
        Standing::Claimed { .. } if may_repeat => Decision::RunAnyway,
        Standing::Claimed { .. } => Decision::Abandoned,
        Standing::Done { reached: false, .. } if !redelivered => Decision::Run,
        Standing::Done { reply: Some(reply), status, .. } => Decision::Repeat(reply.clone(), *status),
        Standing::Done { reply: None, .. } if may_repeat => Decision::RunAnyway,
        Standing::Done { reply: None, status, .. } => Decision::Unsaid(*status),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Nonce;
    use super::*;
    use Guarantee::{AtLeastOnce, AtMostOnce};

    const CLAIMED: Standing = Standing::Claimed { by: Nonce(1), until: 100 };

    fn done(reached: bool, reply: Option<&Arc<Envelope>>) -> Standing {
        Standing::Done { reached, status: Status::Succeeded, reply: reply.cloned() }
    }

    #[test]
    fn every_row() {
        let reply = Arc::new(Envelope::default());
        let repeat = || Decision::Repeat(reply.clone(), Status::Succeeded);
        let rows = [
            // standing, guarantee, redelivered, covered, now → decision
            (Standing::Nobody, AtMostOnce, false, false, 0, Decision::Run),
            (Standing::Nobody, AtMostOnce, true, true, 0, Decision::Run),
            (Standing::Nobody, AtMostOnce, true, false, 0, Decision::Uncovered),
            (Standing::Nobody, AtLeastOnce, true, false, 0, Decision::Run),
            (CLAIMED, AtMostOnce, false, true, 99, Decision::Wait { until: 100 }),
            (CLAIMED, AtMostOnce, true, true, 99, Decision::Wait { until: 100 }),
            (CLAIMED, AtMostOnce, false, true, 100, Decision::Abandoned),
            (CLAIMED, AtMostOnce, true, false, 100, Decision::Abandoned),
            (CLAIMED, AtLeastOnce, false, true, 99, Decision::Wait { until: 100 }),
            (CLAIMED, AtLeastOnce, false, true, 100, Decision::RunAnyway),
            (CLAIMED, AtLeastOnce, true, true, 99, Decision::RunAnyway),
            (done(true, Some(&reply)), AtMostOnce, false, true, 0, repeat()),
            (done(true, Some(&reply)), AtLeastOnce, true, false, 0, repeat()),
            (done(true, None), AtMostOnce, false, true, 0, Decision::Unsaid(Status::Succeeded)),
            (done(true, None), AtLeastOnce, false, true, 0, Decision::RunAnyway),
            (done(false, Some(&reply)), AtMostOnce, false, true, 0, Decision::Run),
            (done(false, Some(&reply)), AtLeastOnce, false, true, 0, Decision::Run),
            (done(false, Some(&reply)), AtMostOnce, true, true, 0, repeat()),
            (done(false, None), AtMostOnce, true, true, 0, Decision::Unsaid(Status::Succeeded)),
        ];
        for (standing, guarantee, redelivered, covered, now, expected) in rows {
            let asking = Asking { guarantee, redelivered, covered, now };
            assert_eq!(decide(&standing, asking), expected, "{standing:?} {asking:?}");
        }
    }
}

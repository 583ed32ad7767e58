//! Which deliveries are kept apart, because whoever had them before did not live to settle them: a pure table.
//!
//! A worker that dies costs every job it holds a delivery, and the broker cannot tell the one that killed it from its
//! neighbours. A job that lost a few workers goes to a queue of its own, from which each worker takes one at a time: there
//! only the job that runs is counted, so the one that kills ends in the dead letters and the others end well.

use crate::envelope::{Envelope, Value};

/// How often a job was delivered before, over all copies of it that we made. Whoever sets it by hand is told less: such a job
/// counts as delivered before.
pub(crate) const DELIVERIES: &str = "x-switchboard-deliveries";
/// The queue of those kept apart is named like the one they come from, with this behind.
const SUFFIX: &str = ".quarantine";
/// Workers lost before a job is kept apart.
const TRIES: u64 = 3;
/// Workers lost by itself before a job is given up. More than before: one that only takes its time is unlucky now and then
/// where workers die of something else.
const TRIES_APART: u64 = 5;

/// What becomes of a delivery before anybody looks into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// The usual.
    Take,
    /// A copy goes to the queue of those kept apart.
    KeepApart,
    /// A copy with its count goes back to its own queue, which does not count.
    Count,
    /// It goes to the dead letters.
    GiveUp,
}

/// `counted` is the broker's count of earlier deliveries, `None` where it does not count; `carried` is ours.
pub(crate) fn course(counted: Option<u64>, carried: u64, redelivered: bool, apart: bool) -> Course {
    match (counted, redelivered) {
        (Some(counted), _) if apart && counted >= TRIES_APART => Course::GiveUp,
        _ if apart => Course::Take,
        // A classic queue: nothing else would ever stop a job that kills.
        (None, true) => Course::Count,
        (counted, _) if counted.unwrap_or(0) + carried >= TRIES => Course::KeepApart,
        _ => Course::Take,
    }
}

/// Deliveries that earlier copies of a message had.
pub(crate) fn carried(envelope: &Envelope) -> u64 {
    match envelope.headers.get(DELIVERIES) {
        Some(Value::Int(count)) => u64::try_from(*count).unwrap_or(0),
        _ => 0,
    }
}

/// A copy that says how often it was delivered before.
pub(crate) fn counted(envelope: &Envelope, deliveries: u64) -> Envelope {
    let mut copy = envelope.clone();
    copy.headers.set(DELIVERIES, Value::Int(deliveries.try_into().unwrap_or(i64::MAX)));
    copy
}

/// The queue of those kept apart.
pub fn queue(of: &str) -> String {
    format!("{of}{SUFFIX}")
}

/// Whether it is a queue of those kept apart.
pub(crate) fn is_apart(queue: &str) -> bool {
    queue.ends_with(SUFFIX)
}

/// The queue that a job belongs to, kept apart or not.
pub(crate) fn home(queue: &str) -> &str {
    queue.strip_suffix(SUFFIX).unwrap_or(queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row() {
        let rows = [
            // A queue that counts.
            (Some(0), 0, false, false, Course::Take),
            (Some(2), 0, true, false, Course::Take),
            (Some(3), 0, true, false, Course::KeepApart),
            // One that counts from the first redelivery on.
            (None, 0, false, false, Course::Take),
            (None, 3, false, false, Course::KeepApart),
            (Some(1), 2, true, false, Course::KeepApart),
            // One that does not.
            (None, 0, true, false, Course::Count),
            (None, 2, true, false, Course::Count),
            // Kept apart: only what happens there counts.
            (None, 9, false, true, Course::Take),
            (Some(4), 9, true, true, Course::Take),
            (Some(5), 9, true, true, Course::GiveUp),
        ];
        for (counted, carried, redelivered, apart, expected) in rows {
            assert_eq!(
                course(counted, carried, redelivered, apart),
                expected,
                "{counted:?} {carried} {redelivered} {apart}"
            );
        }
    }

    #[test]
    fn a_copy_carries_its_count_and_nonsense_counts_nothing() {
        let mut envelope = Envelope::default();
        assert_eq!(carried(&envelope), 0);
        assert_eq!(carried(&counted(&envelope, 2)), 2);
        for nonsense in [Value::Int(-1), Value::Text("3".into())] {
            envelope.headers.set(DELIVERIES, nonsense);
            assert_eq!(carried(&envelope), 0);
        }
    }

    #[test]
    fn a_job_kept_apart_belongs_to_the_queue_it_came_from() {
        assert_eq!(home(&queue("jobs")), "jobs");
        assert_eq!(home("jobs"), "jobs");
    }
}

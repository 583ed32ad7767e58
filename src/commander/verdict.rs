//! What the end of an attempt means: a pure table from what is known to what is done.

use super::NotStarted;
use super::exchange::{End, Facts, answered};
use crate::job::Guarantee;
use crate::mqtt::{Fate, NotSent};
use crate::outcome::{Executed, Failure, Outcome, Status};

/// What is to be done after an attempt.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is over.
    Settled(Outcome),
    /// It is over, unless an answer comes late.
    GivenUp(Outcome),
    /// Send it again, if there is time.
    Again,
    /// Nothing was sent, and nothing is to be said.
    NotStarted(NotStarted),
}

/// What the table looks at besides the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub(crate) guarantee: Guarantee,
    pub(crate) facts: Facts,
    /// Whether `expires_at` has passed.
    pub(crate) expired: bool,
    /// Whether an earlier attempt of the same command may have reached the device: then nothing here proves that none did.
    pub(crate) sent_before: bool,
}

/// `end` is `None` where the time for an answer ran out.
pub(crate) fn verdict(end: Option<End>, known: Circumstances) -> Verdict {
    let fate = match end {
        Some(End::Answered { payload, failure, .. }) => return Verdict::Settled(answered(payload, failure)),
        Some(End::Fate(fate)) => fate,
        None if known.facts.link_lost => return Verdict::GivenUp(link_lost()),
        None => {
            let message = "no answer within the time limit; the device may still have acted";
            return Verdict::GivenUp(Outcome::new(
                Status::TimedOut,
                Executed::Unknown,
                Some(Failure::new("timeout", message)),
            ));
        }
    };
    let outcome = match fate {
        Fate::Unknown if known.guarantee == Guarantee::AtLeastOnce => return Verdict::Again,
        Fate::Unknown => return Verdict::GivenUp(link_lost()),
        // One-way: the broker took it, which says nothing of the device.
        Fate::Acknowledged | Fate::Written => {
            return Verdict::Settled(Outcome::new(Status::Succeeded, Executed::Unknown, None));
        }
        Fate::NoSubscribers => Outcome::not_sent(
            Status::Undeliverable,
            Failure::new(
                "no_subscribers",
                "nobody is subscribed to the command's topic: the device is not connected to the broker",
            ),
        ),
        Fate::Refused(refusal) => {
            let message = format!("the MQTT broker refused the command: {} (0x{:02X})", refusal.reason, refusal.code);
            Outcome::not_sent(Status::Undeliverable, Failure::new("refused", message))
        }
        Fate::NotSent(NotSent::TooLarge { size, limit }) => {
            let message = format!("the command has {size} bytes as an MQTT packet; the broker takes {limit}");
            Outcome::not_sent(Status::Undeliverable, Failure::new("too_large", message))
        }
        Fate::NotSent(NotSent::Expired) => expired(known.expired, false),
        Fate::NotSent(NotSent::Revoked) if !known.sent_before => return Verdict::NotStarted(NotStarted::Revoked),
        Fate::NotSent(NotSent::Closed) if !known.sent_before => return Verdict::NotStarted(NotStarted::Closed),
        Fate::NotSent(NotSent::Revoked | NotSent::Closed) => return Verdict::GivenUp(link_lost()),
    };
    // "No" speaks of this attempt alone; it must not hide that an earlier one may have arrived.
    match known.sent_before {
        true => Verdict::GivenUp(link_lost()),
        false => Verdict::Settled(outcome),
    }
}

/// Its time passed before it was sent: by its own `expires_at`, or by the time limit while there was no connection.
/// `perhaps_sent`: whether somebody else may have sent it before.
pub(crate) fn expired(by_itself: bool, perhaps_sent: bool) -> Outcome {
    if perhaps_sent {
        let message =
            "it was delivered before, and its time passed before it could be sent again; the device may have acted";
        return Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new("redelivered", message)));
    }
    let failure = match by_itself {
        true => Failure::new("expired", "its expires_at passed before it could be sent"),
        false => Failure::new(
            "not_sent_in_time",
            "there was no connection to the MQTT broker, or no room on it, within the time limit",
        ),
    };
    Outcome::not_sent(Status::Expired, failure)
}

/// The connection broke after the command may have left.
pub(crate) fn link_lost() -> Outcome {
    let message = "the MQTT connection was lost after the command may have been sent; the device may have acted";
    Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new("link_lost", message)))
}

/// Its requester called it off. `perhaps_sent`: whether this attempt or an earlier one may have reached the device.
pub(crate) fn cancelled(perhaps_sent: bool) -> Outcome {
    match perhaps_sent {
        false => Outcome::not_sent(
            Status::Cancelled,
            Failure::new("cancelled", "it was cancelled before it was sent to the device"),
        ),
        true => {
            let message = "it was cancelled after it may have been sent; the device may have acted, or may still act";
            Outcome::new(Status::Cancelled, Executed::Unknown, Some(Failure::new("cancelled", message)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Refusal;
    use bytes::Bytes;
    use std::time::Instant;

    fn known() -> Circumstances {
        let facts = Facts { handed: Some(Instant::now()), ..Facts::default() };
        Circumstances { guarantee: Guarantee::AtMostOnce, facts, expired: false, sent_before: false }
    }

    fn said(verdict: Verdict) -> (Status, Executed, bool) {
        match verdict {
            Verdict::Settled(outcome) => (outcome.status, outcome.executed, false),
            Verdict::GivenUp(outcome) => (outcome.status, outcome.executed, true),
            other => panic!("{other:?}"),
        }
    }

    fn fate(fate: Fate) -> Option<End> {
        Some(End::Fate(fate))
    }

    #[test]
    fn an_answer_settles_whatever_else_is_known() {
        let answer = |failure| Some(End::Answered { payload: Bytes::new(), failure, at: Instant::now() });
        let known = Circumstances { sent_before: true, ..known() };
        assert_eq!(said(verdict(answer(None), known)), (Status::Succeeded, Executed::Yes, false));
        assert_eq!(said(verdict(answer(Some(Failure::new("x", ""))), known)), (Status::Rejected, Executed::Yes, false));
    }

    #[test]
    fn silence_is_timed_out_and_silence_over_a_lost_link_is_unknown() {
        assert_eq!(said(verdict(None, known())), (Status::TimedOut, Executed::Unknown, true));
        let lost = Circumstances { facts: Facts { link_lost: true, ..known().facts }, ..known() };
        assert_eq!(said(verdict(None, lost)), (Status::Unknown, Executed::Unknown, true));
    }

    #[test]
    fn a_lost_link_ends_at_most_once_and_repeats_at_least_once() {
        assert_eq!(said(verdict(fate(Fate::Unknown), known())), (Status::Unknown, Executed::Unknown, true));
        let again = Circumstances { guarantee: Guarantee::AtLeastOnce, ..known() };
        assert_eq!(verdict(fate(Fate::Unknown), again), Verdict::Again);
    }

    #[test]
    fn one_way_succeeds_when_the_broker_took_it_and_nobody_knows_more() {
        for taken in [Fate::Acknowledged, Fate::Written] {
            assert_eq!(said(verdict(fate(taken), known())), (Status::Succeeded, Executed::Unknown, false));
        }
    }

    #[test]
    fn what_surely_reached_nobody_is_a_no_unless_an_earlier_attempt_may_have() {
        let cases = [
            (Fate::NoSubscribers, Status::Undeliverable),
            (Fate::Refused(Refusal { code: 0x87, reason: "no".into() }), Status::Undeliverable),
            (Fate::NotSent(NotSent::TooLarge { size: 2, limit: 1 }), Status::Undeliverable),
            (Fate::NotSent(NotSent::Expired), Status::Expired),
        ];
        for (end, status) in cases {
            assert_eq!(said(verdict(fate(end.clone()), known())), (status, Executed::No, false));
            let before = Circumstances { sent_before: true, ..known() };
            assert_eq!(said(verdict(fate(end), before)), (Status::Unknown, Executed::Unknown, true));
        }
    }

    #[test]
    fn what_expired_was_surely_not_executed_only_where_nobody_may_have_sent_it() {
        for by_itself in [true, false] {
            let (no, perhaps) = (expired(by_itself, false), expired(by_itself, true));
            assert_eq!((no.status, no.executed), (Status::Expired, Executed::No));
            assert_eq!((perhaps.status, perhaps.executed), (Status::Unknown, Executed::Unknown));
        }
    }

    #[test]
    fn what_is_cancelled_was_surely_not_executed_only_where_nothing_may_have_been_sent() {
        let said = |outcome: Outcome| (outcome.status, outcome.executed, outcome.failure.is_some());
        assert_eq!(said(cancelled(false)), (Status::Cancelled, Executed::No, true));
        assert_eq!(said(cancelled(true)), (Status::Cancelled, Executed::Unknown, true));
    }

    #[test]
    fn what_was_taken_back_unsent_says_nothing_at_all() {
        let cases = [(NotSent::Revoked, NotStarted::Revoked), (NotSent::Closed, NotStarted::Closed)];
        for (why, expected) in cases {
            assert_eq!(verdict(fate(Fate::NotSent(why)), known()), Verdict::NotStarted(expected));
        }
    }
}

//! How long a bulk may be silent: its coordinator is asked before it is given up.

use super::coordinator::{ANSWER_WITHIN, TRIES, has_ended};
use crate::wire::bulk::Stand;
use std::time::{Duration, Instant};

/// What to do about the silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait.
    Wait,
    /// Ask the coordinator how the bulk stands, and wait for the answer with the results.
    Ask,
    /// Nothing more is to be expected.
    GiveUp,
}

/// The silence of a bulk, and what its coordinator says to it.
#[derive(Debug)]
pub struct Patience {
    /// The longest silence that needs no reason.
    span: Duration,
    since: Instant,
    /// When the question that has no answer yet was asked.
    asked: Option<Instant>,
    unanswered: usize,
    /// A coordinator has the bulk, so one that does not answer is about to be replaced.
    is_coordinated: bool,
    /// What the last answer said, if nothing came since.
    last: Option<Stand>,
}

impl Patience {
    /// Nothing came yet. `is_coordinated`: the bulk is so large that it surely has a coordinator.
    pub fn new(span: Duration, is_coordinated: bool, now: Instant) -> Self {
        Self { span, since: now, asked: None, unanswered: 0, is_coordinated, last: None }
    }

    /// A result came.
    pub fn heard(&mut self, now: Instant) {
        (self.since, self.asked, self.unanswered, self.last) = (now, None, 0, None);
    }

    /// What to do now. After [`Next::Ask`] the question counts as asked.
    pub fn next(&mut self, now: Instant) -> Next {
        match self.asked {
            None if now.saturating_duration_since(self.since) < self.span => return Next::Wait,
            None => {}
            Some(asked) if now.saturating_duration_since(asked) < ANSWER_WITHIN => return Next::Wait,
            Some(_) => {
                self.unanswered += 1;
                let tries = if self.is_coordinated { TRIES } else { 1 };
                if self.unanswered >= tries {
                    return Next::GiveUp;
                }
            }
        }
        self.asked = Some(now);
        Next::Ask
    }

    /// The coordinator's answer. One that says that the bulk has ended is believed twice in a row: the summary may be on its way,
    /// but not for that long.
    pub fn answered(&mut self, state: Stand, now: Instant) -> Next {
        let before = self.last.replace(state);
        (self.since, self.asked, self.unanswered) = (now, None, 0);
        match state {
            Stand::NotKnown => return Next::GiveUp,
            state if has_ended(state) && before.is_some_and(has_ended) => return Next::GiveUp,
            _ => self.is_coordinated = true,
        }
        Next::Wait
    }

    /// What the coordinator said last, if nothing came since.
    pub fn last(&self) -> Option<Stand> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(20);

    fn seconds(start: Instant, after: u64) -> Instant {
        start + Duration::from_secs(after)
    }

    #[test]
    fn a_silence_that_the_coordinator_has_a_reason_for_may_last_for_ever() {
        let start = Instant::now();
        let mut patience = Patience::new(SPAN, false, start);
        for hour in 0..24 {
            let now = seconds(start, hour * 3600);
            patience.heard(now);
            assert_eq!(patience.next(seconds(now, 19)), Next::Wait);
            for state in [Stand::Running, Stand::Paused, Stand::Paused, Stand::Cancelling] {
                assert_eq!(patience.next(seconds(now, 20)), Next::Ask, "silent for too long");
                assert_eq!(patience.next(seconds(now, 21)), Next::Wait, "asked, and the answer may take a while");
                assert_eq!(patience.answered(state, now), Next::Wait);
                assert_eq!(patience.last(), Some(state));
            }
        }
    }

    #[test]
    fn a_bulk_that_nobody_knows_is_given_up() {
        let start = Instant::now();
        let mut patience = Patience::new(SPAN, true, start);
        assert_eq!(patience.next(seconds(start, 20)), Next::Ask);
        assert_eq!(patience.answered(Stand::NotKnown, seconds(start, 21)), Next::GiveUp);
    }

    #[test]
    fn the_summary_of_one_that_has_ended_is_waited_for_once_more() {
        let start = Instant::now();
        let mut patience = Patience::new(SPAN, true, start);
        assert_eq!(patience.answered(Stand::Completed, start), Next::Wait);
        assert_eq!(patience.next(seconds(start, 20)), Next::Ask);
        assert_eq!(patience.answered(Stand::Completed, seconds(start, 20)), Next::GiveUp);
        let mut patience = Patience::new(SPAN, true, start);
        assert_eq!(patience.answered(Stand::Completed, start), Next::Wait);
        patience.heard(start);
        assert_eq!(patience.answered(Stand::Completed, start), Next::Wait, "something came in between");
    }

    #[test]
    fn a_coordinator_that_is_known_to_be_there_is_asked_again_while_another_worker_takes_its_place() {
        let start = Instant::now();
        let asked = |mut patience: Patience| {
            let mut asked = 0;
            for second in 0..1000 {
                match patience.next(seconds(start, second)) {
                    Next::Ask => asked += 1,
                    Next::Wait => {}
                    Next::GiveUp => return (asked, second),
                }
            }
            panic!("never given up");
        };
        assert_eq!(asked(Patience::new(SPAN, false, start)), (1, 25), "one worker alone may run it: nobody answers");
        assert_eq!(asked(Patience::new(SPAN, true, start)), (TRIES, 20 + 5 * TRIES as u64));
        let mut known = Patience::new(SPAN, false, start);
        assert_eq!(known.answered(Stand::Running, start), Next::Wait);
        assert_eq!(asked(known).0, TRIES);
    }
}

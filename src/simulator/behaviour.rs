//! What a device does with a command: answers, refuses, says nothing, answers twice, answers too late.

use std::time::Duration;

/// How a fleet answers. The shares are of 1 and at most 1 together; what they leave is answered well.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// The shortest time to an answer.
    pub fastest: Duration,
    /// The longest time to an answer; all times between are equally likely.
    pub slowest: Duration,
    /// The share of commands that get no answer.
    pub silent: f64,
    /// The share that is answered with an error.
    pub reject: f64,
    /// The share that is answered twice.
    pub duplicate: f64,
    /// The share that is answered after [`Self::late_after`] more.
    pub late: f64,
    /// How much later a late answer comes: more than any requester waits.
    pub late_after: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            fastest: Duration::from_millis(20),
            slowest: Duration::from_millis(200),
            silent: 0.0,
            reject: 0.0,
            duplicate: 0.0,
            late: 0.0,
            // Two seconds more than a worker waits by default.
            late_after: Duration::from_secs(12),
        }
    }
}

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Answers with success.
    Answer,
    /// Says nothing.
    Silent,
    /// Answers with an error.
    Reject,
    /// Answers with success, twice.
    Duplicate,
    /// Answers with success when nobody waits any more.
    Late,
}

/// What a device does, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it does.
    pub conduct: Conduct,
    /// How long after the command.
    pub after: Duration,
}

impl Behaviour {
    /// Whether the shares leave room for each other.
    ///
    /// # Errors
    ///
    /// What is wrong with them and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let sum = self.silent + self.reject + self.duplicate + self.late;
        // Percentages such as 33.3 and 66.7 make a sum that misses 1 by a rounding error.
        match sum <= 1.0 + 1e-9 {
            true => Ok(()),
            false => Err(format!(
                "the shares of silent, rejected, duplicate and late answers make {:.6}% together; 100% at most is right",
                sum * 100.0
            )),
        }
    }

    /// What a device does with one command. `share` and `spread` are each equally likely to be any number from 0 up to,
    /// but not including, 1.
    pub fn decide(&self, share: f64, spread: f64) -> Decision {
        let bad = [
            (self.silent, Conduct::Silent),
            (self.reject, Conduct::Reject),
            (self.duplicate, Conduct::Duplicate),
            (self.late, Conduct::Late),
        ];
        let mut end = 0.0;
        let found = bad.into_iter().find(|(part, _)| {
            end += part;
            share < end
        });
        let conduct = found.map_or(Conduct::Answer, |(_, conduct)| conduct);
        let latency = self.fastest + self.slowest.saturating_sub(self.fastest).mul_f64(spread.clamp(0.0, 1.0));
        let after = if conduct == Conduct::Late { self.late_after + latency } else { latency };
        Decision { conduct, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn mixed() -> Behaviour {
        Behaviour { silent: 0.1, reject: 0.2, duplicate: 0.3, late: 0.15, ..Behaviour::default() }
    }

    #[test]
    fn each_conduct_gets_its_share_and_each_latency_is_in_its_range() {
        let (behaviour, mut dice) = (mixed(), StdRng::seed_from_u64(7));
        let mut counts = [0_u32; 5];
        for _ in 0..100_000 {
            let Decision { conduct, after } = behaviour.decide(dice.random(), dice.random());
            let latency = if conduct == Conduct::Late { after - behaviour.late_after } else { after };
            assert!((behaviour.fastest..=behaviour.slowest).contains(&latency), "{after:?}");
            counts[conduct as usize] += 1;
        }
        for (count, percent) in counts.into_iter().zip([25, 10, 20, 30, 15]) {
            assert!(count.abs_diff(percent * 1000) < 700, "{counts:?}");
        }
    }

    #[test]
    fn nobody_misbehaves_unless_asked_to_and_everybody_does_at_100_percent() {
        let good = Behaviour::default();
        let silent = Behaviour { silent: 1.0, ..Behaviour::default() };
        for step in 0..1000 {
            let share = f64::from(step) / 1000.0;
            assert_eq!(good.decide(share, share).conduct, Conduct::Answer);
            assert_eq!(silent.decide(share, share).conduct, Conduct::Silent);
        }
        let exact = Behaviour { fastest: Duration::from_secs(1), slowest: Duration::from_secs(1), ..good };
        assert_eq!(exact.decide(0.5, 0.9).after, Duration::from_secs(1));
    }

    #[test]
    fn shares_over_the_whole_are_refused() {
        assert!(mixed().check().is_ok());
        assert!(Behaviour { reject: 0.667, silent: 0.333, ..Behaviour::default() }.check().is_ok());
        let wrong = Behaviour { silent: 0.6, ..mixed() }.check().unwrap_err();
        assert!(wrong.contains("125.000000%") && wrong.contains("100% at most is right"), "{wrong}");
    }
}

//! What more replicas brought: the rate of each round, against the first and against what the devices allow.

use super::ledger::Ledger;
use crate::outcome::Status;
use std::fmt::Write;
use std::time::Duration;

/// One backlog, and how long so many replicas took for it.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) replicas: usize,
    /// From before the first job was published until the last result was here.
    pub(super) took: Duration,
    /// Jobs a second at most, where nothing but the devices takes time.
    pub(super) ceiling: f64,
    pub(super) ledger: Ledger,
}

impl Round {
    /// How many jobs a second it was.
    fn rate(&self) -> f64 {
        self.done() as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn done(&self) -> usize {
        self.ledger.jobs[Status::Succeeded as usize]
    }

    /// What is wrong with it, in words: each job has to succeed, and each replica has to have had a part in that.
    fn wrong(&self) -> Vec<String> {
        let (replicas, jobs) = (self.replicas, self.ledger.kinds.iter().sum::<usize>());
        let mut wrong: Vec<String> = self.ledger.surprises.clone();
        match self.ledger.missing() {
            0 if self.done() < jobs => wrong.push(format!("{} of {jobs} jobs did not succeed", jobs - self.done())),
            0 => {}
            missing => wrong.push(format!("{missing} of {jobs} results did not come")),
        }
        if self.ledger.workers.len() != replicas {
            wrong.push(format!("{} of {replicas} replicas gave a result", self.ledger.workers.len()));
        }
        wrong.iter().map(|what| format!("with {replicas}: {what}")).collect()
    }
}

/// How many times as fast the second number of replicas has to be as the first: half of what it adds has to arrive.
fn expected_gain(first: usize, second: usize) -> f64 {
    1.0 + (second as f64 / first as f64 - 1.0) / 2.0
}

/// The table and the verdict, and whether everything is as it should be.
pub(super) fn report(rounds: &[Round]) -> (String, bool) {
    let first = rounds.first().map_or(0.0, Round::rate);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "  {:>8}{:>10}{:>10}{:>12}{:>12}{:>24}",
        "replicas", "seconds", "jobs/s", "at most", "to first", "jobs of each replica"
    );
    for round in rounds {
        let shares = &round.ledger.workers;
        let (least, most) = (shares.values().min().unwrap_or(&0), shares.values().max().unwrap_or(&0));
        let _ = writeln!(
            out,
            "  {:>8}{:>10.1}{:>10.0}{:>12.0}{:>12.2}{:>24}",
            round.replicas,
            round.took.as_secs_f64(),
            round.rate(),
            round.ceiling,
            round.rate() / first,
            format!("{least} to {most}"),
        );
    }
    let mut wrong: Vec<String> = rounds.iter().flat_map(Round::wrong).collect();
    if wrong.is_empty() {
        let _ = writeln!(out, "\nEvery job is accounted for: each has one result.");
    }
    if let [one, two, ..] = rounds {
        let (gain, expected) = (two.rate() / first, expected_gain(one.replicas, two.replicas));
        if gain < expected {
            wrong.push(format!(
                "{} replicas were {gain:.2} times as fast as {}, and should be {expected:.2} times as fast at least",
                two.replicas, one.replicas
            ));
        }
    }
    if !wrong.is_empty() {
        let _ = writeln!(out, "\nNOT everything is as it should be:");
        for what in &wrong {
            let _ = writeln!(out, "  - {what}");
        }
    }
    (out, wrong.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(replicas: usize, seconds: u64, succeeded: usize) -> Round {
        let mut ledger = Ledger::of_requests((0..100).map(|number| number.to_string()));
        ledger.open.clear();
        ledger.jobs[Status::Succeeded as usize] = succeeded;
        ledger.workers = (0..replicas).map(|number| (format!("w{number}"), 100 / replicas)).collect();
        Round { replicas, took: Duration::from_secs(seconds), ceiling: 10.0 * replicas as f64, ledger }
    }

    #[test]
    fn rates_are_told_with_what_they_are_to_the_first() {
        let (text, right) = report(&[round(1, 10, 100), round(2, 5, 100), round(4, 4, 100)]);
        assert!(right, "{text}");
        for line in [
            "         1      10.0        10          10        1.00              100 to 100",
            "         2       5.0        20          20        2.00                50 to 50",
            "         4       4.0        25          40        2.50                25 to 25",
            "Every job is accounted for: each has one result.",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn replicas_that_bring_less_than_half_of_what_they_add_are_not_right() {
        assert!((expected_gain(1, 2) - 1.5).abs() < 1e-9 && (expected_gain(2, 3) - 1.25).abs() < 1e-9);
        let (text, right) = report(&[round(1, 10, 100), round(2, 7, 100)]);
        assert!(!right && text.contains("2 replicas were 1.43 times as fast as 1, and should be 1.50"), "{text}");
        // What a third number brings is shown and not judged: where a machine ends is its own.
        assert!(report(&[round(1, 10, 100), round(2, 5, 100), round(4, 5, 100)]).1);
        assert!(report(&[round(2, 10, 100)]).1);
    }

    #[test]
    fn what_is_missing_did_not_succeed_or_had_no_part_is_named() {
        let mut missing = round(1, 10, 99);
        missing.ledger.open.insert("7".to_owned(), super::super::script::Kind::Request);
        let (failed, mut idle) = (round(1, 10, 98), round(2, 5, 100));
        idle.ledger.workers.pop_first();
        for (round, words) in [
            (missing, "with 1: 1 of 100 results did not come"),
            (failed, "with 1: 2 of 100 jobs did not succeed"),
            (idle, "with 2: 1 of 2 replicas gave a result"),
        ] {
            let (text, right) = report(&[round]);
            assert!(!right && text.contains(words) && !text.contains("accounted"), "{text}");
        }
    }
}

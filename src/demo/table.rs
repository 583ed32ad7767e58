//! What came of the demonstration, for a person to read.

use super::ledger::{Ledger, STAGES};
use super::script::Kind;
use crate::outcome::Status;
use crate::simulator::Counts;
use std::fmt::Write;

/// The whole report.
pub(super) fn report(ledger: &Ledger, devices: &Counts, fires: usize) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(out, "{}{}{}", statuses(ledger), workers(ledger), stages(ledger));
    let _ = writeln!(out, "A schedule polled three devices every 2 seconds: {fires} times, whoever fired it.");
    let _ = writeln!(out, "The devices say: {devices}\n");
    let _ = writeln!(out, "{}", verdict(ledger));
    for surprise in &ledger.surprises {
        let _ = writeln!(out, "  - {surprise}");
    }
    out
}

fn statuses(ledger: &Ledger) -> String {
    let kinds = Kind::ALL.iter().zip(ledger.kinds).map(|(kind, count)| format!("{count} {}", kind.as_str()));
    let (jobs, bulk) = (ledger.kinds.iter().sum::<usize>(), ledger.bulk.iter().sum::<usize>());
    let mut out = format!("{jobs} jobs: {}\n", kinds.collect::<Vec<_>>().join(", "));
    let _ = writeln!(out, "and one bulk for {bulk} devices\n\n  {:<16}{:>8}{:>8}", "status", "jobs", "bulk");
    for (status, (jobs, bulk)) in Status::ALL.iter().zip(ledger.jobs.iter().zip(ledger.bulk)) {
        let _ = writeln!(out, "  {:<16}{jobs:>8}{bulk:>8}", status.as_str());
    }
    for (reason, count) in &ledger.dead {
        let _ = writeln!(out, "  {:<16}{count:>8}         reason: {reason}", "dead letters");
    }
    let _ = writeln!(out, "  {:<16}{:>8}         answers after their job was timed_out\n", "late answers", ledger.late);
    out
}

fn workers(ledger: &Ledger) -> String {
    let width = ledger.workers.keys().map(String::len).max().unwrap_or_default().max(14) + 2;
    let mut out = format!("  {:<width$}{:>8}\n", "worker", "results");
    for (worker, count) in &ledger.workers {
        let _ = writeln!(out, "  {worker:<width$}{count:>8}");
    }
    out.push('\n');
    out
}

fn stages(ledger: &Ledger) -> String {
    let mut out = format!("  {:<16}{:>8}{:>8}\n", "milliseconds", "p50", "p99");
    for (stage, times) in STAGES.iter().zip(&ledger.times) {
        let mut times = times.clone();
        times.sort_by(f64::total_cmp);
        let _ = writeln!(out, "  {stage:<16}{:>8.1}{:>8.1}", quantile(&times, 0.5), quantile(&times, 0.99));
    }
    out.push('\n');
    out
}

fn verdict(ledger: &Ledger) -> String {
    match (ledger.missing(), ledger.surprises.len()) {
        (0, 0) => "Every job is accounted for: each has one result, or is a dead letter with its reason.".to_owned(),
        (0, _) => "Every job has a result, but not all of them as they should be:".to_owned(),
        (missing, _) => format!("NOT every job is accounted for: {missing} results or dead letters did not come."),
    }
}

/// The value below which this share of the sorted values lie; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)), (100.0, 198.0, 200.0));
        assert_eq!((quantile(&[7.0], 0.5), quantile(&[7.0], 0.99), quantile(&[], 0.5)), (7.0, 7.0, 0.0));
    }

    #[test]
    fn a_report_names_every_status_every_worker_and_every_stage() {
        let ledger = Ledger {
            kinds: [5, 1, 0, 0, 0, 1],
            jobs: [5, 0, 1, 0, 0, 0, 0, 0],
            workers: [("switchboard-a-very-long-name".to_owned(), 6)].into(),
            dead: [("invalid".to_owned(), 1)].into(),
            times: [vec![1.0], vec![0.04], vec![20.0], vec![1234.5]],
            ..Ledger::default()
        };
        let text = report(&ledger, &Counts::default(), 5);
        for line in [
            "7 jobs: 5 requests, 1 one-way, 0 to devices that are not there",
            "  succeeded              5       0",
            "  timed_out              1       0",
            "  dead letters           1         reason: invalid",
            "  switchboard-a-very-long-name         6",
            "  total             1234.5  1234.5",
            "Every job is accounted for",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        let wrong = Ledger { surprises: vec!["a surprise".to_owned()], ..ledger };
        assert!(
            report(&wrong, &Counts::default(), 5).ends_with("not all of them as they should be:\n  - a surprise\n")
        );
    }
}

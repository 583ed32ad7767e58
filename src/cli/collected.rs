//! What has come of a bulk so far: which devices are still to answer, which failed, and the summary at the end.

use super::report::{Answer, Plain};
use crate::outcome::Status;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// How many failures are listed for a person.
const LISTED: usize = 20;

/// The summary of a bulk as it is read from its JSON.
#[derive(Debug, Deserialize)]
pub struct Summary {
    /// `completed`, `aborted` or `cancelled`.
    pub status: String,
    /// How many devices.
    pub total: usize,
    /// How many of them came to each status.
    pub counts: BTreeMap<String, usize>,
    /// How long it took.
    pub duration_ms: f64,
}

impl Summary {
    /// Whether every device did what it was to do.
    pub fn succeeded(&self) -> bool {
        self.counts.get(Status::Succeeded.as_str()) == Some(&self.total) && self.status == "completed"
    }

    /// A table of what came, for a person.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let width = self.total.to_string().len().max(7);
        for status in Status::ALL.map(Status::as_str) {
            if let Some(count) = self.counts.get(status).filter(|count| **count > 0) {
                let _ = writeln!(table, "{status:<14}{count:>width$}");
            }
        }
        let (total, seconds) = (self.total, self.duration_ms / 1000.0);
        let _ = write!(table, "{:<14}{total:>width$}   {} in {seconds:.1} s", "devices", Plain(&self.status));
        table
    }
}

/// The results of a bulk while they come.
#[derive(Debug)]
pub struct Collected {
    waiting: HashSet<Arc<str>>,
    /// How many failed, in the order of [`Status::ALL`].
    failed: [usize; Status::ALL.len()],
    late: usize,
    /// The first failures, one line each.
    failures: Vec<String>,
}

impl Collected {
    /// Nothing yet of these devices.
    pub fn new(devices: impl Iterator<Item = Arc<str>>) -> Self {
        Self { waiting: devices.collect(), failed: [0; Status::ALL.len()], late: 0, failures: Vec::new() }
    }

    /// Takes a result; false where it was known already, as a repeated one or as the correction of an earlier one.
    pub fn take(&mut self, answer: &Answer) -> bool {
        if answer.late {
            self.late += 1;
            return false;
        }
        let new = answer.device.as_deref().is_none_or(|device| self.waiting.remove(device));
        if new && !answer.succeeded() {
            let status = Status::ALL.into_iter().find(|status| status.as_str() == answer.status);
            // One that a later version made up: nobody here can say more than that it is no success.
            self.failed[status.unwrap_or(Status::Unknown) as usize] += 1;
            if self.failures.len() < LISTED {
                self.failures.push(answer.in_short());
            }
        }
        new
    }

    /// How many devices did not succeed.
    pub fn failed(&self) -> usize {
        self.failed.iter().sum()
    }

    /// How many came to each status that is no success, without those that nothing came to.
    pub fn failed_by_status(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let by_status = Status::ALL.into_iter().map(|status| (status.as_str(), self.failed[status as usize]));
        by_status.filter(|(_, count)| *count > 0)
    }

    /// How many devices are still to answer.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is something to list.
    pub fn has_failures(&self) -> bool {
        self.failed() + self.late > 0
    }

    /// The first failures and how many more there are, for a person; empty where there is none.
    pub fn failures(&self) -> String {
        let mut text = self.failures.join("\n");
        let failed = self.failed();
        if failed > self.failures.len() {
            let _ = write!(text, "\n… and {} more", failed - self.failures.len());
        }
        if self.late > 0 {
            let _ = write!(text, "\n{} answered after their time, which the counts do not show", self.late);
        }
        text.trim_start().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(device: &str, status: &str, late: bool) -> Answer {
        let json = format!(r#"{{"device":"{device}","status":"{status}","executed":"unknown","late":{late}}}"#);
        Answer::read(json.as_bytes()).unwrap()
    }

    #[test]
    fn each_device_counts_once_whatever_is_repeated_or_late() {
        let mut collected = Collected::new(["a", "b"].into_iter().map(Arc::from));
        assert!(collected.take(&answer("a", "timed_out", false)));
        assert!(!collected.take(&answer("a", "timed_out", false)), "repeated");
        assert!(!collected.take(&answer("a", "succeeded", true)), "late");
        assert!(collected.take(&answer("b", "succeeded", false)));
        assert_eq!((collected.failed(), collected.waiting()), (1, 0));
        assert_eq!(collected.failures(), "a: timed_out\n1 answered after their time, which the counts do not show");
    }

    #[test]
    fn the_first_failures_are_listed_and_the_others_counted() {
        let devices: Vec<String> = (0..25).map(|index| format!("d{index}")).collect();
        let mut collected = Collected::new(devices.iter().map(|device| Arc::from(device.as_str())));
        for device in &devices {
            collected.take(&answer(device, "rejected", false));
        }
        let text = collected.failures();
        assert_eq!((text.lines().count(), text.lines().last()), (21, Some("… and 5 more")));
    }

    #[test]
    fn the_table_shows_what_happened_and_a_summary_succeeds_as_a_whole_or_not() {
        let read = |json: &str| serde_json::from_str::<Summary>(json).unwrap();
        let summary = read(
            r#"{"id":"1","command":"c","status":"aborted","total":3,"counts":{"succeeded":1,"cancelled":2,"invalid":0},"failed":[],"duration_ms":1500.0}"#,
        );
        assert_eq!(
            summary.table(),
            "succeeded           1\ncancelled           2\ndevices             3   aborted in 1.5 s"
        );
        assert!(!summary.succeeded());
        let all = r#"{"status":"completed","total":3,"counts":{"succeeded":3},"duration_ms":1.0}"#;
        assert!(read(all).succeeded() && !read(&all.replace("completed", "cancelled")).succeeded());
    }
}

//! What came of a bulk so far: counts that always add up, and whether it is to go on. Pure.

use crate::amqp::header_room;
use crate::envelope::{Envelope, Value};
use crate::job::Abort;
use crate::outcome::Status;
use crate::wire::native::{FAILED_LISTED, Summary, SummaryStatus};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The tally of a bulk; it travels in a header when the rest of the bulk moves to another worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    total: usize,
    counts: [usize; Status::ALL.len()],
    failed: Vec<Arc<str>>,
    /// When the bulk began: milliseconds since the Unix epoch.
    began_ms: u64,
    aborted: bool,
    /// Absent in what earlier versions handed on.
    #[serde(default)]
    cancelled: bool,
    /// When it ended, where that was not just now: milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_ms: Option<u64>,
}

/// The header in which a bulk carries the tally of what is done.
pub const TALLY: &str = "x-switchboard-tally";
/// Bytes that the names of those that failed may have in the header at most: all headers of a message go in one frame of 128 KiB.
const MAX_IN_HEADER: usize = 96 << 10;
/// Bytes that the rest of a tally takes, and what is put into the headers of its message besides.
const ASIDE: usize = 4 << 10;

impl Tally {
    /// Nothing has come of `total` devices.
    pub fn new(total: usize, now_ms: u64) -> Self {
        Self {
            total,
            counts: [0; Status::ALL.len()],
            failed: Vec::new(),
            began_ms: now_ms,
            aborted: false,
            cancelled: false,
            ended_ms: None,
        }
    }

    /// The tally of a whole bulk, kept elsewhere: `counts` in the order of [`Status::ALL`], of the devices that `failed` the
    /// first thousand; times in milliseconds since the Unix epoch.
    pub fn of(
        (total, counts): (usize, [usize; Status::ALL.len()]),
        mut failed: Vec<Arc<str>>,
        (began_ms, ended_ms): (u64, u64),
        (aborted, cancelled): (bool, bool),
    ) -> Self {
        failed.truncate(FAILED_LISTED);
        Self { total, counts, failed, began_ms, aborted, cancelled, ended_ms: Some(ended_ms) }
    }

    /// The tally that a message carries.
    pub fn carried(envelope: &Envelope) -> Option<Self> {
        serde_json::from_str(envelope.headers.text(TALLY)?).ok()
    }

    /// Lets a message carry it. So that it fits beside the message's own headers, only as many of those that failed are named as
    /// there is room for, in 96 KiB at most; their number stays right.
    pub fn carry(&self, envelope: &mut Envelope) {
        drop(envelope.headers.take(TALLY));
        let mut room = header_room(envelope).saturating_sub(ASIDE).min(MAX_IN_HEADER);
        let fits = |device: &&Arc<str>| {
            // As it is written, with its quotes, and a comma.
            let bytes = serde_json::to_string(device).map_or(usize::MAX, |text| text.len() + 1);
            room.checked_sub(bytes).map(|left| room = left).is_some()
        };
        let failed = self.failed.iter().take_while(fits).cloned().collect();
        // Numbers and texts cannot fail.
        let text = serde_json::to_string(&Self { failed, ..self.clone() }).unwrap_or_default();
        envelope.headers.set(TALLY, Value::Text(text));
    }

    /// Whether every device has its outcome, so that only the summary is left to be told.
    pub fn is_complete(&self) -> bool {
        self.recorded() == self.total
    }

    /// One device has its outcome.
    pub fn record(&mut self, device: &Arc<str>, status: Status) {
        self.counts[status as usize] += 1;
        if status != Status::Succeeded && self.failed.len() < FAILED_LISTED {
            self.failed.push(device.clone());
        }
    }

    /// How many devices have their outcome.
    pub fn recorded(&self) -> usize {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether so many have failed that the rest is not to be commanded; once true, it stays so.
    pub fn is_aborted(&mut self, rule: Option<&Abort>) -> bool {
        let recorded = self.recorded();
        let failed = recorded - self.counts[Status::Succeeded as usize];
        self.aborted |= rule.is_some_and(|rule| {
            recorded >= rule.after.max(1) && failed as f64 * 100.0 >= rule.failed_percent * recorded as f64
        });
        self.aborted
    }

    /// Its requester called it off.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// The summary, once every device has its outcome.
    pub fn summary(self, now_ms: u64) -> Summary {
        Summary {
            status: match (self.cancelled, self.aborted) {
                (true, _) => SummaryStatus::Cancelled,
                (false, true) => SummaryStatus::Aborted,
                (false, false) => SummaryStatus::Completed,
            },
            total: self.total,
            counts: self.counts,
            failed: self.failed,
            duration: Duration::from_millis(self.ended_ms.unwrap_or(now_ms).saturating_sub(self.began_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_add_up_and_only_failures_are_named(outcomes in prop::collection::vec(0usize..8, 0..3000)) {
            let mut tally = Tally::new(outcomes.len(), 0);
            for index in &outcomes {
                tally.record(&Arc::from("d"), Status::ALL[*index]);
            }
            let again: Tally = serde_json::from_str(&serde_json::to_string(&tally).unwrap()).unwrap();
            prop_assert_eq!(&again, &tally);
            let summary = tally.summary(5);
            prop_assert_eq!(summary.counts.iter().sum::<usize>(), summary.total);
            let failures = outcomes.iter().filter(|index| **index != Status::Succeeded as usize).count();
            prop_assert_eq!(summary.failed.len(), failures.min(FAILED_LISTED));
        }
    }

    #[test]
    fn a_bulk_that_was_called_off_says_so_whatever_else_happened() {
        let mut tally = Tally::new(1, 0);
        tally.cancel();
        tally.record(&"d".into(), Status::TimedOut);
        assert!(tally.is_aborted(Some(&Abort { failed_percent: 1.0, after: 1 })));
        assert_eq!(tally.summary(5).status, SummaryStatus::Cancelled);
        let handed_on = r#"{"total":1,"counts":[0,0,0,0,0,0,0,0],"failed":[],"began_ms":0,"aborted":false}"#;
        assert_eq!(serde_json::from_str::<Tally>(handed_on).unwrap(), Tally::new(1, 0));
    }

    #[test]
    fn a_tally_that_is_carried_is_complete_and_names_as_many_as_there_is_room_for() {
        let failed: Vec<Arc<str>> = (0..2000).map(|n| Arc::from(format!("\u{1}{n:0>250}"))).collect();
        let counts = [0, 5000, 0, 0, 0, 0, 0, 0];
        let tally = Tally::of((5000, counts), failed.clone(), (1_000, 61_000), (false, true));
        let mut envelope = Envelope::default();
        assert_eq!(Tally::carried(&envelope), None);
        tally.carry(&mut envelope);
        let bytes = envelope.headers.text(TALLY).unwrap().len();
        assert!((90 << 10..100 << 10).contains(&bytes), "{bytes}");
        let carried = Tally::carried(&envelope).unwrap();
        assert!(carried.is_complete() && !Tally::new(1, 0).is_complete());
        let summary = carried.summary(99_000_000);
        assert_eq!((summary.status, summary.total, summary.counts), (SummaryStatus::Cancelled, 5000, counts));
        assert_eq!(summary.duration, Duration::from_secs(60), "however long its end waited to be told");
        assert!(summary.failed.len() > 300 && summary.failed[..] == failed[..summary.failed.len()]);
        // What the producer put there stays, and both fit.
        let mut full = Envelope::default();
        full.headers.set("baggage", Value::Text("x".repeat(60 << 10)));
        tally.carry(&mut full);
        tally.carry(&mut full);
        assert!(header_room(&full) > 0 && full.headers.text("baggage").is_some());
        assert!(Tally::carried(&full).unwrap().summary(0).failed.len() > 100);
        assert_eq!(tally.summary(0).failed.len(), FAILED_LISTED);
    }

    #[test]
    fn it_aborts_at_the_threshold_and_not_before_enough_have_answered() {
        let rule = Abort { failed_percent: 20.0, after: 10 };
        let mut tally = Tally::new(100, 0);
        for _ in 0..2 {
            tally.record(&"bad".into(), Status::TimedOut);
        }
        assert!(!tally.is_aborted(Some(&rule)), "2 of 2, but fewer than 10");
        for _ in 0..7 {
            tally.record(&"good".into(), Status::Succeeded);
        }
        assert!(!tally.is_aborted(Some(&rule)));
        tally.record(&"good".into(), Status::Succeeded);
        assert!(tally.is_aborted(Some(&rule)), "2 of 10");
        for _ in 0..90 {
            tally.record(&"good".into(), Status::Succeeded);
        }
        assert!(tally.is_aborted(Some(&rule)), "what was stopped stays stopped");
        assert!(!Tally::new(1, 0).is_aborted(Some(&Abort { failed_percent: 1.0, after: 0 })), "nothing has failed yet");
    }
}

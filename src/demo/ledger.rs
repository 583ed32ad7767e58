//! Who was asked, who answered what: every job of the demonstration, accounted for.

use super::script::{Kind, Script};
use crate::envelope::Envelope;
use crate::outcome::Status;
use crate::wire::native::{RESULT, SUMMARY};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The stages that a result has times of, in the order of [`Ledger::times`].
pub(super) const STAGES: [&str; 4] = ["queued", "waiting", "device", "total"];
/// The header of a dead letter that says why it is one.
const REASON: &str = "x-switchboard-reason";
/// How many surprises are kept in words.
const SURPRISES: usize = 10;

/// What is still open, and what came of the rest.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) open: HashMap<String, Kind>,
    pub(super) bulk_open: HashSet<String>,
    pub(super) unreadable_open: HashSet<String>,
    pub(super) summary_open: bool,
    /// How many jobs of each kind there are, in the order of [`Kind::ALL`].
    pub(super) kinds: [usize; 6],
    /// How many jobs came to each status, in the order of [`Status::ALL`].
    pub(super) jobs: [usize; 8],
    /// The same of the devices of the bulk.
    pub(super) bulk: [usize; 8],
    /// How many results each worker gave.
    pub(super) workers: BTreeMap<String, usize>,
    /// Milliseconds of each stage, of every job that succeeded after a device's answer.
    pub(super) times: [Vec<f64>; 4],
    /// Answers that came after their job was reported as timed out.
    pub(super) late: usize,
    /// Results that came again.
    pub(super) repeated: usize,
    /// Dead letters by their reason.
    pub(super) dead: BTreeMap<String, usize>,
    /// What should not have happened, in words.
    pub(super) surprises: Vec<String>,
    pub(super) messages: HashSet<String>,
}

#[derive(Deserialize)]
struct Result {
    id: Option<String>,
    device: Option<String>,
    status: String,
    late: bool,
    worker: String,
    timing_ms: HashMap<String, f64>,
}

#[derive(Deserialize)]
struct Summary {
    status: String,
    total: usize,
    counts: HashMap<String, usize>,
}

impl Ledger {
    /// Everything that the script sends is open.
    pub(super) fn new(script: &Script) -> Self {
        let mut ledger = Self { summary_open: true, bulk_open: script.everyone().collect(), ..Self::default() };
        for number in 0..script.jobs {
            let (kind, id) = (script.kind(number), Script::id(number));
            ledger.kinds[kind as usize] += 1;
            match kind {
                Kind::Unreadable => drop(ledger.unreadable_open.insert(id)),
                _ => drop(ledger.open.insert(id, kind)),
            }
        }
        ledger
    }

    /// These requests are open, and nothing else.
    pub(super) fn of_requests(ids: impl Iterator<Item = String>) -> Self {
        let open: HashMap<String, Kind> = ids.map(|id| (id, Kind::Request)).collect();
        let mut ledger = Self::default();
        ledger.kinds[Kind::Request as usize] = open.len();
        Self { open, ..ledger }
    }

    /// How many results, dead letters and summaries are still missing.
    pub(super) fn missing(&self) -> usize {
        self.open.len() + self.bulk_open.len() + self.unreadable_open.len() + usize::from(self.summary_open)
    }

    /// Whether everything came, and came as it should.
    pub(super) fn is_right(&self) -> bool {
        self.missing() == 0 && self.surprises.is_empty()
    }

    /// Books what came to the reply queue.
    pub(super) fn reply(&mut self, envelope: &Envelope) {
        let id = envelope.message_id.clone().unwrap_or_default();
        if !self.messages.insert(id) {
            // After a crash the same message may come twice, which its id says.
            self.repeated += 1;
            return;
        }
        let booked = match envelope.kind.as_deref() {
            Some(RESULT) => serde_json::from_slice(&envelope.body).map(|result| self.result(result)),
            Some(SUMMARY) => serde_json::from_slice(&envelope.body).map(|summary| self.summary(&summary)),
            other => return self.surprise(format!("a reply of the type {other:?}")),
        };
        if let Err(error) = booked {
            self.surprise(format!("a reply that cannot be read: {error}"));
        }
    }

    /// Books what came to the queue of dead letters.
    pub(super) fn dead_letter(&mut self, envelope: &Envelope) {
        let reason = envelope.headers.text(REASON).unwrap_or("unnamed").to_owned();
        let id = envelope.message_id.as_deref().unwrap_or_default();
        if !self.unreadable_open.remove(id) {
            self.surprise(format!("{id:?} is among the dead letters ({reason})"));
        }
        *self.dead.entry(reason).or_default() += 1;
    }

    fn result(&mut self, result: Result) {
        let Some(index) = Status::ALL.iter().position(|status| status.as_str() == result.status) else {
            return self.surprise(format!("a result with the status {:?}", result.status));
        };
        let (id, device) = (result.id.unwrap_or_default(), result.device.unwrap_or_default());
        if result.late {
            self.late += 1;
            return;
        }
        *self.workers.entry(result.worker).or_default() += 1;
        if id == Script::BULK {
            self.bulk[index] += 1;
            if !self.bulk_open.remove(&device) {
                self.surprise(format!("another result of the bulk for the device {device:?}"));
            }
            return;
        }
        self.jobs[index] += 1;
        match self.open.remove(&id) {
            None => self.surprise(format!("another result for the job {id:?}: {}", result.status)),
            Some(kind) if !kind.may_end(Status::ALL[index]) => {
                self.surprise(format!("the job {id:?}, one of those {}, is {}", kind.as_str(), result.status));
            }
            Some(Kind::Request) if Status::ALL[index] == Status::Succeeded => {
                for (stage, times) in STAGES.iter().zip(&mut self.times) {
                    times.extend(result.timing_ms.get(*stage));
                }
            }
            Some(_) => {}
        }
    }

    fn summary(&mut self, summary: &Summary) {
        self.summary_open = false;
        let count = |status: &Status| summary.counts.get(status.as_str()).copied().unwrap_or_default();
        let counts = Status::ALL.map(|status| count(&status));
        let total = counts.iter().sum::<usize>();
        if summary.status != "completed" || summary.total != total || counts != self.bulk {
            self.surprise(format!(
                "the bulk is {} with {} devices and counts {:?}, its results make {:?}",
                summary.status, summary.total, counts, self.bulk
            ));
        }
    }

    fn surprise(&mut self, what: String) {
        match self.surprises.len() {
            0..SURPRISES => self.surprises.push(what),
            SURPRISES => self.surprises.push("and more".to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Executed, Outcome};
    use crate::wire::native::{self, Origin, SummaryStatus, Timing};
    use std::time::Duration;

    fn script() -> Script {
        let timeout = Duration::from_secs(1);
        Script { jobs: 100, devices: 3, absent: 1, prefix: "dev-".to_owned(), timeout }
    }

    fn result(id: &str, device: &str, status: Status, late: bool) -> Envelope {
        let origin = Origin {
            id: id.into(),
            command: "open".into(),
            correlation_id: String::new(),
            worker: "w".into(),
            redelivered: false,
        };
        let outcome = Outcome { late, ..Outcome::new(status, Executed::Unknown, None) };
        let timing = Timing { total: Duration::from_millis(5), ..Timing::default() };
        native::result(&origin, device, &outcome, &timing)
    }

    fn summary(counts: [usize; 8]) -> Envelope {
        let origin = Origin {
            id: Script::BULK.into(),
            command: "open".into(),
            correlation_id: String::new(),
            worker: "w".into(),
            redelivered: false,
        };
        let (status, total) = (SummaryStatus::Completed, counts.iter().sum());
        let summary = native::Summary { status, total, counts, failed: Vec::new(), duration: Duration::ZERO };
        native::summary(&origin, &summary)
    }

    fn expected(kind: Kind) -> Status {
        Status::ALL.into_iter().find(|status| kind.may_end(*status)).unwrap()
    }

    fn booked() -> Ledger {
        let (script, mut ledger) = (script(), Ledger::new(&script()));
        for number in 0..script.jobs {
            let (kind, id) = (script.kind(number), Script::id(number));
            match kind {
                Kind::Unreadable => {
                    let mut letter = Envelope { message_id: Some(id), ..Envelope::default() };
                    letter.headers.set(REASON, "invalid".into());
                    ledger.dead_letter(&letter);
                }
                _ => ledger.reply(&result(&id, "dev-0", expected(kind), false)),
            }
        }
        for device in script.everyone() {
            ledger.reply(&result(Script::BULK, &device, Status::Succeeded, false));
        }
        ledger
    }

    #[test]
    fn nothing_is_missing_once_everything_came() {
        let mut ledger = booked();
        assert_eq!(ledger.missing(), 1);
        ledger.reply(&summary(ledger.bulk));
        assert!(ledger.is_right(), "{:?}", ledger.surprises);
        assert_eq!(ledger.jobs.iter().sum::<usize>(), 99);
        assert_eq!((ledger.bulk[0], ledger.workers["w"], ledger.dead["invalid"]), (4, 103, 1));
        assert_eq!(ledger.times[3].len(), ledger.kinds[Kind::Request as usize]);
        let repeated = result(&Script::id(0), "dev-0", expected(script().kind(0)), false);
        ledger.reply(&repeated);
        ledger.reply(&result(&Script::id(9), "dev-0", Status::Succeeded, true));
        assert!(ledger.is_right() && (ledger.repeated, ledger.late) == (1, 1));
    }

    #[test]
    fn what_does_not_add_up_is_a_surprise() {
        let mut wrong_summary = booked();
        wrong_summary.reply(&summary([3, 1, 0, 0, 0, 0, 0, 0]));
        assert_eq!((wrong_summary.missing(), wrong_summary.is_right()), (0, false));
        let mut ledger = Ledger::new(&script());
        let expired = (0..100).find(|number| script().kind(*number) == Kind::Expired).unwrap();
        ledger.reply(&result(&Script::id(expired), "dev-0", Status::Succeeded, false));
        ledger.reply(&result("nobody's", "dev-0", Status::Succeeded, false));
        ledger.reply(&Envelope { message_id: Some("x".to_owned()), ..Envelope::default() });
        ledger.dead_letter(&Envelope::default());
        assert_eq!(ledger.surprises.len(), 4, "{:?}", ledger.surprises);
    }
}

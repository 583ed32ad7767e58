//! What must be true of every run, whatever was broken in it: one pure function over what was sent, done and answered.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A job that a caller published.
#[derive(Clone, Debug)]
pub(crate) struct Submitted {
    pub(crate) id: String,
    pub(crate) devices: Vec<String>,
    /// Whether the broker confirmed it. Without that nothing is promised, and nothing that happens is wrong.
    pub(crate) confirmed: bool,
    /// Whether its guarantee is at-most-once.
    pub(crate) at_most_once: bool,
    /// Milliseconds since the Unix epoch.
    pub(crate) expires_at: Option<u64>,
}

/// A command that a device executed.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) id: String,
    pub(crate) device: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) at: u64,
}

/// A result that came to the reply queue (each copy of it).
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) message_id: Option<String>,
    pub(crate) body: Value,
}

/// Everything that is known about a run after it came to rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) submitted: Vec<Submitted>,
    pub(crate) executed: Vec<Execution>,
    pub(crate) answers: Vec<Answer>,
    /// The ids of the jobs in the dead-letter queue.
    pub(crate) dead: Vec<String>,
    /// Whether a job that may run twice may run after a "no", marked as a repeat: nobody can tell the next worker what was said where
    /// the queue has lost the ack, unless commands are claimed.
    pub(crate) no_may_be_overtaken: bool,
    /// How much later than its expiry a command may reach a device: its way from the worker's socket, in milliseconds.
    pub(crate) transit_ms: u64,
    /// How many commands may end as `unknown` and nothing better: what was under way when something broke. `None`: any.
    pub(crate) unknown_at_most: Option<usize>,
    /// Messages that are still in the command queue, ready or unacknowledged.
    pub(crate) left: usize,
}

/// What must not be. Each names job and device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Confirmed, and neither a result nor in the dead letters.
    Lost(String, String),
    /// Executed after its expiry.
    Stale(String, String),
    /// A result says that it was not executed, and it was; and no repeat of it says so.
    FalseNo(String, String),
    /// A result of a job or a device that nobody asked for.
    Orphan(String, String),
    /// Two results that cannot both be true.
    Contradiction(String, String),
    /// The same result twice under two message ids: a requester cannot tell it from a second one.
    Renamed(String, String),
    /// At most once, and executed more than once.
    ExecutedTwice(String, String),
    /// At least once, executed more than once, and no result says that it was delivered before or sent again.
    RepeatedUnmarked(String, String),
    /// An answer that is no result.
    Unreadable(String),
    /// So many commands are `unknown` and nothing better, and so many may be.
    TooManyUnknown(usize, usize),
    /// So many messages are left in the command queue.
    Left(usize),
}

/// How the harness shows them.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What one result says.
#[derive(Clone, Debug)]
struct Said {
    status: String,
    executed: String,
    response: Value,
    late: bool,
    /// Whether it says that the command may have been executed more than once.
    repeated: bool,
    message_id: Option<String>,
}

type Key = (String, String);

/// Every violation in a run, sorted; none is what is promised.
pub(crate) fn violations(run: &Run) -> Vec<Violation> {
    let mut found = BTreeSet::new();
    let mut said: BTreeMap<Key, Vec<Said>> = BTreeMap::new();
    for answer in &run.answers {
        match read(answer) {
            Some((key, result)) => said.entry(key).or_default().push(result),
            None => {
                found.insert(Violation::Unreadable(answer.body.to_string()));
            }
        }
    }
    let mut executed: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
    for execution in &run.executed {
        executed.entry((execution.id.clone(), execution.device.clone())).or_default().push(execution.at);
    }
    let dead: BTreeSet<&str> = run.dead.iter().map(String::as_str).collect();
    let mut asked = BTreeSet::new();
    // Who sends a job twice asks for it twice.
    let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
    for job in &run.submitted {
        *sent.entry(&job.id).or_default() += 1;
    }
    for job in &run.submitted {
        for device in &job.devices {
            let key = (job.id.clone(), device.clone());
            let times = executed.get(&key).map_or(&[][..], Vec::as_slice);
            let results = said.get(&key).map_or(&[][..], Vec::as_slice);
            let allowed = sent[job.id.as_str()];
            judge(run, job, &key, (times, allowed), (results, dead.contains(job.id.as_str())), &mut found);
            asked.insert(key);
        }
    }
    for (id, device) in said.keys().filter(|key| !asked.contains(*key)) {
        found.insert(Violation::Orphan(id.clone(), device.clone()));
    }
    let guessed = said.values().filter(|results| results.iter().all(|result| result.status == "unknown")).count();
    if let Some(most) = run.unknown_at_most.filter(|most| guessed > *most) {
        found.insert(Violation::TooManyUnknown(guessed, most));
    }
    if run.left > 0 {
        found.insert(Violation::Left(run.left));
    }
    found.into_iter().collect()
}

fn read(answer: &Answer) -> Option<(Key, Said)> {
    let text = |member: &str| answer.body.get(member).and_then(Value::as_str).map(str::to_owned);
    let said = Said {
        status: text("status")?,
        executed: text("executed")?,
        response: answer.body.get("response").cloned().unwrap_or_default(),
        late: answer.body.get("late").and_then(Value::as_bool)?,
        repeated: answer.body["redelivered"] == true
            || answer.body["attempt"].as_u64().is_some_and(|attempt| attempt > 1),
        message_id: answer.message_id.clone(),
    };
    Some(((text("id")?, text("device")?), said))
}

fn judge(
    run: &Run,
    job: &Submitted,
    key: &Key,
    (times, allowed): (&[u64], usize),
    (results, dead): (&[Said], bool),
    found: &mut BTreeSet<Violation>,
) {
    let mut add = |violation: fn(String, String) -> Violation| {
        found.insert(violation(key.0.clone(), key.1.clone()));
    };
    if job.confirmed && results.is_empty() && !dead {
        add(Violation::Lost);
    }
    if job.expires_at.is_some_and(|expires| times.iter().any(|at| *at > expires + run.transit_ms)) {
        add(Violation::Stale);
    }
    let may_be_overtaken = run.no_may_be_overtaken && !job.at_most_once;
    let is_overtaken = may_be_overtaken && results.iter().any(|result| result.repeated && result.executed != "no");
    if !times.is_empty() && !is_overtaken && results.iter().any(|result| result.executed == "no") {
        add(Violation::FalseNo);
    }
    if job.at_most_once && times.len() > 1 {
        add(Violation::ExecutedTwice);
    }
    // Without any result, lost is what it is.
    let is_marked = results.is_empty() || results.iter().any(|result| result.repeated);
    if !job.at_most_once && times.len() > allowed && !is_marked {
        add(Violation::RepeatedUnmarked);
    }
    for (index, one) in results.iter().enumerate() {
        for other in &results[index + 1..] {
            if contradict(job, one, other) && !(may_be_overtaken && overtakes(one, other)) {
                add(Violation::Contradiction);
            }
            let same = one.status == other.status && one.executed == other.executed && one.late == other.late;
            if same && one.message_id != other.message_id {
                add(Violation::Renamed);
            }
        }
    }
}

/// A requester keeps the best of yes, no and unknown, so "unknown" goes with everything. What is certain must agree; only a
/// command that may run twice can have been answered twice.
fn contradict(job: &Submitted, one: &Said, other: &Said) -> bool {
    match (one.executed.as_str(), other.executed.as_str()) {
        ("yes", "no") | ("no", "yes") => true,
        ("yes", "yes") => job.at_most_once && (one.status != other.status || one.response != other.response),
        ("no", "no") => one.status != other.status,
        _ => false,
    }
}

/// One is a "no", and the other a repeat that was executed.
fn overtakes(one: &Said, other: &Said) -> bool {
    [(one, other), (other, one)].iter().any(|(no, yes)| no.executed == "no" && yes.executed == "yes" && yes.repeated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(at_most_once: bool) -> Submitted {
        Submitted { id: "j".into(), devices: vec!["d".into()], confirmed: true, at_most_once, expires_at: Some(1_000) }
    }

    fn answer(message_id: &str, status: &str, executed: &str, late: bool) -> Answer {
        let body = json!({"id": "j", "device": "d", "status": status, "executed": executed, "late": late});
        Answer { message_id: Some(message_id.into()), body }
    }

    fn run(at_most_once: bool, times: &[u64], answers: &[Answer]) -> Vec<Violation> {
        let executed = times.iter().map(|at| Execution { id: "j".into(), device: "d".into(), at: *at }).collect();
        let submitted = vec![job(at_most_once)];
        violations(&Run { submitted, executed, answers: answers.to_vec(), transit_ms: 50, ..Run::default() })
    }

    fn named(violation: fn(String, String) -> Violation) -> Vec<Violation> {
        vec![violation("j".into(), "d".into())]
    }

    #[test]
    fn a_run_as_it_should_be_has_no_violation() {
        assert!(run(true, &[900], &[answer("m", "succeeded", "yes", false)]).is_empty());
        assert!(run(true, &[], &[answer("m", "expired", "no", false)]).is_empty());
        assert!(run(true, &[1_050], &[answer("m", "timed_out", "unknown", false)]).is_empty());
        // A repeat with the same id, a late answer, a guess beside the truth.
        let answers = [
            answer("m", "timed_out", "unknown", false),
            answer("m", "timed_out", "unknown", false),
            answer("n", "succeeded", "yes", true),
        ];
        assert!(run(true, &[900], &answers).is_empty());
        let mut twice = [answer("m", "succeeded", "yes", false), answer("n", "rejected", "yes", false)];
        assert_eq!(run(false, &[900, 901], &twice), named(Violation::RepeatedUnmarked));
        for (mark, value) in [("redelivered", json!(true)), ("attempt", json!(2))] {
            let mut marked = twice.clone();
            marked[1].body[mark] = value;
            assert!(run(false, &[900, 901], &marked).is_empty(), "it may run twice");
        }
        twice[0].body["attempt"] = json!(1);
        assert_eq!(run(false, &[900, 901], &twice[..1]), named(Violation::RepeatedUnmarked));
    }

    #[test]
    fn a_no_is_overtaken_only_by_a_marked_repeat_of_what_may_run_twice_and_only_where_that_is_known_to_happen() {
        let no = answer("m", "expired", "no", false);
        let mut repeat = answer("n", "succeeded", "yes", false);
        let broken = vec![Violation::FalseNo("j".into(), "d".into()), Violation::Contradiction("j".into(), "d".into())];
        for (marked, at_most_once, may_be_overtaken) in [true, false]
            .into_iter()
            .flat_map(|a| [true, false].map(|b| (a, b)))
            .flat_map(|(a, b)| [true, false].map(|c| (a, b, c)))
        {
            repeat.body["redelivered"] = json!(marked);
            let found = violations(&Run {
                submitted: vec![job(at_most_once)],
                executed: vec![Execution { id: "j".into(), device: "d".into(), at: 900 }],
                answers: vec![no.clone(), repeat.clone()],
                no_may_be_overtaken: may_be_overtaken,
                ..Run::default()
            });
            let is_fine = marked && !at_most_once && may_be_overtaken;
            assert_eq!(found.is_empty(), is_fine, "{marked} {at_most_once} {may_be_overtaken}: {found:?}");
            assert!(is_fine || found == broken, "{found:?}");
        }
    }

    #[test]
    fn guesses_are_counted_and_nothing_may_be_left() {
        let job = |id: &str| Submitted { id: id.into(), ..job(true) };
        let answer = |id: &str, message: &str, status: &str, executed: &str| {
            let mut answer = answer(message, status, executed, false);
            answer.body["id"] = json!(id);
            answer
        };
        let answers = vec![
            answer("a", "1", "unknown", "unknown"),
            answer("b", "2", "unknown", "unknown"),
            answer("b", "2", "unknown", "unknown"),
            // Better known after all.
            answer("c", "3", "unknown", "unknown"),
            answer("c", "4", "succeeded", "yes"),
        ];
        let run = |unknown_at_most, left| Run {
            submitted: ["a", "b", "c"].map(job).to_vec(),
            answers: answers.clone(),
            unknown_at_most,
            left,
            ..Run::default()
        };
        assert!(violations(&run(Some(2), 0)).is_empty() && violations(&run(None, 0)).is_empty());
        assert_eq!(violations(&run(Some(1), 0)), [Violation::TooManyUnknown(2, 1)]);
        assert_eq!(violations(&run(None, 3)), [Violation::Left(3)]);
    }

    #[test]
    fn silence_after_a_confirm_is_a_loss_unless_the_job_is_in_the_dead_letters() {
        assert_eq!(run(true, &[], &[]), named(Violation::Lost));
        let submitted = vec![job(true)];
        let buried = Run { submitted: submitted.clone(), dead: vec!["j".into()], ..Default::default() };
        assert!(violations(&buried).is_empty());
        let unconfirmed = Submitted { confirmed: false, ..submitted[0].clone() };
        assert!(violations(&Run { submitted: vec![unconfirmed], ..Default::default() }).is_empty());
    }

    #[test]
    fn each_device_of_a_job_counts() {
        let both = Submitted { devices: vec!["d".into(), "e".into()], ..job(true) };
        let answers = vec![answer("m", "succeeded", "yes", false)];
        let found = violations(&Run { submitted: vec![both], answers, ..Default::default() });
        assert_eq!(found, vec![Violation::Lost("j".into(), "e".into())]);
    }

    #[test]
    fn what_must_not_be_is_found() {
        let yes = || answer("m", "succeeded", "yes", false);
        assert_eq!(run(true, &[1_051], &[yes()]), named(Violation::Stale));
        assert_eq!(run(true, &[900], &[answer("m", "expired", "no", false)]), named(Violation::FalseNo));
        assert_eq!(run(true, &[900, 901], &[yes()]), named(Violation::ExecutedTwice));
        assert_eq!(run(true, &[900], &[yes(), answer("n", "succeeded", "yes", false)]), named(Violation::Renamed));
        assert_eq!(run(true, &[], &[yes(), answer("n", "expired", "no", false)]), named(Violation::Contradiction));
        assert_eq!(run(true, &[900], &[yes(), answer("n", "rejected", "yes", true)]), named(Violation::Contradiction));
        let orphan = Run { answers: vec![yes()], ..Default::default() };
        assert_eq!(violations(&orphan), named(Violation::Orphan));
        let unreadable =
            Run { answers: vec![Answer { message_id: None, body: json!({"id": 1}) }], ..Default::default() };
        assert!(matches!(violations(&unreadable)[..], [Violation::Unreadable(_)]));
    }
}

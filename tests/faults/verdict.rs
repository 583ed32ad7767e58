//! What a run left behind, held against what must be true of every run.

use crate::harness::caller::{Caller, DeadLetter};
use crate::harness::checker::{Answer, Execution, Run, Submitted, Violation, violations};
use crate::harness::device::Executed;
use crate::load::Sent;
use crate::scene::Scene;
use crate::seed::seed;
use serde_json::Value;
use std::collections::BTreeMap;

/// What came of a run that broke no promise.
pub(crate) struct Verdict {
    pub(crate) sent: Vec<Sent>,
    /// Every result, each copy of it.
    pub(crate) results: Vec<Value>,
    pub(crate) executed: Vec<Executed>,
    pub(crate) dead: Vec<DeadLetter>,
}

impl Verdict {
    /// Takes results and dead letters out of their queues and judges.
    ///
    /// # Panics
    /// With every violation.
    pub(crate) async fn collect(scene: &Scene, caller: &Caller) -> Self {
        let replies = caller.take_dead_letters(&scene.replies).await;
        let dead = caller.take_dead_letters(&scene.dead).await;
        let body = |letter: &DeadLetter| serde_json::from_slice::<Value>(&letter.body).unwrap_or_default();
        let answers = replies.iter().map(|reply| Answer { message_id: reply.message_id.clone(), body: body(reply) });
        let executed = scene.fleet.executed();
        let executions = executed.iter().filter_map(|executed| {
            Some(Execution { id: executed.job.clone()?, device: executed.device.clone(), at: executed.at })
        });
        let run = Run {
            submitted: scene.sent.iter().map(submitted).collect(),
            executed: executions.collect(),
            answers: answers.collect(),
            dead: dead.iter().filter_map(|letter| Some(body(letter)["id"].as_str()?.to_owned())).collect(),
            no_may_be_overtaken: !scene.is_set("WORKER__CLAIMS", "true"),
            transit_ms: scene.transit.as_millis() as u64,
            unknown_at_most: scene.unknown_at_most,
            // Every worker is gone, so what nobody acked is ready again.
            left: caller.depth(&scene.options.queue).await.unwrap_or(0) as usize,
        };
        let found = violations(&run);
        for job in found.iter().filter_map(job).take(3) {
            let said = run.answers.iter().filter(|answer| answer.body["id"] == job).map(|answer| &answer.body);
            let done = run.executed.iter().filter(|executed| executed.id == job).map(|executed| executed.at);
            eprintln!("{job}: executed at {:?}, said {:?}", done.collect::<Vec<_>>(), said.collect::<Vec<_>>());
        }
        let results: Vec<Value> = run.answers.into_iter().map(|answer| answer.body).collect();
        let verdict = Self { sent: scene.sent.clone(), results, executed, dead };
        let (name, seconds) = (scene.name, scene.started.elapsed().as_secs());
        eprintln!("{name}: {verdict}, {seconds} s");
        let first = &found[..found.len().min(10)];
        assert!(found.is_empty(), "{name}: {} violations with SEED={}: {first:?}", found.len(), seed());
        verdict
    }

    /// How many results have each status.
    pub(crate) fn statuses(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for result in &self.results {
            *counts.entry(result["status"].as_str().unwrap_or("none")).or_default() += 1;
        }
        counts
    }

    /// That nothing is among the dead letters; else what is, and why.
    #[track_caller]
    pub(crate) fn nothing_is_dead(&self) {
        let dead = self.dead.iter().map(|letter| (letter.reason.as_deref(), String::from_utf8_lossy(&letter.body)));
        let dead: Vec<_> = dead.collect();
        assert!(dead.is_empty(), "{dead:?}");
    }

    /// That no more than so many jobs are among the dead letters, and each as one that lost too many workers: to the broker a lost
    /// connection is one.
    #[track_caller]
    pub(crate) fn few_are_poison(&self, most: usize) {
        let dead: BTreeMap<_, _> = self.dead.iter().map(|letter| (&letter.body, letter.reason.as_deref())).collect();
        let shown: Vec<_> = dead.iter().map(|(body, reason)| (*reason, String::from_utf8_lossy(body))).collect();
        eprintln!("  {} jobs are dead letters: {shown:?}", dead.len());
        assert!(dead.len() <= most && dead.values().all(|reason| *reason == Some("poison")), "{shown:?}");
    }

    /// How often a job was executed.
    pub(crate) fn times(&self, id: &str) -> usize {
        self.executed.iter().filter(|executed| executed.job.as_deref() == Some(id)).count()
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let confirmed = self.sent.iter().filter(|sent| sent.confirmed).count();
        write!(
            f,
            "{} jobs sent and {confirmed} confirmed, {} commands executed, {} results {:?}, {} dead letters",
            self.sent.len(),
            self.executed.len(),
            self.results.len(),
            self.statuses(),
            self.dead.len()
        )
    }
}

/// The job that a violation is about, if it is about one.
fn job(violation: &Violation) -> Option<&str> {
    match violation {
        Violation::Lost(job, _)
        | Violation::Stale(job, _)
        | Violation::FalseNo(job, _)
        | Violation::Orphan(job, _)
        | Violation::Contradiction(job, _)
        | Violation::Renamed(job, _)
        | Violation::ExecutedTwice(job, _)
        | Violation::RepeatedUnmarked(job, _) => Some(job),
        Violation::Unreadable(_) | Violation::TooManyUnknown(..) | Violation::Left(_) => None,
    }
}

fn submitted(sent: &Sent) -> Submitted {
    let text = |field: &str| sent.job[field].as_str().unwrap_or_default().to_owned();
    Submitted {
        id: text("id"),
        devices: vec![text("device")],
        confirmed: sent.confirmed,
        at_most_once: sent.job["guarantee"] != "at_least_once",
        expires_at: sent.job["expires_at"].as_str().and_then(|at| {
            let at: jiff::Timestamp = at.parse().ok()?;
            u64::try_from(at.as_millisecond()).ok()
        }),
    }
}

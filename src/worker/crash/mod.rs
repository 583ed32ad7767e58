//! Every step of a job, broken: the program killed, stopped or cut off before each one, started again, and drained.
//!
//! No broker runs: AMQP is in memory, MQTT a few lines on a socket. The worker, its commander and its MQTT session are the
//! real ones. What came of it is judged by the checker of the fault tests.

mod broker;
mod celery;
#[path = "../../../tests/it/harness/checker.rs"]
mod checker;
mod chunks;
mod plan;
mod unsent;

use super::{Dialect, Intake, Kind, Options, RecentLimits, Worker};
use crate::amqp::memory::Memory;
use crate::amqp::{self, ChannelPool, Connection};
use crate::claims;
use crate::commander::{self, Commander};
use crate::envelope::Envelope;
use crate::mqtt::{self, Agent};
use crate::profile::{Profile, builtin};
use crate::shutdown::Shutdown;
use crate::wire::native;
use broker::Log;
use checker::{Answer, Execution, Run, Submitted, Violation, violations};
use plan::{Fault, Plan};
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

const QUEUE: &str = "jobs";
const CLAIMS: &str = "jobs.claims";
const REPLIES: &str = "replies";
/// Far longer than anything takes.
const SOON: Duration = Duration::from_secs(20);
/// A command whose answer was lost is waited for this long.
const TIMEOUT_MS: u64 = 400;

/// What is done to one set of jobs.
struct Case {
    jobs: Vec<Value>,
    claims: bool,
    memory: Memory,
    log: Log,
    /// For how long the MQTT broker is away when the first life begins to take jobs.
    gap: Cell<Option<Duration>>,
}

impl Case {
    fn new(jobs: &[Value], claims: bool) -> Self {
        let memory = Memory::new(QUEUE, CLAIMS);
        for job in jobs.iter().filter(|job| job["after"].is_null()) {
            let message = match &job["kind"] {
                kind if kind == "celery" => celery::task(job, jobs),
                kind if kind == "chunk" => chunks::chunk(job),
                _ => native_job(job),
            };
            memory.publish(QUEUE, message);
        }
        Self { jobs: jobs.to_vec(), claims, memory, log: Log::default(), gap: Cell::default() }
    }

    /// One life of the program: until nothing is left to do, or its end. Returns the steps that it came to.
    fn live(&self, fault: Fault, at: usize) -> Vec<&'static str> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shutdown = Shutdown::new();
        let plan = Arc::new(Plan::new(fault, at, shutdown.clone()));
        runtime.block_on(async {
            let life = self.run(plan.clone(), shutdown);
            tokio::select! {
                () = plan.killed.cancelled() => {}
                done = timeout(SOON, life) => done.unwrap_or_else(|_| {
                    panic!("{fault:?} before step {at}: not done after {SOON:?}; steps: {:?}", plan.taken())
                }),
            }
        });
        // Everything that the program was ends here, wherever it stands.
        drop(runtime);
        self.memory.take_back();
        plan.taken()
    }

    async fn run(&self, plan: Arc<Plan>, shutdown: Shutdown) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let (away, is_away) = watch::channel(false);
        tokio::spawn(broker::serve(listener, self.log.clone(), plan.clone(), is_away));
        let mut options = mqtt::Options::new(&url).unwrap();
        options.protocol = mqtt::Protocol::V311;
        options.backoff_min = Duration::from_millis(1);
        options.backoff_max = Duration::from_millis(2);
        let agent = Agent::start(options);
        let profiles = builtin().into_iter().map(|(name, table)| Arc::new(Profile::compile(&name, &table).unwrap()));
        let commander = Commander::new(agent.clone(), profiles, commander::Options::default());
        commander.subscribe_standing("default").await.unwrap();
        let (publisher, publishing) = self.memory.publisher(plan.clone());
        let mut claims = None;
        if self.claims {
            let slack = Duration::from_millis(50);
            let options = claims::Options { clean: true, slack, ..claims::Options::new(CLAIMS) };
            let log = claims::Log::over(self.memory.read(plan.clone()), publisher.clone(), options);
            assert!(log.ready(Instant::now() + SOON).await || shutdown.soft().is_cancelled());
            claims = Some(log);
        }
        if let Some(gap) = self.gap.take() {
            away.send_replace(true);
            let away = away.clone();
            agent.state().wait_for(|state| !state.is_up()).await.unwrap();
            tokio::spawn(async move {
                sleep(gap).await;
                away.send_replace(false);
            });
        }
        // Never reached: what goes over it is not part of these cases.
        let nowhere = amqp::Options { url: "amqp://127.0.0.1:1".to_owned(), ..amqp::Options::default() };
        let channels = ChannelPool::new(Connection::start(nowhere, "nowhere"));
        let consumer = self.memory.consume(plan);
        let source = match self.jobs.iter().any(|job| job["kind"] == "chunk") {
            true => Intake::chunks(QUEUE, 10, consumer),
            false => Intake::new(Kind::Jobs, Dialect::Native, QUEUE, consumer),
        };
        let worker = Worker::new(
            Options { claims, ..options_of_worker() },
            commander,
            vec![source],
            (publisher, publishing),
            channels,
            shutdown.clone(),
        );
        let working = tokio::spawn(worker.run(mpsc::channel(1).1));
        let idle = async {
            while !self.memory.is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = idle => {}
            () = shutdown.soft().cancelled_owned() => {
                working.await.unwrap();
                shutdown.wait(SOON, SOON).await;
            }
        }
    }

    /// What must not be, whatever broke.
    fn violations(&self) -> Vec<Violation> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let submitted = self.jobs.iter().map(|job| Submitted {
            id: text(&job["id"]),
            devices: vec![text(&job["device"])],
            confirmed: true,
            at_most_once: job["guarantee"] == "at_most_once",
            expires_at: None,
        });
        let executed = self.log.all().into_iter().map(|(id, device)| Execution { id, device, at: 0 });
        let answers = self.replies().into_iter().map(|reply| {
            let body = said(&reply);
            Answer { message_id: reply.message_id, body }
        });
        violations(&Run {
            submitted: submitted.collect(),
            executed: executed.collect(),
            answers: answers.collect(),
            no_may_be_overtaken: !self.claims,
            ..Run::default()
        })
    }

    /// What every run must keep whose devices can be reached.
    fn judge(&self, what: &str) {
        let found = self.violations();
        assert!(found.is_empty(), "{what}: {found:?}");
        // What follows on another is run only where that succeeded.
        let asked = self.jobs.iter().filter(|job| job["after"].is_null());
        for job in asked.filter(|job| job["guarantee"] == "at_least_once") {
            let times = self.log.all().iter().filter(|(id, _)| job["id"] == **id).count();
            assert!(times >= 1, "{what}: {job} was never executed: {:?}", self.replies());
        }
    }

    fn replies(&self) -> Vec<Envelope> {
        self.memory.published().into_iter().filter(|(queue, _)| queue == REPLIES).map(|(_, reply)| reply).collect()
    }

    fn statuses(&self) -> Vec<String> {
        self.replies().iter().map(|reply| said(reply)["status"].as_str().unwrap().to_owned()).collect()
    }
}

/// What a reply says, in the words of a native result.
fn said(reply: &Envelope) -> Value {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    if body["task_id"].is_null() { body } else { celery::as_native(&body) }
}

fn native_job(job: &Value) -> Envelope {
    let content_type = Some("application/json".to_owned());
    let reply_to = Some(REPLIES.to_owned());
    Envelope { body: job.to_string().into(), content_type, reply_to, persistent: true, ..Envelope::default() }
}

fn options_of_worker() -> Options {
    Options {
        name: "worker".into(),
        concurrency: 100,
        dead_letter_queue: "dead".into(),
        limits: native::Limits { max_payload_bytes: 1 << 16, max_devices: 10, no_devices: false, repeats: false },
        recent: RecentLimits::default(),
        patience: SOON,
        hold: SOON,
        late_queue: 10,
        confirm_timeout: SOON,
        bulk_devices: 10,
        cancel_ids: 10,
        bulk_concurrency: 10,
        bulk_hold: SOON,
        spread: None,
        claims: None,
        celery: Some(celery::options()),
    }
}

fn job(id: &str, guarantee: &str, mode: &str) -> Value {
    json!({
        "id": id, "device": format!("d-{id}"), "command": "open", "payload": {"job": id},
        "mode": mode, "guarantee": guarantee, "timeout_ms": TIMEOUT_MS,
    })
}

/// The jobs of every case: each kind by itself, and two side by side.
fn sets() -> Vec<Vec<Value>> {
    let one = |guarantee, mode| vec![job("a", guarantee, mode)];
    let both = vec![job("a", "at_most_once", "request"), job("b", "at_least_once", "request")];
    vec![
        one("at_most_once", "request"),
        one("at_least_once", "request"),
        one("at_most_once", "publish"),
        one("at_least_once", "publish"),
        both,
        celery::chain("at_most_once"),
        celery::chain("at_least_once"),
    ]
}

/// Breaks each step of each set in turn, lets the program live again, and judges; returns how many steps were broken.
fn break_every_step(fault: Fault, claims: bool, judge: impl Fn(&Case, &str)) -> usize {
    let mut broken = 0;
    for jobs in sets() {
        for at in 1.. {
            let case = Case::new(&jobs, claims);
            let steps = case.live(fault, at);
            let Some(step) = steps.get(at - 1) else { break };
            let what = format!("{fault:?} before {step}, step {at} of {jobs:?}");
            case.live(fault, 0);
            judge(&case, &what);
            broken += 1;
        }
    }
    broken
}

#[test]
fn a_job_in_peace_takes_the_steps_that_are_known() {
    let case = Case::new(&[job("a", "at_most_once", "request")], false);
    let steps = case.live(Fault::Kill, 0);
    let expected = ["deliver", "command", "executed", "answer", "answered", "publish", "confirm", "settle", "settled"];
    assert_eq!(steps, expected);
    assert_eq!(case.statuses(), ["succeeded"]);
    case.judge("in peace");
}

#[test]
fn killed_before_any_step_it_loses_and_repeats_nothing_that_it_should_not() {
    let broken = break_every_step(Fault::Kill, false, Case::judge);
    assert!(broken >= 40, "only {broken} steps were broken");
}

#[test]
fn killed_twice_it_does_not_either() {
    for jobs in &sets()[..2] {
        for (first, second) in (1..=9).flat_map(|first| (1..=9).map(move |second| (first, second))) {
            let case = Case::new(jobs, false);
            case.live(Fault::Kill, first);
            case.live(Fault::Kill, second);
            case.live(Fault::Kill, 0);
            case.judge(&format!("killed before step {first}, then before {second}, of {jobs:?}"));
        }
    }
}

#[test]
fn cut_off_before_any_step_it_does_not_either() {
    for (fault, claims) in [(Fault::Cut, false), (Fault::Cut, true), (Fault::CutAll, false)] {
        let broken = break_every_step(fault, claims, Case::judge);
        assert!(broken >= 40, "only {broken} steps were broken");
    }
}

#[test]
fn stopped_before_any_step_it_makes_nothing_unknown() {
    for claims in [false, true] {
        let broken = break_every_step(Fault::Stop, claims, |case, what| {
            case.judge(what);
            assert!(case.statuses().iter().all(|status| status == "succeeded"), "{what}: {:?}", case.statuses());
            for job in &case.jobs {
                let times = case.log.all().iter().filter(|(id, _)| id == job["id"].as_str().unwrap()).count();
                assert_eq!(times, 1, "{what}: {job}");
            }
        });
        assert!(broken >= 40, "only {broken} steps were broken");
    }
}

#[test]
fn with_claims_a_kill_makes_unknown_only_what_was_claimed_and_has_no_result_yet() {
    let broken = break_every_step(Fault::Kill, true, Case::judge);
    assert!(broken >= 60, "only {broken} steps were broken");
    let jobs = [job("a", "at_most_once", "request")];
    let peace = Case::new(&jobs, true).live(Fault::Kill, 0);
    let after = |step: &str, from: usize| from + peace[from..].iter().position(|found| *found == step).unwrap();
    let claimed = after("publish", after("deliver", 0));
    let recorded = after("publish", after("command", 0));
    for at in 1..=peace.len() {
        let case = Case::new(&jobs, true);
        case.live(Fault::Kill, at);
        case.live(Fault::Kill, 0);
        let what = format!("killed before step {at} of {peace:?}");
        // Step numbers count from 1: killed before the record of the claim, or after that of the result, nothing is lost.
        let expected = if (claimed + 2..=recorded + 1).contains(&at) { "unknown" } else { "succeeded" };
        assert!(case.statuses().iter().all(|status| status == expected), "{what}: {:?}", case.statuses());
        case.judge(&what);
    }
}

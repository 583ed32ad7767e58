//! What every test of a worker stands on: brokers, devices, a caller, and the checker over what they saw.

use crate::harness::caller::{Caller, Reply};
use crate::harness::checker::{Answer, Execution, Run, Submitted, violations};
use crate::harness::device::{Dialect, Executed, Fleet};
use crate::harness::eventually::{eventually, found};
use crate::harness::worker::{Options, Worker};
use crate::harness::{mosquitto, rabbitmq, unique};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use switchboard::demo::brokers::Mosquitto;

/// Far longer than anything takes on a machine that is not at its knees.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A queue, a fleet and a caller of one test's own; the RabbitMQ node is the shared one unless said otherwise.
pub(crate) struct Scene {
    pub(crate) mqtt: Mosquitto,
    pub(crate) fleet: Fleet,
    pub(crate) caller: Caller,
    pub(crate) options: Options,
    /// The dead-letter queue.
    pub(crate) dead: String,
}

impl Scene {
    /// On the shared RabbitMQ node.
    pub(crate) async fn start(dialect: Dialect) -> Self {
        Self::on(&rabbitmq::shared().await.url(), dialect).await
    }

    /// On this AMQP broker.
    pub(crate) async fn on(amqp_url: &str, dialect: Dialect) -> Self {
        let mqtt = mosquitto::start();
        let fleet = Fleet::start(mqtt.port(), dialect).await;
        let caller = Caller::connect(amqp_url).await;
        let dead = unique("dead");
        let options = Options {
            amqp_url: amqp_url.to_owned(),
            mqtt_url: mqtt.url(),
            queue: unique("commands"),
            ..Options::default()
        };
        Self { mqtt, fleet, caller, options, dead: dead.clone() }.set("AMQP__DEAD_LETTER_QUEUE", &dead)
    }

    /// Sets a key of the configuration for every worker: `WORKER__LATE_GRACE`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.options.environment.push((format!("SWITCHBOARD__{key}"), value.to_owned()));
        self
    }

    /// A worker that is ready.
    pub(crate) async fn worker(&self) -> Worker {
        Worker::start_ready(&self.options, SOON).await
    }

    pub(crate) async fn send(&self, job: &Value) {
        self.caller.send(&self.options.queue, job).await;
    }

    /// Sends many jobs at once.
    pub(crate) async fn send_all(&self, jobs: impl IntoIterator<Item = Value>) {
        let properties = self.caller.properties();
        let messages = jobs.into_iter().map(|job| (job.to_string().into_bytes(), properties.clone()));
        self.caller.send_all(&self.options.queue, messages).await;
    }

    /// Waits for this many results of a job and returns all there are.
    pub(crate) async fn results(&self, id: &str, count: usize) -> Vec<Reply> {
        found(&format!("{count} results of {id}"), SOON, async || {
            let replies: Vec<Reply> =
                self.caller.replies().into_iter().filter(|reply| reply.body["id"] == id).collect();
            (replies.len() >= count).then_some(replies)
        })
        .await
    }

    /// Waits for the first result of a job.
    pub(crate) async fn result(&self, id: &str) -> Value {
        self.results(id, 1).await.swap_remove(0).body
    }

    /// Sends a job and waits for its result.
    pub(crate) async fn ask(&self, job: Value) -> Value {
        self.send(&job).await;
        self.result(job["id"].as_str().expect("jobs of tests have ids")).await
    }

    /// Waits until the broker counts no job any more, ready or unacknowledged: then nothing more is to come of one.
    pub(crate) async fn wait_idle(&self, worker: &Worker) {
        eventually("the worker has nothing to do", SOON, async || {
            worker.metric("switchboard_jobs_in_flight", &[]).await == 0.0
                && self.caller.depth(&self.options.queue).await == Some(0)
        })
        .await;
    }

    /// What mosquitto wrote: who connected, subscribed and left.
    pub(crate) fn broker_log(&self) -> String {
        std::fs::read_to_string(self.mqtt.folder().join("mosquitto.log")).unwrap_or_default()
    }

    /// How often each job was executed.
    pub(crate) fn executions(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for job in self.fleet.executed().into_iter().filter_map(|executed| executed.job) {
            *times.entry(job).or_default() += 1;
        }
        times
    }

    /// Holds the run against what must be true of every run.
    ///
    /// # Panics
    /// With everything that is not.
    pub(crate) fn check(&self, jobs: &[Value]) {
        check(jobs, self.fleet.executed(), &self.caller.replies());
    }
}

/// A job for one device; its payload carries its id, so that the device's log knows it.
pub(crate) fn job(id: &str, device: &str) -> Value {
    json!({"id": id, "device": device, "command": "open", "payload": {"job": id}})
}

/// The same with more fields, or other ones.
pub(crate) fn job_with(id: &str, device: &str, more: Value) -> Value {
    let mut job = job(id, device);
    if let (Some(fields), Value::Object(more)) = (job.as_object_mut(), more) {
        fields.extend(more);
    }
    job
}

/// The status of a result, and whether it was executed.
pub(crate) fn said(result: &Value) -> (&str, &str) {
    (result["status"].as_str().unwrap_or("no status"), result["executed"].as_str().unwrap_or("nothing"))
}

/// An instant so far from now, as a job has it.
pub(crate) fn at(from_now: Duration) -> String {
    (jiff::Timestamp::now() + from_now).to_string()
}

/// Holds a run of single jobs, each confirmed by the broker, against what must be true of every run.
///
/// # Panics
/// With everything that is not.
pub(crate) fn check(jobs: &[Value], executed: Vec<Executed>, replies: &[Reply]) {
    let text = |job: &Value, field: &str| job[field].as_str().unwrap_or_default().to_owned();
    let submitted = jobs.iter().map(|job| Submitted {
        id: text(job, "id"),
        devices: vec![text(job, "device")],
        confirmed: true,
        at_most_once: job["guarantee"] != "at_least_once",
        expires_at: job["expires_at"].as_str().and_then(|at| {
            let at: jiff::Timestamp = at.parse().ok()?;
            u64::try_from(at.as_millisecond()).ok()
        }),
    });
    let executions = executed.into_iter().filter_map(|executed| {
        let Executed { device, job, at, .. } = executed;
        job.map(|id| Execution { id, device, at })
    });
    let answers = replies.iter().map(|reply| Answer { message_id: reply.message_id.clone(), body: reply.body.clone() });
    // What a contended machine takes from the socket of the worker to the log of the device.
    let transit_ms = 2_000;
    let run = Run {
        transit_ms,
        submitted: submitted.collect(),
        executed: executions.collect(),
        answers: answers.collect(),
        ..Run::default()
    };
    let found = violations(&run);
    assert!(found.is_empty(), "{} violations: {:?}", found.len(), &found[..found.len().min(10)]);
}

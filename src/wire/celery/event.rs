//! Celery's events: what happens to tasks and workers, told to whoever watches the exchange `celeryev`.
//!
//! There is no `utcoffset` in them: a watcher subtracts it from the time and its own zone again, so any value shifts times
//! by hours for watchers in another zone. Without it times are what they say.

use super::repr;
use super::{End, Exception, Task};
use crate::envelope::{Envelope, Headers};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The exchange of all events; topic, durable, not auto-deleted, as every Celery program declares it.
pub const EXCHANGE: &str = "celeryev";
/// The routing key of a message with several events of tasks.
pub const MULTI: &str = "task.multi";

/// Something that happened to a task, not yet written out.
#[derive(Clone, Debug)]
pub struct Happening {
    /// The task's id.
    pub id: Arc<str>,
    /// When: seconds since the Unix epoch.
    pub at: f64,
    /// The logical clock's reading; greater than that of whatever happened here before.
    pub clock: u64,
    /// What.
    pub what: What,
}

/// What can happen to a task.
#[derive(Clone, Debug)]
pub enum What {
    /// It came from the broker. The only event that carries its name and arguments.
    Received(Arc<Task>),
    /// It runs.
    Started,
    /// It has a result.
    Succeeded {
        /// The result as Python shows it.
        result: String,
        /// Seconds that it ran.
        runtime: f64,
    },
    /// It failed.
    Failed {
        /// The exception as Python shows it.
        exception: String,
        /// What stands where Python's traceback would.
        traceback: String,
    },
    /// It was called off.
    Revoked {
        /// While it ran.
        terminated: bool,
        /// By this signal, if it ran.
        signum: Option<i32>,
        /// Because its time was over.
        expired: bool,
    },
}

impl What {
    /// The end of a task that ran so many seconds; `signum` counts only where it was terminated.
    pub fn end(end: &End, runtime: f64, signum: Option<i32>) -> Self {
        match end {
            End::Success(result) => Self::Succeeded { result: repr::json(result.get()), runtime },
            End::Failure(exception) => {
                Self::Failed { exception: repr::exception(exception), traceback: traceback(exception) }
            }
            End::Revoked(exception) => {
                let reason = exception.args.first().and_then(serde_json::Value::as_str).unwrap_or_default();
                let terminated = reason == "terminated";
                Self::Revoked { terminated, signum: signum.filter(|_| terminated), expired: reason == "expired" }
            }
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Received(_) => "task-received",
            Self::Started => "task-started",
            Self::Succeeded { .. } => "task-succeeded",
            Self::Failed { .. } => "task-failed",
            Self::Revoked { .. } => "task-revoked",
        }
    }
}

/// The last line of a traceback: there are no Python frames above it.
fn traceback(exception: &Exception) -> String {
    let shown: Vec<String> = exception.args.iter().map(|arg| repr::json(&arg.to_string())).collect();
    match &exception.args[..] {
        [serde_json::Value::String(text)] => format!("{}.{}: {text}\n", exception.module, exception.kind),
        _ => format!("{}.{}: ({})\n", exception.module, exception.kind, shown.join(", ")),
    }
}

/// Whose events these are.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The node's name.
    pub node: Arc<str>,
    /// The process's number.
    pub pid: u32,
}

/// How a worker does, as its heartbeats say.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Seconds between its heartbeats: one that is silent for twice as long counts as dead.
    pub freq: f64,
    /// Tasks that run.
    pub active: u64,
    /// Tasks that were begun since its start.
    pub processed: u64,
    /// The machine's load over 1, 5 and 15 minutes.
    pub loadavg: [f64; 3],
    /// The program's name.
    pub sw_ident: &'static str,
    /// Its version.
    pub sw_ver: &'static str,
    /// The operating system.
    pub sw_sys: &'static str,
}

#[derive(Serialize)]
struct Written<'a, T> {
    hostname: &'a str,
    pid: u32,
    clock: u64,
    timestamp: f64,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Uuid<'a, T> {
    uuid: &'a str,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OfTask<'a> {
    Received {
        name: &'a str,
        args: &'a str,
        kwargs: &'a str,
        root_id: &'a str,
        parent_id: Option<&'a str>,
        retries: i64,
        eta: Option<String>,
        expires: Option<String>,
    },
    Started {},
    Succeeded {
        result: &'a str,
        runtime: f64,
    },
    Failed {
        exception: &'a str,
        traceback: &'a str,
    },
    Revoked {
        terminated: bool,
        signum: Option<i32>,
        expired: bool,
    },
}

#[derive(Serialize)]
struct OfWorker {
    freq: f64,
    active: u64,
    processed: u64,
    loadavg: [f64; 3],
    sw_ident: &'static str,
    sw_ver: &'static str,
    sw_sys: &'static str,
}

/// A message with several events of tasks, for the routing key [`MULTI`].
pub fn tasks(sender: &Sender, happenings: &[Happening]) -> Envelope {
    let written: Vec<_> = happenings
        .iter()
        .map(|happening| Written {
            hostname: &sender.node,
            pid: sender.pid,
            clock: happening.clock,
            timestamp: happening.at,
            kind: happening.what.kind(),
            rest: Uuid { uuid: &happening.id, rest: of_task(&happening.what) },
        })
        .collect();
    envelope(sender, &written)
}

/// A message with one event of a worker, `worker-online`, `worker-heartbeat` or `worker-offline`, and its routing key.
pub fn worker(sender: &Sender, kind: &'static str, clock: u64, at: f64, condition: &Condition) -> (String, Envelope) {
    let Condition { freq, active, processed, loadavg, sw_ident, sw_ver, sw_sys } = *condition;
    let rest = OfWorker { freq, active, processed, loadavg, sw_ident, sw_ver, sw_sys };
    let written = Written { hostname: &sender.node, pid: sender.pid, clock, timestamp: at, kind, rest };
    (kind.replace('-', "."), envelope(sender, &written))
}

fn of_task(what: &What) -> OfTask<'_> {
    match what {
        What::Received(task) => OfTask::Received {
            name: task.shadow.as_deref().unwrap_or(&task.head.name),
            args: &task.args_repr,
            kwargs: &task.kwargs_repr,
            root_id: task.head.root_id.as_deref().unwrap_or(&task.head.id),
            parent_id: task.head.parent_id.as_deref(),
            retries: task.retries,
            eta: task.eta.map(moment),
            expires: task.expires.map(moment),
        },
        What::Started => OfTask::Started {},
        What::Succeeded { result, runtime } => OfTask::Succeeded { result, runtime: *runtime },
        What::Failed { exception, traceback } => OfTask::Failed { exception, traceback },
        What::Revoked { terminated, signum, expired } => {
            OfTask::Revoked { terminated: *terminated, signum: *signum, expired: *expired }
        }
    }
}

fn envelope(sender: &Sender, written: &impl Serialize) -> Envelope {
    let mut headers = Headers::default();
    headers.set("hostname", (&*sender.node).into());
    Envelope { headers, ..transient(written) }
}

/// A message of Celery's machinery: JSON, lost with the broker.
pub(super) fn transient(written: &impl Serialize) -> Envelope {
    // Texts, numbers and lists of them: nothing of what is written here can fail to be JSON.
    let body = serde_json::to_vec(written).unwrap_or_default();
    Envelope {
        body: Bytes::from(body),
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        priority: Some(0),
        persistent: false,
        ..Envelope::default()
    }
}

/// The wall clock as events tell it: seconds since the Unix epoch.
pub fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A moment in milliseconds since the Unix epoch as Python's `isoformat` writes it.
pub(super) fn moment(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    // Microseconds, or none at all.
    let format = if unix_ms.is_multiple_of(1000) { "%Y-%m-%dT%H:%M:%S+00:00" } else { "%Y-%m-%dT%H:%M:%S%.6f+00:00" };
    at.unwrap_or(jiff::Timestamp::MAX).strftime(format).to_string()
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;

//! What a node says of itself: its tasks, queues, figures and settings, in the shapes that Celery's tools read.

use super::event::moment;
use super::{Json, Task};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Bytes of arguments that are shown whole; larger ones are shown as Python's `repr`, cut, also where they were asked for whole.
const ARGUMENTS: usize = 16 * 1024;
/// Celery's words for a secret.
const MASK: &str = "********";

/// How a task came and how far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The process that runs it, where it runs.
    pub pid: Option<u32>,
    /// When it was begun: seconds since the Unix epoch.
    pub begun: Option<f64>,
    /// Whether its message is acknowledged.
    pub acknowledged: bool,
    /// The exchange it was published to.
    pub exchange: &'a str,
    /// The routing key it was published with.
    pub routing_key: &'a str,
    /// The message's priority.
    pub priority: Option<u8>,
    /// Whether it was delivered before.
    pub redelivered: bool,
}

/// A task as `active`, `reserved` and `query_task` show it. With `safe` its arguments are texts.
#[derive(Serialize)]
pub struct Info<'a> {
    id: &'a str,
    name: &'a str,
    args: Args<'a>,
    kwargs: Kwargs<'a>,
    #[serde(rename = "type")]
    kind: &'a str,
    hostname: &'a str,
    time_start: Option<f64>,
    acknowledged: bool,
    delivery_info: DeliveryInfo<'a>,
    worker_pid: Option<u32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Args<'a> {
    Whole(&'a [Json]),
    Shown(&'a str),
}

enum Kwargs<'a> {
    Whole(&'a [(String, Json)]),
    Shown(&'a str),
}

impl Serialize for Kwargs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Shown(text) => serializer.serialize_str(text),
            Self::Whole(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                pairs.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

#[derive(Serialize)]
struct DeliveryInfo<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    priority: Option<u8>,
    redelivered: bool,
}

/// A task that waits for its time, as `scheduled` shows it.
#[derive(Serialize)]
pub struct Scheduled<'a> {
    eta: Option<String>,
    priority: u8,
    request: Info<'a>,
}

impl<'a> Info<'a> {
    /// Puts it together; nothing is copied.
    pub fn new(task: &'a Task, progress: Progress<'a>, safe: bool) -> Self {
        let args: usize = task.args.iter().map(|arg| arg.get().len()).sum();
        let kwargs: usize = task.kwargs.iter().map(|(name, value)| name.len() + value.get().len()).sum();
        let safe = safe || args + kwargs > ARGUMENTS;
        let Progress { exchange, routing_key, priority, redelivered, .. } = progress;
        Self {
            id: &task.head.id,
            name: task.shadow.as_deref().unwrap_or(&task.head.name),
            args: if safe { Args::Shown(&task.args_repr) } else { Args::Whole(&task.args) },
            kwargs: if safe { Kwargs::Shown(&task.kwargs_repr) } else { Kwargs::Whole(&task.kwargs) },
            kind: &task.head.name,
            hostname: progress.node,
            time_start: progress.begun,
            acknowledged: progress.acknowledged,
            delivery_info: DeliveryInfo { exchange, routing_key, priority, redelivered },
            worker_pid: progress.pid,
        }
    }

    /// The same, waiting for its time. 6 is the priority that Celery's timer gives all tasks.
    pub fn scheduled(self, task: &Task) -> Scheduled<'a> {
        Scheduled { eta: task.eta.map(moment), priority: 6, request: self }
    }
}

/// A queue that tasks are taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The exchange that it is bound to.
    pub exchange: String,
    /// That exchange's type.
    pub exchange_type: String,
    /// The routing key of the binding.
    pub routing_key: String,
    /// The arguments that it was declared with.
    pub arguments: Map<String, Value>,
}

impl Queue {
    /// One as Celery declares it by default: with a direct exchange of the same name.
    pub fn direct(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            exchange: name.clone(),
            exchange_type: "direct".to_owned(),
            routing_key: name.clone(),
            name,
            arguments: Map::new(),
        }
    }

    /// As `active_queues` shows it.
    pub fn shown(&self) -> Value {
        let argument = |name: &str| self.arguments.get(name).cloned().unwrap_or(Value::Null);
        // Celery counts these in seconds.
        let seconds = |name: &str| argument(name).as_f64().map_or(Value::Null, |ms| json!(ms / 1000.0));
        let arguments = if self.arguments.is_empty() { Value::Null } else { Value::Object(self.arguments.clone()) };
        json!({
            "name": self.name,
            "exchange": {
                "name": self.exchange, "type": self.exchange_type, "arguments": null, "durable": true, "passive": false,
                "auto_delete": false, "delivery_mode": null, "no_declare": false,
            },
            "routing_key": self.routing_key,
            "queue_arguments": arguments,
            "binding_arguments": null, "consumer_arguments": null,
            "durable": true, "exclusive": false, "auto_delete": false, "no_ack": false,
            "alias": null, "bindings": [], "no_declare": null,
            "expires": seconds("x-expires"), "message_ttl": seconds("x-message-ttl"),
            "max_length": argument("x-max-length"), "max_length_bytes": argument("x-max-length-bytes"),
            "max_priority": argument("x-max-priority"),
        })
    }
}

/// The broker, without its password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broker {
    /// Its host.
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// Our login.
    pub userid: String,
    /// The virtual host.
    pub virtual_host: String,
    /// Whether TLS is spoken.
    pub ssl: bool,
}

/// A node's figures, as `stats` shows them.
#[derive(Clone, Debug)]
pub struct Stats<'a> {
    /// Tasks begun, by name.
    pub total: Vec<(&'a str, u64)>,
    /// The process's number.
    pub pid: u32,
    /// The logical clock.
    pub clock: u64,
    /// Seconds since the start.
    pub uptime: u64,
    /// Tasks at one time.
    pub concurrency: usize,
    /// Messages that the broker lets us hold.
    pub prefetch: u32,
    /// The connection.
    pub broker: &'a Broker,
    /// What the process has used, as far as the system tells.
    pub usage: Usage,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of processor time in the program.
    pub utime: f64,
    /// Seconds of processor time in the system.
    pub stime: f64,
    /// The most memory at one time, in KiB.
    pub maxrss: u64,
}

impl Stats<'_> {
    /// As `stats` shows it. Flower's page of a worker fails without `total` and `broker`. Names with no task are left out, as
    /// Celery does.
    pub fn shown(&self) -> Value {
        let total: Map<String, Value> = self
            .total
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| ((*name).to_owned(), json!(count)))
            .collect();
        let Broker { hostname, port, userid, virtual_host, ssl } = self.broker;
        let Usage { utime, stime, maxrss } = self.usage;
        json!({
            "total": total,
            "pid": self.pid,
            "clock": self.clock.to_string(),
            "uptime": self.uptime,
            "pool": {"implementation": "switchboard", "max-concurrency": self.concurrency},
            "broker": {
                "hostname": hostname, "userid": userid, "virtual_host": virtual_host, "port": port, "insist": false,
                "ssl": ssl, "transport": "amqp", "connect_timeout": 4, "transport_options": {}, "login_method": "PLAIN",
                "uri_prefix": null, "heartbeat": null, "failover_strategy": "round-robin", "alternates": [],
                "credential_provider": null,
            },
            "prefetch_count": self.prefetch,
            "rusage": {"utime": utime, "stime": stime, "maxrss": maxrss},
        })
    }
}

/// Settings with their secrets masked: passwords in URLs, and whatever has a name as secrets have.
pub fn masked(conf: &[(String, Value)]) -> Map<String, Value> {
    conf.iter().map(|(name, value)| (name.clone(), mask(name, value))).collect()
}

fn mask(name: &str, value: &Value) -> Value {
    let upper = name.to_uppercase();
    let is_secret = ["API", "TOKEN", "KEY", "SECRET", "PASS", "SIGNATURE"].iter().any(|word| upper.contains(word));
    match value {
        // A routing key opens nothing.
        Value::String(_) | Value::Number(_) if is_secret && !upper.ends_with("ROUTING_KEY") => MASK.into(),
        Value::String(text) => mask_urls(text).into(),
        Value::Array(values) => values.iter().map(|value| mask(name, value)).collect(),
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), mask(name, value))).collect(),
        other => other.clone(),
    }
}

/// The passwords of all URLs in a text; several are divided by `;`.
fn mask_urls(text: &str) -> String {
    let one = |url: &str| {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        // The last `@`: a password that was not encoded may have others.
        let at = rest[..end].rfind('@').or_else(|| rest.rfind('@'))?;
        let user = rest[..at].split_once(':')?.0;
        Some(format!("{scheme}://{user}:{MASK}{}", &rest[at..]))
    };
    text.split(';').map(|url| one(url).unwrap_or_else(|| url.to_owned())).collect::<Vec<_>>().join(";")
}

/// A text for bug reports, as `report` shows it.
pub fn report(version: &str, conf: &[(String, Value)]) -> String {
    let mut text = format!(
        "\nsoftware -> switchboard:{version}\nplatform -> system:{} arch:{}\nsettings -> transport:amqp\n\n",
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    for (name, value) in masked(conf) {
        text.push_str(&format!("{name}: {}\n", super::repr::json(&value.to_string())));
    }
    text
}

/// Something as JSON text. What is written here cannot fail to be JSON; if it did, the answer would be null.
pub fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

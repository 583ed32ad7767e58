//! The checked configuration, section by section, as the program is built from it.

use super::bulk::BulkSection;
use super::celery::CelerySection;
use super::kind::Checked;
use super::profiles::Profiles;
use super::url::{Secret, Url};
use crate::job::Guarantee;
use crate::schedule::Schedule;
use crate::telemetry::logging;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration. Each field is the key of the same name; `Debug` shows no secret.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct Config {
    pub amqp: AmqpSection,
    pub mqtt: MqttSection,
    pub worker: WorkerSection,
    pub bulk: BulkSection,
    pub http: HttpSection,
    pub celery: CelerySection,
    pub log: LogSection,
    /// Compiled, the built-in ones among them.
    pub profiles: Profiles,
    /// In the order in which they stand.
    pub schedules: Vec<Schedule>,
}

/// `[amqp]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct AmqpSection {
    pub url: Url,
    pub queue: String,
    pub queue_type: QueueType,
    pub declare: bool,
    pub prefetch: u16,
    pub confirm_timeout: Duration,
    pub bulk_queue: String,
    pub dead_letter_queue: String,
    pub tls: TlsSection,
}

/// `[amqp.tls]` and `[mqtt.tls]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct TlsSection {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// `[mqtt]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct MqttSection {
    pub url: Url,
    pub protocol: Protocol,
    pub client_id_prefix: String,
    /// From the key, else from the address.
    pub username: Option<String>,
    /// From the password file, else from the address.
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    pub keep_alive: Duration,
    pub session_expiry: Duration,
    pub max_inflight: usize,
    pub max_answer_bytes: usize,
    pub tls: TlsSection,
}

/// `[worker]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct WorkerSection {
    pub concurrency: usize,
    pub per_device: usize,
    pub per_device_queue: usize,
    pub breaker_failures: u32,
    pub breaker_pause: Duration,
    pub breaker_devices: usize,
    pub presence: bool,
    pub default_timeout: Duration,
    pub max_timeout: Duration,
    pub default_guarantee: Guarantee,
    pub claims: bool,
    pub claim_window: Duration,
    pub claim_ids: usize,
    pub claim_reply_bytes: usize,
    pub claim_log_bytes: u64,
    pub grace: Duration,
    pub max_payload_bytes: usize,
    pub late_grace: Duration,
    pub cancel_ids: usize,
    pub late_ids: usize,
    pub recent_ids: usize,
    pub recent_reply_bytes: usize,
    pub recent_for: Duration,
    pub patience: Duration,
    pub hold: Duration,
    pub max_devices: usize,
    pub bulk_devices: usize,
    pub bulk_concurrency: usize,
    pub bulk_hold: Duration,
    pub scheduling: Scheduling,
}

/// `[http]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct HttpSection {
    pub listen: SocketAddr,
}

/// `[log]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct LogSection {
    pub format: logging::Format,
    pub level: String,
    pub otlp_endpoint: Option<Url>,
}

/// How the kernel schedules a worker's threads (sched(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// Woken, they do not interrupt what runs.
    Batch,
    /// As those of any program.
    Other,
}

/// The type of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated; counts deliveries.
    Quorum,
    /// On one node.
    Classic,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// Checked values by path; a key without default may be absent.
pub(super) type Values = BTreeMap<&'static str, Checked>;

macro_rules! getter {
    ($name:ident, $variant:ident, $type:ty) => {
        pub(super) fn $name(values: &Values, path: &str) -> Option<$type> {
            match values.get(path) {
                Some(Checked::$variant(value)) => Some(value.clone()),
                _ => None,
            }
        }
    };
}

getter!(flag, Flag, bool);
getter!(count, Count, u64);
getter!(time, Time, Duration);
getter!(text, Text, String);
getter!(url, Url, Url);
getter!(file, File, PathBuf);
getter!(listen, Listen, SocketAddr);

/// The value of a key that has a default.
pub(super) fn set<T>(get: fn(&Values, &str) -> Option<T>, values: &Values, path: &str) -> T {
    get(values, path).expect("the table of keys gives this key this kind and a default")
}

pub(super) fn size(values: &Values, path: &str) -> usize {
    usize::try_from(set(count, values, path)).unwrap_or(usize::MAX)
}

pub(super) fn queue_type(values: &Values, path: &str) -> QueueType {
    if set(text, values, path) == "classic" { QueueType::Classic } else { QueueType::Quorum }
}

impl Config {
    /// Builds every section but the schedules; `values` holds every key that has a default.
    pub(super) fn build(values: &Values, profiles: Profiles) -> Self {
        let v = values;
        Self {
            amqp: AmqpSection {
                url: set(url, v, "amqp.url"),
                queue: set(text, v, "amqp.queue"),
                queue_type: queue_type(v, "amqp.queue_type"),
                declare: set(flag, v, "amqp.declare"),
                prefetch: prefetch(v),
                confirm_timeout: set(time, v, "amqp.confirm_timeout"),
                bulk_queue: set(text, v, "amqp.bulk_queue"),
                dead_letter_queue: set(text, v, "amqp.dead_letter_queue"),
                tls: TlsSection::build(v, ["amqp.tls.ca_file", "amqp.tls.cert_file", "amqp.tls.key_file"]),
            },
            mqtt: MqttSection::build(v),
            worker: WorkerSection::build(v),
            bulk: BulkSection::build(v),
            http: HttpSection { listen: set(listen, v, "http.listen") },
            celery: CelerySection::build(v, prefetch(v)),
            log: LogSection {
                format: match set(text, v, "log.format").as_str() {
                    "json" => logging::Format::Json,
                    _ => logging::Format::Text,
                },
                level: set(text, v, "log.level"),
                otlp_endpoint: url(v, "log.otlp_endpoint"),
            },
            profiles,
            schedules: Vec::new(),
        }
    }
}

/// What is prefetched is what a crash can touch, so by default no more than can be worked on.
fn prefetch(values: &Values) -> u16 {
    let jobs = count(values, "amqp.prefetch").unwrap_or_else(|| set(count, values, "worker.concurrency"));
    u16::try_from(jobs).unwrap_or(u16::MAX)
}

impl TlsSection {
    fn build(values: &Values, [ca, cert, key]: [&str; 3]) -> Self {
        Self { ca_file: file(values, ca), cert_file: file(values, cert), key_file: file(values, key) }
    }
}

impl MqttSection {
    fn build(v: &Values) -> Self {
        let url = set(url, v, "mqtt.url");
        Self {
            protocol: if set(text, v, "mqtt.protocol") == "3.1.1" { Protocol::V311 } else { Protocol::V5 },
            client_id_prefix: set(text, v, "mqtt.client_id_prefix"),
            username: text(v, "mqtt.username").or_else(|| url.user()),
            password: url.password(),
            password_file: file(v, "mqtt.password_file"),
            keep_alive: set(time, v, "mqtt.keep_alive"),
            session_expiry: set(time, v, "mqtt.session_expiry"),
            max_inflight: size(v, "mqtt.max_inflight"),
            max_answer_bytes: size(v, "mqtt.max_answer_bytes"),
            tls: TlsSection::build(v, ["mqtt.tls.ca_file", "mqtt.tls.cert_file", "mqtt.tls.key_file"]),
            url,
        }
    }
}

impl WorkerSection {
    fn build(v: &Values) -> Self {
        Self {
            concurrency: size(v, "worker.concurrency"),
            per_device: size(v, "worker.per_device"),
            per_device_queue: size(v, "worker.per_device_queue"),
            breaker_failures: u32::try_from(set(count, v, "worker.breaker_failures")).unwrap_or(u32::MAX),
            breaker_pause: set(time, v, "worker.breaker_pause"),
            breaker_devices: size(v, "worker.breaker_devices"),
            presence: set(flag, v, "worker.presence"),
            default_timeout: set(time, v, "worker.default_timeout"),
            max_timeout: set(time, v, "worker.max_timeout"),
            default_guarantee: match set(text, v, "worker.default_guarantee").as_str() {
                "at_least_once" => Guarantee::AtLeastOnce,
                _ => Guarantee::AtMostOnce,
            },
            claims: set(flag, v, "worker.claims"),
            claim_window: set(time, v, "worker.claim_window"),
            claim_ids: size(v, "worker.claim_ids"),
            claim_reply_bytes: size(v, "worker.claim_reply_bytes"),
            claim_log_bytes: set(count, v, "worker.claim_log_bytes"),
            grace: set(time, v, "worker.grace"),
            max_payload_bytes: size(v, "worker.max_payload_bytes"),
            late_grace: set(time, v, "worker.late_grace"),
            cancel_ids: size(v, "worker.cancel_ids"),
            late_ids: size(v, "worker.late_ids"),
            recent_ids: size(v, "worker.recent_ids"),
            recent_reply_bytes: size(v, "worker.recent_reply_bytes"),
            recent_for: set(time, v, "worker.recent_for"),
            patience: set(time, v, "worker.patience"),
            hold: set(time, v, "worker.hold"),
            max_devices: size(v, "worker.max_devices"),
            bulk_devices: size(v, "worker.bulk_devices"),
            bulk_concurrency: count(v, "worker.bulk_concurrency").map_or_else(
                || size(v, "worker.concurrency"),
                |devices| usize::try_from(devices).unwrap_or(usize::MAX),
            ),
            bulk_hold: set(time, v, "worker.bulk_hold"),
            scheduling: match set(text, v, "worker.scheduling").as_str() {
                "other" => Scheduling::Other,
                _ => Scheduling::Batch,
            },
        }
    }
}

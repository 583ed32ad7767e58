//! The one table of configuration keys: reading, the check for unknown keys, the JSON Schema and the documented file all
//! come from it.

mod bulk;
mod celery;

use super::kind::Kind;

/// One key.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Key {
    /// Section and name: `amqp.tls.ca_file`.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default as TOML; `None` where it has none, and then the doc says what its absence means.
    pub default: Option<&'static str>,
    /// What it means, in one or more lines.
    pub doc: &'static str,
}

impl Key {
    /// The section it stands in: `amqp.tls`.
    pub(in crate::config) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within the section: `ca_file`.
    pub(in crate::config) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// The key of that path.
pub(in crate::config) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// What each section is about, in the order of the documented file.
pub(in crate::config) const SECTIONS: [(&str, &str); 9] = [
    ("amqp", "The broker that jobs come from and results go to."),
    ("amqp.tls", "TLS to the AMQP broker, with an address that begins with amqps://."),
    ("mqtt", "The broker that devices are reached through."),
    ("mqtt.tls", "TLS to the MQTT broker, with an address that begins with mqtts:// or wss://."),
    ("worker", "How jobs are worked on."),
    ("bulk", "Bulk jobs that are spread over all workers."),
    ("http", "Metrics and health."),
    ("celery", "Celery tasks."),
    ("log", "What is logged, on standard error."),
];

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default: Some(default), doc }
}

const fn optional(path: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { path, kind, default: None, doc }
}

const QUEUE_TYPES: Kind = Kind::OneOf(&["quorum", "classic"]);
const PORTS: u64 = 65_535;
const DAY_MS: u64 = 86_400_000;
/// The most entries of anything that is kept by count.
const MANY: u64 = 10_000_000;

/// Every key outside `[profiles.NAME]` and `[[schedules]]`, whose names are the user's own.
pub(in crate::config) const KEYS: &[Key] = &ALL;

const PARTS: [&[Key]; 3] = [MOST, bulk::KEYS, celery::KEYS];

const ALL: [Key; PARTS[0].len() + PARTS[1].len() + PARTS[2].len()] = {
    let mut all = [MOST[0]; PARTS[0].len() + PARTS[1].len() + PARTS[2].len()];
    let (mut part, mut within, mut index) = (0, 0, 0);
    while index < all.len() {
        if within == PARTS[part].len() {
            (part, within) = (part + 1, 0);
            continue;
        }
        all[index] = PARTS[part][within];
        (within, index) = (within + 1, index + 1);
    }
    all
};

/// Every key outside `[bulk]` and `[celery]`.
const MOST: &[Key] = &[
    key(
        "amqp.url",
        Kind::Urls(&["amqp", "amqps", "pyamqp"]),
        r#""amqp://guest:guest@127.0.0.1:5672/%2f""#,
        "The broker's address, with user, password and virtual host (%2f is the virtual host \"/\").\n\
         Several with ; between them are tried in turn, as Celery's broker_url has it.",
    ),
    key("amqp.queue", Kind::Queue, r#""switchboard.commands""#, "The queue that jobs are taken from."),
    key("amqp.queue_type", QUEUE_TYPES, r#""quorum""#, "Its type where it is declared: \"quorum\" or \"classic\"."),
    key("amqp.declare", Kind::Flag, "true", "Whether queues are declared; false only checks that they exist."),
    optional(
        "amqp.prefetch",
        Kind::Count { min: 1, max: PORTS },
        "How many jobs may be delivered and not yet acked: what a crash can touch. worker.concurrency where it is not set.",
    ),
    key(
        "amqp.confirm_timeout",
        Kind::Time { min: 1_000, max: DAY_MS },
        r#""30s""#,
        "How long the broker may take to confirm a message. A result is then sent again, with the same message_id;\n\
         a dead letter, or a job that goes back, is left to the broker's own means.",
    ),
    key(
        "amqp.bulk_queue",
        Kind::Queue,
        r#""switchboard.bulk""#,
        "The queue for the pieces of bulk jobs that are spread over all workers; \"{amqp.bulk_queue}.coordinator.{N}\" are\n\
         those of their coordinators. A quorum queue where it is declared. Where only amqp.queue is set, it is that name with\n\
         \".bulk\": workers of different queues are different groups.",
    ),
    key(
        "amqp.dead_letter_queue",
        Kind::Queue,
        r#""switchboard.dead""#,
        "Where jobs go that can be neither processed nor answered; the header x-switchboard-reason says why.",
    ),
    optional(
        "amqp.tls.ca_file",
        Kind::File,
        "Certificates of the authorities to trust (PEM); the system's own where it is not set.",
    ),
    optional("amqp.tls.cert_file", Kind::File, "The client's certificate (PEM), together with key_file."),
    optional("amqp.tls.key_file", Kind::File, "The client's private key (PEM), together with cert_file."),
    key(
        "mqtt.url",
        Kind::Url(&["mqtt", "mqtts", "ws", "wss"]),
        r#""mqtt://127.0.0.1:1883""#,
        "The broker's address: mqtt://, mqtts:// (TLS), ws:// or wss:// (WebSocket, with its path).",
    ),
    key("mqtt.protocol", Kind::OneOf(&["5", "3.1.1"]), r#""5""#, "The version of MQTT: \"5\" or \"3.1.1\"."),
    key(
        "mqtt.client_id_prefix",
        Kind::Text { min: 1, max: 64 },
        r#""switchboard""#,
        "What every client id begins with; the rest is made anew for each process, since a broker lets one client have an id.",
    ),
    optional(
        "mqtt.username",
        Kind::Text { min: 1, max: 65_535 },
        "The user; the one in the address, if any, where it is not set.",
    ),
    optional(
        "mqtt.password_file",
        Kind::File,
        "A file with the password and nothing else; a line break at its end is ignored.",
    ),
    key(
        "mqtt.keep_alive",
        Kind::Seconds { min: 5, max: 65_535 },
        r#""30s""#,
        "How long the connection may be silent before it is probed; a dead broker is noticed within one and a half times this.\n\
         Whole seconds.",
    ),
    key(
        "mqtt.session_expiry",
        Kind::Seconds { min: 0, max: 30 * DAY_MS / 1_000 },
        r#""60s""#,
        "How long the broker keeps answers for us over a lost connection (MQTT 5); whole seconds.",
    ),
    key(
        "mqtt.max_inflight",
        Kind::Count { min: 1, max: 60_000 },
        "1000",
        "How many publishes at QoS 1 may wait for the broker's acknowledgement. mosquitto, unless told otherwise,\n\
         drops what a device is sent beyond 1000.",
    ),
    key(
        "mqtt.max_answer_bytes",
        Kind::Count { min: 1_024, max: 268_435_455 },
        "1048576",
        "How large a message from a device may be, in bytes. A larger one is skipped and counted, and its command times out.",
    ),
    optional(
        "mqtt.tls.ca_file",
        Kind::File,
        "Certificates of the authorities to trust (PEM); the system's own where it is not set.",
    ),
    optional("mqtt.tls.cert_file", Kind::File, "The client's certificate (PEM), together with key_file."),
    optional("mqtt.tls.key_file", Kind::File, "The client's private key (PEM), together with cert_file."),
    key(
        "worker.concurrency",
        Kind::Count { min: 1, max: PORTS },
        "1000",
        "How many jobs may be under way at a time. A bulk counts as one; worker.bulk_concurrency bounds its commands.",
    ),
    key(
        "worker.per_device",
        Kind::Count { min: 1, max: PORTS },
        "1",
        "How many of them for one device; 1 runs them one after the other, in order.",
    ),
    key(
        "worker.per_device_queue",
        Kind::Count { min: 0, max: PORTS },
        "100",
        "How many more may wait for one device; beyond that one is refused: undeliverable, device_busy.\n\
         Those of a bulk are neither counted nor refused: its own concurrency bounds them.",
    ),
    key(
        "worker.breaker_failures",
        Kind::Count { min: 0, max: 1000 },
        "5",
        "After so many commands in a row without an answer or a subscriber, within ten minutes, a device is left alone:\n\
         further ones are refused, undeliverable, device_offline. 0 refuses none, whatever devices say of themselves.",
    ),
    key(
        "worker.breaker_pause",
        Kind::Time { min: 1, max: DAY_MS },
        r#""30s""#,
        "How long, until one command tries again; doubled by each try that fails, up to ten minutes. Any sign of life ends it.",
    ),
    key(
        "worker.breaker_devices",
        Kind::Count { min: 1, max: MANY },
        "100000",
        "How many devices with failures are remembered; beyond that the one of which nothing was heard for longest is forgotten.",
    ),
    key(
        "worker.presence",
        Kind::Flag,
        "true",
        "Whether a device that says on its profile's status topic that it is offline is left alone at once.\n\
         false subscribes to no status topics, for fleets whose changes are too many.",
    ),
    key(
        "worker.default_timeout",
        Kind::Time { min: 1, max: DAY_MS },
        r#""10s""#,
        "How long to wait for a device's answer where the job does not say.",
    ),
    key("worker.max_timeout", Kind::Time { min: 1, max: DAY_MS }, r#""5m""#, "The longest that a job may ask to wait."),
    key(
        "worker.default_guarantee",
        Kind::OneOf(&["at_most_once", "at_least_once"]),
        r#""at_most_once""#,
        "What happens where a crash leaves it open whether a command was sent, and the job does not say:\n\
         \"at_most_once\" reports it as unknown, \"at_least_once\" sends it again.",
    ),
    key(
        "worker.claims",
        Kind::Flag,
        "false",
        "Whether commands are claimed in a log shared by all replicas, for at most once across them. The log is the stream\n\
         \"{amqp.queue}.claims\".",
    ),
    key(
        "worker.claim_window",
        Kind::Time { min: 60_000, max: 7 * DAY_MS },
        r#""1h""#,
        "How long the log remembers a command: as long as its repetitions can come.",
    ),
    key(
        "worker.claim_ids",
        Kind::Count { min: 1_000, max: 100_000_000 },
        "500000",
        "How many commands each worker remembers of the log; 500000 take about 150 MB when all of them are used.",
    ),
    key(
        "worker.claim_reply_bytes",
        Kind::Count { min: 0, max: 1 << 32 },
        "67108864",
        "How many bytes of their results are remembered with them; beyond that the oldest result is forgotten.",
    ),
    key(
        "worker.claim_log_bytes",
        Kind::Count { min: 10_000_000, max: 1_000_000_000_000 },
        "1000000000",
        "How large the log may be at the broker, in bytes; its oldest part is dropped beyond that.",
    ),
    key(
        "worker.grace",
        Kind::Time { min: 0, max: DAY_MS },
        r#""30s""#,
        "How long running jobs may take to end when the worker is stopped.",
    ),
    key(
        "worker.max_payload_bytes",
        Kind::Count { min: 1, max: 268_435_455 },
        "262144",
        "How large a command's payload may be, in bytes.",
    ),
    key(
        "worker.late_grace",
        Kind::Time { min: 0, max: DAY_MS },
        r#""60s""#,
        "How long after timed_out or unknown a device's answer is still reported, as a late result.",
    ),
    key(
        "worker.cancel_ids",
        Kind::Count { min: 1, max: 10_000_000 },
        "100000",
        "How many cancelled jobs are remembered, a hundred bytes each; the oldest are forgotten.",
    ),
    key(
        "worker.late_ids",
        Kind::Count { min: 0, max: MANY },
        "50000",
        "How many commands are remembered for that; beyond it the oldest is forgotten, and its answer is counted as unmatched.",
    ),
    key(
        "worker.recent_ids",
        Kind::Count { min: 0, max: MANY },
        "10000",
        "How many finished jobs are remembered, so that one that comes again is answered and not run.",
    ),
    key(
        "worker.recent_reply_bytes",
        Kind::Count { min: 0, max: 1 << 32 },
        "8388608",
        "How many bytes of their results are remembered with them; beyond that the oldest job is forgotten.",
    ),
    key("worker.recent_for", Kind::Time { min: 0, max: DAY_MS }, r#""10m""#, "For how long they are remembered."),
    key(
        "worker.patience",
        Kind::Time { min: 1, max: DAY_MS },
        r#""3s""#,
        "How long a connection may be away, or the AMQP broker take no results, before jobs are left to other workers.",
    ),
    key(
        "worker.hold",
        Kind::Time { min: 0, max: 600_000 },
        r#""30s""#,
        "The longest that a job with a later start waits in a worker; until then it waits in the broker.",
    ),
    key("worker.max_devices", Kind::Count { min: 1, max: MANY }, "100000", "How many devices one job may have."),
    key(
        "worker.bulk_devices",
        Kind::Count { min: 1, max: MANY },
        "200000",
        "How many devices the bulk jobs under way may have together; a further bulk waits until there is room for it.",
    ),
    optional(
        "worker.bulk_concurrency",
        Kind::Count { min: 1, max: PORTS },
        "How many devices all bulk jobs together command at a time. worker.concurrency where it is not set.",
    ),
    key(
        "worker.bulk_hold",
        Kind::Time { min: 1_000, max: DAY_MS },
        r#""10m""#,
        "The longest that a worker keeps one bulk job; the rest of it then goes back to the queue as a message of its own.\n\
         Far below the broker's limit for an unacknowledged delivery, which is 30 minutes unless told otherwise.",
    ),
    key(
        "worker.scheduling",
        Kind::OneOf(&["batch", "other"]),
        r#""batch""#,
        "How Linux schedules the worker: as a \"batch\", which does not interrupt what runs when it is woken, or as any \"other\"\n\
         program. A batch takes a quarter less of busy processors. One with a nice value is left as it is.",
    ),
    key(
        "http.listen",
        Kind::Listen,
        r#""127.0.0.1:9464""#,
        "Where /metrics, /healthz and /readyz are served; port 0 takes a free one.",
    ),
    key("log.format", Kind::OneOf(&["text", "json"]), r#""text""#, "How a line looks: \"text\" or \"json\"."),
    key(
        "log.level",
        Kind::Level,
        r#""info""#,
        "error, warn, info, debug, trace, off, or a filter by module: \"info,switchboard::mqtt=debug\".",
    ),
    optional(
        "log.otlp_endpoint",
        Kind::Url(&["http", "https"]),
        "Where traces are sent (OTLP); nowhere where it is not set.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_a_known_section_once_and_its_default_is_of_its_kind() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(SECTIONS.iter().any(|(section, _)| *section == key.section()), "{}", key.path);
            assert!(!KEYS[..index].iter().any(|other| other.path == key.path), "{} twice", key.path);
            assert!(key.doc.ends_with('.'), "{}", key.path);
            if let Some(default) = key.default {
                let table: toml::Table = format!("x = {default}").parse().unwrap();
                assert!(key.kind.check(&table["x"]).is_ok(), "{}", key.path);
            }
        }
    }
}

//! What each part is told, as a configuration says.

use crate::amqp::{self, QueueKind, QueueSpec, StreamSpec, Topology};
use crate::claims;
use crate::commander;
use crate::config::{Config, MqttSection, QueueType, TlsSection};
use crate::mqtt;
use crate::wire::native;
use crate::worker;
use anyhow::Context;
use std::sync::Arc;

/// The MQTT options of a configuration, with a client id that no other process has.
pub fn mqtt_options(section: &MqttSection) -> anyhow::Result<mqtt::Options> {
    let mut options = mqtt::Options::new(section.url.expose()).context("mqtt.url")?;
    options.client_id = format!("{}-{}-{:016x}", section.client_id_prefix, host(), rand::random::<u64>());
    options.protocol = match section.protocol {
        crate::config::Protocol::V5 => mqtt::Protocol::V5,
        crate::config::Protocol::V311 => mqtt::Protocol::V311,
    };
    options.username.clone_from(&section.username);
    options.password = section.password.as_ref().map(|secret| mqtt::Password::new(secret.expose()));
    (options.keep_alive, options.session_expiry) = (section.keep_alive, section.session_expiry);
    (options.max_inflight, options.max_incoming) = (section.max_inflight, section.max_answer_bytes);
    options.tls = tls_files(&section.tls);
    Ok(options)
}

fn tls_files(TlsSection { ca_file, cert_file, key_file }: &TlsSection) -> mqtt::TlsFiles {
    mqtt::TlsFiles { ca_file: ca_file.clone(), cert_file: cert_file.clone(), key_file: key_file.clone() }
}

/// The AMQP options of a configuration.
pub fn amqp_options(config: &Config) -> amqp::Options {
    amqp::Options {
        url: config.amqp.url.expose().to_owned(),
        tls: tls_files(&config.amqp.tls),
        connection_name: format!("switchboard {}", host()),
        confirm_timeout: config.amqp.confirm_timeout,
        ..amqp::Options::default()
    }
}

/// How commands are run, as a configuration says.
pub fn commander_options(config: &Config) -> commander::Options {
    let worker = &config.worker;
    commander::Options {
        per_device: worker.per_device,
        per_device_queue: worker.per_device_queue,
        breaker_failures: worker.breaker_failures,
        breaker_pause: worker.breaker_pause,
        presence: worker.presence,
        default_timeout: worker.default_timeout,
        max_timeout: worker.max_timeout,
        default_guarantee: worker.default_guarantee,
        late_grace: worker.late_grace,
        max_late: worker.late_ids,
        max_troubled: worker.breaker_devices,
    }
}

/// The queues of a configuration.
pub fn topology(config: &Config) -> Topology {
    let amqp = &config.amqp;
    let kind = match amqp.queue_type {
        QueueType::Quorum => QueueKind::Quorum,
        QueueType::Classic => QueueKind::Classic,
    };
    // First the dead letters: no job is taken before there is a place for what cannot be processed.
    let mut queues =
        vec![QueueSpec::keeping(&amqp.dead_letter_queue), QueueSpec::jobs(&amqp.queue, kind, &amqp.dead_letter_queue)];
    if amqp.declare {
        // Before any job is taken that may have to go there. Where the queues are somebody else's, a missing one is no
        // reason not to work.
        queues.push(quarantine(config, &amqp.queue));
    }
    Topology { queues, declare: amqp.declare, ..Topology::default() }
}

/// The queue of the chunks of spread bulks. It has to count deliveries, whatever the type of the others.
pub fn bulk_topology(config: &Config) -> Topology {
    let amqp = &config.amqp;
    let queue = QueueSpec::jobs(&amqp.bulk_queue, QueueKind::Quorum, &amqp.dead_letter_queue);
    Topology { queues: vec![queue], declare: amqp.declare, ..Topology::default() }
}

/// The queue of jobs that lost their workers. It has to count deliveries, whatever the type of the other.
pub(super) fn quarantine(config: &Config, of: &str) -> QueueSpec {
    let name = worker::quarantine_queue(of);
    QueueSpec::jobs(name, QueueKind::Quorum, &config.amqp.dead_letter_queue)
}

/// The stream by which jobs are called off; every worker of the queue reads it. A record has a few hundred bytes.
pub fn control(config: &Config) -> StreamSpec {
    StreamSpec {
        name: worker::control_stream(&config.amqp.queue),
        max_age: worker::CANCELS_KEPT,
        max_bytes: 64 << 20,
        segment_bytes: 4 << 20,
        declare: config.amqp.declare,
    }
}

/// The claim log of a configuration, beside the queue of its jobs.
pub(super) fn claims_options(config: &Config) -> claims::Options {
    claims::Options {
        declare: config.amqp.declare,
        window: config.worker.claim_window,
        ids: config.worker.claim_ids,
        reply_bytes: config.worker.claim_reply_bytes,
        log_bytes: config.worker.claim_log_bytes,
        ..claims::Options::new(format!("{}.claims", config.amqp.queue))
    }
}

/// `id` tells this process from others on its machine.
pub(super) fn worker_options(config: &Config, id: u32) -> worker::Options {
    let section = &config.worker;
    worker::Options {
        name: format!("switchboard-{}-{:08x}", host(), id).into(),
        concurrency: section.concurrency,
        dead_letter_queue: config.amqp.dead_letter_queue.as_str().into(),
        cancel_ids: section.cancel_ids,
        claims: None,
        celery: None,
        limits: native::Limits {
            max_payload_bytes: section.max_payload_bytes,
            max_devices: section.max_devices,
            no_devices: false,
            repeats: false,
        },
        recent: worker::RecentLimits {
            ids: section.recent_ids,
            bytes: section.recent_reply_bytes,
            keep: section.recent_for,
        },
        patience: section.patience,
        hold: section.hold,
        confirm_timeout: config.amqp.confirm_timeout,
        late_queue: section.concurrency,
        bulk_concurrency: section.bulk_concurrency,
        bulk_devices: section.bulk_devices,
        bulk_hold: section.bulk_hold,
        spread: Some(worker::Spread {
            queue: config.amqp.bulk_queue.as_str().into(),
            shards: config.bulk.shards,
            short: config.bulk.short,
            short_for: config.bulk.short_for,
        }),
    }
}

/// The machine's name, for a person to find the process by.
pub(crate) fn host() -> Arc<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')).take(40).collect();
    if name.is_empty() { "host".into() } else { name.into() }
}

//! The Celery half of a worker: its queue as a Celery client declares it, its results, and where its tasks go on to.

use crate::amqp::{BindingSpec, QueueKind, QueueSpec, Routes, Topology};
use crate::backend::{self, Backend};
use crate::config::{CelerySection, Config, ExchangeType, QueueType};
use crate::envelope::Value;
use crate::node::Book;
use crate::wire::celery::info::Queue;
use crate::wire::celery::{Bounds, Calls, Target};
use crate::worker::CeleryOptions;
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;

/// How long one result may take to be stored, reconnects included. Far below the broker's limit for an unacknowledged delivery.
const STORE_WITHIN: Duration = Duration::from_secs(30);
/// A device of a bulk in its message.
const EACH_DEVICE: usize = 256;
/// What a task's message may have besides its payload: names, what follows on it.
const BESIDES_PAYLOAD: usize = 1 << 20;

/// How a worker serves Celery tasks; `None` where it takes none. `node` is its name among the nodes.
pub(super) fn celery_options(config: &Config, node: &str) -> anyhow::Result<Option<CeleryOptions>> {
    let section = &config.celery;
    if !section.enabled {
        return Ok(None);
    }
    let calls = Arc::new(Calls::new(section.tasks.clone()));
    let backend = section.result_backend.as_ref().map(|url| {
        Backend::connect(backend::Options {
            key_prefix: section.result_key_prefix.clone(),
            expires: section.result_expires,
            deadline: STORE_WITHIN,
            url: url.expose().to_owned(),
            ..backend::Options::default()
        })
    });
    Ok(Some(CeleryOptions {
        book: Book::new(calls.names()),
        route: route(section, &calls),
        calls,
        bounds: bounds(config),
        backend: backend.transpose().context("celery.result_backend")?,
        node: node.into(),
        beat_results: section.beat_results,
    }))
}

/// A payload may be written with twice its bytes in base64, and with six times where all of it is escaped.
fn bounds(config: &Config) -> Bounds {
    let devices = config.worker.max_devices.saturating_mul(EACH_DEVICE);
    let payload = config.worker.max_payload_bytes.saturating_mul(6);
    let most = payload.saturating_add(devices).saturating_add(BESIDES_PAYLOAD);
    Bounds { max_body_bytes: most, ..Bounds::default() }
}

/// Where the configuration says; else our own tasks go to our own queue, and others to the application's default queue.
fn route(section: &CelerySection, calls: &Arc<Calls>) -> Arc<dyn Fn(&str) -> Target + Send + Sync> {
    let (calls, routes) = (calls.clone(), section.routes.clone());
    let (own, other) = (section.queue.clone(), section.default_queue.clone());
    Arc::new(move |name| {
        let otherwise = || if calls.returns(name).is_some() { &*own } else { &*other };
        let queue = routes.queue(name).unwrap_or_else(otherwise);
        Target { exchange: String::new(), routing_key: queue.to_owned() }
    })
}

/// The queue of a configuration's Celery tasks, as a client declares it: without dead letters, since whoever comes second
/// with other arguments is refused.
pub fn celery_topology(config: &Config) -> Topology {
    let section = &config.celery;
    let kind = match section.queue_type {
        QueueType::Quorum => QueueKind::Quorum,
        QueueType::Classic => QueueKind::Classic,
    };
    let queue = QueueSpec {
        name: section.queue.clone(),
        kind,
        dead_letter_queue: None,
        delivery_limit: None,
        arguments: section.queue_arguments.clone(),
    };
    let is_topic = section.exchange_type == ExchangeType::Topic;
    let binding = BindingSpec {
        queue: section.queue.clone(),
        exchange: section.exchange.clone(),
        routes: if is_topic { Routes::Topic } else { Routes::Direct },
        routing_key: section.routing_key.clone(),
        // Clients delay through the broker where the exchange is no direct one, and leave it to us to make what that takes.
        delayed: is_topic,
    };
    Topology { queues: vec![queue], bindings: vec![binding], declare: config.amqp.declare }
}

/// The same queue as `celery inspect active_queues` shows it.
pub(super) fn celery_queue(config: &Config) -> Queue {
    let section = &config.celery;
    let arguments = section.queue_arguments.0.iter().filter_map(|(name, value)| Some((name.clone(), shown(value)?)));
    Queue {
        name: section.queue.clone(),
        exchange: section.exchange.clone(),
        exchange_type: section.exchange_type.as_str().to_owned(),
        routing_key: section.routing_key.clone(),
        arguments: arguments.collect(),
    }
}

fn shown(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Int(number) => (*number).into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Text(text) => text.as_str().into(),
        _ => return None,
    })
}

//! The Celery half of a worker: its queue as a Celery client declares it, its results, and its place among the nodes.

use super::options::host;
use crate::amqp::{BindingSpec, Connection, ExchangeKind, ExchangeSpec, QueueKind, QueueSpec, Topology};
use crate::backend::{self, Backend};
use crate::config::{CelerySection, Config, QueueType};
use crate::envelope::{Headers, Value};
use crate::node::{self, Book, Command, Node, Order};
use crate::wire::celery::{Bounds, Calls, Target, matches_glob};
use crate::worker::{self, Change, Dialect, Intake, Kind};
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Orders of the node that wait to be carried out.
const ORDERS: usize = 16;
/// How long one result may take to be stored, reconnects included. Far below the broker's limit for an unacknowledged delivery.
const STORE_WITHIN: Duration = Duration::from_secs(30);
/// What a task's message may have besides its payload: names, headers, what follows on it.
const BESIDES_PAYLOAD: usize = 1 << 20;

/// How a worker serves Celery tasks, and the sender's half of what its node orders.
pub(super) struct Celery {
    pub(super) options: worker::CeleryOptions,
    queue: String,
}

impl Celery {
    /// As a configuration says; `None` where no tasks are taken.
    pub(super) fn of(config: &Config, id: u32) -> anyhow::Result<Option<Self>> {
        let section = &config.celery;
        if !section.enabled {
            return Ok(None);
        }
        let calls = Arc::new(Calls::new(config.celery_tasks.clone()));
        let node = section.node_name.clone().unwrap_or_else(|| format!("switchboard@{}-{id:08x}", host()));
        let backend = section.result_backend.as_ref().map(|url| {
            let defaults = backend::Options::new(url.expose());
            Backend::connect(backend::Options {
                key_prefix: section.result_key_prefix.clone(),
                expires: Some(section.result_expires).filter(|time| !time.is_zero()),
                deadline: STORE_WITHIN,
                ..defaults
            })
        });
        let options = worker::CeleryOptions {
            book: Book::new(calls.names().map(str::to_owned), section.task_events),
            route: route(section, &calls),
            calls,
            bounds: bounds(config),
            backend: backend.transpose().context("celery.result_backend")?,
            node: node.into(),
            beat_results: section.beat_results,
        };
        Ok(Some(Self { options, queue: section.queue.clone() }))
    }
}

fn bounds(config: &Config) -> Bounds {
    let payload = config.worker.max_payload_bytes;
    // Base64 and escapes: a payload may be written with twice its bytes, and with six where all of it is escaped.
    Bounds { max_body_bytes: payload.saturating_mul(6).saturating_add(BESIDES_PAYLOAD), ..Bounds::default() }
}

/// Our own tasks go to our own queue, others where the configuration says.
fn route(section: &CelerySection, calls: &Arc<Calls>) -> Arc<dyn Fn(&str) -> Target + Send + Sync> {
    let calls = calls.clone();
    let (own, other, routes) = (section.queue.clone(), section.default_queue.clone(), section.routes.clone());
    Arc::new(move |name| {
        let routed = routes.iter().find(|(pattern, _)| matches_glob(pattern, name)).map(|(_, queue)| queue);
        let queue = match routed {
            Some(queue) => queue,
            None if calls.serves(name) => &own,
            None => &other,
        };
        Target { exchange: String::new(), routing_key: queue.clone() }
    })
}

/// The queue of a configuration's Celery tasks, as a client declares it.
pub fn celery_topology(config: &Config) -> Topology {
    let section = &config.celery;
    let exchange = section.exchange.clone().unwrap_or_else(|| section.queue.clone());
    let key = section.routing_key.clone().unwrap_or_else(|| section.queue.clone());
    let kind = if section.exchange_type == "topic" { ExchangeKind::Topic } else { ExchangeKind::Direct };
    let queue_kind = match section.queue_type {
        QueueType::Quorum => QueueKind::Quorum,
        QueueType::Classic => QueueKind::Classic,
    };
    let arguments = section.queue_arguments.iter().filter_map(|(name, value)| Some((name.clone(), argument(value)?)));
    let arguments = Headers(arguments.collect());
    bound(&section.queue, queue_kind, arguments, (&exchange, kind, &key), config.amqp.declare)
}

fn bound(
    queue: &str,
    kind: QueueKind,
    arguments: Headers,
    (exchange, exchange_kind, key): (&str, ExchangeKind, &str),
    declare: bool,
) -> Topology {
    Topology {
        // No dead-letter arguments: the clients declare it without, and whoever comes second with others is refused.
        queues: vec![QueueSpec { arguments, ..QueueSpec::bare(queue, kind) }],
        exchanges: vec![ExchangeSpec { name: exchange.to_owned(), kind: exchange_kind, durable: true, auto_delete: false }],
        bindings: vec![BindingSpec {
            queue: queue.to_owned(),
            exchange: exchange.to_owned(),
            routing_key: key.to_owned(),
        }],
        declare,
    }
}

fn argument(value: &toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::Integer(number) => Value::Int(*number),
        toml::Value::Boolean(flag) => Value::Bool(*flag),
        toml::Value::String(text) => Value::Text(text.clone()),
        _ => return None,
    })
}

//! The queues that a worker takes jobs from, each with a queue for those that lost their workers.

use super::celery::celery_topology;
use super::options::{bulk_topology, quarantine, topology};
use crate::amqp::{
    BindingSpec, Connection, Consumer, ConsumerState, Delivery, Publisher, QueueKind, QueueSpec, Routes, Topology,
};
use crate::config::Config;
use crate::envelope::Headers;
use crate::telemetry::Health;
use crate::worker::{self, Dialect, Intake, Kind};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// What it takes to consume one more queue.
#[derive(Clone)]
pub(super) struct Intakes {
    pub(super) consuming: Connection,
    pub(super) publisher: Publisher,
    pub(super) health: Health,
    /// What keeps each part of the health.
    pub(super) told: Arc<Mutex<HashMap<&'static str, AbortHandle>>>,
}

/// A queue that the configuration names.
pub(super) struct Own {
    pub(super) queue: String,
    /// The queue of jobs that it belongs to, where it is for those that lost their workers.
    of: Option<String>,
    kind: Kind,
    dialect: Dialect,
}

/// The queues of a configuration, in the order in which they are consumed.
pub(super) fn own(config: &Config) -> Vec<Own> {
    let (jobs, tasks) = (&config.amqp.queue, &config.celery.queue);
    let has_tasks = config.celery.enabled && tasks != jobs;
    let pairs = [(jobs, Dialect::Native)].into_iter().chain(has_tasks.then_some((tasks, Dialect::Celery)));
    let mut own: Vec<Own> = pairs
        .flat_map(|(queue, dialect)| {
            let apart = worker::quarantine_queue(queue);
            [
                Own { queue: queue.clone(), of: None, kind: Kind::Jobs, dialect },
                Own { queue: apart, of: Some(queue.clone()), kind: Kind::Apart, dialect },
            ]
        })
        .collect();
    let bulk = config.amqp.bulk_queue.clone();
    own.push(Own { queue: bulk, of: None, kind: Kind::Chunks, dialect: Dialect::Native });
    own
}

impl Intakes {
    /// Consumes a queue of the configuration. Some of them make a part of the worker's health say whether they are consumed.
    pub(super) fn start(&self, config: &Config, own: &Own) -> Intake {
        let Own { queue, of, kind, dialect } = own;
        // Whoever declares queues by hand, and not this one, has a worker all the same: the log names what is missing.
        let where_declared = |part| config.amqp.declare.then_some(part);
        let (topology, prefetch, part) = match (kind, dialect) {
            (Kind::Jobs, Dialect::Native) => (topology(config), config.amqp.prefetch, Some(super::JOBS)),
            (Kind::Jobs, Dialect::Celery) => {
                (celery_topology(config), config.celery.prefetch, where_declared(super::CELERY))
            }
            (Kind::Apart, _) => {
                let queues = vec![quarantine(config, of.as_ref().unwrap_or(queue))];
                // One at a time: whoever kills the worker is known then.
                (Topology { queues, declare: config.amqp.declare, ..Topology::default() }, 1, None)
            }
            (Kind::Chunks, _) => (bulk_topology(config), config.bulk.prefetch, where_declared(super::BULK)),
        };
        let consumer = self.consume(topology, queue.clone(), prefetch);
        if let Some(part) = part {
            self.tell(part, consumer.0.state());
        }
        match kind {
            Kind::Chunks => Intake::chunks(queue.as_str(), prefetch, consumer),
            Kind::Jobs | Kind::Apart => Intake::new(*kind, *dialect, queue.as_str(), consumer),
        }
    }

    /// Keeps a part of the health as this consumer is, and no more as the one before it was, which may still be on its way out.
    fn tell(&self, part: &'static str, state: watch::Receiver<ConsumerState>) {
        let telling = tokio::spawn(tell(self.health.clone(), part, state)).abort_handle();
        let before = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(part, telling);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// One more queue of Celery tasks, bound to its exchange; made first, so that what stands in the way is said at once.
    pub(super) async fn further(
        &self,
        (queue, exchange, exchange_type, routing_key): (&str, &str, &str, &str),
        prefetch: u16,
        declare: bool,
    ) -> Result<Intake, String> {
        let routes = match exchange_type {
            "direct" => Routes::Direct,
            "topic" => Routes::Topic,
            "fanout" => Routes::Fanout,
            other => return Err(format!("exchange type {other:?}; direct, topic or fanout is right")),
        };
        let spec = QueueSpec {
            name: queue.to_owned(),
            kind: QueueKind::Classic,
            dead_letter_queue: None,
            delivery_limit: None,
            arguments: Headers::default(),
        };
        let binding = BindingSpec {
            queue: queue.to_owned(),
            exchange: exchange.to_owned(),
            routes,
            routing_key: routing_key.to_owned(),
            delayed: routes == Routes::Topic,
        };
        let topology = Topology { queues: vec![spec], bindings: vec![binding], declare };
        topology.apply(&self.consuming).await.map_err(|error| error.to_string())?;
        Ok(Intake::new(Kind::Jobs, Dialect::Celery, queue, self.consume(topology, queue.to_owned(), prefetch)))
    }

    fn consume(&self, topology: Topology, queue: String, prefetch: u16) -> (Consumer, mpsc::Receiver<Delivery>) {
        Consumer::start_exact(self.consuming.clone(), topology, queue, prefetch, self.publisher.clone())
    }
}

/// Keeps a part of the health as a consumer is.
async fn tell(health: Health, part: &'static str, mut state: watch::Receiver<ConsumerState>) {
    loop {
        match state.borrow_and_update().clone() {
            ConsumerState::Consuming { .. } => health.up(part),
            ConsumerState::Waiting { reason } => health.down(part, reason),
            ConsumerState::Paused => health.down(part, "paused while a connection is away or blocked"),
            ConsumerState::Stopped => health.down(part, "stopped"),
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

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
use tokio::sync::{mpsc, watch};

/// What it takes to consume one more queue.
#[derive(Clone)]
pub(super) struct Intakes {
    pub(super) consuming: Connection,
    pub(super) publisher: Publisher,
    pub(super) health: Health,
}

impl Intakes {
    /// The queues of a configuration. Each that is not consumed makes a part of the worker's health say so.
    pub(super) fn of(&self, config: &Config) -> Vec<Intake> {
        let (jobs, tasks) = (&config.amqp.queue, &config.celery.queue);
        let mut intakes =
            self.pair(config, Dialect::Native, (jobs, topology(config), config.amqp.prefetch), super::JOBS);
        if config.celery.enabled && tasks != jobs {
            let queue = (tasks.as_str(), celery_topology(config), config.celery.prefetch);
            intakes.extend(self.pair(config, Dialect::Celery, queue, super::CELERY));
        }
        let (queue, prefetch) = (&config.amqp.bulk_queue, config.bulk.prefetch);
        let chunks = self.consume(bulk_topology(config), queue.clone(), prefetch);
        self.tell_where_declared(config, super::BULK, &chunks.0);
        intakes.push(Intake::chunks(queue.as_str(), prefetch, chunks));
        intakes
    }

    /// Whoever declares queues by hand, and not this one, has a worker all the same: the log names what is missing.
    fn tell_where_declared(&self, config: &Config, part: &'static str, consumer: &Consumer) {
        if config.amqp.declare {
            tokio::spawn(tell(self.health.clone(), part, consumer.state()));
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

    fn pair(
        &self,
        config: &Config,
        dialect: Dialect,
        (queue, topology, prefetch): (&str, Topology, u16),
        part: &'static str,
    ) -> Vec<Intake> {
        let suspects =
            Topology { queues: vec![quarantine(config, queue)], declare: config.amqp.declare, ..Topology::default() };
        let apart = worker::quarantine_queue(queue);
        let jobs = self.consume(topology, queue.to_owned(), prefetch);
        match dialect {
            Dialect::Native => drop(tokio::spawn(tell(self.health.clone(), part, jobs.0.state()))),
            Dialect::Celery => self.tell_where_declared(config, part, &jobs.0),
        }
        vec![
            Intake::new(Kind::Jobs, dialect, queue, jobs),
            // One at a time: whoever kills the worker is known then.
            Intake::new(Kind::Apart, dialect, apart.clone(), self.consume(suspects, apart, 1)),
        ]
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

//! The queues that a worker takes jobs from, each with a queue for those that lost their workers.

use super::celery::celery_topology;
use super::options::{quarantine, topology};
use crate::amqp::{Connection, Consumer, ConsumerState, Publisher, Topology};
use crate::config::Config;
use crate::telemetry::Health;
use crate::worker::{self, Dialect, Intake, Kind};
use tokio::sync::watch;

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
        intakes
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
        let consume = |topology, queue, prefetch| {
            Consumer::start_exact(self.consuming.clone(), topology, queue, prefetch, self.publisher.clone())
        };
        let jobs = consume(topology, queue.to_owned(), prefetch);
        tokio::spawn(tell(self.health.clone(), part, jobs.0.state()));
        vec![
            Intake::new(Kind::Jobs, dialect, queue, jobs),
            // One at a time: whoever kills the worker is known then.
            Intake::new(Kind::Apart, dialect, apart.clone(), consume(suspects, apart, 1)),
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

//! From a configuration to a running worker and back: the only place where the parts are put together.
//!
//! Start: HTTP (alive, not ready) → MQTT → answers subscribed → AMQP → jobs. Stop is the reverse, so that nothing is left
//! without what it needs to end well.

mod celery;
mod coordinator;
mod intakes;
mod node;
mod options;

pub use celery::celery_topology;
pub(crate) use options::host;
pub use options::{amqp_options, bulk_topology, commander_options, control, mqtt_options, topology};

use crate::amqp::{self, ChannelPool, Connection, Publisher, Stream};
use crate::bulk::coordinator as coordination;
use crate::claims::{self, Log, LogState};
use crate::commander::Commander;
use crate::config::Config;
use crate::metrics::metrics;
use crate::mqtt::{self, Agent};
use crate::shutdown::{Drained, Shutdown};
use crate::telemetry::{Exporter, Health, Http, http};
use crate::worker::{self, Worker};
use anyhow::{Context, bail};
use futures_util::future::join_all;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use celery::celery_options;
use intakes::Intakes;
use options::{claims_options, worker_options};

/// The parts whose state decides readiness.
const MQTT: &str = "mqtt";
const AMQP: &str = "amqp";
const JOBS: &str = "jobs";
const CLAIMS: &str = "claims";
const CELERY: &str = "celery";
const BULK: &str = "bulk";

/// The pause before a queue that could not be looked at is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// After the hard stop: what is left to say is said within this.
const LAST: Duration = Duration::from_secs(5);
/// Records of the control stream that are read ahead.
const CONTROL_PREFETCH: u16 = 512;
/// Changes of the queues that wait to be made.
const CHANGES: usize = 16;
/// The profile of jobs that name none.
const DEFAULT_PROFILE: &str = "default";
/// How long the answer path may take to be proved.
const PROVE_WITHIN: Duration = Duration::from_secs(5);

/// Runs a worker until the soft stop, and then to its orderly end; the hard stop makes that end at once. Who stops it is
/// the caller's: this installs no signal handler and never exits the process.
///
/// # Errors
///
/// What keeps it from starting, or what ended it unasked.
pub async fn run_worker(config: &Config, exporter: Exporter, shutdown: Shutdown) -> anyhow::Result<()> {
    // Tells this process from others on its machine.
    let id = rand::random::<u32>();
    let node = config.celery.node_name.clone().unwrap_or_else(|| format!("switchboard@{}-{id:08x}", host()));
    let celery = celery_options(config, &node)?;
    let worker_options = worker::Options { celery, ..worker_options(config, id) };
    let background = CancellationToken::new();
    let _ends_background = background.clone().drop_guard();
    let health = Health::new(&[MQTT, AMQP, JOBS]);
    let listen = config.http.listen.to_string();
    let http = Http::bind_with(&listen, http::Options::default()).await;
    let http = http.with_context(|| format!("http.listen: cannot listen on {listen}"))?;
    tracing::info!(address = %http.address(), "serving /metrics, /healthz and /readyz");
    tokio::spawn(http.serve(health.clone(), exporter.clone(), background.clone()));
    tokio::spawn(exporter.upkeep(background.clone()));

    let agent = Agent::start(mqtt_options(&config.mqtt)?);
    let commander = Commander::new(agent.clone(), config.profiles.values().cloned(), commander_options(config));
    let options = amqp_options(config);
    let (consuming, publishing) =
        (Connection::start(options.clone(), "consume"), Connection::start(options.clone(), "publish"));
    let parts = Parts { agent, commander, consuming, publishing, health, shutdown, failed: Arc::default() };
    parts.watch(&background);
    if parts.answers_ready().await {
        parts.work(config, options, worker_options).await;
    }
    parts.end().await
}

struct Parts {
    agent: Agent,
    commander: Commander,
    consuming: Connection,
    publishing: Connection,
    health: Health,
    shutdown: Shutdown,
    /// Why the program ends although nobody asked it to.
    failed: Arc<OnceLock<String>>,
}

impl Parts {
    /// Keeps health and metrics as the connections are, and stops the program when one is gone for good.
    fn watch(&self, background: &CancellationToken) {
        let (health, shutdown, mut state) = (self.health.clone(), self.shutdown.clone(), self.agent.state());
        let failed = self.failed.clone();
        let mqtt = async move {
            loop {
                match state.borrow_and_update().clone() {
                    mqtt::LinkState::Up { .. } => health.up(MQTT),
                    mqtt::LinkState::Connecting => health.down(MQTT, "connecting"),
                    mqtt::LinkState::Down { reason } => health.down(MQTT, reason),
                    mqtt::LinkState::Closed { reason } => {
                        health.down(MQTT, reason.clone());
                        if !shutdown.soft().is_cancelled() {
                            // Set once: whatever follows from it is not the reason.
                            failed.get_or_init(|| reason);
                            shutdown.begin();
                        }
                    }
                }
                if state.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(background.clone().run_until_cancelled_owned(mqtt));
        let (health, mut consuming, mut publishing) =
            (self.health.clone(), self.consuming.state(), self.publishing.state());
        let amqp = async move {
            let mut epochs = [1, 1];
            loop {
                let states = [consuming.borrow_and_update().clone(), publishing.borrow_and_update().clone()];
                for (epoch, state) in epochs.iter_mut().zip(&states) {
                    if let amqp::LinkState::Up { epoch: now } = state
                        && *now > std::mem::replace(epoch, *now)
                    {
                        metrics().amqp_reconnected();
                    }
                }
                let down: Vec<String> = ["consuming", "publishing"]
                    .iter()
                    .zip(&states)
                    .filter_map(|(role, state)| Some(format!("{role}: {}", trouble(state)?)))
                    .collect();
                metrics().amqp_up(down.is_empty());
                match down.is_empty() {
                    true => health.up(AMQP),
                    false => health.down(AMQP, down.join("; ")),
                }
                let changed = tokio::select! {
                    changed = consuming.changed() => changed,
                    changed = publishing.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(background.clone().run_until_cancelled_owned(amqp));
    }

    /// Waits for the MQTT connection and the answers' subscriptions; false if the program is stopped first.
    async fn answers_ready(&self) -> bool {
        self.health.down(JOBS, "waiting for the MQTT connection and the answers' subscription");
        let subscribed = async {
            while let Err(error) = self.commander.subscribe_standing(DEFAULT_PROFILE).await {
                self.health.down(JOBS, error.to_string());
                tracing::error!("{error}; no job can be answered, so none is taken");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        };
        if self.shutdown.soft().run_until_cancelled(subscribed).await.is_none() {
            return false;
        }
        let (commander, soft) = (self.commander.clone(), self.shutdown.soft());
        tokio::spawn(async move {
            let proved = soft.run_until_cancelled(commander.prove(DEFAULT_PROFILE, PROVE_WITHIN)).await;
            if let Some(Err(failure)) = proved {
                tracing::warn!("the answer path is not proved: {}", failure.message);
            }
        });
        true
    }

    /// Takes jobs until the soft stop.
    async fn work(&self, config: &Config, options: amqp::Options, worker_options: worker::Options) {
        let coordinating = Connection::start(options.clone(), "coordinate");
        let publisher = Publisher::start(self.publishing.clone(), options);
        let claims = match config.worker.claims {
            true => match self.claims_ready(config, &publisher).await {
                Some(log) => Some(log),
                None => return publisher.close().await,
            },
            false => None,
        };
        let (consuming, health) = (self.consuming.clone(), self.health.clone());
        let intakes = Intakes { consuming, publisher: publisher.clone(), health, told: Arc::default() };
        let sources = intakes::own(config).iter().map(|own| intakes.start(config, own)).collect();
        let tasks = worker_options.celery.clone();
        let channels = ChannelPool::new(self.publishing.clone());
        let name = worker_options.name.clone();
        let worker = Worker::new(
            worker::Options { claims: claims.clone(), ..worker_options },
            self.commander.clone(),
            sources,
            (publisher.clone(), self.publishing.state()),
            channels.clone(),
            self.shutdown.clone(),
        );
        let spec = control(config);
        let stream = spec.name.clone();
        worker.heed(Stream::start(self.consuming.clone(), spec, worker::CANCELS_KEPT, CONTROL_PREFETCH), &stream).await;
        // Not before it is known what is called off.
        let coordinators = coordination::start(
            coordinator::options(config, &name),
            coordinator::outside(config, &worker, channels),
            &coordinating,
            &self.shutdown.soft(),
        );
        let (changes, changed) = mpsc::channel(CHANGES);
        let node = tasks
            .map(|tasks| node::start(config, &tasks, self.publishing.clone(), intakes, self.shutdown.clone(), changes));
        let sources = worker.run(changed).await;
        // Another replica's goes on where they end.
        if timeout(LAST, coordinators.wait()).await.is_err() {
            tracing::warn!("a coordinator did not end in time; another one takes its place all the same");
        }
        coordinating.close().await;
        if timeout(config.worker.patience, self.agent.state().wait_for(mqtt::LinkState::is_up)).await.is_err() {
            // What waits for the connection was not sent; closing the agent says so, and the jobs go back.
            self.agent.close().await;
        }
        match self.shutdown.wait(config.worker.grace, LAST).await {
            Drained::Softly => tracing::info!("everything that was begun is finished"),
            Drained::Hard => tracing::warn!("the grace was over before everything was finished"),
            Drained::Abandoned(tasks) => tracing::error!(tasks, "some jobs did not end"),
        }
        if let Some(node) = node {
            node.stop().await;
        }
        if let Some(claims) = claims {
            claims.flush(LAST).await;
        }
        publisher.close().await;
        if timeout(LAST, join_all(sources.iter().map(|source| source.settled()))).await.is_err() {
            tracing::warn!("some acks could not be written; the broker delivers those jobs again");
        }
    }

    /// Waits until the claim log is read up; `None` if the program is stopped first. From then on its state is told.
    async fn claims_ready(&self, config: &Config, publisher: &Publisher) -> Option<Log> {
        self.health.down(JOBS, "waiting for the claim log");
        let clean = self.shutdown.soft().run_until_cancelled(self.no_job_anywhere(config)).await?;
        let options = claims::Options { clean, ..claims_options(config) };
        let log = Log::start(self.consuming.clone(), publisher.clone(), options);
        let (health, mut state) = (self.health.clone(), log.state());
        tokio::spawn(async move {
            loop {
                match state.borrow_and_update().clone() {
                    LogState::Ready => health.up(CLAIMS),
                    LogState::CatchingUp { reason } => health.down(CLAIMS, reason),
                }
                if state.changed().await.is_err() {
                    return;
                }
            }
        });
        let mut state = log.state();
        let ready = async { state.wait_for(|state| *state == LogState::Ready).await.is_ok() };
        let ready = self.shutdown.soft().run_until_cancelled(ready).await;
        ready.unwrap_or(false).then_some(log)
    }

    /// Whether no queue of jobs holds any, and nobody consumes one who could: a claim log that begins now misses nothing.
    async fn no_job_anywhere(&self, config: &Config) -> bool {
        let dead = &config.amqp.dead_letter_queue;
        loop {
            let mut all = topology(config);
            // Where the queues are somebody else's, a missing one is no reason not to work.
            if config.amqp.declare {
                all.queues.extend(bulk_topology(config).queues);
            }
            match all.apply(&self.consuming).await {
                Ok(report) => {
                    let mut queues = report.queues.iter().filter(|queue| queue.queue != *dead);
                    return queues.all(|queue| queue.messages == 0 && queue.consumers == 0);
                }
                Err(amqp::Error::Closed) => return false,
                Err(error) => self.health.down(JOBS, error.to_string()),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Closes what is left, in reverse order of the start.
    async fn end(self) -> anyhow::Result<()> {
        tokio::join!(self.consuming.close(), self.publishing.close());
        self.agent.close().await;
        match self.failed.get() {
            Some(reason) => bail!("the MQTT connection ended for good: {reason}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with an AMQP connection, if anything.
fn trouble(state: &amqp::LinkState) -> Option<String> {
    match state {
        amqp::LinkState::Up { .. } => None,
        amqp::LinkState::Connecting => Some("connecting".to_owned()),
        amqp::LinkState::Blocked { reason, .. } => Some(format!("blocked by the broker: {reason}")),
        amqp::LinkState::Down { reason } => Some(reason.clone()),
        amqp::LinkState::Closed => Some("closed".to_owned()),
    }
}

//! What every demonstration stands on: brokers, simulated devices, and a requester's desk at RabbitMQ.

use super::brokers;
use crate::amqp::{self, Address, Connection, Publisher, ReplyQueue};
use crate::envelope::Envelope;
use crate::mqtt::{self, Agent};
use crate::profile::{Profile, builtin};
use crate::simulator::{self, Behaviour, Counts, Fleet};
use anyhow::{Context, bail};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// What the devices' names begin with.
pub(super) const PREFIX: &str = "dev-";
const QUEUE: &str = "switchboard.commands";
const UP_WITHIN: Duration = Duration::from_secs(15);
/// How many replies are held; more of them wait in the broker.
const REPLIES: u16 = 500;

/// Starts a broker off the runtime's thread.
pub(super) async fn broker<T: Send + 'static>(
    start: impl FnOnce() -> Result<T, brokers::Error> + Send + 'static,
) -> anyhow::Result<T> {
    let started = spawn_blocking(start).await.context("the start of a broker panicked")?;
    started.map_err(|error| match error {
        missing @ brokers::Error::Missing { .. } => {
            anyhow::Error::new(missing).context("`make demo` installs what is missing")
        }
        error => error.into(),
    })
}

/// The simulated devices, in this process.
pub(super) struct Devices {
    agent: Agent,
    stop: CancellationToken,
    task: JoinHandle<Counts>,
}

impl Devices {
    /// Connects them to that broker; they are named by [`PREFIX`] and a number from 0.
    pub(super) async fn start(url: &str, devices: usize, behaviour: &Behaviour) -> anyhow::Result<Self> {
        let profiles = builtin();
        let (name, table) = profiles.iter().find(|(name, _)| name == "default").context("no profile \"default\"")?;
        let Ok(profile) = Profile::compile(name, table) else { bail!("the profile \"default\" does not compile") };
        let agent = Agent::connect(mqtt::Options::new(url)?).await?;
        let options = simulator::Options {
            devices,
            behaviour: behaviour.clone(),
            prefix: PREFIX.to_owned(),
            ..Default::default()
        };
        let fleet = Fleet::start(agent.clone(), Arc::new(profile), options).await?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(fleet.run(stop.clone()));
        Ok(Self { agent, stop, task })
    }

    /// They leave, and say what they did.
    pub(super) async fn stop(self) -> anyhow::Result<Counts> {
        self.stop.cancel();
        let counts = self.task.await.context("the devices panicked")?;
        self.agent.close().await;
        Ok(counts)
    }
}

/// Where jobs are sent from and results come back to.
pub(super) struct Desk {
    /// Publishes, and nothing else: what is published must not wait behind what is consumed.
    sending: Connection,
    /// Consumes.
    pub(super) receiving: Connection,
    pub(super) publisher: Publisher,
    pub(super) replies: ReplyQueue,
}

impl Desk {
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let settings = amqp::Options {
            url: url.to_owned(),
            connection_name: "switchboard demo".to_owned(),
            ..amqp::Options::default()
        };
        let (sending, receiving) =
            (Connection::start(settings.clone(), "produce"), Connection::start(settings.clone(), "collect"));
        tokio::try_join!(sending.up(UP_WITHIN), receiving.up(UP_WITHIN))?;
        let replies = ReplyQueue::open(&receiving, REPLIES).await?;
        let publisher = Publisher::start(sending.clone(), settings);
        Ok(Self { sending, receiving, publisher, replies })
    }

    pub(super) async fn close(self) {
        self.publisher.close().await;
        tokio::join!(self.sending.close(), self.receiving.close());
    }
}

/// Puts a job into the queue that workers take from, and waits until the broker has it.
pub(super) async fn publish(publisher: &Publisher, job: Envelope) -> anyhow::Result<()> {
    let confirm = publisher.publish(Address::queue(QUEUE), job, true).await?;
    if !confirm.routed {
        bail!("the queue {QUEUE} is not there, which the workers declared");
    }
    Ok(())
}

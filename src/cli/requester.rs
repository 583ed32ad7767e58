//! The requester's side of the queue: jobs in with a confirm, results back on a queue of its own.

use crate::amqp::{Address, ChannelPool, Connection, LinkState, PublishError, ReplyQueue, Routing};
use crate::app;
use crate::config::Config;
use crate::envelope::Envelope;
use crate::job::Job;
use crate::wire::native;
use anyhow::{Context, bail};
use std::time::Duration;
use tokio::time::timeout;

/// How long a result may take beyond the time that the device has: the queue, and a worker that has much to do.
pub const MARGIN: Duration = Duration::from_secs(10);
/// How long the broker may take to confirm the job.
const ENQUEUE_WITHIN: Duration = Duration::from_secs(10);

/// A connection to the broker whose queues are as a worker would have them.
#[derive(Debug)]
pub struct Requester {
    connection: Connection,
    queue: String,
    consumers: u32,
}

impl Requester {
    /// Connects, and sees to the queues as a worker does, so that a job can wait there for the first worker.
    ///
    /// # Errors
    ///
    /// The broker is not reached within the connect timeout, or a queue is missing and may not be made.
    pub async fn connect(config: &Config) -> anyhow::Result<Self> {
        let (connection, broker) = (connect(config).await?, &config.amqp.url);
        let report = app::topology(config).apply(&connection).await.with_context(|| format!("{broker}"))?;
        let queue = config.amqp.queue.clone();
        let consumers = report.queues.iter().find(|report| report.queue == queue).map_or(0, |report| report.consumers);
        Ok(Self { connection, queue, consumers })
    }

    /// What a person should know before waiting: that nobody consumes from the queue.
    pub fn warning(&self) -> Option<String> {
        (self.consumers == 0)
            .then(|| format!("no worker consumes from the queue {:?} now; the job waits there for one", self.queue))
    }

    /// A queue for the results, of which so many are held in memory.
    ///
    /// # Errors
    ///
    /// The broker refuses it.
    pub async fn replies(&self, capacity: u16) -> anyhow::Result<ReplyQueue> {
        ReplyQueue::open(&self.connection, capacity).await.context("the queue for the results cannot be opened")
    }

    /// Enqueues a job; the broker has it when this returns.
    ///
    /// # Errors
    ///
    /// The queue refuses it, or the broker does not confirm in time.
    pub async fn enqueue(&self, job: &Job, reply_to: Option<&str>) -> anyhow::Result<()> {
        let reply_to = reply_to.map(str::to_owned);
        let envelope = Envelope { correlation_id: Some(job.id.to_string()), reply_to, ..native::encode(job) };
        let published = self.publish(&self.queue, envelope, ENQUEUE_WITHIN).await;
        match published.with_context(|| format!("the queue {:?} did not take the job {}", self.queue, job.id))? {
            Routing::Routed => Ok(()),
            Routing::Unroutable => bail!("there is no queue {:?} any more: it was deleted just now", self.queue),
        }
    }

    /// Publishes a message to a queue.
    ///
    /// # Errors
    ///
    /// The queue refuses it, or the broker does not confirm in time.
    pub async fn publish(&self, queue: &str, envelope: Envelope, within: Duration) -> Result<Routing, PublishError> {
        let channels = ChannelPool::new(self.connection.clone());
        channels.publish_routed(Address::queue(queue), envelope, within).await
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What to look at where no result came.
    pub fn advice(&self) -> String {
        format!(
            "is a worker running that consumes from the queue {:?}? Its /readyz says what it waits for, and \
             `switchboard check` looks at both brokers. The job may still be run",
            self.queue
        )
    }

    /// Closes the connection, and the result queue with it.
    pub async fn close(&self) {
        self.connection.close().await;
    }
}

/// A connection that is up.
///
/// # Errors
///
/// What the first attempt ran into; a person who waits learns more from that than from further attempts.
pub async fn connect(config: &Config) -> anyhow::Result<Connection> {
    let options = app::amqp_options(config);
    let within = options.round();
    let connection = Connection::start(options, "request");
    let mut state = connection.state();
    let settled = timeout(within, state.wait_for(|state| *state != LinkState::Connecting)).await;
    let trouble = match settled.map(|state| state.map(|state| state.clone())) {
        Ok(Ok(LinkState::Up { .. })) => return Ok(connection),
        Ok(Ok(LinkState::Blocked { reason, .. })) => format!("the AMQP broker takes no messages now: {reason}"),
        Ok(Ok(LinkState::Down { reason })) => reason,
        Ok(Ok(LinkState::Closed | LinkState::Connecting) | Err(_)) => "the AMQP connection was closed".to_owned(),
        Err(_) => format!("no AMQP connection within {} s", within.as_secs_f64()),
    };
    bail!("{}: {trouble}", config.amqp.url)
}

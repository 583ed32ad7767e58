//! A publisher of what may be lost: nobody waits for it, nothing is confirmed, and what finds no room is dropped and counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use lapin::options::BasicPublishOptions;

use super::connection::Link;
use super::properties::{properties, short};
use super::{Address, Connection, Error, SharedExchange};
use crate::envelope::Envelope;

/// How long it is not tried again after a channel could not be opened: meanwhile everything is dropped.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes without confirms, on a channel of its own; cheap to clone. The task ends with the last handle.
#[derive(Clone)]
pub struct Loose {
    inbox: mpsc::Sender<(Address, Envelope)>,
    dropped: Arc<AtomicU64>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loose").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Loose {
    /// Starts one. The exchanges are declared on each new channel: one that is missing costs the channel, and with it what was
    /// just published. At most `room` messages (at least 1) wait. Needs a Tokio runtime.
    pub fn start(connection: Connection, exchanges: Vec<SharedExchange>, room: usize) -> Self {
        let (inbox, accepted) = mpsc::channel(room.max(1));
        let (dropped, closing, tasks): (Arc<AtomicU64>, _, _) =
            (Arc::default(), CancellationToken::new(), TaskTracker::new());
        let writer = Writer { connection, exchanges, open: None, failed: None };
        tasks.spawn(writer.run(accepted, dropped.clone(), closing.clone()));
        tasks.close();
        Self { inbox, dropped, closing, tasks }
    }

    /// Publishes if there is room and a connection; false if it is known at once that there is not. Never waits.
    pub fn send(&self, to: Address, envelope: Envelope) -> bool {
        let sent = self.inbox.try_send((to, envelope)).is_ok();
        if !sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// How many messages were dropped by us. What the broker lost is not among them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Accepts no more, and waits until what was accepted is written, at most the connection's `close_timeout`.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

struct Writer {
    connection: Connection,
    exchanges: Vec<SharedExchange>,
    open: Option<(Link, lapin::Channel)>,
    failed: Option<Instant>,
}

impl Writer {
    async fn run(
        mut self,
        mut accepted: mpsc::Receiver<(Address, Envelope)>,
        dropped: Arc<AtomicU64>,
        closing: CancellationToken,
    ) {
        let drop_one = || dropped.fetch_add(1, Ordering::Relaxed);
        while let Some(Some((to, envelope))) = closing.run_until_cancelled(accepted.recv()).await {
            if let Err(error) = self.publish(to, envelope).await {
                debug!(%error, "dropped a message that may be lost");
                drop_one();
            }
        }
        accepted.close();
        let deadline = self.connection.options().close_timeout;
        let rest = async {
            while let Some((to, envelope)) = accepted.recv().await {
                if self.publish(to, envelope).await.is_err() {
                    drop_one();
                }
            }
            if let Some((link, channel)) = self.open.take() {
                // The answer to this says that all before it has arrived.
                let _ = link.answer("channel.close", deadline, channel.close(200, "done".into())).await;
            }
        };
        let _ = timeout(deadline, rest).await;
    }

    async fn publish(&mut self, to: Address, envelope: Envelope) -> Result<(), Error> {
        let wrong = |error: super::Unsendable| Error::Channel(error.to_string());
        let (properties, body) = properties(envelope).map_err(wrong)?;
        let exchange = short("exchange", to.exchange).map_err(wrong)?;
        let routing_key = short("routing_key", to.routing_key).map_err(wrong)?;
        let deadline = self.connection.options().connect_timeout;
        let (link, channel) = self.channel().await?;
        let options = BasicPublishOptions::default();
        let publishing = channel.basic_publish(exchange, routing_key, options, &body, properties);
        let published = link.answer("basic.publish", deadline, publishing).await;
        if published.is_err() {
            self.open = None;
        }
        published.map(|_| ())
    }

    /// The open channel, or a new one; an error at once where there is no connection, or it takes nothing.
    async fn channel(&mut self) -> Result<&(Link, lapin::Channel), Error> {
        let Some(link) = self.connection.link_now() else {
            return Err(Error::NotConnected("there is none now".to_owned()));
        };
        // lapin would keep what the broker does not read, without a bound.
        if link.blocked() {
            return Err(Error::NotConnected("the broker has an alarm and reads nothing from us".to_owned()));
        }
        let is_usable = |open: &(Link, lapin::Channel)| open.0.epoch == link.epoch && open.1.status().connected();
        if !self.open.as_ref().is_some_and(is_usable) {
            self.open = None;
            if self.failed.is_some_and(|at| at.elapsed() < PAUSE) {
                return Err(Error::NotConnected("there was no channel a moment ago".to_owned()));
            }
            let opened = open(&link, &self.exchanges, self.connection.options().connect_timeout).await;
            self.failed = opened.is_err().then(Instant::now);
            self.open = Some((link, opened?));
        }
        self.open.as_ref().ok_or(Error::Closed)
    }
}

async fn open(link: &Link, exchanges: &[SharedExchange], deadline: Duration) -> Result<lapin::Channel, Error> {
    for exchange in exchanges {
        exchange.declare(link, deadline).await?;
    }
    link.channel(deadline).await
}

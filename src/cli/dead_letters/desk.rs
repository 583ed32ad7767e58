//! The dead-letter queue while somebody looks through it: everything that is looked at is held, and goes back unless taken.

use super::letter::Letter;
use super::selection::Selection;
use crate::amqp::{self, Address, Bounds, Browser, ChannelPool, Connection, Held, PublishError, Routing};
use crate::cli::{requester, say};
use crate::config::Config;
use crate::envelope::Envelope;
use crate::wire::dead_letter::renewed;
use anyhow::{Context, bail};
use std::time::Duration;

/// How much of the queue is looked at in one go: it is held in memory until the end.
const BOUNDS: Bounds = Bounds { messages: 100_000, bytes: 256 << 20 };
/// A letter that was given out so often gets a fresh copy in its place when it goes back: half of what RabbitMQ 4 allows a
/// quorum queue before it drops a message.
const RENEW_AT: u64 = 10;
/// How long the broker may take to confirm a message.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// The open queue.
pub struct Desk {
    connection: Connection,
    browser: Browser,
    channels: ChannelPool,
    queue: String,
    /// What goes back at the end, and has been given out too often.
    worn: Vec<(Envelope, Held)>,
}

/// A letter that is meant, and what takes it out of the queue.
pub struct Chosen {
    /// The letter.
    pub letter: Letter,
    held: Held,
}

impl Desk {
    /// Connects and opens the queue. It is not made where it is missing: then nothing was ever dead-lettered.
    ///
    /// # Errors
    ///
    /// The broker is not reached, or there is no such queue, or it may not be read.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let connection = requester::connect(config).await?;
        let queue = config.amqp.dead_letter_queue.clone();
        let browser = match Browser::open(&connection, &queue, BOUNDS).await {
            Ok(browser) => browser,
            Err(amqp::Error::MissingQueue(_)) => bail!(
                "there is no queue {queue:?} (amqp.dead_letter_queue) on {}; the first worker makes it, or `switchboard send`",
                config.amqp.url
            ),
            Err(error) => return Err(error).context("the dead letters cannot be looked at"),
        };
        let channels = ChannelPool::new(connection.clone());
        Ok(Self { connection, browser, channels, queue, worn: Vec::new() })
    }

    /// The queue's name.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The letters that are meant, in the order of the queue. What arrives from now on is not looked at.
    ///
    /// # Errors
    ///
    /// The connection is lost; everything is back in the queue then.
    pub async fn choose(&mut self, selection: &mut Selection) -> anyhow::Result<Vec<Chosen>> {
        let mut chosen = Vec::new();
        while !selection.is_complete() {
            let Some(held) = self.browser.next().await.context("the dead letters cannot be looked at")? else { break };
            let letter = Letter::read(held.envelope.clone());
            if selection.takes(&letter) {
                chosen.push(Chosen { letter, held });
            } else {
                self.leave(held);
            }
        }
        Ok(chosen)
    }

    /// Whether there are letters beyond those that were looked at.
    pub fn has_more(&self) -> bool {
        self.browser.has_more()
    }

    /// Whether what was chosen is still ours.
    pub fn is_open(&self) -> bool {
        self.browser.is_open()
    }

    /// Publishes a message to a queue; `false` where there is no such queue.
    ///
    /// # Errors
    ///
    /// The broker refuses it, or does not confirm it in time.
    pub async fn publish(&self, queue: &str, envelope: Envelope) -> Result<bool, PublishError> {
        let routing = self.channels.publish_routed(Address::queue(queue), envelope, CONFIRM_WITHIN).await?;
        Ok(routing == Routing::Routed)
    }

    /// Takes a letter out of the queue.
    ///
    /// # Errors
    ///
    /// The connection is lost; it is back in the queue then.
    pub async fn take(&mut self, chosen: Chosen) -> anyhow::Result<()> {
        self.browser.take(chosen.held).await.context("the connection was lost")
    }

    /// Lets a letter go back.
    pub fn put_back(&mut self, chosen: Chosen) {
        self.leave(chosen.held);
    }

    fn leave(&mut self, mut held: Held) {
        if held.delivery_count >= RENEW_AT {
            self.worn.push((std::mem::take(&mut held.envelope), held));
        }
    }

    /// Gives everything back that was not taken; when this returns, what was taken is gone for good.
    ///
    /// # Errors
    ///
    /// The connection is lost: what was taken last may be in the queue again.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.renew().await;
        self.browser.close().await.context("the connection was lost; what was taken last may be there again")?;
        self.connection.close().await;
        Ok(())
    }

    /// Puts fresh copies in the place of letters that were given out often. A crash between copy and original leaves both.
    async fn renew(&mut self) {
        for (envelope, held) in std::mem::take(&mut self.worn) {
            let count = held.delivery_count;
            let trouble = match self.publish(&self.queue, renewed(&envelope)).await {
                Ok(true) => self.browser.take(held).await.err().map(|error| error.to_string()),
                Ok(false) => Some("the queue is gone".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(trouble) = trouble {
                say(format_args!(
                    "a dead letter was looked at {count} times and could not be renewed: {trouble}. RabbitMQ 4 drops it \
                     after 20 times, unless the queue {:?} has a larger delivery-limit",
                    self.queue
                ));
                return;
            }
        }
    }
}

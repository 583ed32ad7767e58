//! The exchange that a queue is bound to, where its publishers do not use the default one.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::FieldTable;
use tracing::warn;

use super::connection::Link;
use super::topology::{difference, refusal};
use super::{Difference, Error, Routes, delay, properties};

/// A durable exchange, and the routing key by which a queue gets what is published to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingSpec {
    /// The queue.
    pub queue: String,
    /// The exchange's name.
    pub exchange: String,
    /// How it routes.
    pub routes: Routes,
    /// The routing key, or a pattern of such.
    pub routing_key: String,
    /// Whether messages also come to the exchange from the end of the delay ladder (`super::delay`), as Celery's clients send
    /// them where an exchange is no direct one. The ladder is made too.
    pub delayed: bool,
}

impl BindingSpec {
    /// Makes the exchange and the binding. An exchange that differs is used as it is, since others live with it; the log says
    /// in which argument. Harmless to repeat.
    ///
    /// # Errors
    /// [`Error::Queue`] with the broker's words where it refuses the exchange or the binding, or a lost connection.
    pub(super) async fn see_to(&self, link: &Link, deadline: Duration) -> Result<(), Error> {
        self.exchange(link, deadline).await?;
        // Some hundred answers of the broker, if there is a ladder: each alone takes about a millisecond.
        let within = if self.delayed { deadline * 3 } else { deadline };
        self.on_channel("queue.bind", link, within, async |channel| self.bind(channel).await).await
    }

    async fn exchange(&self, link: &Link, deadline: Duration) -> Result<(), Error> {
        let declared = async |channel: &lapin::Channel| {
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let name = self.exchange.as_str().into();
            channel.exchange_declare(name, kind(self.routes), durable, FieldTable::default()).await
        };
        match self.on_channel("exchange.declare", link, deadline, declared).await {
            Err(Error::Queue { queue, reason }) => match difference(&reason) {
                // Bound by a pattern to an exchange that knows none, the queue would get nothing, and nobody would say so.
                Some(Difference { wanted, found, .. }) if self.routes == Routes::Topic => {
                    let reason = format!("the exchange {:?} is {found}, and has to be {wanted}", self.exchange);
                    Err(Error::Queue { queue, reason })
                }
                Some(Difference { argument, wanted, found }) => {
                    let exchange = &*self.exchange;
                    warn!(exchange, argument, wanted, found, "the exchange exists and differs; it is used as it is");
                    Ok(())
                }
                None => Err(Error::Queue { queue, reason }),
            },
            done => done,
        }
    }

    async fn bind(&self, channel: &lapin::Channel) -> Result<(), lapin::Error> {
        let (queue, exchange) = (self.queue.as_str(), self.exchange.as_str());
        let bound = async |key: &str| {
            let options = QueueBindOptions::default();
            channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await
        };
        bound(&self.routing_key).await?;
        if self.delayed {
            delay::build(channel).await?;
            let key = delay::behind(&self.routing_key);
            let options = ExchangeBindOptions::default();
            let from = delay::DELIVERY.into();
            channel.exchange_bind(exchange.into(), from, key.as_str().into(), options, FieldTable::default()).await?;
            bound(&key).await?;
        }
        Ok(())
    }

    /// Does something on a channel of its own, which a refusal closes.
    async fn on_channel(
        &self,
        what: &'static str,
        link: &Link,
        deadline: Duration,
        act: impl AsyncFnOnce(&lapin::Channel) -> Result<(), lapin::Error>,
    ) -> Result<(), Error> {
        let wrong = |reason: String| Error::Queue { queue: self.queue.clone(), reason };
        for (name, text) in [("queue", &self.queue), ("exchange", &self.exchange), ("routing key", &self.routing_key)] {
            properties::short(name, text.clone()).map_err(|error| wrong(error.to_string()))?;
        }
        let channel = link.channel(deadline).await?;
        match link.answer(what, deadline, async { Ok(act(&channel).await) }).await? {
            Ok(()) => link.answer("channel.close", deadline, channel.close(200, "done".into())).await,
            Err(error) => match refusal(&error) {
                Some((_, reason)) => Err(wrong(reason)),
                None => Err(error.into()),
            },
        }
    }
}

pub(super) fn kind(routes: Routes) -> ExchangeKind {
    match routes {
        Routes::Fanout => ExchangeKind::Fanout,
        Routes::Direct => ExchangeKind::Direct,
        Routes::Topic => ExchangeKind::Topic,
    }
}

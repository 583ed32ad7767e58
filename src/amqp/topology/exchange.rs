//! An exchange as it should be, its bindings, and the declaration of both.

use std::fmt;
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::FieldTable;

use super::answer::{Answer, Declare, ask};
use crate::amqp::connection::Link;
use crate::amqp::{Error, properties};

/// By what an exchange chooses the queues of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// The routing key, as it is.
    Direct,
    /// The routing key, by patterns.
    Topic,
    /// Nothing: every queue that is bound.
    Fanout,
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
        })
    }
}

impl From<ExchangeKind> for lapin::ExchangeKind {
    fn from(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Direct => Self::Direct,
            ExchangeKind::Topic => Self::Topic,
            ExchangeKind::Fanout => Self::Fanout,
        }
    }
}

/// What one exchange should be. Every party that declares it has to say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeSpec {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Whether it outlives a restart of the broker.
    pub durable: bool,
    /// Whether it goes when its last binding does.
    pub auto_delete: bool,
}

impl ExchangeSpec {
    /// A durable exchange that stays, as Celery declares those of tasks.
    pub fn durable(name: impl Into<String>, kind: ExchangeKind) -> Self {
        Self { name: name.into(), kind, durable: true, auto_delete: false }
    }
}

/// The way from an exchange to a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingSpec {
    /// Where messages go.
    pub queue: String,
    /// Where they come from.
    pub exchange: String,
    /// Which ones: a routing key, or the pattern of a topic exchange.
    pub routing_key: String,
}

/// One declaration of the exchange. A passive one asks for the name alone: the broker does not look at the kind then.
pub(super) async fn declare(
    spec: &ExchangeSpec,
    how: Declare,
    link: &Link,
    deadline: Duration,
) -> Result<Answer<()>, Error> {
    let name = properties::short("exchange", spec.name.clone())
        .map_err(|error| Error::Exchange { exchange: spec.name.clone(), reason: error.to_string() })?;
    let options = ExchangeDeclareOptions {
        passive: how == Declare::Passive,
        durable: spec.durable,
        auto_delete: spec.auto_delete,
        ..ExchangeDeclareOptions::default()
    };
    let kind = spec.kind.into();
    ask("exchange.declare", link, deadline, async move |channel: lapin::Channel| {
        channel.exchange_declare(name, kind, options, FieldTable::default()).await
    })
    .await
}

/// Makes the binding, if it is not there yet.
pub(super) async fn bind(spec: &BindingSpec, link: &Link, deadline: Duration) -> Result<Answer<()>, Error> {
    let wrong = |error: properties::Unsendable| Error::Queue { queue: spec.queue.clone(), reason: error.to_string() };
    let queue = properties::short("queue", spec.queue.clone()).map_err(wrong)?;
    let exchange = properties::short("exchange", spec.exchange.clone()).map_err(wrong)?;
    let key = properties::short("routing key", spec.routing_key.clone()).map_err(wrong)?;
    ask("queue.bind", link, deadline, async move |channel: lapin::Channel| {
        channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
    })
    .await
}

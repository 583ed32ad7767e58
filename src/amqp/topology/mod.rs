//! The queues, exchanges and bindings we need: what they should be, how they differ from what is there, and making those
//! that are missing.

mod answer;
mod exchange;
mod queue;

pub use exchange::{BindingSpec, ExchangeKind, ExchangeSpec};
pub use queue::{QueueKind, QueueSpec};

pub(super) use answer::refusal;

use std::time::Duration;

use tracing::{info, warn};

use super::connection::Link;
use super::{Connection, Error};
use answer::{Answer, Declare, compare};
use queue::Found;

/// What must be there before work begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// Seen to in this order; a dead-letter queue belongs before the queues that use it.
    pub queues: Vec<QueueSpec>,
    /// Seen to before the queues.
    pub exchanges: Vec<ExchangeSpec>,
    /// Made last, if `declare` says so: nothing tells whether a binding is there.
    pub bindings: Vec<BindingSpec>,
    /// Whether to make what is missing; otherwise a missing queue or exchange is an error, and nothing is compared.
    pub declare: bool,
}

/// How a queue or an exchange was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It was missing and is now as specified.
    Created,
    /// It exists as specified.
    Same,
    /// It exists and differs; it is used as it is. The broker names one argument, there may be more.
    Differs(Difference),
    /// It exists; nothing more is known, for this reason.
    NotCompared(String),
}

/// An argument in which something that exists differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name: `x-queue-type`, `durable`, …
    pub argument: String,
    /// What we would declare.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

/// How one queue was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    /// Its name.
    pub queue: String,
    /// Against what was specified.
    pub comparison: Comparison,
    /// How many consumers it had.
    pub consumers: u32,
    /// How many messages were ready in it.
    pub messages: u32,
}

/// How one exchange was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeReport {
    /// Its name.
    pub exchange: String,
    /// Against what was specified; another kind is an error instead.
    pub comparison: Comparison,
}

/// A binding that we may not make, and that is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmadeBinding {
    /// Which one.
    pub binding: BindingSpec,
    /// The broker's words.
    pub reason: String,
}

/// How everything of a topology was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry for each queue, in the topology's order.
    pub queues: Vec<QueueReport>,
    /// One entry for each exchange, in the topology's order.
    pub exchanges: Vec<ExchangeReport>,
    /// The bindings that the broker did not let us make; all others are there, unless `declare` is off.
    pub unmade: Vec<UnmadeBinding>,
}

impl Report {
    /// The queues and exchanges that differ, and how.
    pub fn differences(&self) -> impl Iterator<Item = (&str, &Difference)> {
        self.comparisons().filter_map(|(_, name, comparison)| match comparison {
            Comparison::Differs(difference) => Some((name, difference)),
            _ => None,
        })
    }

    fn comparisons(&self) -> impl Iterator<Item = (&'static str, &str, &Comparison)> {
        let exchanges = self.exchanges.iter().map(|report| ("exchange", report.exchange.as_str(), &report.comparison));
        exchanges.chain(self.queues.iter().map(|report| ("queue", report.queue.as_str(), &report.comparison)))
    }

    pub(super) fn log(&self) {
        for (what, name, comparison) in self.comparisons() {
            match comparison {
                Comparison::Created => info!(name, "{what} created"),
                Comparison::Same => {}
                Comparison::Differs(Difference { argument, wanted, found }) => {
                    warn!(name, argument, wanted, found, "the {what} exists and differs; it is used as it is");
                }
                Comparison::NotCompared(reason) => info!(name, reason, "the {what} exists; it is used as it is"),
            }
        }
        for UnmadeBinding { binding: BindingSpec { queue, exchange, routing_key }, reason } in &self.unmade {
            warn!(queue, exchange, routing_key, reason, "the binding could not be made; without it no message comes");
        }
    }
}

impl Topology {
    /// Sees to exchanges, queues and bindings on a connection that is up: checks each, makes what is missing if `declare`
    /// says so, compares the rest. Harmless to repeat, and for several replicas to do at once.
    ///
    /// # Errors
    /// [`Error::MissingQueue`], [`Error::MissingExchange`]; [`Error::Queue`] and [`Error::Exchange`] with the broker's words,
    /// the latter also where an exchange is of another kind; or a lost connection.
    pub async fn apply(&self, connection: &Connection) -> Result<Report, Error> {
        let deadline = connection.options().connect_timeout;
        connection.up(deadline).await?;
        self.apply_on(&connection.link().await?, deadline).await
    }

    pub(super) async fn apply_on(&self, link: &Link, deadline: Duration) -> Result<Report, Error> {
        let mut report = Report::default();
        for spec in &self.exchanges {
            let comparison = self.see_to_exchange(spec, link, deadline).await?;
            report.exchanges.push(ExchangeReport { exchange: spec.name.clone(), comparison });
        }
        for spec in &self.queues {
            let (comparison, found) = self.see_to(spec, link, deadline).await?;
            let Found { consumers, messages } = found;
            report.queues.push(QueueReport { queue: spec.name.clone(), comparison, consumers, messages });
        }
        for spec in self.bindings.iter().filter(|_| self.declare) {
            match exchange::bind(spec, link, deadline).await? {
                Answer::Ok(()) => {}
                Answer::Missing => {
                    let reason = format!("it or the exchange {:?} is not there to be bound", spec.exchange);
                    return Err(Error::Queue { queue: spec.queue.clone(), reason });
                }
                // Least privilege: whoever set it up may have made the binding.
                Answer::Differs(reason) | Answer::Refused(reason) => {
                    report.unmade.push(UnmadeBinding { binding: spec.clone(), reason });
                }
            }
        }
        Ok(report)
    }

    /// How the queue compares, and what is found there.
    async fn see_to(&self, spec: &QueueSpec, link: &Link, deadline: Duration) -> Result<(Comparison, Found), Error> {
        let refused = |reason| Error::Queue { queue: spec.name.clone(), reason };
        let found = match queue::declare(spec, Declare::Passive, link, deadline).await? {
            Answer::Ok(found) => Some(found),
            Answer::Missing if !self.declare => return Err(Error::MissingQueue(spec.name.clone())),
            Answer::Missing => None,
            Answer::Differs(reason) | Answer::Refused(reason) => return Err(refused(reason)),
        };
        if let (false, Some(found)) = (self.declare, found) {
            return Ok((Comparison::NotCompared("declare is off".to_owned()), found));
        }
        let declared = queue::declare(spec, Declare::Active, link, deadline).await?;
        let comparison = compare(declared, found.is_some()).map_err(refused)?;
        Ok((comparison, found.unwrap_or_default()))
    }

    /// How the exchange compares. One of another kind is an error: it would give messages to other queues than is thought.
    async fn see_to_exchange(&self, spec: &ExchangeSpec, link: &Link, deadline: Duration) -> Result<Comparison, Error> {
        let refused = |reason| Error::Exchange { exchange: spec.name.clone(), reason };
        let found = match exchange::declare(spec, Declare::Passive, link, deadline).await? {
            Answer::Ok(()) => true,
            Answer::Missing if !self.declare => return Err(Error::MissingExchange(spec.name.clone())),
            Answer::Missing => false,
            Answer::Differs(reason) | Answer::Refused(reason) => return Err(refused(reason)),
        };
        if !self.declare {
            return Ok(Comparison::NotCompared("declare is off".to_owned()));
        }
        let declared = exchange::declare(spec, Declare::Active, link, deadline).await?;
        match compare(declared, found).map_err(refused)? {
            Comparison::Differs(Difference { argument, wanted, found }) if argument == "type" => {
                Err(refused(format!("its type is {found}, and {wanted} is wanted; delete it, or name another")))
            }
            comparison => Ok(comparison),
        }
    }
}

//! The queues we need: what they should be, how they differ from what is there, and making those that are missing.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tracing::{info, warn};

use super::connection::Link;
use super::{BindingSpec, Connection, Error, properties};
use crate::envelope::{Headers, Value};

/// The argument by which only one consumer at a time is given messages.
const SINGLE_ACTIVE: &str = "x-single-active-consumer";

/// How RabbitMQ stores a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Replicated, counts deliveries, dead-letters at least once.
    Quorum,
    /// On one node; what existing applications declare by default.
    Classic,
}

/// What one durable queue should be.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSpec {
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub kind: QueueKind,
    /// The queue that rejected messages, and those delivered too often, go to.
    pub dead_letter_queue: Option<String>,
    /// How often a message may be given back before it is dead-lettered; quorum queues only.
    pub delivery_limit: Option<u32>,
    /// Further arguments; one that is also derived from the fields above replaces it.
    pub arguments: Headers,
}

impl QueueSpec {
    /// A queue of jobs: rejected ones, and in a quorum queue those delivered over 20 times, go to `dead_letter_queue`.
    pub fn jobs(name: impl Into<String>, kind: QueueKind, dead_letter_queue: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind,
            dead_letter_queue: Some(dead_letter_queue.into()),
            delivery_limit: (kind == QueueKind::Quorum).then_some(20),
            arguments: Headers::default(),
        }
    }

    /// A queue that keeps what it is given, without any limit: the end of the way for dead letters.
    pub fn keeping(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: QueueKind::Quorum,
            dead_letter_queue: None,
            delivery_limit: None,
            arguments: Headers::default(),
        }
    }

    /// A queue of which only one consumer is given messages, and the next one when that one's channel is gone. What it holds
    /// is never dropped, nor sent elsewhere, by the queue itself: it is somebody's log.
    ///
    /// RabbitMQ 4 drops what was given out over 20 times unless the queue says otherwise, in words that 3.10 does not take
    /// (`x-delivery-limit: -1`): there a policy with `delivery-limit` belongs to such a queue.
    pub fn shard(name: impl Into<String>) -> Self {
        let mut arguments = Headers::default();
        arguments.set(SINGLE_ACTIVE, Value::Bool(true));
        Self { arguments, ..Self::keeping(name) }
    }

    /// The arguments to declare it with.
    ///
    /// At-least-once dead-lettering works only together with `reject-publish`: a full queue refuses new messages then,
    /// where dropping old ones would lose them on their way.
    pub fn declared_arguments(&self) -> Headers {
        let mut arguments = Headers::default();
        if self.kind == QueueKind::Quorum {
            arguments.set("x-queue-type", "quorum".into());
        }
        if let Some(dead_letter_queue) = &self.dead_letter_queue {
            arguments.set("x-dead-letter-exchange", "".into());
            arguments.set("x-dead-letter-routing-key", dead_letter_queue.as_str().into());
            if self.kind == QueueKind::Quorum {
                arguments.set("x-dead-letter-strategy", "at-least-once".into());
                arguments.set("x-overflow", "reject-publish".into());
            }
        }
        if let (QueueKind::Quorum, Some(limit)) = (self.kind, self.delivery_limit) {
            arguments.set("x-delivery-limit", Value::Int(limit.into()));
        }
        for (name, value) in &self.arguments.0 {
            arguments.set(name.as_str(), value.clone());
        }
        arguments
    }
}

/// The queues that must be there before work begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// Seen to in this order; a dead-letter queue belongs before the queues that use it.
    pub queues: Vec<QueueSpec>,
    /// Exchanges that queues are bound to besides the default one; seen to last, and only if `declare` says so.
    pub bindings: Vec<BindingSpec>,
    /// Whether to make what is missing; otherwise a missing queue is an error, and nothing is compared.
    pub declare: bool,
}

/// How a queue was found.
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

/// An argument in which an existing queue differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name: `x-queue-type`, `durable`, …
    pub argument: String,
    /// What we would declare.
    pub wanted: String,
    /// What the queue has.
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

/// How all queues of a topology were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry for each queue, in the topology's order.
    pub queues: Vec<QueueReport>,
}

impl Report {
    /// The queues that differ, and how.
    pub fn differences(&self) -> impl Iterator<Item = (&str, &Difference)> {
        self.queues.iter().filter_map(|report| match &report.comparison {
            Comparison::Differs(difference) => Some((report.queue.as_str(), difference)),
            _ => None,
        })
    }

    pub(super) fn log(&self) {
        for QueueReport { queue, comparison, .. } in &self.queues {
            match comparison {
                Comparison::Created => info!(queue, "queue created"),
                Comparison::Same => {}
                Comparison::Differs(Difference { argument, wanted, found }) => {
                    warn!(queue, argument, wanted, found, "the queue exists and differs; it is used as it is");
                }
                Comparison::NotCompared(reason) => info!(queue, reason, "the queue exists; it is used as it is"),
            }
        }
    }
}

impl Topology {
    /// Sees to the queues on a connection that is up: checks each, makes what is missing if `declare` says so, compares the
    /// rest. Harmless to repeat, and for several replicas to do at once.
    ///
    /// # Errors
    /// [`Error::MissingQueue`], [`Error::Queue`] with the broker's words, or a lost connection.
    pub async fn apply(&self, connection: &Connection) -> Result<Report, Error> {
        let deadline = connection.options().connect_timeout;
        connection.up(deadline).await?;
        self.apply_on(&connection.link().await?, deadline).await
    }

    pub(super) async fn apply_on(&self, link: &Link, deadline: Duration) -> Result<Report, Error> {
        let mut report = Report::default();
        for spec in &self.queues {
            let (comparison, found) = self.see_to(spec, link, deadline).await?;
            let Depth { consumers, messages } = found;
            report.queues.push(QueueReport { queue: spec.name.clone(), comparison, consumers, messages });
        }
        for binding in self.bindings.iter().filter(|_| self.declare) {
            binding.see_to(link, deadline).await?;
        }
        Ok(report)
    }

    /// How the queue compares, and what is found there.
    async fn see_to(&self, spec: &QueueSpec, link: &Link, deadline: Duration) -> Result<(Comparison, Depth), Error> {
        let found = match declare(spec, Declare::Passive, link, deadline).await? {
            Answer::Ok(found) => Some(found),
            Answer::Missing if !self.declare => return Err(Error::MissingQueue(spec.name.clone())),
            Answer::Missing => None,
            Answer::Differs(reason) | Answer::Refused(reason) => {
                return Err(Error::Queue { queue: spec.name.clone(), reason });
            }
        };
        if let (false, Some(found)) = (self.declare, found) {
            return Ok((Comparison::NotCompared("declare is off".to_owned()), found));
        }
        let comparison = match (declare(spec, Declare::Active, link, deadline).await?, found) {
            (Answer::Ok(_), Some(_)) => Comparison::Same,
            (Answer::Ok(_), None) => Comparison::Created,
            // Also where another replica, with another configuration, was faster than we.
            (Answer::Differs(reason), _) => match difference(&reason) {
                Some(difference) => Comparison::Differs(difference),
                None => Comparison::NotCompared(reason),
            },
            // Least privilege: a worker that may read a queue need not be allowed to declare it.
            (Answer::Refused(reason), Some(_)) => Comparison::NotCompared(reason),
            (Answer::Refused(reason), None) => return Err(Error::Queue { queue: spec.name.clone(), reason }),
            (Answer::Missing, _) => {
                let reason = "it is neither there nor could it be declared".to_owned();
                return Err(Error::Queue { queue: spec.name.clone(), reason });
            }
        };
        Ok((comparison, found.unwrap_or_default()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Declare {
    Passive,
    Active,
}

/// How much there is at a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Consumers that may be given messages: where only a single one is active, one at most, however many wait for it to go.
    pub consumers: u32,
    /// Messages that are ready; what consumers hold is not among them.
    pub messages: u32,
}

/// How much there is at that queue.
///
/// # Errors
/// [`Error::MissingQueue`], [`Error::Queue`] with the broker's words, or a lost connection.
pub(super) async fn depth(queue: &str, link: &Link, deadline: Duration) -> Result<Depth, Error> {
    match declare(&QueueSpec::keeping(queue), Declare::Passive, link, deadline).await? {
        Answer::Ok(found) => Ok(found),
        Answer::Missing => Err(Error::MissingQueue(queue.to_owned())),
        Answer::Differs(reason) | Answer::Refused(reason) => Err(Error::Queue { queue: queue.to_owned(), reason }),
    }
}

enum Answer {
    Ok(Depth),
    Missing,
    Differs(String),
    Refused(String),
}

/// One declare, on a channel of its own: any refusal closes the channel.
async fn declare(spec: &QueueSpec, how: Declare, link: &Link, deadline: Duration) -> Result<Answer, Error> {
    let wrong = |error: properties::Unsendable| Error::Queue { queue: spec.name.clone(), reason: error.to_string() };
    let name = properties::short("queue", spec.name.clone()).map_err(wrong)?;
    let (options, arguments) = match how {
        Declare::Passive => (QueueDeclareOptions::durable().passive(), FieldTable::default()),
        Declare::Active => {
            (QueueDeclareOptions::durable(), properties::table(spec.declared_arguments()).map_err(wrong)?)
        }
    };
    let channel = link.channel(deadline).await?;
    let declaring = async { Ok(channel.queue_declare(name, options, arguments).await) };
    let answer = match link.answer("queue.declare", deadline, declaring).await? {
        Ok(queue) => Answer::Ok(Depth { consumers: queue.consumer_count(), messages: queue.message_count() }),
        Err(error) => match refusal(&error) {
            Some((404, _)) => Answer::Missing,
            Some((406, reason)) => Answer::Differs(reason),
            Some((_, reason)) => Answer::Refused(reason),
            None => return Err(error.into()),
        },
    };
    if channel.status().connected() {
        link.answer("channel.close", deadline, channel.close(200, "done".into())).await?;
    }
    Ok(answer)
}

/// Code and words of the broker where it closed the channel and no more than that.
pub(super) fn refusal(error: &lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refused) if error.is_amqp_soft_error() => {
            Some((refused.get_id(), refused.get_message().to_string()))
        }
        _ => None,
    }
}

/// Reads RabbitMQ's words about an unequal argument:
/// `inequivalent arg 'NAME' for queue 'Q' in vhost 'V': received WANTED but current is FOUND`.
pub(super) fn difference(words: &str) -> Option<Difference> {
    let (_, rest) = words.split_once("inequivalent arg '")?;
    let (argument, rest) = rest.split_once('\'')?;
    let (_, rest) = rest.split_once(": received ")?;
    let (wanted, found) = rest.split_once(" but current is ")?;
    Some(Difference { argument: argument.to_owned(), wanted: plain(wanted), found: plain(found) })
}

/// `the value 'x' of type 'longstr'` and `'x'` as `x`; `none` as it is.
fn plain(words: &str) -> String {
    let words = words.trim();
    let quoted = words.strip_prefix("the value '").or_else(|| words.strip_prefix('\''));
    let end = |rest: &str| rest.find("' of type ").or_else(|| rest.rfind('\''));
    match quoted.and_then(|rest| Some(rest[..end(rest)?].to_owned())) {
        Some(value) => value,
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(spec: &QueueSpec) -> Vec<(String, Value)> {
        spec.declared_arguments().0
    }

    #[test]
    fn a_quorum_queue_of_jobs_loses_nothing_on_the_way_to_the_dead_letters() {
        let spec = QueueSpec::jobs("jobs", QueueKind::Quorum, "dead");
        let wanted: [(&str, Value); 6] = [
            ("x-queue-type", "quorum".into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
            ("x-dead-letter-strategy", "at-least-once".into()),
            ("x-overflow", "reject-publish".into()),
            ("x-delivery-limit", Value::Int(20)),
        ];
        assert_eq!(names(&spec), wanted.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_classic_queue_has_only_its_dead_letter_pair_and_a_keeping_queue_no_limit() {
        let classic = QueueSpec::jobs("jobs", QueueKind::Classic, "dead");
        assert_eq!(names(&classic).len(), 2);
        assert_eq!(classic.declared_arguments().text("x-dead-letter-routing-key"), Some("dead"));
        assert_eq!(names(&QueueSpec::keeping("dead")), [("x-queue-type".to_owned(), "quorum".into())]);
    }

    #[test]
    fn a_shard_has_one_active_consumer_and_nothing_that_takes_messages_away() {
        let wanted: [(&str, Value); 2] = [("x-queue-type", "quorum".into()), (SINGLE_ACTIVE, Value::Bool(true))];
        assert_eq!(names(&QueueSpec::shard("s")), wanted.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn further_arguments_are_added_and_have_the_last_word() {
        let mut spec = QueueSpec::jobs("jobs", QueueKind::Quorum, "dead");
        spec.arguments.set("x-delivery-limit", Value::Int(5));
        spec.arguments.set("x-max-length", Value::Int(1000));
        let arguments = spec.declared_arguments();
        assert_eq!(arguments.get("x-delivery-limit"), Some(&Value::Int(5)));
        assert_eq!(arguments.get("x-max-length"), Some(&Value::Int(1000)));
    }

    #[test]
    fn the_brokers_words_name_the_argument_and_both_values() {
        let cases = [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received the value 'quorum' of type 'longstr' but current is none",
                ("x-queue-type", "quorum", "none"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'it's' in vhost '/': received the value '20' of type 'long' but current is the value '5' of type 'long'",
                ("x-delivery-limit", "20", "5"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
                ("durable", "true", "false"),
            ),
        ];
        for (words, (argument, wanted, found)) in cases {
            let expected =
                Difference { argument: argument.to_owned(), wanted: wanted.to_owned(), found: found.to_owned() };
            assert_eq!(difference(words), Some(expected), "{words}");
        }
        assert_eq!(difference("PRECONDITION_FAILED - something else"), None);
    }
}

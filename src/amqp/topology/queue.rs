//! A queue as it should be, and its declaration.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::answer::{Answer, Declare, ask};
use crate::amqp::connection::Link;
use crate::amqp::{Error, properties};
use crate::envelope::{Headers, Value};

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

/// What a queue holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) consumers: u32,
    pub(super) messages: u32,
}

/// One declaration of the queue.
pub(super) async fn declare(
    spec: &QueueSpec,
    how: Declare,
    link: &Link,
    deadline: Duration,
) -> Result<Answer<Found>, Error> {
    let wrong = |error: properties::Unsendable| Error::Queue { queue: spec.name.clone(), reason: error.to_string() };
    let name = properties::short("queue", spec.name.clone()).map_err(wrong)?;
    let (options, arguments) = match how {
        Declare::Passive => (QueueDeclareOptions::durable().passive(), FieldTable::default()),
        Declare::Active => {
            (QueueDeclareOptions::durable(), properties::table(spec.declared_arguments()).map_err(wrong)?)
        }
    };
    ask("queue.declare", link, deadline, async move |channel: lapin::Channel| {
        let queue = channel.queue_declare(name, options, arguments).await?;
        Ok(Found { consumers: queue.consumer_count(), messages: queue.message_count() })
    })
    .await
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
    fn further_arguments_are_added_and_have_the_last_word() {
        let mut spec = QueueSpec::jobs("jobs", QueueKind::Quorum, "dead");
        spec.arguments.set("x-delivery-limit", Value::Int(5));
        spec.arguments.set("x-max-length", Value::Int(1000));
        let arguments = spec.declared_arguments();
        assert_eq!(arguments.get("x-delivery-limit"), Some(&Value::Int(5)));
        assert_eq!(arguments.get("x-max-length"), Some(&Value::Int(1000)));
    }
}

//! The few things that can go wrong, and what the caller can do about each.

use crate::topic::InvalidTopic;
use std::time::Duration;

/// Why an agent, a subscription or a request could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The options contradict themselves or name something that is not there. Mend them.
    #[error("{0}")]
    Options(String),
    /// The first connection could not be made. Later losses are handled inside.
    #[error("no connection to the MQTT broker {broker}: {reason}")]
    Connect {
        /// Host and port.
        broker: String,
        /// What the network or the broker said.
        reason: String,
    },
    /// A topic or filter is not one. Nothing was sent.
    #[error("{topic:?} is not a topic that can be used here: {problem}")]
    Topic {
        /// What was given.
        topic: String,
        /// What is wrong with it.
        problem: InvalidTopic,
    },
    /// MQTT cannot carry a property. Nothing was sent.
    #[error("the property {property} of the message {problem}")]
    Property {
        /// Which of [`super::Properties`].
        property: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The broker refused the subscription.
    #[error("the broker refused the subscription to {filter:?}: {reason}")]
    Refused {
        /// The filter.
        filter: String,
        /// The broker's reason.
        reason: String,
    },
    /// No answer in time. The receiver may have acted all the same.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A request's publish did not go out, or nobody was there to receive it.
    #[error("the request was not delivered: {0}")]
    Undelivered(String),
    /// A request without a reply filter needs MQTT 5's response topic.
    #[error("a request without a reply filter needs MQTT 5; name one with reply_on(filter)")]
    NoReplyFilter,
    /// The agent was closed, or another client took its id over.
    #[error("the MQTT agent is closed")]
    Closed,
}

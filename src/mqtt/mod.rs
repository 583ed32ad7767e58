//! MQTT for programs that command devices: one connection, any number of users, nothing lost without a word.
//!
//! An [`Agent`] is a cheap handle on one task that owns the one connection. It publishes and says what became of it
//! ([`Fate`]), subscribes with a stream per user and one subscription per filter on the wire, and pairs requests with
//! answers. MQTT 5 and 3.1.1; QoS 0 and 1, never 2: a second send that nobody asked for is what QoS 2 was meant to
//! prevent, and here nothing is ever sent a second time.
//!
//! What holds, whatever the network does:
//! * A publish ends in exactly one [`Fate`]; `NotSent` is certain, `Unknown` is admitted.
//! * What waits for the connection is checked against its deadline by the task that writes to the socket.
//! * A subscription is complete when the broker granted it, and is renewed on every connection.
//! * A slow reader loses its own messages, counted, and delays nobody.
//! * Dropping a future or a [`Subscription`] gives everything back.

mod agent;
mod driver;
mod error;
mod fate;
mod frames;
mod inbox;
mod inflight;
mod link;
#[cfg(test)]
mod link_tests;
mod message;
mod options;
mod packet;
mod port;
mod publication;
mod publish;
mod pulse;
mod reader;
mod request;
mod router;
mod seen;
mod session;
#[cfg(test)]
mod session_tests;
mod subscription;
mod subscriptions;
#[cfg(test)]
mod subscriptions_tests;
mod transport;
mod websocket;

pub use crate::tls::TlsFiles;
pub use agent::Agent;
pub use error::Error;
pub use fate::{Fate, NotSent, Refusal};
pub use message::{Message, Properties, Qos};
pub use options::{Options, Password, Protocol};
pub use publish::Publish;
pub use request::Request;
pub use router::Router;
pub use subscription::Subscription;

pub(crate) use fate::{Notify, Progress, Watcher};
pub(crate) use publication::{Class, Publication};
pub(crate) use reader::Sink;
pub(crate) use subscription::SinkSubscription;

/// What is known of the connection; published on a `watch` by [`Agent::state`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No connection yet.
    Connecting,
    /// Connected, every subscription granted: publishes flow.
    Up {
        /// Counts the connections of this agent, from 1.
        epoch: u64,
    },
    /// The connection is gone; another attempt follows by itself.
    Down {
        /// Why.
        reason: String,
    },
    /// It will not come back: the agent was closed, or the broker said that another client took its id over.
    Closed {
        /// Why.
        reason: String,
    },
}

impl LinkState {
    /// Whether publishes flow.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }
}

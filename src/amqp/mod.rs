//! The AMQP half: one supervised connection, queues declared and compared, deliveries in, confirmed messages out.
//!
//! What it promises:
//! - A [`Connection`] is rebuilt after every loss, with a new epoch; nothing that belongs to an old epoch reaches a new one.
//! - A [`Delivery`] is settled by its [`Receipt`] alone, once; a receipt that is dropped gives the job back, never acks it.
//! - A [`Confirm`] exists only for a message that the broker confirmed; everything else is sent again with the same id.
//! - Every queue is bounded, every wait has a deadline, no secret is in an error, a log line or a `Debug` text.
//!
//! lapin, async-rs and deadpool appear nowhere outside this folder. lapin's automatic recovery stays off: it hangs for ever
//! once its tries are used up, and takes acknowledgements of one incarnation for deliveries of the next.

mod acks;
mod binding;
mod browse;
mod connection;
mod consumer;
mod delay;
mod delivery;
mod dial;
mod exchange;
mod flight;
mod isolation;
mod ledger;
mod loose;
mod mailbox;
#[cfg(test)]
pub(crate) mod memory;
mod mend;
mod nodes;
mod options;
mod outbound;
mod pool;
mod properties;
mod publisher;
mod pump;
mod reader;
mod replies;
mod runtime;
mod screen;
mod session;
mod shard;
mod standin;
mod stream;
mod topology;

pub use crate::tls::TlsFiles;
pub use binding::BindingSpec;
pub use browse::{Bounds, Browser, Held};
pub use connection::{Connection, LinkState};
pub use consumer::{Consumer, ConsumerState};
pub use delay::{LONGEST, delayed};
pub use delivery::{Delivery, Hold, Receipt};
pub use dial::Route;
pub use exchange::{Routes, SharedExchange};
pub use loose::Loose;
pub use mailbox::{Mailbox, MailboxSpec};
pub use nodes::Place;
pub use options::Options;
pub use pool::{ChannelPool, Routing};
pub use properties::{Unsendable, header_room};
pub use publisher::{Address, Confirm, PublishError, Publisher};
pub use replies::ReplyQueue;
pub use shard::{Shard, ShardDelivery, Tag};
pub use stream::{Stream, StreamRecord, StreamSpec, StreamState};
pub use topology::{Comparison, Depth, Difference, QueueKind, QueueReport, QueueSpec, Report, Topology};

/// What went wrong on the way to the broker, or at it. No text in it carries a password.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be read.
    #[error("the AMQP URL is wrong: {0}; amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://… is right")]
    Url(String),
    /// A certificate or key file cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The broker was not reached, or did not finish the handshake, within the connect timeout.
    #[error("no AMQP connection to {address} within {seconds} s")]
    ConnectTimeout {
        /// Host and port.
        address: String,
        /// The deadline that passed.
        seconds: f64,
    },
    /// The broker was not reached, or refused.
    #[error("no AMQP connection to {address}: {reason}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system or the broker said.
        reason: String,
    },
    /// None of several brokers was reached.
    #[error("{0}")]
    NoNode(String),
    /// There is no connection now, or it was lost during the operation.
    #[error("the AMQP connection is not up: {0}")]
    NotConnected(String),
    /// The connection was closed by this program: no later operation can succeed.
    #[error("the AMQP connection was closed")]
    Closed,
    /// The queue does not exist, and `declare` is off.
    #[error("the queue {0:?} does not exist; create it, or set declare = true")]
    MissingQueue(String),
    /// The broker refused an operation on a queue.
    #[error("the queue {queue:?}: {reason}")]
    Queue {
        /// Its name.
        queue: String,
        /// The broker's words.
        reason: String,
    },
    /// The broker did not answer an operation in time.
    #[error("the broker did not answer {0} in time")]
    Timeout(&'static str),
    /// AMQP cannot carry a message; nothing was sent.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    /// Any other failure of a channel.
    #[error("{0}")]
    Channel(String),
}

impl From<lapin::Error> for Error {
    fn from(error: lapin::Error) -> Self {
        Self::Channel(error.to_string())
    }
}

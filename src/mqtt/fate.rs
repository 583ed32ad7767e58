//! What became of a publish: acknowledged, written, refused, surely not sent, or unknown.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// The one end that every publish comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// QoS 1: the broker took it. That is not delivery to anybody.
    Acknowledged,
    /// QoS 1 on MQTT 5: the broker took it, and nobody is subscribed to its topic (reason code 0x10). Certain.
    NoSubscribers,
    /// QoS 0: its last byte was handed to the connected socket, or to the TLS or WebSocket layer before it.
    Written,
    /// The broker answered with an error, or had said before that it takes nothing of the kind: nobody received it.
    Refused(Refusal),
    /// No byte of it reached the socket.
    NotSent(NotSent),
    /// Bytes of it reached the socket, and the broker did not acknowledge it: the connection ended first, or the wait for
    /// the acknowledgement.
    Unknown,
}

/// A broker's refusal of a publish or a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code of MQTT 5, section 2.4; 0x80 where the broker speaks 3.1.1.
    pub code: u8,
    /// The reason in words.
    pub reason: String,
}

/// Why a publish was never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Its deadline passed while it waited for the connection or the broker's window.
    Expired,
    /// Whoever asked for it no longer may, or no longer wants to.
    Revoked,
    /// It is larger than the broker takes.
    TooLarge {
        /// Its size in bytes, an upper bound.
        size: usize,
        /// The broker's limit in bytes.
        limit: usize,
    },
    /// The agent was closed first.
    Closed,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("its time had passed before it could be"),
            Self::Revoked => f.write_str("it was taken back"),
            Self::TooLarge { size, limit } => write!(f, "it has {size} bytes, and the broker takes {limit}"),
            Self::Closed => f.write_str("the agent was closed first"),
        }
    }
}

/// What a publish goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is in the socket's hands: the point of no return.
    Handed(Instant),
    /// The connection ended before a byte of it was written: it waits again, as if never handed.
    Recalled,
    /// The end.
    Done(Fate),
}

/// Somebody who follows many publishes by key.
pub(crate) trait Watcher: Send + Sync {
    /// Must not block: it runs in the task that serves everybody.
    fn progress(&self, key: u128, progress: Progress);

    /// Whether the publish is still wanted and allowed. Must not block.
    fn wants(&self, key: u128) -> bool;

    /// The point of no return, last thing: if it is still wanted and allowed, it is handed over, and from now on nobody can
    /// say that it was not. Must not block; whoever can be asked meanwhile to take it back makes one act of both.
    fn pass(&self, key: u128, now: Instant) -> bool {
        let wanted = self.wants(key);
        if wanted {
            self.progress(key, Progress::Handed(now));
        }
        wanted
    }
}

/// Who hears of a publish's progress.
pub(crate) enum Notify {
    /// One waiter, who hears the end only; if it is gone before the publish was handed over, nothing is sent.
    Once(oneshot::Sender<Fate>),
    /// A watcher and the key it knows the publish by.
    Watcher(Arc<dyn Watcher>, u128),
}

impl Notify {
    pub(crate) fn progress(&self, progress: Progress) {
        if let Self::Watcher(watcher, key) = self {
            watcher.progress(*key, progress);
        }
    }

    pub(crate) fn done(self, fate: Fate) {
        match self {
            // A waiter that is gone has no more interest.
            Self::Once(waiter) => drop(waiter.send(fate)),
            Self::Watcher(watcher, key) => watcher.progress(key, Progress::Done(fate)),
        }
    }

    /// Passes the point of no return, or says that nobody wants it to.
    pub(crate) fn pass(&self, now: Instant) -> bool {
        match self {
            Self::Once(waiter) => !waiter.is_closed(),
            Self::Watcher(watcher, key) => watcher.pass(*key, now),
        }
    }

    /// Whether nobody wants it any more.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Once(waiter) => waiter.is_closed(),
            Self::Watcher(watcher, key) => !watcher.wants(*key),
        }
    }
}

//! MQTT packets without a type of the codec: what a session understands and what it says.

use super::message::{Message, Qos};
use super::publication::Publication;
use crate::topic::TopicFilter;

/// The broker's answer to CONNECT, as far as it concerns the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) session_present: bool,
    /// How many QoS 1 publishes the broker takes unacknowledged.
    pub(crate) receive_maximum: u16,
    /// The largest packet that the broker takes, in bytes.
    pub(crate) max_packet: usize,
    /// The highest QoS of a publish.
    pub(crate) max_qos: Qos,
    /// Whether the broker keeps messages; where it does not, it closes the connection on one that asks for it.
    pub(crate) retain: bool,
    /// The keep-alive that the broker wants instead of ours, in seconds.
    pub(crate) keep_alive: Option<u16>,
    /// Whether messages carry the identifiers of the subscriptions that they match.
    pub(crate) subscription_ids: bool,
}

/// What comes from the broker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Incoming {
    Accepted(Accepted),
    /// CONNACK with an error.
    Rejected {
        code: u8,
        reason: String,
    },
    Publish {
        message: Message,
        /// 0 for QoS 0.
        pkid: u16,
        dup: bool,
        /// Empty where the broker sends none.
        subscription_ids: Vec<u32>,
    },
    /// A message over the size that is taken: skipped, but to be acknowledged, or it would come again for ever.
    Oversized {
        pkid: u16,
        size: usize,
    },
    PubAck {
        pkid: u16,
        /// 0 and 0x10 are success.
        code: u8,
        reason: String,
    },
    SubAck {
        pkid: u16,
        grants: Vec<Result<Qos, (u8, String)>>,
    },
    UnsubAck {
        pkid: u16,
    },
    Pong,
    /// DISCONNECT from the broker (MQTT 5).
    Disconnect {
        code: u8,
        reason: String,
    },
}

/// Where a session writes what it says. The position counts the bytes of this connection, so that after its end it is
/// certain which publishes had not begun to leave.
pub(crate) trait Outgoing {
    fn publish(&mut self, pkid: u16, publication: &Publication, expiry_seconds: Option<u32>);
    fn puback(&mut self, pkid: u16);
    fn subscribe(&mut self, pkid: u16, filters: &[&TopicFilter], qos: Qos, id: Option<u32>);
    fn unsubscribe(&mut self, pkid: u16, filters: &[&TopicFilter]);
    fn ping(&mut self);
    /// Bytes put in since the connection began.
    fn position(&self) -> u64;
    /// Whether enough is waiting for the socket: nothing more should be put in past the point of no return.
    fn is_full(&self) -> bool;
}

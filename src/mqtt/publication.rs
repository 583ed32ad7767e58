//! A publish on its way: what is sent, until when, and who hears of it.

use super::fate::Notify;
use super::message::{Properties, Qos};
use crate::topic::TopicName;
use bytes::Bytes;
use std::time::Instant;

/// Which of the two queues before the socket a publish waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Class {
    /// Somebody is waiting for the answer.
    #[default]
    Interactive,
    /// One of many: lets interactive ones pass.
    Bulk,
}

/// Everything that the session needs to know of one publish.
pub(crate) struct Publication {
    pub(crate) topic: TopicName,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) properties: Option<Box<Properties>>,
    /// The broker forgets it after this (MQTT 5 message expiry).
    pub(crate) expires: Option<Instant>,
    /// Not handed to the socket at or after this.
    pub(crate) not_after: Option<Instant>,
    pub(crate) class: Class,
    pub(crate) notify: Notify,
}

impl Publication {
    /// An upper bound of its size on the wire.
    pub(crate) fn size_bound(&self) -> usize {
        // 5 fixed header, 2 topic length, 2 packet id, 4 properties length, 5 message expiry, and 3 or 5 bytes of framing
        // for each property that is there (MQTT 5.0, section 3.3).
        let properties = self.properties.as_ref().map_or(0, |p| {
            let text = |t: &Option<String>| t.as_ref().map_or(0, |t| t.len() + 3);
            let user: usize = p.user.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
            text(&p.response_topic) + text(&p.content_type) + p.correlation.as_ref().map_or(0, |c| c.len() + 3) + user
        });
        18 + self.topic.as_str().len() + self.payload.len() + properties
    }
}

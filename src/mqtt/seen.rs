//! Which messages were lately acknowledged, so that one which the broker sends again is taken once.

use super::message::Message;
use crate::table::{State, Table};
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// A repeat has the same packet id, the DUP flag, and the same topic, correlation and payload. The id and the flag alone
/// prove nothing: a message that never arrived comes with the flag too, under an id that another one may have had before.
#[derive(Default)]
pub(crate) struct Seen {
    digests: Table<u16, u64>,
    order: VecDeque<u16>,
    hasher: State,
}

impl Seen {
    /// A broker repeats what was unacknowledged when the link broke, which is never more than its window towards us.
    const MOST: usize = 1024;

    /// Whether it was taken before; remembers it if not.
    pub(crate) fn is_repeat(&mut self, pkid: u16, dup: bool, message: &Message) -> bool {
        let digest = self.hasher.hash_one((message.topic(), message.correlation(), &message.payload));
        if dup && self.digests.get(&pkid) == Some(&digest) {
            return true;
        }
        if self.digests.insert(pkid, digest).is_none() {
            self.order.push_back(pkid);
            if self.order.len() > Self::MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.digests.remove(&oldest);
            }
        }
        false
    }

    /// Nothing of an earlier session comes again.
    pub(crate) fn clear(&mut self) {
        self.digests.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::message::{Properties, Qos};
    use bytes::Bytes;

    fn message(topic: &str, payload: &str, correlation: &str) -> Message {
        let properties = Properties { correlation: Some(correlation.to_owned().into()), ..Properties::default() };
        let (topic, payload) = (Bytes::from(topic.to_owned()), Bytes::from(payload.to_owned()));
        Message::new(topic, payload, Qos::AtLeastOnce, false, Some(Box::new(properties))).unwrap()
    }

    #[test]
    fn only_the_same_message_under_the_same_id_with_the_flag_is_a_repeat() {
        let mut seen = Seen::default();
        let first = message("a", "x", "1");
        assert!(!seen.is_repeat(7, false, &first));
        assert!(!seen.is_repeat(7, false, &first), "no flag: a new message that looks the same");
        assert!(seen.is_repeat(7, true, &first));
        assert!(!seen.is_repeat(8, true, &first), "another id");
        assert!(!seen.is_repeat(7, true, &message("a", "x", "2")), "an answer to another request");
        assert!(!seen.is_repeat(7, true, &message("b", "x", "2")), "another topic");
        assert!(!seen.is_repeat(7, true, &message("b", "y", "2")), "another payload");
        seen.clear();
        assert!(!seen.is_repeat(7, true, &message("b", "y", "2")), "another session");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = Seen::default();
        for pkid in 1..=u16::MAX {
            seen.is_repeat(pkid, false, &message("a", "x", "1"));
        }
        assert_eq!((seen.digests.len(), seen.order.len()), (Seen::MOST, Seen::MOST));
        assert!(seen.is_repeat(u16::MAX, true, &message("a", "x", "1")));
        assert!(!seen.is_repeat(1, true, &message("a", "x", "1")), "forgotten long ago");
    }
}

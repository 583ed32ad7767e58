//! How a device says that it is there: a retained message on a topic of its own.

use super::Invalid;
use super::slot::Values;
use super::template::Template;
use crate::topic::{TopicFilter, TopicName};

/// A device's status topic and the words on it.
#[derive(Debug)]
pub struct Presence {
    pub(super) topic: Template,
    pub(super) online: Vec<String>,
    pub(super) offline: Vec<String>,
}

impl Presence {
    /// The topic on which this device says that it is there.
    pub fn topic(&self, device: &str) -> Result<TopicName, Invalid> {
        let values = Values { device, command: "", inbox: "", job: "", attempt: 0, expires_at: None };
        TopicName::new(self.topic.render(&values)).map_err(|problem| Invalid {
            field: "device",
            message: format!("no status topic for the device: {problem}"),
        })
    }

    /// The one filter on which the words of all devices come; `None` where an id may span several levels.
    pub fn filter(&self) -> Option<TopicFilter> {
        let covered = !self.topic.is_wide();
        covered.then(|| TopicFilter::new(self.topic.fill(|_, _| false)).ok()).flatten()
    }

    /// What a device publishes there, retained, to say that it is or is not there.
    pub fn word(&self, online: bool) -> &str {
        let words = if online { &self.online } else { &self.offline };
        words.first().map_or("", String::as_str)
    }

    /// The device whose status topic this is.
    pub fn device<'t>(&self, topic: &'t str) -> Option<&'t str> {
        self.topic.capture(topic, "")?.device
    }

    /// Whether the message says that the device is there; `None` where it says neither.
    pub fn is_online(&self, payload: &[u8]) -> Option<bool> {
        let among = |words: &[String]| words.iter().any(|word| word.as_bytes() == payload);
        match (among(&self.online), among(&self.offline)) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

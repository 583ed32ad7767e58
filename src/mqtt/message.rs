//! A message that arrived: topic, payload and what MQTT 5 carries beside them.

use super::agent::invalid;
use super::error::Error;
use crate::topic::{InvalidTopic, TopicName, check_characters};
use bytes::Bytes;

/// A text or a blob in MQTT has two bytes of length (MQTT 5.0, section 1.5.4).
const LONGEST: usize = 65_535;

/// How hard the broker and the client try to get a message across (MQTT 5.0, section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// Sent once, never acknowledged.
    AtMostOnce = 0,
    /// Acknowledged by the next hop.
    #[default]
    AtLeastOnce = 1,
}

impl From<u8> for Qos {
    /// 0 is `AtMostOnce`; everything above is `AtLeastOnce`, the highest that is offered here.
    fn from(number: u8) -> Self {
        if number == 0 { Self::AtMostOnce } else { Self::AtLeastOnce }
    }
}

/// An application message as a reader gets it. Cheap to clone: topic and payload share the receive buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Checked to be UTF-8 before it got here.
    topic: Bytes,
    /// The payload, as it came.
    pub payload: Bytes,
    /// The quality of service with which the broker delivered it.
    pub qos: Qos,
    /// Whether the broker had kept it from before the subscription.
    pub retain: bool,
    /// What only MQTT 5 carries; `None` where there is nothing of it.
    pub properties: Option<Box<Properties>>,
}

/// The MQTT 5 properties of a message that concern its receiver (MQTT 5.0, section 3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// Where the answer is to go.
    pub response_topic: Option<String>,
    /// What the answer has to carry.
    pub correlation: Option<Bytes>,
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// Name-value pairs of the application.
    pub user: Vec<(String, String)>,
}

impl Properties {
    /// An error where MQTT cannot carry them: the codec would cut a text that is too long, and brokers close the connection
    /// on control characters and on wildcards in a response topic.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(topic) = &self.response_topic {
            TopicName::new(topic).map_err(|problem| invalid(topic, problem))?;
        }
        let texts = self.user.iter().flat_map(|(name, value)| [("user", name), ("user", value)]);
        for (property, text) in texts.chain(self.content_type.iter().map(|text| ("content_type", text))) {
            let problem = match check_characters(text) {
                _ if text.len() > LONGEST => format!("has {} bytes; a property has at most {LONGEST}", text.len()),
                Err(InvalidTopic::Control(c)) => format!("contains the control character U+{c:04X}"),
                _ => continue,
            };
            return Err(Error::Property { property, problem });
        }
        match self.correlation.as_ref().map_or(0, Bytes::len) {
            0..=LONGEST => Ok(()),
            length => Err(Error::Property {
                property: "correlation",
                problem: format!("has {length} bytes; a property has at most {LONGEST}"),
            }),
        }
    }
}

impl Message {
    /// `None` where the topic is empty or no UTF-8.
    pub(crate) fn new(
        topic: Bytes,
        payload: Bytes,
        qos: Qos,
        retain: bool,
        properties: Option<Box<Properties>>,
    ) -> Option<Self> {
        std::str::from_utf8(&topic).ok().filter(|topic| !topic.is_empty())?;
        Some(Self { topic, payload, qos, retain, properties })
    }

    /// The topic on which it came.
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.topic).unwrap_or_default()
    }

    /// The correlation data, where there is any.
    pub fn correlation(&self) -> Option<&[u8]> {
        self.properties.as_ref()?.correlation.as_deref()
    }
}

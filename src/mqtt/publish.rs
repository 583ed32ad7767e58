//! A publish on its way: what is sent, until when, on whose behalf, and the builder that users await.

use super::agent::Agent;
use super::error::Error;
use super::fate::{Fate, Notify, Permit};
use super::message::{Properties, Qos};
use crate::deadline::earlier;
use crate::topic::TopicName;
use bytes::Bytes;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

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
    pub(crate) permit: Option<Arc<dyn Permit>>,
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

/// A publish that is not sent until awaited.
///
/// Dropping the future takes the publish back if it has not been handed to the socket; otherwise it is merely no longer
/// followed.
#[must_use = "nothing is sent until it is awaited"]
pub struct Publish {
    agent: Agent,
    topic: Result<TopicName, Error>,
    payload: Bytes,
    qos: Qos,
    retain: bool,
    properties: Properties,
    expiry: Option<Duration>,
    within: Option<Duration>,
    /// As `expiry` and `within`, for a caller whose time has begun.
    until: Option<Instant>,
}

impl Publish {
    pub(crate) fn new(agent: Agent, topic: Result<TopicName, Error>, payload: Bytes) -> Self {
        let properties = Properties::default();
        Self {
            agent,
            topic,
            payload,
            qos: Qos::default(),
            retain: false,
            properties,
            expiry: None,
            within: None,
            until: None,
        }
    }

    /// The quality of service; 1 unless said otherwise.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Asks the broker to keep it for later subscribers. Not for commands: whoever subscribes later acts on it again.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The MQTT 5 properties; MQTT 3.1.1 carries none, and they are left out there.
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Asks the broker to forget it after this long (MQTT 5), counted from now.
    pub fn expiry(mut self, after: Duration) -> Self {
        self.expiry = Some(after);
        self
    }

    /// Gives up, unsent, if it could not be handed to a connected socket within this.
    pub fn within(mut self, duration: Duration) -> Self {
        self.within = Some(duration);
        self
    }

    pub(crate) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.until = deadline;
        self
    }

    async fn send(self) -> Result<Fate, Error> {
        let now = Instant::now();
        self.properties.check()?;
        let (notify, fate) = oneshot::channel();
        let publication = Publication {
            topic: self.topic?,
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: (self.properties != Properties::default()).then(|| Box::new(self.properties)),
            expires: earlier(self.expiry.and_then(|after| now.checked_add(after)), self.until),
            not_after: earlier(self.within.and_then(|after| now.checked_add(after)), self.until),
            permit: None,
            class: Class::Interactive,
            notify: Notify::Once(notify),
        };
        self.agent.submit(publication).await?;
        // A driver that is gone without a word, with its runtime, may have sent it.
        Ok(fate.await.unwrap_or(Fate::Unknown))
    }
}

impl IntoFuture for Publish {
    type Output = Result<Fate, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

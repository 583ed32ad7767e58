//! A publish as its user writes it: refined, then awaited.

use super::agent::Agent;
use super::error::Error;
use super::fate::{Fate, Notify};
use super::message::{Properties, Qos};
use super::publication::{Class, Publication};
use crate::deadline::earlier;
use crate::topic::TopicName;
use bytes::Bytes;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

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

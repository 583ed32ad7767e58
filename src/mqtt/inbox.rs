//! The agent's own place for answers: one subscription, and whom each correlation belongs to.

use super::agent::Agent;
use super::error::Error;
use super::message::Message;
use super::reader::Sink;
use super::subscription::SinkSubscription;
use crate::topic::TopicFilter;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::oneshot;

/// Answers to requests that name no reply filter (MQTT 5.0, section 4.10).
pub(crate) struct Inbox {
    topic: String,
    waiting: Arc<Waiting>,
    _subscription: SinkSubscription,
}

#[derive(Default)]
struct Waiting {
    answers: Mutex<HashMap<u128, oneshot::Sender<Message>>>,
    ended: OnceLock<Error>,
}

impl Waiting {
    fn take(&self, correlation: u128) -> Option<oneshot::Sender<Message>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&correlation)
    }
}

impl Sink for Waiting {
    fn message(&self, message: &Message) {
        let correlation = message.correlation().and_then(|bytes| bytes.try_into().ok()).map(u128::from_be_bytes);
        // A kept message cannot be the answer to a request made after it.
        match correlation.filter(|_| !message.retain).and_then(|correlation| self.take(correlation)) {
            Some(waiter) => drop(waiter.send(message.clone())),
            None => crate::metrics::metrics().unmatched_message(),
        }
    }

    fn ended(&self, error: &Error) {
        // Set once at most: a subscription ends once.
        drop(self.ended.set(error.clone()));
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// One awaited answer; its place is given back on drop.
pub(crate) struct Expected {
    waiting: Arc<Waiting>,
    correlation: u128,
    answer: oneshot::Receiver<Message>,
}

impl Inbox {
    pub(crate) async fn open(agent: &Agent) -> Result<Self, Error> {
        // Unguessable, and of this agent alone: no other replica sees its answers.
        let topic = format!("switchboard/inbox/{:032x}", rand::random::<u128>());
        let filter = TopicFilter::new(&topic).map_err(|problem| Error::Topic { topic: topic.clone(), problem })?;
        let waiting = Arc::new(Waiting::default());
        let subscription = agent.subscribe_sink(filter, waiting.clone()).await?;
        Ok(Self { topic, waiting, _subscription: subscription })
    }

    /// Where answers are to go.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Makes room for one answer, before its request is sent; an error if none can come any more.
    pub(crate) fn expect(&self) -> Result<Expected, Error> {
        let (waiter, answer) = oneshot::channel();
        let correlation = rand::random();
        self.waiting.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation, waiter);
        let expected = Expected { waiting: self.waiting.clone(), correlation, answer };
        self.waiting.ended.get().map_or(Ok(expected), |error| Err(error.clone()))
    }
}

impl Expected {
    pub(crate) fn correlation(&self) -> [u8; 16] {
        self.correlation.to_be_bytes()
    }

    pub(crate) async fn answer(&mut self) -> Result<Message, Error> {
        (&mut self.answer).await.map_err(|_| self.waiting.ended.get().cloned().unwrap_or(Error::Closed))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting.take(self.correlation);
    }
}

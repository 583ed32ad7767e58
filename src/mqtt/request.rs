//! One request and its one answer: subscribed before it is sent, matched, timed, and always cleaned up after.

use super::agent::{Agent, filter_of};
use super::error::Error;
use super::fate::Fate;
use super::message::{Message, Properties, Qos};
use super::options::Protocol;
use super::publish::Publish;
use crate::topic::TopicName;
use bytes::Bytes;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

type Matcher = Box<dyn Fn(&Message) -> bool + Send + Sync>;

/// A request that is not sent until awaited.
///
/// With [`Request::reply_on`] the answer is the first message on that filter which [`Request::matching`] accepts and which
/// the broker had not kept from before. Without it the request carries MQTT 5's response topic and correlation data, and
/// the answer is the message that brings the same correlation.
///
/// Dropping the future gives everything back; a request that had not reached the socket is then not sent.
#[must_use = "nothing is sent until it is awaited"]
pub struct Request {
    agent: Agent,
    topic: Result<TopicName, Error>,
    payload: Bytes,
    qos: Qos,
    reply_on: Option<String>,
    matching: Option<Matcher>,
    within: Duration,
}

/// How long a request waits that does not say.
const DEFAULT_WITHIN: Duration = Duration::from_secs(10);

impl Request {
    pub(crate) fn new(agent: Agent, topic: Result<TopicName, Error>, payload: Bytes) -> Self {
        Self { agent, topic, payload, qos: Qos::default(), reply_on: None, matching: None, within: DEFAULT_WITHIN }
    }

    /// The filter on which the answer comes.
    pub fn reply_on(mut self, filter: impl Into<String>) -> Self {
        self.reply_on = Some(filter.into());
        self
    }

    /// Which message on the reply filter is the answer; the first one unless said otherwise.
    pub fn matching(mut self, is_answer: impl Fn(&Message) -> bool + Send + Sync + 'static) -> Self {
        self.matching = Some(Box::new(is_answer));
        self
    }

    /// How long to wait in all: for the connection, the subscription and the answer. Ten seconds unless said otherwise.
    pub fn within(mut self, duration: Duration) -> Self {
        self.within = duration;
        self
    }

    /// The quality of service of the request; 1 unless said otherwise.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    async fn send(self) -> Result<Message, Error> {
        let within = self.within;
        let deadline = Instant::now().checked_add(within);
        match tokio::time::timeout(within, self.exchange(deadline)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout(within)),
        }
    }

    async fn exchange(self, deadline: Option<Instant>) -> Result<Message, Error> {
        // Before anything is subscribed for it.
        let topic = self.topic?;
        let publish = Publish::new(self.agent.clone(), Ok(topic), self.payload).qos(self.qos).until(deadline);
        match self.reply_on {
            Some(filter) => {
                filter_of(&filter)?;
                let mut answers = self.agent.subscribe(&filter).await?;
                let answer = async {
                    loop {
                        let Some(message) = answers.next().await else {
                            return Err(answers.error().unwrap_or(Error::Closed));
                        };
                        if !message.retain && self.matching.as_ref().is_none_or(|is_answer| is_answer(&message)) {
                            return Ok(message);
                        }
                    }
                };
                answer_or_failure(publish, answer).await
            }
            None if self.agent.protocol() == Protocol::V311 => Err(Error::NoReplyFilter),
            None => {
                let inbox = self.agent.inbox().await?;
                let mut expected = inbox.expect()?;
                let properties = Properties {
                    response_topic: Some(inbox.topic().to_owned()),
                    correlation: Some(Bytes::copy_from_slice(&expected.correlation())),
                    ..Properties::default()
                };
                answer_or_failure(publish.properties(properties), expected.answer()).await
            }
        }
    }
}

/// The answer, which may come before the broker's acknowledgement; or the publish's failure, which ends the wait at once.
async fn answer_or_failure(
    publish: Publish,
    answer: impl Future<Output = Result<Message, Error>>,
) -> Result<Message, Error> {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        fate = publish.into_future() => match fate? {
            // Unknown: the receiver may have it, and its answer may still come.
            Fate::Acknowledged | Fate::Written | Fate::Unknown => {}
            Fate::NoSubscribers => return Err(Error::Undelivered("nobody is subscribed to its topic".to_owned())),
            Fate::Refused(refusal) => return Err(Error::Undelivered(format!("the broker refused it: {}", refusal.reason))),
            Fate::NotSent(why) => return Err(Error::Undelivered(format!("it was not sent: {why}"))),
        },
    }
    answer.await
}

impl IntoFuture for Request {
    type Output = Result<Message, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

//! The requester's side of a shard queue: records for the coordinator of a bulk, and what it says of it.

use crate::amqp::{Address, ChannelPool, Connection, ReplyQueue, Routing};
use crate::cli::requester;
use crate::config::Config;
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::wire::bulk::{Ask, KIND, Record, Stand, What, Word, read, shard_of, shard_queue};
use anyhow::Context;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a coordinator has for its answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often in a row it may leave a question unanswered once it is known to be there: another worker takes its place when the
/// broker has given up the old one.
pub const TRIES: usize = 12;
/// Answers held in memory.
const HELD: u16 = 16;

/// Whether a bulk of so many devices surely has a coordinator.
pub fn is_coordinated(config: &Config, devices: usize) -> bool {
    devices > config.bulk.short
}

/// The queue of whoever coordinates the bulk or schedule fire of this id.
pub fn queue_of(config: &Config, id: &str) -> String {
    shard_queue(&config.amqp.bulk_queue, shard_of(id, config.bulk.shards))
}

/// A question for a bulk as a message, its answer to be known by `correlation_id`.
///
/// One about how it stands is of no use once nobody waits for the answer, so it goes out of the queue by itself. What changes the
/// bulk stays, since the coordinator's queue is also its memory.
pub fn question(id: &str, what: What, reply_to: &str, correlation_id: &str) -> Envelope {
    let ask = Ask { id: id.into(), what, at: Now::read().unix_ms };
    Envelope {
        reply_to: Some(reply_to.to_owned()),
        correlation_id: Some(correlation_id.to_owned()),
        expiration: (what == What::Status).then(|| ANSWER_WITHIN.as_millis().to_string()),
        ..Record::Ask(ask).encode()
    }
}

/// Reads an answer; `None` for any other message.
///
/// # Errors
///
/// It is one, and of a form that this version does not know.
pub fn word(envelope: &Envelope) -> anyhow::Result<Option<Word>> {
    if envelope.kind.as_deref().and_then(|kind| kind.strip_prefix(KIND)) != Some("word") {
        return Ok(None);
    }
    let word = read(envelope).map_err(|problem| anyhow::anyhow!("{problem}"));
    word.map(Some).context("the coordinator's answer cannot be read")
}

/// Whether nothing more is to come of a bulk that stands so.
pub fn has_ended(state: Stand) -> bool {
    match state {
        Stand::Completed | Stand::Aborted | Stand::Cancelled => true,
        Stand::NotKnown | Stand::Running | Stand::Paused | Stand::Aborting | Stand::Cancelling => false,
    }
}

/// What came of a question.
#[derive(Debug)]
pub enum Said {
    /// The answer, and its text as it came.
    Word(Word, Bytes),
    /// There is no such queue: no worker has been there yet.
    NoQueue,
    /// No answer came in time.
    Nothing,
}

/// A connection on which questions are asked, one after another.
pub struct Desk {
    connection: Connection,
    channels: ChannelPool,
    replies: ReplyQueue,
}

impl Desk {
    /// Connects and opens a queue for the answers.
    ///
    /// # Errors
    ///
    /// The broker is not reached, or refuses the queue.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let connection = requester::connect(config).await?;
        let replies = ReplyQueue::open(&connection, HELD).await.context("the queue for the answer cannot be opened")?;
        let channels = ChannelPool::new(connection.clone());
        Ok(Self { connection, channels, replies })
    }

    /// Asks, and waits for the answer for at most [`ANSWER_WITHIN`]. Dropped, a question may have been asked.
    ///
    /// # Errors
    ///
    /// The connection is lost, the broker refuses the question, or the answer cannot be read.
    pub async fn ask(&mut self, queue: &str, id: &str, what: What) -> anyhow::Result<Said> {
        let until = Instant::now() + ANSWER_WITHIN;
        let correlation = ulid::Ulid::generate().to_string();
        let message = question(id, what, self.replies.name(), &correlation);
        let published = self.channels.publish_routed(Address::queue(queue), message, ANSWER_WITHIN).await;
        match published.with_context(|| format!("the queue {queue:?} did not take the question"))? {
            Routing::Routed => {}
            Routing::Unroutable => return Ok(Said::NoQueue),
        }
        loop {
            // The outer limit is over all that comes, the inner one is never the shorter.
            let Ok(reply) = timeout_at(until, self.replies.next_within(ANSWER_WITHIN)).await else {
                return Ok(Said::Nothing);
            };
            let Some(reply) = reply.context("the answer cannot reach us")? else { return Ok(Said::Nothing) };
            // The answer to an earlier question may come late.
            if reply.correlation_id.as_deref() != Some(&correlation) {
                continue;
            }
            if let Some(word) = word(&reply)? {
                return Ok(Said::Word(word, reply.body));
            }
        }
    }

    /// Closes the connection, and the queue for the answers with it.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_question_that_changes_nothing_goes_out_of_the_queue_by_itself() {
        for (what, expires) in [(What::Status, true), (What::Pause, false), (What::Resume, false)] {
            let message = question("b", what, "replies", "c");
            assert_eq!(message.expiration.is_some(), expires, "{what:?}");
            let Some(Ok(Record::Ask(ask))) = Record::decode(&message) else { panic!("no question: {message:?}") };
            assert_eq!((&*ask.id, ask.what), ("b", what));
        }
    }

    #[test]
    fn an_answer_is_told_from_results_and_from_what_cannot_be_read() {
        let message = |kind: &str, body: &'static str| Envelope {
            kind: Some(kind.to_owned()),
            body: body.into(),
            ..Envelope::default()
        };
        let read =
            word(&message("switchboard.bulk.word", r#"{"id":"b","state":"paused","total":3}"#)).unwrap().unwrap();
        assert_eq!((read.state, read.total), (Stand::Paused, 3));
        assert!(word(&message("switchboard.result", "{}")).unwrap().is_none());
        assert!(word(&Envelope::default()).unwrap().is_none());
        assert!(word(&message("switchboard.bulk.word", r#"{"id":"b","state":"dancing"}"#)).is_err());
    }
}

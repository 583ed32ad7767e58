//! Chords: a task's end counts as a part of its group, and the last part is told so, once.
//!
//! The last part claims the chord for half a minute. Its claim names it and this process. Whoever has the claim sends the
//! body and then [finishes](Backend::finish_chord) the chord, all before the part's own message is acknowledged. So where
//! the claimant dies, the broker delivers that part again; it is not counted again, finds its own claim, waits until that
//! has run out, and completes the chord. A second delivery of the same part while the first still sends waits likewise, and
//! finds the chord done.

use super::{Backend, Error, options};
use redis::{FromRedisValue, Value};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What the claims of every process of ours begin with; those of Python are hexadecimal digits.
pub(super) const OURS: &str = "switchboard:";

/// How long a claim holds: as long as a publisher tries to get rid of a message, and so as long as a repeated part waits.
const CLAIM: Duration = Duration::from_secs(30);
/// How long parts that come again find a chord that is done.
const DONE: Duration = Duration::from_secs(300);
/// How often a claim of somebody else is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One task of a chord that has ended, as SUCCESS, FAILURE or REVOKED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The group's id.
    pub group: &'a str,
    /// The task's id.
    pub id: &'a str,
    /// The task's place in the group; one without is counted behind all others.
    pub index: Option<i64>,
    /// What the body is made of: the JSON text `[1, "ID", "STATE", RESULT]`.
    pub member: &'a str,
}

impl Part<'_> {
    fn score(&self) -> String {
        self.index.map_or_else(|| "+inf".to_owned(), |index| index.to_string())
    }

    /// How it is known among the counted parts.
    fn name(&self) -> String {
        format!("{}:{}", self.id, self.score())
    }
}

/// What a counted part is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Nothing: others are missing, or another part has the claim.
    Waiting,
    /// It was the last, and has the claim: send the body, or fail it, then [`finish_chord`](Backend::finish_chord).
    Complete(Vec<String>),
    /// It was the last of a chord with groups in its header, and has the claim. What Celery saved of their structure comes
    /// first: JSON with the tree of task ids under `result`. The members are those of all tasks, without structure.
    Nested(String, Vec<String>),
    /// Nothing: the body was sent already.
    Done,
}

impl Backend {
    /// Begins a chord of so many parts: before the last of them is sent, since parts may end at once. `structure` is the tree of
    /// task ids where there are groups in its header. Repeating it is harmless, also after the chord's end.
    ///
    /// # Errors
    /// All but [`Error::Url`].
    pub async fn begin_chord(&self, group: &str, size: usize, structure: Option<&str>) -> Result<(), Error> {
        let mut call = self.shared.scripts.begin.prepare_invoke();
        for end in [".s", ".c", ""] {
            call.key(self.group_key(group, end));
        }
        call.arg(size).arg(structure.unwrap_or_default()).arg(options::seconds(self.shared.options.expires));
        let _begun: i64 = self.run("beginning a chord", &call).await?;
        Ok(())
    }

    /// Counts a part. Counted twice it counts once, also where a Python worker counted it first.
    ///
    /// It takes up to half a minute longer than other operations where the part comes again and a claim is still held that
    /// it may have to take over. Dropping the future leaves open whether the part is counted and the claim taken; calling
    /// again in this process finds both.
    ///
    /// # Errors
    /// All but [`Error::Url`].
    pub async fn chord_part(&self, part: &Part<'_>) -> Result<Counted, Error> {
        let until = Instant::now() + CLAIM + self.shared.options.deadline;
        loop {
            match self.count(part).await? {
                Answer::Counted(counted) => return Ok(counted),
                Answer::Held(left) => {
                    let look = Instant::now() + left.clamp(Duration::from_millis(1), LOOK_EVERY);
                    // Held on and on, then: prolonged by somebody who lives, and sends the body.
                    if look > until {
                        return Ok(Counted::Waiting);
                    }
                    sleep_until(look).await;
                }
            }
        }
    }

    async fn count(&self, part: &Part<'_>) -> Result<Answer, Error> {
        let shared = &self.shared;
        let mut call = shared.scripts.part.prepare_invoke();
        for end in [".j", ".t", ".s", ".d", ".c", ""] {
            call.key(self.group_key(part.group, end));
        }
        let order = if shared.options.ordered_chords { "ordered" } else { "as they come" };
        call.arg(part.name()).arg(part.member).arg(order).arg(part.score());
        call.arg(options::seconds(shared.options.expires)).arg(CLAIM.as_secs()).arg(OURS).arg(&shared.claims);
        self.run("counting a part of a chord", &call).await
    }

    /// Prolongs the claim of a part that was told [`Counted::Complete`], right before its body is sent: `false` where it took
    /// so long that another worker has the chord now, and sends the body.
    ///
    /// # Errors
    /// All but [`Error::Url`].
    pub async fn hold_chord(&self, part: &Part<'_>) -> Result<bool, Error> {
        let mut call = self.shared.scripts.hold.prepare_invoke();
        call.key(self.group_key(part.group, ".s")).key(self.group_key(part.group, ".c"));
        call.arg(format!("{}{}", self.shared.claims, part.name())).arg(CLAIM.as_secs());
        self.run("prolonging the claim of a chord", &call).await
    }

    /// Ends a chord whose body was sent (`ok`), or failed: parts that come again find it done, or without a size, and do
    /// nothing. To repeat it is harmless. A chord that another worker has taken over meanwhile is left to it.
    ///
    /// # Errors
    /// All but [`Error::Url`].
    pub async fn finish_chord(&self, group: &str, ok: bool) -> Result<(), Error> {
        if !ok {
            let mut forget = redis::cmd("DEL");
            forget.arg(self.group_key(group, ".s"));
            let _forgotten: i64 = self.run("failing a chord", &forget).await?;
            return Ok(());
        }
        let mut call = self.shared.scripts.finish.prepare_invoke();
        for end in [".j", ".t", ".s", ".d", ".c"] {
            call.key(self.group_key(group, end));
        }
        call.arg(&self.shared.claims).arg(DONE.as_secs());
        let _finished: i64 = self.run("finishing a chord", &call).await?;
        Ok(())
    }
}

/// What the script says.
enum Answer {
    Counted(Counted),
    /// Somebody has a claim for so long that this part may have to take over.
    Held(Duration),
}

impl FromRedisValue for Answer {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let Value::Array(fields) = value else { return Err("the answer of a script is no list".into()) };
        let mut fields = fields.into_iter();
        let mut next = || fields.next().ok_or("the answer of a script is too short");
        let word = String::from_redis_value(next()?)?;
        match word.as_str() {
            "done" => Ok(Self::Counted(Counted::Done)),
            "waiting" => Ok(Self::Counted(Counted::Waiting)),
            "held" => {
                // Without an expiry it would be negative; none of ours is.
                let left = i64::from_redis_value(next()?)?;
                Ok(Self::Held(u64::try_from(left).map_or(LOOK_EVERY, Duration::from_millis)))
            }
            "complete" => {
                let nested: Option<String> = Option::from_redis_value(next()?)?;
                let members = Vec::from_redis_value(next()?)?;
                Ok(Self::Counted(match nested {
                    Some(nested) => Counted::Nested(nested, members),
                    None => Counted::Complete(members),
                }))
            }
            _ => Err(format!("a script answers {word:?}").into()),
        }
    }
}

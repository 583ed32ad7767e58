//! One declaration on a channel of its own, and what the broker makes of it.

use std::future::Future;
use std::time::Duration;

use super::{Comparison, Difference};
use crate::amqp::Error;
use crate::amqp::connection::Link;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Declare {
    /// Only look.
    Passive,
    /// Make what is missing, compare what is there.
    Active,
}

/// What the broker says to a declaration; `T` is what it tells of something that is there.
pub(super) enum Answer<T> {
    Ok(T),
    Missing,
    Differs(String),
    Refused(String),
}

/// Does one thing on a channel of its own: any refusal closes the channel.
pub(super) async fn ask<T, F: Future<Output = Result<T, lapin::Error>>>(
    method: &'static str,
    link: &Link,
    deadline: Duration,
    act: impl FnOnce(lapin::Channel) -> F,
) -> Result<Answer<T>, Error> {
    let channel = link.channel(deadline).await?;
    let asking = act(channel.clone());
    let answer = match link.answer(method, deadline, async { Ok(asking.await) }).await? {
        Ok(found) => Answer::Ok(found),
        Err(error) => match refusal(&error) {
            Some((404, _)) => Answer::Missing,
            Some((406, reason)) => Answer::Differs(reason),
            Some((_, reason)) => Answer::Refused(reason),
            None => return Err(error.into()),
        },
    };
    if channel.status().connected() {
        link.answer("channel.close", deadline, channel.close(200, "done".into())).await?;
    }
    Ok(answer)
}

/// How something compares that was there before (`found`) or not, by the broker's answer to its declaration. The error is
/// the reason why it can be neither used nor made.
pub(super) fn compare<T>(declared: Answer<T>, found: bool) -> Result<Comparison, String> {
    Ok(match declared {
        Answer::Ok(_) if found => Comparison::Same,
        Answer::Ok(_) => Comparison::Created,
        // Also where another replica, with another configuration, was faster than we.
        Answer::Differs(reason) => match difference(&reason) {
            Some(difference) => Comparison::Differs(difference),
            None => Comparison::NotCompared(reason),
        },
        // Least privilege: a worker that may read a queue need not be allowed to declare it.
        Answer::Refused(reason) if found => Comparison::NotCompared(reason),
        Answer::Refused(reason) => return Err(reason),
        Answer::Missing => return Err("it is neither there nor could it be declared".to_owned()),
    })
}

/// Code and words of the broker where it closed the channel and no more than that.
pub(in crate::amqp) fn refusal(error: &lapin::Error) -> Option<(u16, String)> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refused) if error.is_amqp_soft_error() => {
            Some((refused.get_id(), refused.get_message().to_string()))
        }
        _ => None,
    }
}

/// Reads RabbitMQ's words about an unequal argument:
/// `inequivalent arg 'NAME' for queue 'Q' in vhost 'V': received WANTED but current is FOUND`.
fn difference(words: &str) -> Option<Difference> {
    let (_, rest) = words.split_once("inequivalent arg '")?;
    let (argument, rest) = rest.split_once('\'')?;
    let (_, rest) = rest.split_once(": received ")?;
    let (wanted, found) = rest.split_once(" but current is ")?;
    Some(Difference { argument: argument.to_owned(), wanted: plain(wanted), found: plain(found) })
}

/// `the value 'x' of type 'longstr'` and `'x'` as `x`; `none` as it is.
fn plain(words: &str) -> String {
    let words = words.trim();
    let quoted = words.strip_prefix("the value '").or_else(|| words.strip_prefix('\''));
    let end = |rest: &str| rest.find("' of type ").or_else(|| rest.rfind('\''));
    match quoted.and_then(|rest| Some(rest[..end(rest)?].to_owned())) {
        Some(value) => value,
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_words_name_the_argument_and_both_values() {
        let cases = [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received the value 'quorum' of type 'longstr' but current is none",
                ("x-queue-type", "quorum", "none"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'it's' in vhost '/': received the value '20' of type 'long' but current is the value '5' of type 'long'",
                ("x-delivery-limit", "20", "5"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
                ("durable", "true", "false"),
            ),
        ];
        for (words, (argument, wanted, found)) in cases {
            let expected =
                Difference { argument: argument.to_owned(), wanted: wanted.to_owned(), found: found.to_owned() };
            assert_eq!(difference(words), Some(expected), "{words}");
        }
        assert_eq!(difference("PRECONDITION_FAILED - something else"), None);
    }
}

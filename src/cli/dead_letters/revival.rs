//! Whether a dead letter may be put back, where, and as what: a pure decision.

use super::letter::Letter;
use super::table::time;
use crate::envelope::{Envelope, Value};
use crate::job::Guarantee;
use crate::wire::dead_letter::{HEADERS_LOST, revived};
use crate::wire::native;
use std::fmt;
use std::time::Duration;

/// Why a worker gives a job up without having begun it. Of every other reason, the broker's own among them, nobody can say
/// whether the device has acted.
const SURELY_NOT_BEGUN: [&str; 4] = ["invalid", "unserved", "undelayable", "expired_unanswerable"];

/// What the command line allows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Also what may have been executed, and what has lost its headers.
    pub force: bool,
    /// The time that a job gets whose own is over.
    pub expires_in: Option<Duration>,
    /// Where to, instead of where it came from.
    pub to: Option<String>,
    /// The queue of the dead letters: nothing is put back into that.
    pub dead_letter_queue: String,
}

/// A message to be put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Revival {
    /// The queue.
    pub queue: String,
    /// The message.
    pub envelope: Envelope,
}

/// Why a letter is not put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its device may have acted, and its guarantee forbids another try.
    PerhapsExecuted {
        /// The letter's reason.
        reason: String,
    },
    /// Its time is over.
    Expired {
        /// Since when: milliseconds since the Unix epoch.
        at: u64,
    },
    /// It does not say where it came from.
    NoQueue,
    /// It would be a dead letter again at once.
    IntoItself,
    /// What is left of it is not what was sent.
    HeadersLost {
        /// Their size in bytes.
        bytes: i64,
    },
}

/// Decides about one letter. `guarantee` is what counts for a job that says nothing of it: its profile's, else the
/// configuration's. `now`: milliseconds since the Unix epoch.
///
/// # Errors
///
/// Why it may not be put back; what would be right is in the words.
pub fn revive(letter: &Letter, rules: &Rules, guarantee: Guarantee, now: u64) -> Result<Revival, Refusal> {
    let queue = rules.to.as_ref().or(letter.cause.queue.as_ref()).filter(|queue| !queue.is_empty());
    let queue = queue.ok_or(Refusal::NoQueue)?.clone();
    if queue == rules.dead_letter_queue {
        return Err(Refusal::IntoItself);
    }
    if let (Some(Value::Int(bytes)), false) = (letter.envelope.headers.get(HEADERS_LOST), rules.force) {
        return Err(Refusal::HeadersLost { bytes: *bytes });
    }
    let at_most_once = letter.guarantee.unwrap_or(guarantee) == Guarantee::AtMostOnce;
    if at_most_once && !rules.force && !SURELY_NOT_BEGUN.contains(&letter.cause.reason.as_str()) {
        return Err(Refusal::PerhapsExecuted { reason: letter.cause.reason.clone() });
    }
    let envelope = revived(&letter.envelope);
    // Of the copy: among what the broker has noted of the letter is its time to live.
    let envelope = match (native::end(&envelope).filter(|end| *end <= now), rules.expires_in) {
        (None, _) => envelope,
        (Some(at), None) => return Err(Refusal::Expired { at }),
        (Some(_), Some(more)) => native::extended(&envelope, now, now.saturating_add(more.as_millis() as u64)),
    };
    Ok(Revival { queue, envelope })
}

impl Refusal {
    /// A short name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PerhapsExecuted { .. } => "perhaps_executed",
            Self::Expired { .. } => "expired",
            Self::NoQueue => "no_queue",
            Self::IntoItself => "into_itself",
            Self::HeadersLost { .. } => "headers_lost",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerhapsExecuted { reason } => {
                let reason = if reason.is_empty() { "none that it names" } else { reason };
                write!(
                    f,
                    "its device may have acted already (reason: {reason}), and it is to run at most once; --force puts \
                     it back all the same"
                )
            }
            Self::Expired { at } => write!(
                f,
                "its time was over at {}; --expires-in 5m would give it five minutes from now",
                time(*at, "%Y-%m-%dT%H:%M:%SZ")
            ),
            Self::NoQueue => f.write_str("it does not say which queue it came from; --to QUEUE names one"),
            Self::IntoItself => {
                f.write_str("it would go into the queue of the dead letters; --to QUEUE names a queue of jobs")
            }
            Self::HeadersLost { bytes } => write!(
                f,
                "its headers ({bytes} bytes) are too large to be read and would be lost; --force puts it back without \
                 them"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::DEAD_LETTER_REASONS;
    use crate::wire::dead_letter::{Cause, REPLAY, marked};

    const NOW: u64 = 1_700_000_000_000;

    fn letter(reason: &str, body: &str) -> Letter {
        let cause =
            Cause { reason: reason.to_owned(), queue: Some("jobs".to_owned()), at: Some(1), ..Cause::default() };
        let message = Envelope {
            body: body.to_owned().into(),
            message_id: Some("m".to_owned()),
            correlation_id: Some("c".to_owned()),
            reply_to: Some("r".to_owned()),
            ..Envelope::default()
        };
        Letter::read(marked(&message, &cause))
    }

    fn decided(letter: &Letter, rules: &Rules) -> Result<Revival, Refusal> {
        revive(letter, &Rules { dead_letter_queue: "dead".to_owned(), ..rules.clone() }, Guarantee::AtMostOnce, NOW)
    }

    #[test]
    fn a_copy_goes_back_to_where_it_came_from_or_to_where_it_is_told() {
        let letter = letter("invalid", r#"{"device":"d","command":"c"}"#);
        let revival = decided(&letter, &Rules::default()).unwrap();
        let copy = revival.envelope;
        assert_eq!((&*revival.queue, copy.message_id.as_deref()), ("jobs", Some("m")));
        assert_eq!((copy.correlation_id.as_deref(), copy.reply_to.as_deref()), (Some("c"), Some("r")));
        assert_eq!((copy.headers.0.len(), copy.headers.get(REPLAY)), (1, Some(&Value::Int(1))));
        let to = |queue: &str| Rules { to: Some(queue.to_owned()), ..Rules::default() };
        assert_eq!(decided(&letter, &to("other")).unwrap().queue, "other");
        assert_eq!(decided(&letter, &to("dead")), Err(Refusal::IntoItself));
        let homeless = Letter::read(Envelope::default());
        assert_eq!(decided(&homeless, &Rules::default()), Err(Refusal::NoQueue));
    }

    #[test]
    fn what_may_have_been_executed_is_refused_unless_it_may_run_twice() {
        for reason in DEAD_LETTER_REASONS.into_iter().chain(["rejected", "expired", "maxlen", "word of a stranger", ""])
        {
            let perhaps = !SURELY_NOT_BEGUN.contains(&reason);
            assert!(perhaps || !["panic", "poison", "unanswerable", "rejected", ""].contains(&reason));
            let once = letter(reason, r#"{"device":"d","command":"c"}"#);
            let refused = decided(&once, &Rules::default());
            let expected = perhaps.then(|| Refusal::PerhapsExecuted { reason: reason.to_owned() });
            assert_eq!(refused.err(), expected, "{reason}");
            assert!(decided(&once, &Rules { force: true, ..Rules::default() }).is_ok());
            let twice = letter(reason, r#"{"device":"d","command":"c","guarantee":"at_least_once"}"#);
            assert!(decided(&twice, &Rules::default()).is_ok());
            assert!(revive(&once, &Rules::default(), Guarantee::AtLeastOnce, NOW).is_ok());
        }
        assert!(
            decided(&letter("poison", "garbage"), &Rules::default()).is_err(),
            "what cannot be read may be anything"
        );
    }

    #[test]
    fn what_has_expired_is_refused_or_gets_more_time() {
        let late = letter("invalid", r#"{"device":"d","expires_at":"2023-11-14T22:13:20Z"}"#);
        assert_eq!(decided(&late, &Rules::default()), Err(Refusal::Expired { at: NOW }));
        assert!(decided(&late, &Rules { force: true, ..Rules::default() }).is_err(), "nothing is ever sent late");
        let more = Rules { expires_in: Some(Duration::from_secs(300)), ..Rules::default() };
        let body = decided(&late, &more).unwrap().envelope.body;
        assert_eq!(body, &br#"{"device":"d","expires_at":"2023-11-14T22:18:20.000Z"}"#[..]);
        let in_time = letter("invalid", r#"{"device":"d","expires_at":"2023-11-14T22:13:21Z"}"#);
        assert_eq!(decided(&in_time, &more).unwrap().envelope.body, in_time.envelope.body);
    }

    #[test]
    fn what_lost_its_headers_is_not_put_back_as_if_it_had_none() {
        let mut lost = letter("invalid", "{}");
        lost.envelope.headers.set(HEADERS_LOST, Value::Int(200_000));
        let refusal = decided(&lost, &Rules::default()).unwrap_err();
        assert_eq!(refusal, Refusal::HeadersLost { bytes: 200_000 });
        assert!(decided(&lost, &Rules { force: true, ..Rules::default() }).is_ok());
    }

    #[test]
    fn every_refusal_says_what_would_be_right() {
        let refusals = [
            Refusal::PerhapsExecuted { reason: "panic".to_owned() },
            Refusal::Expired { at: NOW },
            Refusal::NoQueue,
            Refusal::IntoItself,
            Refusal::HeadersLost { bytes: 1 },
        ];
        for refusal in refusals {
            assert!(refusal.to_string().contains("--") && !refusal.code().contains(' '), "{refusal}");
        }
    }
}

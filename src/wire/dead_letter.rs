//! What a dead letter says about itself: written when a worker gives a message up, read by whoever looks at it later.

use super::native;
use crate::envelope::{Envelope, Headers, Value};

/// Why it is there, in a word of the closed set that is counted too.
pub const REASON: &str = "x-switchboard-reason";
/// The reason in words.
pub const DETAIL: &str = "x-switchboard-detail";
/// The queue it came from.
pub const QUEUE: &str = "x-switchboard-queue";
/// When it was given up: milliseconds since the Unix epoch.
pub const AT: &str = "x-switchboard-dead-at";
/// The producer's login, which the broker lets nobody else put into the property `user_id`.
pub const USER: &str = "x-switchboard-user-id";
/// How often a message was put back.
pub const REPLAY: &str = "x-switchboard-replay";
/// The broker's own account of the queues that gave a message up, the last one first.
const DEATHS: &str = "x-death";
/// What stands for headers that were larger than a frame of ours.
pub const HEADERS_LOST: &str = "x-switchboard-headers-dropped";
/// Characters of a detail: a header is no place for a payload.
const MAX_DETAIL: usize = 500;

/// Why a message is a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// In a word: a worker's, or the broker's for its own; empty where nothing says it.
    pub reason: String,
    /// The reason in words; empty where there are none.
    pub detail: String,
    /// The queue it came from.
    pub queue: Option<String>,
    /// When: milliseconds since the Unix epoch.
    pub at: Option<u64>,
    /// How often that queue gave it up for that reason, where the broker did.
    pub count: Option<u64>,
    /// Whether the broker gave it up, and not a worker.
    pub by_broker: bool,
}

impl Cause {
    /// What the headers say. Where both a worker and the broker gave the message up, the later one counts.
    pub fn read(headers: &Headers) -> Self {
        let own = headers.text(REASON).map(|reason| Self {
            reason: reason.to_owned(),
            detail: headers.text(DETAIL).unwrap_or_default().to_owned(),
            queue: headers.text(QUEUE).map(str::to_owned),
            at: whole(headers.get(AT)),
            count: None,
            by_broker: false,
        });
        match (own, Self::of_broker(headers)) {
            // The broker counts in seconds.
            (Some(own), Some(broker)) if own.at.is_some_and(|at| broker.at > Some(at)) => broker,
            (Some(own), _) => own,
            (None, broker) => broker.unwrap_or_default(),
        }
    }

    fn of_broker(headers: &Headers) -> Option<Self> {
        let death = last_death(headers)?;
        let word = death.text("reason").unwrap_or_default();
        let (reason, detail) = match word {
            "delivery_limit" => ("poison", "it was given out more often than its queue allows"),
            "rejected" => (word, "a worker gave it up and could not say why: its own copy did not get here"),
            "expired" => (word, "its time to live was over before anybody finished it"),
            "maxlen" => (word, "its queue was full"),
            _ => (word, ""),
        };
        Some(Self {
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            queue: death.text("queue").map(str::to_owned),
            at: match death.get("time") {
                Some(Value::Time(seconds)) => Some(seconds.saturating_mul(1000)),
                _ => None,
            },
            count: whole(death.get("count")),
            by_broker: true,
        })
    }
}

/// A copy of a message for the dead letters: kept however soon it would have expired, and carrying its cause.
pub fn marked(envelope: &Envelope, cause: &Cause) -> Envelope {
    let mut copy = native::parked(envelope);
    copy.persistent = true;
    let headers = &mut copy.headers;
    headers.set(REASON, Value::Text(cause.reason.clone()));
    headers.set(DETAIL, Value::Text(cause.detail.chars().take(MAX_DETAIL).collect()));
    if let Some(queue) = &cause.queue {
        headers.set(QUEUE, Value::Text(queue.clone()));
    }
    if let Some(at) = cause.at {
        headers.set(AT, Value::Int(i64::try_from(at).unwrap_or(i64::MAX)));
    }
    if let Some(user) = copy.user_id.take() {
        headers.set(USER, Value::Text(user));
    }
    copy
}

/// A copy of a dead letter that can take its place: what the broker's account says is written down as ours, because from a
/// publisher the broker need not take an account of its own.
pub fn renewed(envelope: &Envelope) -> Envelope {
    match Cause::read(&envelope.headers) {
        cause if cause == Cause::default() => Envelope { user_id: None, ..envelope.clone() },
        cause => marked(&with_expiration(envelope, &cause), &cause),
    }
}

/// A copy of a dead letter as a message for the queue it came from: the same ids, body and headers, without what made it
/// a dead letter, and counted.
pub fn revived(envelope: &Envelope) -> Envelope {
    let mut copy = native::parked(&with_expiration(envelope, &Cause::read(&envelope.headers)));
    copy.persistent = true;
    // Of its producer, who is not the one who publishes it now.
    copy.user_id = None;
    let replay = replays(&copy.headers).saturating_add(1);
    copy.headers.0.retain(|(name, _)| !is_of_dead_letter(name));
    copy.headers.set(REPLAY, Value::Int(i64::try_from(replay).unwrap_or(i64::MAX)));
    copy
}

/// How often the message was put back before.
pub fn replays(headers: &Headers) -> u64 {
    whole(headers.get(REPLAY)).unwrap_or(0)
}

/// With the time to live that the broker moves into its account when it gives a message up. Where a worker gave it up, the
/// account is of another queue: its producer's own way to delay it, perhaps.
fn with_expiration(envelope: &Envelope, cause: &Cause) -> Envelope {
    let mut copy = envelope.clone();
    if copy.expiration.is_none() && cause.by_broker {
        copy.expiration =
            last_death(&envelope.headers).and_then(|death| death.text("original-expiration")).map(str::to_owned);
    }
    copy
}

fn last_death(headers: &Headers) -> Option<&Headers> {
    match headers.get(DEATHS) {
        Some(Value::List(deaths)) => deaths.iter().find_map(|death| match death {
            Value::Table(death) => Some(death),
            _ => None,
        }),
        _ => None,
    }
}

fn is_of_dead_letter(name: &str) -> bool {
    [REASON, DETAIL, QUEUE, AT, USER, HEADERS_LOST, DEATHS, "x-delivery-count", "x-acquired-count"].contains(&name)
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

fn whole(value: Option<&Value>) -> Option<u64> {
    match value {
        Some(Value::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, Value)]) -> Headers {
        Headers(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn death(reason: &str, queue: &str, seconds: u64) -> Value {
        Value::Table(table(&[
            ("reason", reason.into()),
            ("queue", queue.into()),
            ("time", Value::Time(seconds)),
            ("count", Value::Int(2)),
            ("original-expiration", "5000".into()),
        ]))
    }

    fn invalid() -> Cause {
        let detail = "body: no JSON".to_owned();
        let (reason, queue) = ("invalid".to_owned(), Some("jobs".to_owned()));
        Cause { reason, detail, queue, at: Some(10_500), ..Cause::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        let sent = Envelope {
            expiration: Some("5000".to_owned()),
            timestamp: Some(7),
            user_id: Some("shop".to_owned()),
            headers: table(&[("tenant", "a".into())]),
            ..Envelope::default()
        };
        let letter = marked(&sent, &invalid());
        assert_eq!(Cause::read(&letter.headers), invalid());
        assert_eq!((letter.expiration, letter.user_id, letter.persistent), (None, None, true));
        assert_eq!(letter.headers.text(USER), Some("shop"));
        let long = Cause { detail: "ü".repeat(1000), ..invalid() };
        assert_eq!(Cause::read(&marked(&sent, &long).headers).detail.chars().count(), MAX_DETAIL);
    }

    #[test]
    fn the_brokers_account_is_read_where_no_worker_left_one_and_where_it_is_later() {
        let deaths = Value::List(vec![death("delivery_limit", "jobs", 11), death("expired", "ladder", 9)]);
        let broker = Cause::read(&table(&[(DEATHS, deaths.clone())]));
        assert_eq!((&*broker.reason, broker.queue.as_deref()), ("poison", Some("jobs")));
        assert_eq!((broker.at, broker.count), (Some(11_000), Some(2)));
        let mut letter = marked(&Envelope { headers: table(&[(DEATHS, deaths)]), ..Envelope::default() }, &invalid());
        assert_eq!(Cause::read(&letter.headers).reason, "poison", "it was put back by hand, and died again");
        letter.headers.set(DEATHS, Value::List(vec![death("expired", "ladder", 9)]));
        assert_eq!(Cause::read(&letter.headers).reason, "invalid", "it had waited in the broker for its time");
        for garbage in [Value::Null, Value::List(vec![]), Value::List(vec![Value::Int(1)]), "x".into()] {
            assert_eq!(Cause::read(&table(&[(DEATHS, garbage)])), Cause::default());
        }
    }

    #[test]
    fn what_is_put_back_is_what_was_sent_with_a_count_and_its_end() {
        let sent = Envelope {
            message_id: Some("m".to_owned()),
            reply_to: Some("r".to_owned()),
            expiration: Some("5000".to_owned()),
            timestamp: Some(7),
            user_id: Some("shop".to_owned()),
            headers: table(&[("tenant", "a".into()), ("x-switchboard-tally", "{}".into())]),
            ..Envelope::default()
        };
        let back = revived(&marked(&sent, &invalid()));
        // Seven seconds and the rest of that second, and five.
        let end = ("x-switchboard-expires-at", Value::Int(12_999));
        let wanted =
            table(&[("tenant", "a".into()), ("x-switchboard-tally", "{}".into()), end, (REPLAY, Value::Int(1))]);
        assert_eq!(back.headers, wanted);
        assert_eq!((back.message_id, back.reply_to, back.user_id), (sent.message_id, sent.reply_to, None));
        let of_broker = Envelope {
            timestamp: Some(7),
            headers: table(&[
                (DEATHS, Value::List(vec![death("expired", "jobs", 12)])),
                ("x-first-death-queue", "jobs".into()),
                ("x-delivery-count", Value::Int(3)),
                (REPLAY, Value::Int(4)),
            ]),
            ..Envelope::default()
        };
        let wanted = table(&[(REPLAY, Value::Int(5)), ("x-switchboard-expires-at", Value::Int(12_999))]);
        assert_eq!(revived(&of_broker).headers, wanted);
        assert_eq!(revived(&renewed(&of_broker)).headers.get(REPLAY), Some(&Value::Int(5)));
        let renewed = renewed(&of_broker);
        assert_eq!(renewed.headers.text(REASON), Some("expired"));
        assert_eq!(renewed.headers.get("x-switchboard-expires-at"), Some(&Value::Int(12_999)));
    }
}

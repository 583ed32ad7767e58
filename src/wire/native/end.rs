//! When a job's time is over, and a copy of it with another end.

use super::members::Members;
use super::{content, moment};
use crate::envelope::{Envelope, Value};
use std::ops::Range;

const EXPIRES_AT: &[&str; 1] = &["expires_at"];
/// The header with the end of a Celery task.
const CELERY: &str = "expires";

/// When a message's time is over, by whatever it says of that: milliseconds since the Unix epoch. Reads messages too that
/// are no jobs.
pub fn end(envelope: &Envelope) -> Option<u64> {
    let said = member(&envelope.body).map(|(_, at)| at);
    let lives = moment::time_to_live_ends(envelope).ok().flatten();
    [said, lives, celery(envelope)].into_iter().flatten().min()
}

/// A copy with the end `until`, wherever it said one that is over at `now`; nothing else in it changes.
pub fn extended(envelope: &Envelope, now: u64, until: u64) -> Envelope {
    let mut copy = moment::parked(envelope);
    if let Some((place, at)) = member(&envelope.body)
        && at <= now
    {
        let body = &envelope.body;
        let value = format!("\"{}\"", moment::text(until));
        copy.body = [&body[..place.start], value.as_bytes(), &body[place.end..]].concat().into();
    }
    let headers = &mut copy.headers;
    if matches!(headers.get(moment::EXPIRES_AT), Some(Value::Int(at)) if u64::try_from(*at).is_ok_and(|at| at <= now)) {
        headers.set(moment::EXPIRES_AT, Value::Int(i64::try_from(until).unwrap_or(i64::MAX)));
    }
    if celery(envelope).is_some_and(|at| at <= now) {
        headers.set(CELERY, Value::Text(moment::text(until)));
    }
    copy
}

/// Where in the body the value of `expires_at` stands, and what it says.
fn member(body: &[u8]) -> Option<(Range<usize>, u64)> {
    let text = content::text(body).ok()?;
    let members = Members::read("body", text, EXPIRES_AT);
    let value = members.get("expires_at")?;
    let at = moment::instant("expires_at", value).ok()?;
    let start = value.get().as_ptr() as usize - body.as_ptr() as usize;
    Some((start..start + value.get().len(), at))
}

fn celery(envelope: &Envelope) -> Option<u64> {
    moment::parse(envelope.headers.text(CELERY)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Headers;

    fn job(body: &str) -> Envelope {
        Envelope { body: body.to_owned().into(), ..Envelope::default() }
    }

    #[test]
    fn only_the_end_is_rewritten_and_only_where_it_is_over() {
        let body = "{ \"payload\" : {\"expires_at\": \"1970-01-01T00:00:05Z\", \"n\": 1.10},\n\t\"expires_at\" : \
                    \"1970-01-01T01:00:05+01:00\" , \"device\":\"d\"}";
        assert_eq!(end(&job(body)), Some(5_000));
        let longer = extended(&job(body), 6_000, 9_000);
        let wanted = body.replace("\"1970-01-01T01:00:05+01:00\"", "\"1970-01-01T00:00:09.000Z\"");
        assert_eq!(longer.body, wanted.as_bytes());
        assert_eq!(end(&longer), Some(9_000));
        assert_eq!(extended(&job(body), 4_999, 9_000), job(body));
    }

    #[test]
    fn a_time_to_live_and_the_end_of_a_celery_task_are_ends_too() {
        let lives = Envelope { expiration: Some("2000".to_owned()), timestamp: Some(3), ..job("{}") };
        assert_eq!(end(&lives), Some(5_999));
        assert_eq!(end(&extended(&lives, 6_000, 9_000)), Some(9_000));
        assert_eq!(end(&extended(&lives, 5_000, 9_000)), Some(5_999));
        let expires = Headers(vec![(CELERY.to_owned(), "1970-01-01T00:00:05.250000+00:00".into())]);
        let task = Envelope { headers: expires, ..job("[[], {}, {}]") };
        assert_eq!(end(&task), Some(5_250));
        assert_eq!(end(&extended(&task, 6_000, 9_000)), Some(9_000));
    }

    #[test]
    fn what_says_nothing_readable_has_no_end() {
        for body in ["", "nonsense", "[1]", "{}", "{\"expires_at\": 5}", "{\"expires_at\": \"soon\"}", "\u{feff}{}"] {
            assert_eq!(end(&job(body)), None, "{body}");
            assert_eq!(extended(&job(body), 6_000, 9_000), job(body));
        }
        assert_eq!(end(&Envelope { body: vec![0xff, 0xfe].into(), ..Envelope::default() }), None);
    }
}

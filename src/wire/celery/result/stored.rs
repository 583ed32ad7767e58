//! Reads a task's end back from the result that told it.

use crate::wire::celery::{End, Exception, Json};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Stored {
    status: String,
    result: Json,
}

#[derive(Deserialize)]
struct Raised {
    exc_type: String,
    exc_message: Value,
    exc_module: String,
}

/// The end that a result told, as this program writes results; `None` where it is no such result.
pub fn read_end(body: &[u8]) -> Option<End> {
    let Stored { status, result } = serde_json::from_slice(body).ok()?;
    let raised = || {
        let Raised { exc_type, exc_message, exc_module } = serde_json::from_str(result.get()).ok()?;
        let args = match exc_message {
            Value::Array(args) => args,
            other => vec![other],
        };
        Some(Exception { module: Cow::Owned(exc_module), kind: Cow::Owned(exc_type), args })
    };
    match status.as_str() {
        "FAILURE" => raised().map(End::Failure),
        "REVOKED" => raised().map(End::Revoked),
        "SUCCESS" => Some(End::Success(result)),
        _ => None,
    }
}

/// The same in the words of a native result, `status` and `executed`, for whoever asks about the job by its id; `None` where it
/// is no such result. What the result does not say is `unknown`.
pub fn native_words(body: &[u8]) -> Option<(String, String)> {
    let (status, executed) = match read_end(body)? {
        // A one-way command has no answer, and nobody knows whether it was heard.
        End::Success(answer) if answer.get() == "null" => ("succeeded", "unknown"),
        End::Success(_) => ("succeeded", "yes"),
        End::Revoked(why) => match why.args.first().and_then(Value::as_str) {
            Some("expired") => ("expired", "no"),
            Some("revoked") => ("cancelled", "no"),
            _ => ("cancelled", "unknown"),
        },
        End::Failure(why) => {
            let details = why.args.get(1);
            let word = |name: &str| details.and_then(|details| details[name].as_str()).unwrap_or("unknown").to_owned();
            return Some((word("status"), word("executed")));
        }
    };
    Some((status.to_owned(), executed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::celery::{Head, result};

    #[test]
    fn what_was_told_is_read_back() {
        let ends = [
            End::Success(Json::from(
                serde_json::value::RawValue::from_string(r#"{"n":12345678901234567890123}"#.into()).unwrap(),
            )),
            End::Failure(Exception::new("switchboard.exceptions", "DeviceTimeout", "no answer")),
            End::Revoked(Exception::revoked("expired")),
        ];
        for end in ends {
            let told = result(&Head { id: "a".into(), ..Head::default() }, &end, &[], 0);
            let read = read_end(&told).unwrap();
            assert_eq!(read.state(), end.state());
            match (read, end) {
                (End::Success(read), End::Success(told)) => assert_eq!(read.get(), told.get()),
                (End::Failure(read), End::Failure(told)) | (End::Revoked(read), End::Revoked(told)) => {
                    assert_eq!(read, told);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn whoever_asks_by_the_id_hears_native_words() {
        let details = serde_json::json!({"status": "timed_out", "executed": "unknown"});
        let raised = |args| Exception { module: "m".into(), kind: "k".into(), args };
        let value = |text: &str| End::Success(serde_json::value::RawValue::from_string(text.to_owned()).unwrap());
        for (end, status, executed) in [
            (value("{}"), "succeeded", "yes"),
            (value("null"), "succeeded", "unknown"),
            (End::Revoked(Exception::revoked("revoked")), "cancelled", "no"),
            (End::Revoked(Exception::revoked("terminated")), "cancelled", "unknown"),
            (End::Revoked(Exception::revoked("expired")), "expired", "no"),
            (End::Failure(raised(vec!["text".into(), details])), "timed_out", "unknown"),
            (End::Failure(raised(Vec::new())), "unknown", "unknown"),
        ] {
            let told = result(&Head::default(), &end, &[], 0);
            assert_eq!(native_words(&told), Some((status.to_owned(), executed.to_owned())), "{end:?}");
        }
        assert_eq!(native_words(br#"{"id":"a","status":"succeeded","executed":"yes"}"#), None);
    }

    #[test]
    fn what_is_no_result_is_none() {
        for body in ["", "null", "[]", r#"{"status":"SUCCESS"}"#, r#"{"status":"FAILURE","result":"x"}"#] {
            assert!(read_end(body.as_bytes()).is_none(), "{body}");
        }
        assert!(read_end(br#"{"id":"a","status":"succeeded","result":1}"#).is_none());
    }
}

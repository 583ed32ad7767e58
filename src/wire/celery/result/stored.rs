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
    fn what_is_no_result_is_none() {
        for body in ["", "null", "[]", r#"{"status":"SUCCESS"}"#, r#"{"status":"FAILURE","result":"x"}"#] {
            assert!(read_end(body.as_bytes()).is_none(), "{body}");
        }
        assert!(read_end(br#"{"id":"a","status":"succeeded","result":1}"#).is_none());
    }
}

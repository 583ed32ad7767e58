//! Every outcome as its Celery caller meets it.

use super::*;
use crate::wire::native::SummaryStatus;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const ABOUT: About<'_> = About { id: "t1", device: "garage-7", command: "open" };

fn ended(outcome: &Outcome, returns: Returns) -> End {
    end(outcome, &ABOUT, returns, |response| {
        let text = String::from_utf8_lossy(response.unwrap_or(b"null")).into_owned();
        RawValue::from_string(text).unwrap()
    })
}

fn failure(outcome: &Outcome) -> Exception {
    match ended(outcome, Returns::Answer) {
        End::Failure(exception) => exception,
        other => panic!("{other:?}"),
    }
}

fn outcome(status: Status, executed: Executed, said: &str) -> Outcome {
    Outcome::new(status, executed, Some(Failure::new("code", said)))
}

#[test]
fn a_success_is_the_answer_or_nothing_as_the_task_returns() {
    let mut outcome = Outcome::new(Status::Succeeded, Executed::Yes, None);
    for (response, returns, result) in [
        (Some(r#"{"door":"open"}"#), Returns::Answer, r#"{"door":"open"}"#),
        (None, Returns::Answer, "null"),
        (Some("1"), Returns::Nothing, "null"),
    ] {
        outcome.response = response.map(Bytes::from);
        let End::Success(json) = ended(&outcome, returns) else { panic!("{outcome:?}") };
        assert_eq!(json.get(), result);
    }
}

#[test]
fn each_failure_is_an_exception_of_our_module_that_says_what_happened() {
    for (status, executed, kind, text) in [
        (Status::Rejected, Executed::Yes, "DeviceRejected", "\"garage-7\" refused \"open\": why"),
        (Status::TimedOut, Executed::Unknown, "DeviceTimeout", "\"garage-7\" did not answer \"open\": why"),
        (Status::Undeliverable, Executed::No, "DeviceUnreachable", "\"garage-7\" did not receive \"open\": why"),
        (Status::Unknown, Executed::Unknown, "OutcomeUnknown", "\"garage-7\" may have executed \"open\": why"),
        (Status::Invalid, Executed::No, "InvalidCommand", "\"open\" cannot be sent to \"garage-7\": why"),
    ] {
        let mut outcome = outcome(status, executed, "why");
        outcome.attempt = 2;
        let details = json!({
            "id": "t1", "device": "garage-7", "command": "open", "status": status.as_str(),
            "executed": executed.as_str(), "code": "code", "attempt": 2,
        });
        let exception = failure(&outcome);
        assert_eq!((&*exception.module, &*exception.kind), ("switchboard.exceptions", kind));
        assert_eq!(exception.args, [json!(text), details]);
    }
    assert_eq!(
        failure(&Outcome::new(Status::TimedOut, Executed::Unknown, None)).args[0],
        "\"garage-7\" did not answer \"open\""
    );
}

#[test]
fn a_task_that_was_not_run_or_not_to_its_end_is_revoked_as_celerys_own_are() {
    for (status, executed, reason) in [
        (Status::Expired, Executed::No, "expired"),
        (Status::Cancelled, Executed::No, "revoked"),
        (Status::Cancelled, Executed::Unknown, "terminated"),
        (Status::Cancelled, Executed::Yes, "terminated"),
    ] {
        let End::Revoked(exception) = ended(&outcome(status, executed, "x"), Returns::Answer) else {
            panic!("{reason}")
        };
        assert_eq!(exception, Exception::revoked(reason));
    }
}

#[test]
fn no_outcome_is_a_timeout_of_pythons_own() {
    for status in Status::ALL {
        if let End::Failure(exception) = ended(&outcome(status, Executed::Unknown, "x"), Returns::Answer) {
            assert!(exception.kind != "TimeoutError" && exception.module == MODULE, "{exception:?}");
        }
    }
}

#[test]
fn what_the_device_said_is_among_the_details_and_can_harm_nobody() {
    let mut outcome = outcome(Status::Rejected, Executed::Yes, "no");
    for (said, response) in [
        (&br#"{"error":{"code":7}}"#[..], json!({"error": {"code": 7}})),
        (b"jammed", json!("jammed")),
        (br#"[{"__type__":"x","__value__":1}]"#, json!(r#"[{"__type__":"x","__value__":1}]"#)),
        (br#"{"\u005f_type__":"x","__value__":1}"#, json!(r#"{"\u005f_type__":"x","__value__":1}"#)),
        (br#"{"error":1e999}"#, json!(r#"{"error":1e999}"#)),
        (b"\xff", json!("\u{fffd}")),
        (b"", json!("")),
    ] {
        outcome.response = Some(Bytes::from_static(said));
        assert_eq!(failure(&outcome).args[1]["response"], response);
    }
}

#[test]
fn names_of_any_length_and_kind_are_cut_and_shown_harmless() {
    let long = "ü\n".repeat(10_000);
    let about = About { id: &long, device: &long, command: &long };
    let End::Failure(exception) =
        end(&outcome(Status::Invalid, Executed::No, "x"), &about, Returns::Answer, |_| panic!())
    else {
        panic!("no failure");
    };
    assert!(exception.args[0].as_str().unwrap().len() < 500 && !exception.args[0].as_str().unwrap().contains('\n'));
    assert!(exception.args[1].to_string().len() < 2_000);
    let unknown = invalid(&About { id: "", device: "", command: "" }, &Failure::new("invalid_job", "wrong"));
    assert_eq!((unknown.args[0].clone(), unknown.args[1]["device"].clone()), (json!("wrong"), Value::Null));
}

#[test]
fn a_summary_is_that_of_the_native_format() {
    let summary = Summary {
        status: SummaryStatus::Aborted,
        total: 3,
        counts: [1, 2, 0, 0, 0, 0, 0, 0],
        failed: vec![Arc::from("a"), Arc::from("b")],
        duration: Duration::from_micros(1_500),
    };
    let origin = crate::wire::native::Origin {
        id: "t1".into(),
        command: "open".into(),
        correlation_id: String::new(),
        worker: "w".into(),
        redelivered: false,
    };
    let End::Success(json) = summary_end("t1", "open", &summary) else { panic!("no success") };
    let native = crate::wire::native::summary(&origin, &summary).body;
    let read = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
    assert_eq!(read(json.get().as_bytes()), read(&native));
}

#[test]
fn time_limits_are_billiards_exceptions_with_their_arguments() {
    let (soft, hard) = (soft_limit(), hard_limit(30.0));
    assert_eq!((&*soft.module, &*soft.kind, soft.args.len()), ("billiard.exceptions", "SoftTimeLimitExceeded", 0));
    assert_eq!((&*hard.kind, hard.args), ("TimeLimitExceeded", vec![json!(30)]));
    assert_eq!(hard_limit(0.5).args, [json!(0.5)]);
}

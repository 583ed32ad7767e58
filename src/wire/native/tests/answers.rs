//! Results and summaries as the contract has them.

use super::*;
use crate::outcome::{Executed, Failure, Outcome, Status};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

fn origin() -> Origin {
    Origin {
        id: "01J".into(),
        command: "open".into(),
        correlation_id: String::new(),
        worker: "switchboard-1".into(),
        redelivered: false,
    }
}

fn answered(response: &[u8]) -> Outcome {
    Outcome {
        response: Some(Bytes::copy_from_slice(response)),
        attempt: 1,
        ..Outcome::new(Status::Succeeded, Executed::Yes, None)
    }
}

fn timing() -> Timing {
    Timing {
        queued: Duration::from_micros(3100),
        waiting: Duration::ZERO,
        device: Duration::from_micros(41_720),
        total: Duration::from_micros(44_821),
    }
}

fn body(envelope: &Envelope) -> Value {
    serde_json::from_slice(&envelope.body).unwrap()
}

#[test]
fn the_result_of_the_contract_letter_by_letter() {
    let envelope = result(&origin(), "garage-7", &answered(br#"{"door": "open"}"#), &timing());
    let expected = "{\"id\":\"01J\",\"device\":\"garage-7\",\"command\":\"open\",\"status\":\"succeeded\",\
                    \"executed\":\"yes\",\"response\":{\"door\": \"open\"},\"error\":null,\"attempt\":1,\
                    \"late\":false,\"redelivered\":false,\"worker\":\"switchboard-1\",\
                    \"timing_ms\":{\"queued\":3.1,\"waiting\":0.0,\"device\":41.72,\"total\":44.821}}";
    assert_eq!(envelope.body, expected);
    assert_eq!(envelope.kind.as_deref(), Some("switchboard.result"));
    assert_eq!(envelope.content_type.as_deref(), Some("application/json"));
    assert_eq!(envelope.correlation_id.as_deref(), Some("01J"));
    assert!(envelope.persistent);
    let asked = Origin { correlation_id: "c-9".to_owned(), ..origin() };
    assert_eq!(result(&asked, "d", &answered(b""), &timing()).correlation_id.as_deref(), Some("c-9"));
}

#[test]
fn a_failure_and_a_late_answer() {
    let outcome = Outcome {
        late: true,
        attempt: 2,
        ..Outcome::new(Status::Rejected, Executed::Yes, Some(Failure::new("busy", "try \"later\"\n")))
    };
    let origin = Origin { redelivered: true, ..origin() };
    let envelope = result(&origin, "d\u{1}", &outcome, &Timing::default());
    let json = body(&envelope);
    assert_eq!(json["error"], json!({"code": "busy", "message": "try \"later\"\n"}));
    assert_eq!(
        (&json["status"], &json["late"], &json["redelivered"]),
        (&json!("rejected"), &json!(true), &json!(true))
    );
    assert_eq!((&json["device"], &json["attempt"]), (&json!("d\u{1}"), &json!(2)));
}

#[test]
fn a_result_that_is_said_again_may_be_marked_whatever_the_device_answered() {
    let answer = answered(br#"{"a":1,"redelivered":false,"worker":"x"}"#);
    let worker = r#"w,"redelivered":false,"worker":"#;
    let first = Origin { worker: worker.into(), ..origin() };
    let again = Origin { redelivered: true, ..first.clone() };
    let [first, again] = [first, again].map(|origin| result(&origin, "d", &answer, &timing()));
    assert_eq!(redelivered(first), again);
    assert_eq!(redelivered(again.clone()), again);
    let refused = Envelope { body: Bytes::from_static(b"\xff"), ..again };
    assert_eq!(redelivered(refused.clone()), refused);
}

#[test]
fn no_response_is_more_than_twice_as_long_in_its_result() {
    let empty = result(&origin(), "d", &answered(b""), &timing()).body.len();
    for (response, in_base64) in [
        ("\u{1}".repeat(3_000), true),
        ("\u{1}aaaa".repeat(500), false),
        ("\u{1}aaa".repeat(500), true),
        ("\"\\\n\r\t\u{8}\u{c}".repeat(400), false),
        (format!("{{{}", "\"".repeat(3_000)), false),
    ] {
        let envelope = result(&origin(), "d", &answered(response.as_bytes()), &timing());
        let more = envelope.body.len() - empty;
        assert!(more <= 2 * response.len() + 16, "{more} bytes of {}", response.len());
        assert_eq!(body(&envelope)["response"].is_object(), in_base64, "{:?}", &response[..10]);
    }
}

#[test]
fn a_response_is_json_as_it_is_else_text_else_bytes() {
    let long = "9".repeat(400);
    let deepest = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let too_deep = format!("[{deepest}]");
    for (response, expected) in [
        (&b""[..], "null"),
        (b"null", "null"),
        (b" {\"a\":\n1} ", "{\"a\":\n1}"),
        (b"1.50", "1.50"),
        (b"ok", "\"ok\""),
        (b"on \"x\"\n", r#""on \"x\"\n""#),
        (b"{\"a\":1", r#""{\"a\":1""#),
        (b"\"\\ud800\"", r#""\"\\ud800\"""#),
        (b"1e999", "\"1e999\""),
        (b"\xff\x00", "{\"$base64\":\"/wA=\"}"),
        (b"\"\xff\"", "{\"$base64\":\"Iv8i\"}"),
        (long.as_bytes(), &format!("\"{long}\"")),
        (deepest.as_bytes(), &deepest),
        (too_deep.as_bytes(), &format!("\"{too_deep}\"")),
    ] {
        let envelope = result(&origin(), "d", &answered(response), &timing());
        let text = std::str::from_utf8(&envelope.body).unwrap();
        let shown = String::from_utf8_lossy(response);
        assert!(text.contains(&format!("\"response\":{expected},\"error\"")), "{shown}: {text}");
        body(&envelope);
    }
}

#[test]
fn the_message_id_is_the_same_for_the_same_answer_and_no_other() {
    let id = |device: &str, late| {
        let outcome = Outcome { late, ..answered(b"") };
        result(&origin(), device, &outcome, &timing()).message_id.unwrap()
    };
    let unknown = Outcome::new(Status::Unknown, Executed::Unknown, None);
    assert_eq!(result(&origin(), "a", &unknown, &timing()).message_id.unwrap(), id("a", false));
    assert_ne!(id("a", false), id("a", true));
    assert_ne!(id("a", false), id("b", false));
    assert!(id(&"d".repeat(1000), false).len() <= 255);
}

#[test]
fn what_could_not_be_read_is_null() {
    let origin = Origin { command: "".into(), ..origin() };
    let outcome = Outcome::not_sent(Status::Invalid, Failure::new("invalid_job", "no"));
    let json = body(&result(&origin, "", &outcome, &Timing::default()));
    assert_eq!((&json["id"], &json["device"], &json["command"]), (&json!("01J"), &Value::Null, &Value::Null));
    assert_eq!((&json["status"], &json["executed"]), (&json!("invalid"), &json!("no")));
}

#[test]
fn a_summary_counts_every_status_and_names_the_first_thousand() {
    let failed: Vec<_> = (0..1500).map(|n| format!("d\"{n}").into()).collect();
    let counts = [3, 1, 0, 0, 0, 0, 1496, 0];
    let bulk = Summary {
        status: SummaryStatus::Aborted,
        total: 1500,
        counts,
        failed,
        duration: Duration::from_micros(1_234_560),
    };
    let envelope = summary(&origin(), &bulk);
    let json = body(&envelope);
    assert_eq!(envelope.kind.as_deref(), Some("switchboard.summary"));
    assert_eq!((&json["id"], &json["command"]), (&json!("01J"), &json!("open")));
    assert_eq!((&json["status"], &json["total"]), (&json!("aborted"), &json!(1500)));
    assert_eq!(json["counts"]["succeeded"], json!(3));
    assert_eq!(json["counts"]["unknown"], json!(1496));
    assert_eq!(json["counts"].as_object().unwrap().len(), 8);
    assert_eq!(json["failed"].as_array().unwrap().len(), FAILED_LISTED);
    assert_eq!((&json["failed"][999], &json["duration_ms"]), (&json!("d\"999"), &json!(1234.56)));
    let none = Summary { failed: Vec::new(), status: SummaryStatus::Completed, ..bulk };
    let empty = summary(&origin(), &none);
    assert_eq!(body(&empty)["failed"], json!([]));
    assert_eq!(empty.message_id, envelope.message_id);
}

proptest! {
    #[test]
    fn any_outcome_makes_a_result_that_can_be_read(
        device in "\\PC{0,10}",
        response in proptest::collection::vec(any::<u8>(), 0..40),
        text in r#"[{}\[\]":,a-z\\0-9. ]{0,40}"#,
        micros in any::<u32>(),
    ) {
        let time = Duration::from_micros(micros.into());
        let timing = Timing { total: time, ..timing() };
        for response in [&response[..], text.as_bytes()] {
            let json = body(&result(&origin(), &device, &answered(response), &timing));
            let total = json["timing_ms"]["total"].as_f64().unwrap();
            prop_assert!((total - time.as_secs_f64() * 1000.0).abs() < 1e-6);
            match serde_json::from_slice::<Value>(response) {
                Ok(value) => prop_assert_eq!(&json["response"], &value),
                Err(_) => prop_assert!(json["response"].is_string() || json["response"].is_object() || response.is_empty()),
            }
        }
    }
}

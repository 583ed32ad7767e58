//! Jobs that are right.

use super::*;
use crate::envelope::Value;
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn the_example_of_the_contract() {
    let body = r#"{
        "id": "01JEXAMPLE", "device": "garage-7", "command": "open", "payload": {"speed": 2}, "mode": "request",
        "profile": "default", "timeout_ms": 5000, "expires_at": "2026-11-22T10:00:05Z",
        "not_before": "2026-11-22T09:00:00Z", "guarantee": "at_most_once"
    }"#;
    let expected = Job {
        id: "01JEXAMPLE".into(),
        targets: Targets::One("garage-7".into()),
        command: "open".into(),
        payload: Payload::Json(Bytes::from_static(br#"{"speed": 2}"#)),
        mode: Mode::Request,
        profile: "default".into(),
        timeout: Some(Duration::from_millis(5000)),
        expires_at: Some(1_795_341_605_000),
        not_before: Some(1_795_338_000_000),
        guarantee: Some(Guarantee::AtMostOnce),
        enqueued_at: None,
    };
    assert_eq!(job(&message(body)), expected);
}

#[test]
fn what_a_job_leaves_out() {
    let job = job(&with(""));
    assert_eq!((job.payload, job.mode, &*job.profile), (Payload::Empty, Mode::Request, "default"));
    assert_eq!((job.timeout, job.expires_at, job.not_before, job.guarantee), (None, None, None, None));
    assert_eq!(ulid::Ulid::from_string(&job.id).map(|id| id.to_string()), Ok(job.id.to_string()));
}

#[test]
fn the_id_is_the_jobs_else_the_messages() {
    let message = |fields: &str, message_id: &str| Envelope { message_id: Some(message_id.into()), ..with(fields) };
    assert_eq!(&*job(&message(r#", "id": "a""#, "b")).id, "a");
    assert_eq!(&*job(&message("", "b")).id, "b");
    assert_eq!(job(&message("", "")).id.len(), 26);
    let long = "x".repeat(255);
    assert_eq!(&*job(&message("", &long)).id, long);
}

#[test]
fn a_whole_number_may_be_written_as_one_with_a_fraction_of_nothing() {
    for number in ["500", "500.0", "5e2", "5.0E+2", "50000e-2"] {
        let timeout = job(&with(&format!(r#", "timeout_ms": {number}"#))).timeout;
        assert_eq!(timeout, Some(Duration::from_millis(500)), "{number}");
    }
    let body = r#"{"devices": ["a"], "command": "c", "bulk": {"concurrency": 3.0}}"#;
    let Targets::Many(bulk) = job(&message(body)).targets else { panic!() };
    assert_eq!(bulk.concurrency, Some(3));
}

#[test]
fn many_devices_and_how_to_go_through_them() {
    let body = r#"{"devices": ["a", "b", "a"], "command": "open", "payload": 1,
        "bulk": {"rate_per_second": 200, "concurrency": 1000, "abort": {"failed_percent": 20, "after": 100}, "results": "summary"}}"#;
    let target = |device: &str, payload| Target { device: device.into(), payload };
    let Targets::Many(bulk) = job(&message(body)).targets else { panic!() };
    assert_eq!(bulk.targets, [target("a", None), target("b", None)]);
    assert_eq!((bulk.rate_per_second, bulk.concurrency), (Some(200.0), Some(1000)));
    assert_eq!(bulk.abort, Some(Abort { failed_percent: 20.0, after: 100 }));
    assert_eq!(bulk.results, BulkResults::Summary);

    let body = r#"{"targets": [{"device": "a", "payload": {"x" : 1}}, {"device": "b"}], "command": "open"}"#;
    let Targets::Many(bulk) = job(&message(body)).targets else { panic!() };
    let own = Payload::Json(Bytes::from_static(br#"{"x" : 1}"#));
    assert_eq!(bulk.targets, [target("a", Some(own)), target("b", None)]);
    assert_eq!((bulk.abort, bulk.results), (None, BulkResults::Stream));
}

#[test]
fn a_device_that_is_named_again_is_the_same_one() {
    let named = |fields: &str, limits: &Limits| {
        let body = format!(r#"{{{fields}, "command": "c"}}"#);
        let Targets::Many(bulk) = decode(&message(body), limits).unwrap().targets else { panic!() };
        bulk.targets.iter().map(|target| target.device.to_string()).collect::<Vec<_>>()
    };
    let counted = Limits { repeats: true, ..LIMITS };
    for fields in [
        r#""devices": ["b", "a", "b", "", "a"]"#,
        r#""targets": [{"device": "b", "payload": [1]}, {"device": "a"}, {"payload": [1], "device": "b"}, {"device": ""}, {"device": "a"}]"#,
    ] {
        assert_eq!(named(fields, &LIMITS), ["b", "a", ""]);
        assert_eq!(named(fields, &counted), ["b", "a", "b", "", "a"], "what is left of a bulk is as it was counted");
    }
}

#[test]
fn a_payload_goes_through_untouched() {
    for json in [
        "null",
        "0",
        "-1.50e+3",
        "1e300",
        "123456789012345678901234567890",
        r#""\u00fc""#,
        "[ 1,\n 2 ]",
        r#"{"b":1,"a":1,"b":2}"#,
    ] {
        let envelope = with(&format!(r#", "payload":  {json}  "#));
        assert_eq!(job(&envelope).payload, Payload::Json(Bytes::copy_from_slice(json.as_bytes())), "{json}");
    }
    let deepest = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(matches!(job(&with(&format!(r#", "payload": {deepest}"#))).payload, Payload::Json(_)));
}

#[test]
fn bytes_come_in_base64_as_the_only_member() {
    let payload = |json: &str| job(&with(&format!(r#", "payload": {json}"#))).payload;
    let bytes = Payload::Bytes(Bytes::from_static(b"\xff\x00!"));
    assert_eq!(payload(r#"{"$base64": "/wAh"}"#), bytes);
    assert_eq!(payload(r#"{ "\u0024base64" : "\/wAh" }"#), bytes);
    assert_eq!(payload(r#"{"$base64": ""}"#), Payload::Bytes(Bytes::new()));
    for json in
        [r#"{"$base64": "/wAh", "x": 1}"#, r#"{"x": 1, "$base64": "?"}"#, r#"[{"$base64": "?"}]"#, r#"{"$base": 1}"#]
    {
        assert_eq!(payload(json), Payload::Json(Bytes::copy_from_slice(json.as_bytes())), "{json}");
    }
}

#[test]
fn an_instant_counts_in_any_offset() {
    let at = |time: &str| job(&with(&format!(r#", "expires_at": "{time}""#))).expires_at;
    for time in
        ["2026-11-22T10:00:05Z", "2026-11-22T12:00:05+02:00", "2026-11-22t10:00:05.000z", "2026-11-22 04:30:05-05:30"]
    {
        assert_eq!(at(time), Some(1_795_341_605_000), "{time}");
    }
    assert_eq!(at("2026-11-22T10:00:05.1239Z"), Some(1_795_341_605_123));
    assert_eq!(at("1969-12-31T23:59:59Z"), Some(0));
    assert_eq!(at("2016-12-31T23:59:60Z"), Some(1_483_228_799_000));
}

#[test]
fn an_instant_may_lie_in_any_year_of_rfc_3339_and_is_written_as_it_was_read() {
    let at = |time: &str| job(&with(&format!(r#", "expires_at": "{time}""#))).expires_at.unwrap();
    let last = 253_402_300_799_999;
    for (time, unix_ms, written) in [
        ("9999-12-31T23:59:59Z", 253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
        ("9999-12-31T23:59:59.999999Z", last, "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59+01:00", 253_402_297_199_000, "9999-12-31T22:59:59.000Z"),
        ("9999-12-31T23:59:59-23:59", last, "9999-12-31T23:59:59.999Z"),
        ("0000-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"),
        ("0000-01-01T00:00:00+23:59", 0, "1970-01-01T00:00:00.000Z"),
    ] {
        assert_eq!((at(time), &*moment::text(at(time))), (unix_ms, written), "{time}");
        assert_eq!(at(written), unix_ms);
    }
    assert_eq!(moment::text(u64::MAX), "9999-12-31T23:59:59.999Z");
    let never = job(&with(r#", "not_before": "9999-12-31T23:59:58Z", "expires_at": "9999-12-31T23:59:59Z""#));
    assert_eq!(job(&encode(&never)), never);
}

#[test]
fn the_properties_of_the_message_count_too() {
    let expires = |fields: &str, expiration: &str, timestamp| {
        job(&Envelope { expiration: Some(expiration.into()), timestamp, ..with(fields) }).expires_at
    };
    let soon = r#", "expires_at": "1970-01-01T00:16:41Z""#;
    assert_eq!(expires("", "2000", Some(1000)), Some(1_002_999));
    assert_eq!(expires(soon, "2000", Some(1000)), Some(1_001_000));
    assert_eq!(expires(soon, "0", Some(1000)), Some(1_000_999));
    assert_eq!(expires("", "2000", None), None);
    assert_eq!(expires("", "18446744073709551615", Some(1000)), Some(u64::MAX));

    let mut envelope = Envelope { timestamp: Some(1000), ..with("") };
    assert_eq!(job(&envelope).enqueued_at, Some(1_000_000));
    envelope.headers.set("timestamp_in_ms", Value::Int(1_000_123));
    envelope.expiration = Some("5".to_owned());
    let job = job(&envelope);
    assert_eq!((job.enqueued_at, job.expires_at), (Some(1_000_123), Some(1_000_128)));
}

#[test]
fn a_time_to_live_of_a_message_that_does_not_say_when_it_was_made_begins_with_its_delivery() {
    let ends = |fields: &str, expiration: &str, timestamp| {
        let mut envelope = Envelope { expiration: Some(expiration.into()), timestamp, ..with(fields) };
        lives_from(&mut envelope, 1_000_000);
        // Looked at once more, it has its end already; so have copies of it, wherever they wait.
        lives_from(&mut envelope, 9_000_000);
        let end = job(&envelope).expires_at;
        assert_eq!(job(&parked(&envelope)).expires_at, end);
        end
    };
    assert_eq!(ends("", "500", None), Some(1_000_500));
    assert_eq!(ends(r#", "expires_at": "1970-01-01T00:16:40.2Z""#, "500", None), Some(1_000_200));
    assert_eq!(ends("", "500", Some(999)), Some(1_000_499), "what it says itself counts");
    assert_eq!(ends("", "0", None), None, "it was for whoever was there, and somebody was");
    assert_eq!(ends("", "", None), None);
    assert_eq!(ends("", "18446744073709551615", None), Some(i64::MAX as u64));
    let mut wrong = Envelope { expiration: Some("soon".into()), ..with("") };
    lives_from(&mut wrong, 1_000_000);
    assert!(decode(&wrong, &LIMITS).is_err());
}

#[test]
fn content_type_and_encoding_may_be_absent_or_spelled_out() {
    for (content_type, content_encoding) in [
        (None, None),
        (Some(""), Some("")),
        (Some("application/json"), Some("utf-8")),
        (Some("Application/JSON; charset=\"UTF-8\""), Some("UTF8")),
    ] {
        let envelope = Envelope {
            content_type: content_type.map(str::to_owned),
            content_encoding: content_encoding.map(str::to_owned),
            ..with("")
        };
        assert!(decode(&envelope, &LIMITS).is_ok(), "{content_type:?} {content_encoding:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_decoder(
        body in proptest::collection::vec(any::<u8>(), 0..100),
        text in r#"[{}\[\]":,a-z\\0-9 ]{0,60}"#,
        field in "(id|device|devices|targets|command|payload|mode|profile|timeout_ms|expires_at|not_before|guarantee|bulk)",
        value in r#"(-?[0-9]{1,30}(\.[0-9]+)?(e[0-9]{1,3})?|"\PC{0,10}"|\[("a",?)*\]|\{"[$a-z0-9_]*": ?("?[a-z0-9]*"?)\}|null|true)"#,
    ) {
        for body in [body, text.into_bytes(), format!(r#"{{"device": "d", "command": "c", "{field}": {value}}}"#).into_bytes()] {
            if let Err(undecodable) = decode(&message(body), &LIMITS) {
                prop_assert!(undecodable.failure.message.len() < 800, "{}", undecodable.failure.message);
                prop_assert!(!undecodable.failure.message.chars().any(char::is_control));
            }
        }
    }
}

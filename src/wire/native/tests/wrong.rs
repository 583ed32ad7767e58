//! Jobs that are wrong: each message names the field, what was found, and what would be right.

use super::*;

fn said(envelope: &Envelope) -> String {
    let Err(undecodable) = decode(envelope, &LIMITS) else { panic!("taken for a job: {envelope:?}") };
    assert_eq!(undecodable.failure.code, "invalid_job");
    undecodable.failure.message
}

#[test]
fn a_field_that_is_wrong() {
    let deep = format!(", \"payload\": {}{}", "[".repeat(101), "]".repeat(101));
    let large = format!(", \"payload\": \"{}\"", "x".repeat(999));
    let large_bytes = format!(", \"payload\": {{\"$base64\": \"{}\"}}", "AAAA".repeat(334));
    let long_id = format!(", \"id\": \"{}\"", "x".repeat(256));
    for (fields, expected) in [
        (r#", "colour": 1"#, "body has the unknown field \"colour\"; the fields are id, device, devices, targets,"),
        (r#", "a\u0000\n": 1"#, r#"body has the unknown field "a\0\n""#),
        (r#", "device": "e""#, "body has the field \"device\" twice; once is right"),
        (r#", "id": 7"#, "id is 7; a string is right"),
        (r#", "id": """#, "id has 0 bytes; 1 to 255 are right"),
        (&long_id, "id has 256 bytes; 1 to 255 are right"),
        (r#", "id": "a\u0007""#, r#"id "a\u{7}" contains the control character U+0007; printable"#),
        (r#", "id": "\ud800""#, "id is a string with a lone surrogate; a string is right"),
        (r#", "mode": "ask""#, r#"mode is "ask"; "request" or "publish" is right"#),
        (r#", "mode": null"#, r#"mode is null; "request" or "publish" is right"#),
        (r#", "profile": 1"#, "profile is 1; a string is right"),
        (r#", "profile": """#, "profile is \"\"; a profile's name"),
        (
            r#", "guarantee": "exactly_once""#,
            r#"guarantee is "exactly_once"; "at_most_once" or "at_least_once" is right"#,
        ),
        (
            r#", "timeout_ms": "5s""#,
            "timeout_ms is \"5s\"; a whole number of milliseconds from 1 to 2678400000 is right",
        ),
        (r#", "timeout_ms": 0"#, "timeout_ms is 0; a whole number of milliseconds"),
        (r#", "timeout_ms": -5"#, "timeout_ms is -5; a whole number of milliseconds"),
        (r#", "timeout_ms": 1.5"#, "timeout_ms is 1.5; a whole number of milliseconds"),
        (r#", "timeout_ms": 1e400"#, "timeout_ms is 1e400; a whole number of milliseconds"),
        (r#", "timeout_ms": 99999999999"#, "timeout_ms is 99999999999; a whole number of milliseconds"),
        (r#", "expires_at": "tomorrow""#, "expires_at is \"tomorrow\"; RFC 3339 with its offset, like"),
        (r#", "expires_at": "2026-11-22T10:00:05""#, "RFC 3339 with its offset"),
        (r#", "expires_at": "2026-11-22""#, "RFC 3339 with its offset"),
        (r#", "expires_at": "20261122T100005Z""#, "RFC 3339 with its offset"),
        (r#", "expires_at": "2026-13-22T10:00:05Z""#, "RFC 3339 with its offset"),
        (r#", "expires_at": "2026-11-22T10:00:05+02:00[Europe/Berlin]""#, "RFC 3339 with its offset"),
        (r#", "expires_at": 1795341605"#, "expires_at is 1795341605; RFC 3339 with its offset"),
        (r#", "not_before": []"#, "not_before is a list; RFC 3339 with its offset"),
        (
            r#", "not_before": "2026-11-22T10:00:05Z", "expires_at": "2026-11-22T10:00:05Z""#,
            "not_before is \"2026-11-22T10:00:05Z\"; a time before the job expires is right",
        ),
        (r#", "bulk": {}"#, "bulk is there, but the job has one device; devices or targets is right with it"),
        (r#", "devices": ["a"]"#, "device and devices are there together; exactly one of device, devices and targets"),
        (r#", "devices": ["a"], "targets": []"#, "device and devices and targets are there together"),
        (r#", "payload": {"$base64": "?"}"#, "payload.$base64 is no base64 ("),
        (r#", "payload": {"$base64": "/wA"}"#, "the standard alphabet with its padding is right"),
        (r#", "payload": {"$base64": 5}"#, "payload.$base64 is 5; a string in base64 is right"),
        (r#", "payload": 1e400"#, "payload is JSON that not every reader can read: number out of range"),
        (r#", "payload": ["\ud800"]"#, "payload is JSON that not every reader can read: "),
        (&deep, "payload is JSON that not every reader can read: it nests deeper than 100 levels"),
        (&large, "payload has 1001 bytes; at most 1000 (worker.max_payload_bytes) are right"),
        (&large_bytes, "payload has 1002 bytes; at most 1000 (worker.max_payload_bytes) are right"),
    ] {
        let said = said(&with(fields));
        assert!(said.contains(expected), "{fields}\n said: {said}\n want: {expected}");
    }
}

#[test]
fn a_bulk_that_is_wrong() {
    for (fields, expected) in [
        (r#""devices": "a""#, "devices is \"a\"; a list is right"),
        (r#""devices": []"#, "devices is an empty list; at least one device is right"),
        (r#""devices": ["a", 5]"#, "devices[1] is 5; a string is right"),
        (r#""devices": ["a","a","a","a","a","a"]"#, "devices has 6 devices; at most 5 are right"),
        (r#""targets": ["a"]"#, "targets[0] is JSON, but no object; an object is right"),
        (r#""targets": [{"device": "a"}, {}]"#, "targets[1].device is missing; a device's id is right"),
        (r#""targets": [{"device": 1}]"#, "targets[0].device is 1; a string is right"),
        (
            r#""targets": [{"device": "a", "x": 1}]"#,
            "targets[0] has the unknown field \"x\"; the fields are device, payload",
        ),
        (r#""targets": [{"device": "a", "device": "b"}]"#, "targets[0] has the field \"device\" twice"),
        (
            r#""targets": [{"device": "a", "payload": 1}, {"device": "b"}, {"device": "a", "payload": 2}]"#,
            "targets[2] names the device \"a\" once more, with another payload; once is right",
        ),
        (
            r#""targets": [{"device": "a", "payload": 1}, {"device": "a"}]"#,
            "targets[1] names the device \"a\" once more",
        ),
        (r#""targets": [{"device": "a", "payload": {"$base64": "?"}}]"#, "targets[0].payload.$base64 is no base64"),
        (r#""devices": ["a"], "bulk": 5"#, "bulk is JSON, but no object; an object is right"),
        (
            r#""devices": ["a"], "bulk": {"rate": 5}"#,
            "bulk has the unknown field \"rate\"; the fields are rate_per_second,",
        ),
        (
            r#""devices": ["a"], "bulk": {"rate_per_second": 0}"#,
            "bulk.rate_per_second is 0; a number from 0.001 is right",
        ),
        (r#""devices": ["a"], "bulk": {"rate_per_second": -1}"#, "bulk.rate_per_second is -1; a number from 0.001"),
        (r#""devices": ["a"], "bulk": {"rate_per_second": 1e999}"#, "bulk.rate_per_second is 1e999; a number from"),
        (r#""devices": ["a"], "bulk": {"concurrency": 0}"#, "bulk.concurrency is 0; a whole number from 1 to"),
        (r#""devices": ["a"], "bulk": {"concurrency": 1.5}"#, "bulk.concurrency is 1.5; a whole number from 1 to"),
        (r#""devices": ["a"], "bulk": {"results": "all"}"#, r#"bulk.results is "all"; "stream" or "summary" is right"#),
        (r#""devices": ["a"], "bulk": {"abort": {}}"#, "bulk.abort.failed_percent is missing;"),
        (r#""devices": ["a"], "bulk": {"abort": {"failed_percent": 1}}"#, "bulk.abort.after is missing;"),
        (
            r#""devices": ["a"], "bulk": {"abort": {"failed_percent": 101, "after": 1}}"#,
            "bulk.abort.failed_percent is 101; a number above 0 and up to 100 is right",
        ),
        (
            r#""devices": ["a"], "bulk": {"abort": {"failed_percent": 0, "after": 1}}"#,
            "bulk.abort.failed_percent is 0;",
        ),
        (
            r#""devices": ["a"], "bulk": {"abort": {"failed_percent": 1, "after": 0}}"#,
            "bulk.abort.after is 0; a whole number",
        ),
    ] {
        let said = said(&message(format!(r#"{{"command": "c", {fields}}}"#)));
        assert!(said.contains(expected), "{fields}\n said: {said}\n want: {expected}");
    }
}

#[test]
fn a_body_that_is_no_job_at_all() {
    let half = r#"{"device": "d", "command": "c""#;
    let brackets = "[".repeat(1_000_000);
    for (body, expected) in [
        (&b""[..], "body is empty; a JSON object is right"),
        (b"[]", "body is JSON, but no object; an object is right"),
        (b"\"x\"", "body is JSON, but no object; an object is right"),
        (b"5", "body is JSON, but no object"),
        (b"{", "body is no JSON: EOF"),
        (b"garbage", "body is no JSON: "),
        (half.as_bytes(), "body is no JSON: EOF"),
        (b"{} {}", "body is no JSON: trailing characters"),
        (brackets.as_bytes(), "body is JSON, but no object"),
        (b"\xff\xfe{}", "body is no UTF-8 from byte 0 on; JSON in UTF-8 is right"),
        (b"\xef\xbb\xbf{}", "body begins with a byte order mark; a JSON object from the first byte on is right"),
        (b"{}", "device is missing; exactly one of device, devices and targets is right"),
        (br#"{"device": "d"}"#, "command is missing; the command's name is right"),
        (br#"{"device": 5, "command": "c"}"#, "device is 5; a string is right"),
        (br#"{"device": "d", "command": {}}"#, "command is an object; a string is right"),
    ] {
        let said = said(&message(Bytes::copy_from_slice(body)));
        assert!(said.contains(expected), "{:?}\n said: {said}\n want: {expected}", String::from_utf8_lossy(body));
    }
}

#[test]
fn properties_that_are_wrong() {
    let long = "x".repeat(256);
    let wrong = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = with("");
        change(&mut envelope);
        said(&envelope)
    };
    let text = |text: &str| Some(text.to_owned());
    for (said, expected) in [
        (
            wrong(&|e| e.content_type = text("application/x-python-serialize")),
            "content_type is \"application/x-python-serialize\"; \"application/json\" is right",
        ),
        (wrong(&|e| e.content_type = text("application/json; charset=latin-1")), "content_type is"),
        (wrong(&|e| e.content_type = text("text/\n")), r#"content_type is "text/\n""#),
        (wrong(&|e| e.content_encoding = text("gzip")), "content_encoding is \"gzip\"; \"utf-8\" is right"),
        (wrong(&|e| e.message_id = Some(long.clone())), "message_id has 256 bytes; 1 to 255 are right"),
        (
            wrong(&|e| e.expiration = text("5s")),
            "the AMQP property expiration is \"5s\"; a whole number of milliseconds is right",
        ),
    ] {
        assert!(said.contains(expected), "said: {said}\n want: {expected}");
    }
}

#[test]
fn a_refusal_carries_what_could_be_read() {
    let refused = |envelope: &Envelope| {
        let undecodable = decode(envelope, &LIMITS).unwrap_err();
        let text = |text: Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        (text(undecodable.id), text(undecodable.device), text(undecodable.command))
    };
    let some = |text: &str| Some(text.to_owned());
    let all = (some("i"), some("d"), some("c"));
    assert_eq!(refused(&with(r#", "unknown": 1, "id": "i""#)), all);
    assert_eq!(refused(&message(r#"{"id": "i", "device": "d", "command": "c", "payload": "#)), all);
    assert_eq!(refused(&message(r#"{"id": 5, "device": ["d"]}"#)), (None, None, None));
    let named = |body: &'static str| Envelope { message_id: some("m"), ..message(body) };
    assert_eq!(refused(&named("garbage")), (some("m"), None, None));
    assert_eq!(refused(&named(r#"{"id": "\u0000", "command": "c"}"#)), (some("m"), None, some("c")));
    let zipped = Envelope { content_encoding: some("gzip"), ..named("\u{1f}") };
    assert_eq!(refused(&zipped), (some("m"), None, None));
    let long = message(format!(r#"{{"device": "{}"}}"#, "ü".repeat(1000)));
    assert_eq!(refused(&long).1.unwrap().len(), 254);
}

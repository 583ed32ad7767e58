//! The three dialects that need no configuration.

use super::*;

const SPEED: &[u8] = br#"{"speed": 2}"#;

fn json(text: &'static [u8]) -> Payload {
    Payload::Json(Bytes::from_static(text))
}

#[test]
fn every_builtin_profile_compiles() {
    let all = super::super::builtin();
    for (name, table) in &all {
        let compiled = Profile::compile(name, table);
        assert!(compiled.is_ok(), "{name}: {:?}", compiled.err());
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["default", "json", "mqtt5"]);
}

#[test]
fn default_speaks_as_the_contract_has_it() {
    let profile = profile("default");
    let message = profile.render(&call("garage-7", "open", &json(SPEED))).unwrap();
    assert_eq!(message.topic.as_str(), "devices/garage-7/commands/open/in/7");
    assert_eq!(message.payload, SPEED);
    assert_eq!((message.qos, message.retain, message.expiry), (1, false, true));
    assert_eq!((message.correlation, message.content_type), (None, None));
    let answer = message.answer.unwrap();
    assert_eq!(answer.topic.as_str(), "devices/garage-7/responses/in/7");
    assert_eq!(answer.filter.as_str(), "devices/+/responses/in/+");
    assert!(!answer.in_request && answer.others.is_empty());
    assert_eq!(profile.standing_filter("in"), Some(answer.filter));
    assert_eq!(profile.standing_filter("other").unwrap().as_str(), "devices/+/responses/other/+");
    assert!(!profile.one_at_a_time() && !profile.needs_mqtt5() && !profile.retained_answers());
}

#[test]
fn default_carries_any_payload_as_it_is() {
    let profile = profile("default");
    let sent = |payload: Payload| profile.render(&call("a", "b", &payload)).unwrap().payload;
    assert_eq!(sent(Payload::Empty), "");
    assert_eq!(sent(json(b"null")), "null");
    assert_eq!(sent(json(br#""text""#)), r#""text""#);
    assert_eq!(sent(Payload::Bytes(Bytes::from_static(b"\xff\0"))), &b"\xff\0"[..]);
}

#[test]
fn default_takes_only_answers_to_its_own_inbox_in_its_own_spelling() {
    let profile = profile("default");
    let identify = |topic: &'static str| profile.identify("in", topic, b"", None);
    let max = "devices/d/responses/in/340282366920938463463374607431768211455";
    for (topic, device, attempt) in [
        ("devices/garage-7/responses/in/7", "garage-7", 7),
        ("devices/d/responses/in/0", "d", 0),
        (max, "d", u128::MAX),
    ] {
        let expected = Identified { device: Some(device), key: Key::Attempt(attempt), code: None };
        assert_eq!(identify(topic), Some(expected), "{topic}");
    }
    for topic in [
        "devices/d/responses/other/7",
        "devices/d/responses/in",
        "devices/d/responses/in/",
        "devices/d/responses/in/7/",
        "devices/d/responses/in/7/x",
        "devices/d/responses/in/07",
        "devices/d/responses/in/+7",
        "devices/d/responses/in/-7",
        "devices/d/responses/in/7a",
        "devices/d/responses/in/340282366920938463463374607431768211456",
        "devices//responses/in/7",
        "devices/d/response/in/7",
        "Devices/d/responses/in/7",
        "/devices/d/responses/in/7",
        "devices/d/e/responses/in/7",
        "devices/d/commands/open/in/7",
        "",
    ] {
        assert_eq!(identify(topic), None, "{topic:?}");
    }
}

#[test]
fn default_reads_an_error_member_as_a_rejection_and_all_else_as_success() {
    let profile = profile("default");
    let deep = format!("{}1{}", r#"{"x":"#.repeat(5000), "}".repeat(5000));
    for success in [
        "",
        "ok",
        "{",
        "{}",
        "null",
        r#"{"door": "open"}"#,
        r#"{"error": null}"#,
        r#"{"error": false}"#,
        r#"{"result": {"error": "inner"}}"#,
        r#"["error"]"#,
        r#""error""#,
        r#"{"error": "x"} trailing"#,
        r#"{"error": "x""#,
        r#"{error: "x"}"#,
        &deep,
    ] {
        assert_eq!(profile.read(success.as_bytes()), Reading::Success, "{success}");
    }
    assert_eq!(profile.read(b"{\"a\": \"\xff\"}"), Reading::Success);
    for (answer, expected) in [
        (r#"{"error": {"code": "busy", "message": "try later"}}"#, error("busy", "try later")),
        (r#" {"a": 1, "error": {"code": 17, "message": "x\ny"}}"#, error("17", "x\ny")),
        (r#"{"error": "stuck"}"#, error("device_error", "stuck")),
        (r#"{"\u0065rror": "stuck"}"#, error("device_error", "stuck")),
        (r#"{"error": {"code": "c"}}"#, error("c", r#"{"code": "c"}"#)),
        (r#"{"error": {"code": {}, "message": []}}"#, error("device_error", r#"{"code": {}, "message": []}"#)),
        (r#"{"error": 5}"#, error("device_error", "5")),
        (r#"{"error": true}"#, error("device_error", "true")),
    ] {
        assert_eq!(profile.read(answer.as_bytes()), expected, "{answer}");
    }
}

#[test]
fn what_a_device_says_of_its_error_is_bounded() {
    let long = format!(r#"{{"error": {{"code": "{0}", "message": "{0}"}}}}"#, "ü".repeat(5000));
    let Reading::Error { code, message } = profile("default").read(long.as_bytes()) else { panic!() };
    assert_eq!((code.len(), message.len()), (128, 1024));
}

#[test]
fn json_wraps_the_command_and_is_matched_by_its_id() {
    let profile = profile("json");
    let message = profile.render(&call("garage-7", "open", &json(SPEED))).unwrap();
    assert_eq!(message.topic.as_str(), "devices/garage-7/request");
    let expected = "{\"command\":\"open\",\"expires_at\":\"2026-11-22T10:00:05Z\",\
                    \"id\":\"00000000000000000000000000000007\",\"job\":\"job-1\",\"payload\":{\"speed\": 2}}";
    assert_eq!(message.payload, expected);
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
    let answer = message.answer.unwrap();
    assert_eq!(answer.topic.as_str(), "devices/garage-7/response");
    assert_eq!(answer.filter.as_str(), "devices/garage-7/response");
    assert_eq!(profile.standing_filter("in"), None);

    let identify = |payload: &'static str| {
        profile.identify("in", "devices/garage-7/response", payload.as_bytes(), None).map(|found| found.key)
    };
    let id = r#"{"ok": true, "id": "00000000000000000000000000000007"}"#;
    assert_eq!(identify(id), Some(Key::Attempt(7)));
    for payload in ["", "ok", r#"{"id": 7}"#, r#"{"id": "7"}"#, r#"{"id": null}"#, r#"{"ok": true}"#] {
        assert_eq!(identify(payload), None, "{payload}");
    }
    let other = profile.identify("in", "devices/other/response", id.as_bytes(), None).unwrap();
    assert_eq!(other.device, Some("other"));
}

#[test]
fn json_leaves_out_what_the_command_does_not_have() {
    let profile = profile("json");
    let payload = |payload: Payload, expires_at| {
        let call = Call { expires_at, job_id: "j\"\n", ..call("a", "b", &payload) };
        String::from_utf8(profile.render(&call).unwrap().payload.to_vec()).unwrap()
    };
    let id = "00000000000000000000000000000007";
    assert_eq!(payload(Payload::Empty, None), format!(r#"{{"command":"b","id":"{id}","job":"j\"\n"}}"#));
    let bytes = payload(Payload::Bytes(Bytes::from_static(b"\xff")), None);
    assert_eq!(bytes, format!(r#"{{"command":"b","id":"{id}","job":"j\"\n","payload":{{"$base64":"/w=="}}}}"#));
    assert!(payload(Payload::Empty, Some(u64::MAX)).contains("\"id\""), "an instant beyond the calendar is none");
}

#[test]
fn mqtt5_uses_response_topic_and_correlation_data() {
    let profile = profile("mqtt5");
    let message = profile.render(&call("d", "open", &Payload::Empty)).unwrap();
    assert_eq!(message.topic.as_str(), "devices/d/commands/open");
    let answer = message.answer.unwrap();
    assert_eq!(answer.topic.as_str(), "devices/d/responses/in");
    assert_eq!(answer.filter.as_str(), "devices/+/responses/in");
    assert!(answer.in_request && profile.needs_mqtt5());
    assert_eq!(message.correlation.as_deref(), Some(&7u128.to_be_bytes()[..]));
    assert_eq!(message.user_properties, [("job".to_owned(), "job-1".to_owned())]);

    let identify = |correlation: Option<&[u8]>| profile.identify("in", "devices/d/responses/in", b"", correlation);
    let found = identify(Some(&7u128.to_be_bytes())).unwrap();
    assert_eq!((found.device, found.key), (Some("d"), Key::Attempt(7)));
    assert_eq!(identify(None), None);
    assert_eq!(identify(Some(b"short")), None);
    assert_eq!(identify(Some(&[0; 17])), None);
}

#[test]
fn names_that_a_topic_cannot_carry_are_invalid_and_the_message_says_why() {
    let profile = profile("default");
    let long = "x".repeat(257);
    for (name, said) in [
        ("", "is empty"),
        ("a/b", "'/'"),
        ("/", "'/'"),
        ("a+", "'+'"),
        ("#", "'#'"),
        ("$SYS", "'$'"),
        ("a\0b", "U+0000"),
        ("a\r\nb", "U+000D"),
        ("a\u{85}", "U+0085"),
        ("a\u{FFFF}", "U+FFFF"),
        (&long, "257 bytes"),
    ] {
        for (field, call) in
            [("device", call(name, "open", &Payload::Empty)), ("command", call("d", name, &Payload::Empty))]
        {
            let invalid = profile.render(&call).unwrap_err();
            assert_eq!(invalid.field, field);
            assert!(invalid.message.starts_with(field) && invalid.message.contains(said), "{}", invalid.message);
            assert!(invalid.message.contains("right"), "{}", invalid.message);
            assert!(!invalid.message.contains(['\0', '\r', '\n']), "{}", invalid.message);
        }
    }
    for name in ["ü", "a b", "a.b", "..", "a$", "dev:1@x"] {
        assert!(profile.render(&call(name, name, &Payload::Empty)).is_ok(), "{name}");
    }
    assert!(
        super::profile("json").render(&call("d", "a/+", &Payload::Empty)).is_ok(),
        "it is no part of a topic there"
    );
}

#[test]
fn a_device_says_that_it_is_there_on_its_status_topic() {
    let profile = profile("default");
    let presence = profile.presence().unwrap();
    assert_eq!(presence.topic("d").unwrap().as_str(), "devices/d/status");
    assert_eq!(presence.filter().unwrap().as_str(), "devices/+/status");
    assert_eq!(presence.device("devices/d/status"), Some("d"));
    assert_eq!(presence.device("devices/d/state"), None);
    assert_eq!(presence.is_online(b"online"), Some(true));
    assert_eq!(presence.is_online(b"offline"), Some(false));
    assert_eq!(presence.is_online(b"?"), None);
}

#[test]
fn who_speaks_is_known_even_where_it_is_no_answer() {
    let (default, json, mqtt5) = (profile("default"), profile("json"), profile("mqtt5"));
    assert_eq!(default.speaker("in", "devices/d/responses/in/7", b""), Some("d"));
    assert_eq!(default.speaker("in", "devices/d/responses/other/7", b""), None);
    assert_eq!(default.speaker("in", "devices/d/status", b""), None);
    assert_eq!(json.speaker("in", "devices/d/response", b"no json"), Some("d"));
    assert_eq!(mqtt5.speaker("in", "devices/d/responses/in", b""), Some("d"));
}

//! Dialects of the field, written as configuration alone: the schema must have words for them.

use super::*;

#[test]
fn an_answer_topic_can_say_how_it_went() {
    let profile = compile(
        r#"
        topic = "{device}/$iothub/methods/POST/{command}/?$rid={attempt}"
        qos = 0
        responses = ["{device}/$iothub/methods/res/{code}/?$rid={attempt}"]
        correlate = "topic"
        success = { of = "code", from = 200, to = 299 }
        error_code = "code"
        error_message = "json:/message"
        "#,
    )
    .unwrap();
    let message = profile.render(&call("d", "reboot", &Payload::Empty)).unwrap();
    let rid = "00000000000000000000000000000007";
    assert_eq!(message.topic.as_str(), format!("d/$iothub/methods/POST/reboot/?$rid={rid}"));
    let answer = message.answer.unwrap();
    assert_eq!(answer.filter.as_str(), "d/$iothub/methods/res/+/+");
    let topic = format!("d/$iothub/methods/res/404/?$rid={rid}");
    assert!(answer.filter.matches(&topic));
    let found = profile.identify("in", &topic, b"{}", None).unwrap();
    assert_eq!((found.device, found.key, found.code), (Some("d"), Key::Attempt(7), Some("404")));
    let payload = br#"{"message": "no such method"}"#;
    let judged = |code| profile.judge(&Answer { payload, code: Some(code), ..Answer::default() });
    assert_eq!(judged("404"), error("404", "no such method"));
    assert_eq!(judged("200"), Reading::Success);
}

#[test]
fn progress_comes_before_the_answer() {
    let profile = compile(
        r#"
        topic = "$aws/commands/things/{device}/executions/{attempt}/request/json"
        responses = ["$aws/commands/things/{device}/executions/{attempt}/response/json"]
        subscribe = "shared"
        correlate = "topic"
        progress = { of = "json:/status", in = ["IN_PROGRESS"] }
        error = { of = "json:/status", in = ["FAILED", "REJECTED", "TIMED_OUT"] }
        error_code = "json:/statusReason/reasonCode"
        error_message = "json:/statusReason/reasonDescription"
        device_characters = "A-Za-z0-9:_-"
        "#,
    )
    .unwrap();
    assert_eq!(profile.standing_filter("in").unwrap().as_str(), "$aws/commands/things/+/executions/+/response/json");
    assert_eq!(profile.read(br#"{"status": "IN_PROGRESS"}"#), Reading::Progress);
    assert_eq!(profile.read(br#"{"status": "SUCCEEDED"}"#), Reading::Success);
    let failed = br#"{"status": "FAILED", "statusReason": {"reasonCode": "LOW_BATTERY", "reasonDescription": "9 %"}}"#;
    assert_eq!(profile.read(failed), error("LOW_BATTERY", "9 %"));
    assert_eq!(profile.read(br#"{"status": "REJECTED"}"#), error("device_error", "REJECTED"));
}

#[test]
fn the_answer_can_name_its_device_in_its_json() {
    let profile = compile(
        r#"
        topic = "{device}/rpc"
        payload = "json"
        json = { id = "{attempt}", src = "{inbox}", method = "{command}", params = "{payload}" }
        responses = ["{inbox}/rpc"]
        subscribe = "shared"
        correlate = "json:/id"
        answer_device = "json:/src"
        error = "json:/error"
        error_code = "json:/error/code"
        error_message = "json:/error/message"
        in_flight_per_device = 2
        "#,
    )
    .unwrap();
    assert_eq!(profile.standing_filter("in").unwrap().as_str(), "in/rpc");
    let payload =
        br#"{"id": "00000000000000000000000000000007", "src": "plug-1", "error": {"code": -105, "message": "?"}}"#;
    let found = profile.identify("in", "in/rpc", payload, None).unwrap();
    assert_eq!((found.device, found.key), (Some("plug-1"), Key::Attempt(7)));
    assert_eq!(profile.read(payload), error("-105", "?"));
    assert_eq!(profile.identify("in", "in/rpc", br#"{"id": "00000000000000000000000000000007"}"#, None), None);
}

#[test]
fn a_small_number_can_be_the_attempt() {
    let profile = compile(
        r#"
        topic = "{device}/v1/gateway/rpc"
        payload = "json"
        json = { device = "{device}", data = { id = "{seq}", method = "{command}", params = "{payload}" } }
        responses = ["{device}/v1/gateway/rpc/up"]
        correlate = "json:/id"
        attempt_bits = 31
        "#,
    )
    .unwrap();
    let message = profile.render(&call("d", "on", &Payload::Empty)).unwrap();
    assert_eq!(message.payload, r#"{"data":{"id":7,"method":"on"},"device":"d"}"#);
    for (payload, expected) in [(r#"{"id": 7}"#, Some(7)), (r#"{"id": "7"}"#, Some(7)), (r#"{"id": 7.0}"#, None)] {
        let found = profile.identify("in", "d/v1/gateway/rpc/up", payload.as_bytes(), None);
        assert_eq!(found.map(|found| found.key), expected.map(Key::Attempt), "{payload}");
    }
}

#[test]
fn members_can_be_added_to_the_payload_and_names_can_span_levels() {
    let profile = compile(
        r#"
        topic = "zigbee2mqtt-{device}/bridge/request/{command}"
        command_levels = 4
        payload = "json"
        json = { "..." = "{payload}", transaction = "{attempt}" }
        responses = ["zigbee2mqtt-{device}/bridge/response/{command}"]
        correlate = "json:/transaction"
        error = { of = "json:/status", in = ["error"] }
        error_message = "json:/error"
        "#,
    )
    .unwrap();
    let sent = |json: &'static str| {
        let payload = if json.is_empty() { Payload::Empty } else { Payload::Json(Bytes::from_static(json.as_bytes())) };
        profile.render(&call("home", "device/rename", &payload))
    };
    let transaction = r#""transaction":"00000000000000000000000000000007"}"#;
    assert_eq!(sent(r#"{ "from": "a" }"#).unwrap().payload, format!("{{\"from\": \"a\",{transaction}"));
    assert_eq!(sent("{}").unwrap().payload, format!("{{{transaction}"));
    assert_eq!(sent("").unwrap().payload, format!("{{{transaction}"));
    assert_eq!(sent("[1]").unwrap_err().field, "payload");
    let answer = sent("{}").unwrap().answer.unwrap();
    assert_eq!(answer.filter.as_str(), "zigbee2mqtt-home/bridge/response/device/rename");
    let payload = br#"{"status": "error", "error": "no", "transaction": "00000000000000000000000000000007"}"#;
    let identify = |topic| profile.identify("in", topic, payload, None).map(|found| found.device);
    assert_eq!(identify("zigbee2mqtt-home/bridge/response/device/rename"), Some(Some("home")));
    assert_eq!(identify("zigbee2mqtt-home/bridge/response/a/b/c/d"), Some(Some("home")));
    assert_eq!(identify("zigbee2mqtt-home/bridge/response/a/b/c/d/e"), None);
    assert_eq!(identify("zigbee2mqtt-home/bridge/response"), None);
    assert_eq!(identify("zigbee2mqtt-/bridge/response/x"), None);
    assert_eq!(profile.read(payload), error("device_error", "no"));
}

#[test]
fn properties_of_mqtt_5_can_say_how_it_went() {
    let profile = compile(
        r#"
        topic = "vehicles/{device}/command/{command}"
        responses = ["clients/{inbox}/vehicles/{device}/command/{command}"]
        subscribe = "shared"
        correlate = "mqtt5"
        response_topic = true
        expiry = true
        user_properties = { __protVer = "1.0", __srcId = "{inbox}", deadline = "{expires_at_ms}" }
        success = { of = "property:__stat", in = [200, 204] }
        error_code = "property:__stat"
        error_message = "property:__stMsg"
        "#,
    )
    .unwrap();
    let call = Call { expires_at: None, ..call("d", "lock", &Payload::Empty) };
    let sent = profile.render(&call).unwrap();
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(sent.user_properties, [property("__protVer", "1.0"), property("__srcId", "in")]);
    assert_eq!(sent.answer.unwrap().filter.as_str(), "clients/in/vehicles/+/command/+");
    let judged =
        |properties: &[(String, String)]| profile.judge(&Answer { user_properties: properties, ..Answer::default() });
    assert_eq!(judged(&[property("__stat", "204")]), Reading::Success);
    assert_eq!(judged(&[property("__stat", "500"), property("__stMsg", "door open")]), error("500", "door open"));
    assert_eq!(judged(&[]), error("device_error", "the answer is not what its profile calls a success"));
}

#[test]
fn a_bare_parameter_and_several_answer_topics() {
    let profile = compile(
        r#"
        topic = "cmnd/{device}/{command}"
        payload = "text"
        responses = ["stat/{device}/RESULT", "stat/{device}/{command}"]
        correlate = "none"
        error = { of = "json:/Command", in = ["Unknown", "Error"] }
        status = { topic = "tele/{device}/LWT", online = "Online", offline = "Offline" }
        "#,
    )
    .unwrap();
    let sent = |json: &'static str| {
        profile.render(&call("plug", "POWER", &Payload::Json(Bytes::from_static(json.as_bytes())))).unwrap()
    };
    assert_eq!(sent(r#""ON""#).payload, "ON");
    assert_eq!(sent("1").payload, "1");
    let answer = sent("1").answer.unwrap();
    assert_eq!(answer.topic.as_str(), "stat/plug/RESULT");
    assert_eq!(answer.others[0].1.as_str(), "stat/plug/POWER");
    let found = profile.identify("in", "stat/plug/POWER", b"ON", None).unwrap();
    assert_eq!((found.device, found.key), (Some("plug"), Key::AnswerTopic));
    assert_eq!(profile.read(br#"{"Command":"Unknown"}"#), error("device_error", "Unknown"));
    assert_eq!(profile.presence().unwrap().is_online(b"Offline"), Some(false));
}

#[test]
fn each_of_several_shared_answer_topics_has_its_own_filter() {
    let profile = compile(
        r#"
        topic = "t/{device}/{command}/{inbox}/{attempt}"
        responses = ["ok/{device}/{command}/{inbox}/{attempt}", "no/{device}/{inbox}/{attempt}"]
        subscribe = "shared"
        correlate = "topic"
        "#,
    )
    .unwrap();
    assert_eq!(profile.standing_filter("in"), None);
    let answer = profile.render(&call("d", "c", &Payload::Empty)).unwrap().answer.unwrap();
    assert_eq!(answer.filter.as_str(), "ok/+/+/in/+");
    assert_eq!(answer.others[0].1.as_str(), "no/+/in/+");
}

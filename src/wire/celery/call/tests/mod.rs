//! Calls in every spelling, right and wrong, of our own tasks.

mod mapping;
mod property;

use super::*;
use crate::job::{Abort, Bulk, BulkResults, Target};
use crate::wire::celery::{Embed, Head, Json};
use serde_json::{Value, json};

pub(super) const LIMITS: Limits = Limits { max_payload_bytes: 64, max_devices: 3, no_devices: false, repeats: false };

pub(super) fn raw(json: &str) -> Json {
    Json::from(serde_json::value::RawValue::from_string(json.to_owned()).unwrap())
}

/// A task of that name; arguments as JSON, a list and an object.
pub(super) fn task(name: &str, args: &str, kwargs: &str) -> Task {
    Task {
        head: Head { id: "t1".into(), name: name.into(), ..Head::default() },
        shadow: None,
        args: serde_json::from_str(args).unwrap(),
        kwargs: serde_json::from_str::<BTreeMap<String, Json>>(kwargs).unwrap().into_iter().collect(),
        embed: Embed::default(),
        eta: Some(7),
        expires: Some(9),
        retries: 0,
        soft_limit: None,
        hard_limit: None,
        args_repr: String::new(),
        kwargs_repr: String::new(),
        stamps: Vec::new(),
        extra: crate::envelope::Headers::default(),
    }
}

pub(super) fn read(name: &str, args: &str, kwargs: &str) -> Job {
    Calls::default().read(&task(name, args, kwargs), &LIMITS).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

/// The text of the exception of a call that is wrong.
pub(super) fn wrong(calls: &Calls, name: &str, args: &str, kwargs: &str) -> String {
    let exception = calls.read(&task(name, args, kwargs), &LIMITS).unwrap_err();
    assert_eq!((&*exception.module, &*exception.kind), ("switchboard.exceptions", "InvalidCommand"), "{exception:?}");
    let [Value::String(text), details] = &exception.args[..] else { panic!("{exception:?}") };
    assert_eq!(
        (&details["id"], &details["status"], &details["executed"]),
        (&json!("t1"), &json!("invalid"), &json!("no"))
    );
    text.clone()
}

#[test]
fn a_request_is_read_in_every_spelling() {
    let job = Job {
        payload: Payload::Json("{\"speed\": 2}".into()),
        expires_at: Some(9),
        not_before: Some(7),
        ..Job::new("t1", Targets::One("d".into()), "open")
    };
    for (args, kwargs) in [
        (r#"["d", "open", {"speed": 2}]"#, "{}"),
        (r#"["d", "open"]"#, r#"{"payload": {"speed": 2}}"#),
        (r#"["d"]"#, r#"{"payload": {"speed": 2}, "command": "open"}"#),
        ("[]", r#"{"payload": {"speed": 2}, "command": "open", "device": "d", "profile": null, "timeout": null}"#),
    ] {
        assert_eq!(read("switchboard.request", args, kwargs), job, "{args} {kwargs}");
    }
    let options = r#"{"profile": "json", "timeout": 2.5, "guarantee": "at_least_once"}"#;
    let job = read("switchboard.request", r#"["d", "open", null]"#, options);
    assert_eq!((&*job.profile, job.timeout, job.payload), ("json", Some(Duration::from_millis(2_500)), Payload::Empty));
    assert_eq!(job.guarantee, Some(Guarantee::AtLeastOnce));
    let job = read("switchboard.publish", r#"["d", "open"]"#, "{}");
    assert_eq!((job.mode, job.payload, job.timeout), (Mode::Publish, Payload::Empty, None));
}

#[test]
fn a_payload_is_its_text_bytes_are_bytes_and_none_is_none() {
    for (payload, read_as) in [
        ("null", Payload::Empty),
        ("1.50", Payload::Json("1.50".into())),
        ("\"x\"", Payload::Json("\"x\"".into())),
        (
            r#"{"b": 1, "a": 123456789012345678901234567890}"#,
            Payload::Json(r#"{"b": 1, "a": 123456789012345678901234567890}"#.into()),
        ),
        (r#"{"__type__": "bytes", "__value__": "raw"}"#, Payload::Bytes("raw".into())),
        (r#"["\uE000NaN"]"#, Payload::Json("[NaN]".into())),
        (r#"{"__type__": "base64", "__value__": "/wA="}"#, Payload::Bytes(bytes::Bytes::from_static(b"\xff\0"))),
        (
            r#"{"__type__": "uuid", "__value__": {"hex": "00112233445566778899aabbccddeeff"}}"#,
            Payload::Json("\"00112233-4455-6677-8899-aabbccddeeff\"".into()),
        ),
        (r#"{"a": {"__type__": "decimal", "__value__": "1.0"}}"#, Payload::Json(r#"{"a": "1.0"}"#.into())),
    ] {
        let job = read("switchboard.request", &format!("[\"d\", \"c\", {payload}]"), "{}");
        assert_eq!(job.payload, read_as, "{payload}");
    }
}

#[test]
fn a_bulk_is_read_with_devices_of_either_kind_and_its_options() {
    let target = |device: &str, payload: Option<Payload>| Target { device: device.into(), payload };
    let args = r#"[["a", {"device": "b", "payload": 1}, {"device": "c", "payload": null}], "open"]"#;
    let job = read("switchboard.bulk", args, r#"{"rate": 2, "concurrency": 5, "abort": "20%:100"}"#);
    let bulk = Bulk {
        targets: vec![target("a", None), target("b", Some(Payload::Json("1".into()))), target("c", None)],
        rate_per_second: Some(2.0),
        concurrency: Some(5),
        abort: Some(Abort { failed_percent: 20.0, after: 100 }),
        results: BulkResults::Summary,
    };
    assert_eq!(job.targets, Targets::Many(bulk));
    let job = read("switchboard.bulk", r#"[["a"], "open"]"#, r#"{"abort": {"failed_percent": 0.5, "after": 1}}"#);
    let Targets::Many(bulk) = job.targets else { panic!("{:?}", job.targets) };
    assert_eq!((bulk.abort, bulk.rate_per_second), (Some(Abort { failed_percent: 0.5, after: 1 }), None));
}

#[test]
fn an_id_that_is_a_uuid_in_python_is_its_text() {
    let uuid = r#"{"__type__": "uuid", "__value__": {"hex": "00112233445566778899aabbccddeeff"}}"#;
    let text = "00112233-4455-6677-8899-aabbccddeeff";
    let job = read("switchboard.request", &format!("[{uuid}, \"c\"]"), "{}");
    assert_eq!(job.targets, Targets::One(text.into()));
    let job = read("switchboard.bulk", &format!("[[{uuid}, {{\"device\": {uuid}}}], \"c\"]"), "{}");
    let Targets::Many(bulk) = job.targets else { panic!("{:?}", job.targets) };
    assert_eq!(bulk.targets, [Target { device: text.into(), payload: None }], "the same device both times");
}

#[test]
fn a_wrong_call_is_told_as_python_tells_it_and_with_the_signature() {
    let right = "; right is switchboard.publish(device, command, payload=None, *, profile=None)";
    for (args, kwargs, said) in [
        ("[]", "{}", "missing 2 required positional arguments: 'device' and 'command'"),
        (r#"["d"]"#, "{}", "missing 1 required positional argument: 'command'"),
        (r#"["d", "c"]"#, r#"{"foo": 1}"#, "got an unexpected keyword argument 'foo'"),
        (r#"["d", "c"]"#, r#"{"timeout": 1}"#, "got an unexpected keyword argument 'timeout'"),
        (r#"["d", "c"]"#, r#"{"a\nb": 1}"#, "got an unexpected keyword argument \"a\\nb\""),
        (r#"["d", "c"]"#, r#"{"device": "e"}"#, "got multiple values for argument 'device'"),
        (r#"["d", "c", 1, 2]"#, "{}", "takes from 2 to 3 positional arguments but 4 were given"),
    ] {
        let text = wrong(&Calls::default(), "switchboard.publish", args, kwargs);
        assert_eq!(text, format!("switchboard.publish() {said}{right}"));
    }
}

#[test]
fn a_wrong_argument_is_named_with_what_it_is_and_what_would_be_right() {
    let long = format!("{{\"payload\": \"{}\"}}", "x".repeat(63));
    for (task, kwargs, said) in [
        ("request", r#"{"device": 7}"#, "device is 7; a string is right"),
        ("request", r#"{"device": null}"#, "device is null; a string is right"),
        ("request", r#"{"device": "\uE000NaN"}"#, "device is NaN; a string is right"),
        ("request", r#"{"command": ["c"]}"#, "command is a list; a string is right"),
        ("request", r#"{"profile": ""}"#, "profile is \"\"; a profile's name, like \"default\", is right"),
        ("request", r#"{"timeout": 0}"#, "timeout is 0; a number of seconds above 0 and up to 2678400 is right"),
        ("request", r#"{"timeout": "5s"}"#, "timeout is \"5s\"; a number of seconds above 0"),
        ("request", r#"{"timeout": "\uE000NaN"}"#, "timeout is NaN; a number of seconds above 0"),
        ("request", r#"{"timeout": 1e400}"#, "timeout is 1e400; a number of seconds above 0"),
        (
            "request",
            r#"{"guarantee": "once"}"#,
            "guarantee is \"once\"; \"at_most_once\" or \"at_least_once\" is right",
        ),
        ("request", &long, "payload has 65 bytes; at most 64 (worker.max_payload_bytes) are right"),
        ("bulk", r#"{"devices": "d"}"#, "devices is \"d\"; a list is right"),
        ("bulk", r#"{"devices": []}"#, "devices is an empty list; at least one device is right"),
        ("bulk", r#"{"devices": ["a", "b", "c", "d"]}"#, "devices has 4 devices; at most 3 are right"),
        ("bulk", r#"{"devices": ["a", 1]}"#, "devices[1] is 1; a string is right"),
        ("bulk", r#"{"devices": [{"payload": 1}]}"#, "devices[0] has no \"device\"; {\"device\": \"garage-7\","),
        (
            "bulk",
            r#"{"devices": ["a", "a", {"device": "a", "payload": 1}]}"#,
            "devices[2] names the device \"a\" once more, with another payload; once is right",
        ),
        ("bulk", r#"{"devices": [{"device": 1}]}"#, "devices[0]['device'] is 1; a string is right"),
        (
            "bulk",
            r#"{"devices": [{"device": "a", "x": 1}]}"#,
            "devices[0] has the unknown key \"x\"; the keys are device, payload",
        ),
        ("bulk", r#"{"rate": 0}"#, "rate is 0; a number of devices a second from 0.001 is right"),
        (
            "bulk",
            r#"{"concurrency": 1.5}"#,
            "concurrency is 1.5; a whole number of devices from 1 to 4294967295 is right",
        ),
        (
            "bulk",
            r#"{"abort": "20"}"#,
            "abort is \"20\"; \"20%:100\" or {\"failed_percent\": 20, \"after\": 100} is right",
        ),
        ("bulk", r#"{"abort": "0%:1"}"#, "abort is \"0%:1\"; \"20%:100\" or"),
        ("bulk", r#"{"abort": 20}"#, "abort is 20; \"20%:100\" or"),
        ("bulk", r#"{"abort": {"after": 1}}"#, "abort has no \"failed_percent\"; \"20%:100\" or"),
        (
            "bulk",
            r#"{"abort": {"failed_percent": 101, "after": 1}}"#,
            "abort['failed_percent'] is 101; a number above 0",
        ),
        (
            "bulk",
            r#"{"abort": {"failed_percent": 1, "after": 0}}"#,
            "abort['after'] is 0; a whole number of devices from 1",
        ),
    ] {
        let mut all: BTreeMap<String, Json> = serde_json::from_str(kwargs).unwrap();
        let devices = if task == "bulk" { ("devices", r#"["a"]"#) } else { ("device", "\"d\"") };
        for (name, value) in [devices, ("command", "\"c\"")] {
            all.entry(name.to_owned()).or_insert_with(|| raw(value));
        }
        let text =
            wrong(&Calls::default(), &format!("switchboard.{task}"), "[]", &serde_json::to_string(&all).unwrap());
        assert!(text.starts_with(said), "{text}");
    }
}

#[test]
fn an_id_that_cannot_be_carried_is_refused_and_a_name_that_is_not_served_is_not_registered() {
    let mut task = task("switchboard.request", r#"["d", "c"]"#, "{}");
    for (id, said) in
        [("", "id has 0 bytes; 1 to 255 are right"), ("a\n", "id \"a\\n\" contains the control character U+000A")]
    {
        task.head.id = id.into();
        let exception = Calls::default().read(&task, &LIMITS).unwrap_err();
        assert!(exception.args[0].as_str().unwrap().starts_with(said), "{exception:?}");
    }
    task.head.name = "nobody.knows".into();
    let exception = Calls::default().read(&task, &LIMITS).unwrap_err();
    assert_eq!((&*exception.module, &*exception.kind), ("celery.exceptions", "NotRegistered"));
    assert_eq!(exception.args, [json!("nobody.knows")]);
}

#[test]
fn an_exception_names_the_device_and_the_command_as_far_as_they_can_be_read() {
    for (name, args, kwargs, device, command) in [
        ("request", r#"["d3", "on"]"#, r#"{"timeout": "1s"}"#, json!("d3"), json!("on")),
        ("request", r#"["d3", "on"]"#, r#"{"speed": 1}"#, json!("d3"), json!("on")),
        ("request", r#"["d3", "on"]"#, r#"{"device": "d4"}"#, json!("d3"), json!("on")),
        ("publish", r#"["d3", "on", null, 1, 2]"#, "{}", json!("d3"), json!("on")),
        ("request", "[]", r#"{"device": "d3"}"#, json!("d3"), json!(null)),
        ("request", r#"[7, "on"]"#, "{}", json!(null), json!("on")),
        ("bulk", r#"[["d3"], "on"]"#, r#"{"rate": 0}"#, json!(null), json!("on")),
    ] {
        let exception =
            Calls::default().read(&task(&format!("switchboard.{name}"), args, kwargs), &LIMITS).unwrap_err();
        let details = &exception.args[1];
        assert_eq!((&details["device"], &details["command"]), (&device, &command), "{name}{args}{kwargs}");
        assert_eq!(super::super::ending::named(&exception), [device.as_str(), command.as_str()]);
    }
}

#[test]
fn the_tasks_of_our_own_are_there_without_any_mapping() {
    let calls = Calls::new(Vec::new());
    assert_eq!(calls.names().collect::<Vec<_>>(), ["switchboard.request", "switchboard.publish", "switchboard.bulk"]);
    assert_eq!(calls.returns("switchboard.publish"), Some(Returns::Nothing));
    assert_eq!(calls.returns("switchboard.bulk"), Some(Returns::Summary));
    assert_eq!(calls.returns("x"), None);
}

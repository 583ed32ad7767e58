//! Tasks of the application's own: how their arguments become a command.

use super::*;

/// The mapping of the documented file, and what these calls of it become.
fn door() -> Mapping {
    Mapping {
        args: Some(vec!["door".into(), "speed".into()]),
        kwargs: vec!["force".into()],
        defaults: vec![("speed".into(), json!(1)), ("force".into(), json!(false))],
        ignore: vec!["verbose".into()],
        command: "open".into(),
        device: Some("garage-{door}".into()),
        payload: Some(json!({"speed": "{speed}", "force": "{force}", "source": "web", "text": "{door}/{speed} {{x}}"})),
        timeout: Some(Wait::Fixed(Duration::from_secs(5))),
        guarantee: Some(Guarantee::AtLeastOnce),
        profile: Some("json".into()),
        ..Mapping::default()
    }
}

fn calls(mapping: &Mapping) -> Calls {
    Calls::new(vec![Mapped::compile("garage.open", mapping).unwrap_or_else(|problems| panic!("{problems:?}"))])
}

fn job(mapping: &Mapping, args: &str, kwargs: &str) -> Job {
    calls(mapping).read(&task("garage.open", args, kwargs), &LIMITS).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

fn json_of(job: &Job) -> Value {
    match &job.payload {
        Payload::Json(json) => serde_json::from_slice(json).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn arguments_by_position_and_name_and_their_defaults_fill_the_gaps() {
    let limits = Limits { max_payload_bytes: 1000, max_devices: 3, no_devices: false, repeats: false };
    for (args, kwargs, device, payload) in [
        ("[7]", "{}", "garage-7", json!({"speed": 1, "force": false, "source": "web", "text": "7/1 {x}"})),
        (
            r#"["a b", 2.50]"#,
            r#"{"force": true, "verbose": [1]}"#,
            "garage-a b",
            json!({"speed": 2.5, "force": true, "source": "web", "text": "a b/2.50 {x}"}),
        ),
        (
            "[]",
            r#"{"door": "\u00fc\"", "speed": "\n"}"#,
            "garage-ü\"",
            json!({"speed": "\n", "force": false, "source": "web", "text": "ü\"/\n {x}"}),
        ),
    ] {
        let job = calls(&door()).read(&task("garage.open", args, kwargs), &limits).unwrap();
        assert_eq!((&job.targets, &*job.command), (&Targets::One(device.into()), "open"));
        assert_eq!(json_of(&job), payload);
        assert_eq!((job.timeout, job.guarantee), (Some(Duration::from_secs(5)), Some(Guarantee::AtLeastOnce)));
        assert_eq!((&*job.profile, job.mode, &*job.id), ("json", Mode::Request, "t1"));
    }
}

#[test]
fn an_argument_that_is_all_of_a_text_passes_as_it_was_written() {
    let mapping = Mapping { payload: Some(json!({"n": "{payload}"})), command: "c".into(), ..Mapping::default() };
    for value in ["123456789012345678901234567890", "1.50", r#"{"b": 1, "a": 2}"#, "null", "[]"] {
        let job = job(&mapping, &format!("[\"d\", {value}]"), "{}");
        assert_eq!(job.payload, Payload::Json(format!("{{\"n\":{value}}}").into()));
    }
}

#[test]
fn a_mapping_of_a_command_alone_takes_device_and_payload_as_our_own_tasks_do() {
    let mapping = Mapping { command: "c".into(), ..Mapping::default() };
    let bytes = r#"["d", {"__type__": "bytes", "__value__": "x"}]"#;
    for (args, payload) in [
        (r#"["d"]"#, Payload::Empty),
        (r#"["d", null]"#, Payload::Empty),
        (r#"["d", [1]]"#, Payload::Json("[1]".into())),
        (bytes, Payload::Bytes("x".into())),
    ] {
        assert_eq!(job(&mapping, args, "{}").payload, payload, "{args}");
    }
    assert_eq!(calls(&mapping).returns("garage.open"), Some(Returns::Answer));
    assert_eq!(calls(&mapping).names().last(), Some("garage.open"));
}

#[test]
fn a_list_of_devices_is_a_bulk_with_the_mappings_own_options() {
    let mapping = Mapping {
        args: Some(vec!["doors".into(), "how".into()]),
        command: "{how}-door".into(),
        devices: Some("{doors}".into()),
        rate: Some(2.0),
        concurrency: Some(3),
        abort: abort("20%:100"),
        mode: Mode::Publish,
        ..Mapping::default()
    };
    let job = job(&mapping, r#"[["a", {"device": "b", "payload": 1}], "shut"]"#, "{}");
    let Targets::Many(bulk) = &job.targets else { panic!("{job:?}") };
    assert_eq!((bulk.targets.len(), bulk.rate_per_second, bulk.concurrency), (2, Some(2.0), Some(3)));
    assert_eq!((bulk.abort, bulk.results), (Some(Abort { failed_percent: 20.0, after: 100 }), BulkResults::Summary));
    assert_eq!((&*job.command, job.mode, job.payload.clone()), ("shut-door", Mode::Publish, Payload::Empty));
    assert_eq!(calls(&mapping).returns("garage.open"), Some(Returns::Summary));
    let silent = Mapping { returns: Some(Returns::Nothing), ..mapping.clone() };
    assert_eq!(calls(&silent).returns("garage.open"), Some(Returns::Nothing));
    let said = wrong(&calls(&mapping), "garage.open", r#"["a", "shut"]"#, "{}");
    assert_eq!(said, "doors is \"a\"; a list is right");
}

#[test]
fn a_timeout_that_is_an_argument_counts_in_seconds_and_may_be_none() {
    let mapping = Mapping {
        kwargs: vec!["wait".into()],
        timeout: Some(Wait::Argument("{wait}".into())),
        command: "c".into(),
        ..Mapping::default()
    };
    assert_eq!(job(&mapping, r#"["d"]"#, r#"{"wait": 0.25}"#).timeout, Some(Duration::from_millis(250)));
    assert_eq!(job(&mapping, r#"["d"]"#, r#"{"wait": null}"#).timeout, None);
    let said = wrong(&calls(&mapping), "garage.open", r#"["d"]"#, r#"{"wait": -1}"#);
    assert!(said.starts_with("wait is -1; a number of seconds"), "{said}");
    let said = wrong(&calls(&mapping), "garage.open", r#"["d"]"#, "{}");
    assert_eq!(
        said,
        "garage.open() missing 1 required keyword-only argument: 'wait'; right is garage.open(device, payload=None, *, wait)"
    );
}

#[test]
fn an_argument_that_no_text_can_take_is_named() {
    for (args, said) in [
        ("[null]", "door is null; a string or a number is right"),
        ("[true]", "door is true; a string or a number is right"),
        ("[[1]]", "door is a list; a string or a number is right"),
        ("[\"\\uE000NaN\"]", "door is NaN; a string is right"),
        (
            "[]",
            "garage.open() missing 1 required positional argument: 'door'; right is garage.open(door, speed=1, *, force=False, verbose=None)",
        ),
        ("[1, 2, 3]", "garage.open() takes from 1 to 2 positional arguments but 3 were given; right is"),
    ] {
        let text = wrong(&calls(&door()), "garage.open", args, "{}");
        assert!(text.starts_with(said), "{text}");
    }
    let one = Mapping { args: Some(vec!["device".into()]), command: "c".into(), ..Mapping::default() };
    let text = wrong(&calls(&one), "garage.open", "[1, 2]", "{}");
    assert!(
        text.starts_with("garage.open() takes 1 positional argument but 2 were given; right is garage.open(device)"),
        "{text}"
    );
}

#[test]
fn a_payload_that_arguments_make_too_large_is_refused() {
    let long = format!("[1, \"{}\"]", "x".repeat(64));
    assert!(wrong(&calls(&door()), "garage.open", &long, "{}").starts_with("payload has "));
}

#[test]
fn an_exception_names_the_device_and_the_command_that_the_arguments_make() {
    for (args, kwargs, device) in [
        ("[7]", r#"{"nonsense": 1}"#, json!("garage-7")),
        ("[7, 1, 2]", "{}", json!("garage-7")),
        ("[null]", "{}", json!(null)),
        ("[]", "{}", json!(null)),
    ] {
        let exception = calls(&door()).read(&task("garage.open", args, kwargs), &LIMITS).unwrap_err();
        assert_eq!((&exception.args[1]["device"], &exception.args[1]["command"]), (&device, &json!("open")), "{args}");
    }
}

//! Messages that are refused, and what their callers are told.

use super::*;

/// Each vector that is refused: the exception, and what its text says among other things.
pub(super) const REFUSED: &[(&str, &str, &str)] = &[
    ("bad-args-null", "InvalidTaskError", "args is null; a list is right"),
    ("bad-args-object", "InvalidTaskError", "args is an object; a list is right"),
    ("bad-args-string", "InvalidTaskError", "args is a string; a list is right"),
    ("bad-bad-datetime-marker", "DecodeError", "__type__ datetime has the value \"yesterday\"; ISO 8601"),
    ("bad-body-bad-utf8", "DecodeError", "no UTF-8 from byte 3 on; JSON in UTF-8 is right"),
    ("bad-body-bom", "DecodeError", "begins with a byte order mark"),
    ("bad-body-deep", "DecodeError", "deeper than 400 levels"),
    ("bad-body-empty", "InvalidTaskError", "neither a list nor an object; [args, kwargs, embed] is right"),
    ("bad-body-list-4", "InvalidTaskError", "the body is a list of 4; [args, kwargs, embed] is right"),
    ("bad-body-null", "InvalidTaskError", "neither a list nor an object; [args, kwargs, embed] is right"),
    ("bad-body-trailing", "DecodeError", "the body is no JSON: trailing characters at line 1 column 80"),
    ("bad-callbacks-object", "InvalidTaskError", "callbacks is an object; a list of signatures is right"),
    ("bad-callbacks-strings", "InvalidTaskError", "callbacks[0] is a string; a signature"),
    ("bad-chain-string", "InvalidTaskError", "chain is a string; a list of signatures is right"),
    ("bad-ctype-auth", "ContentDisallowed", "content type \"application/data\": signed and raw content is not read"),
    ("bad-ctype-charset", "ContentDisallowed", "content type \"application/json; charset=utf-8\": it is not known"),
    ("bad-ctype-missing", "ContentDisallowed", "the message has no content type; application/json"),
    ("bad-ctype-pickle", "ContentDisallowed", "pickle can run any code and is never read; application/json"),
    (
        "bad-eta-far",
        "InvalidTaskError",
        "eta is \"9999-12-31T23:59:59+00:00\"; a time within the next 268435455 seconds",
    ),
    ("bad-eta-garbage", "InvalidTaskError", "eta is \"soon\"; a time in ISO 8601"),
    ("bad-eta-int", "InvalidTaskError", "eta is 1795330117; a time in ISO 8601"),
    ("bad-expires-garbage", "InvalidTaskError", "expires is \"never\"; a time in ISO 8601"),
    ("bad-kwargs-list", "InvalidTaskError", "kwargs is a list; an object is right"),
    ("bad-no-headers-garbage", "DecodeError", "the body is no JSON: expected value at line 1 column 1"),
    ("bad-no-headers-json-no-task", "InvalidTaskError", "the message names no task"),
    ("bad-no-id", "InvalidTaskError", "the header id is missing"),
    ("bad-task-empty", "NotRegistered", "\"\""),
    ("bad-task-int", "NotRegistered", "7"),
    ("bad-task-null", "NotRegistered", "null"),
    ("bad-timelimit-short", "InvalidTaskError", "timelimit is a list of 1; a list of the hard and the soft limit"),
    ("bad-unknown-type-marker", "DecodeError", "unknown __type__ \"foo\"; datetime, date"),
    ("bad-v1-kwargs-list", "InvalidTaskError", "kwargs is a list; an object is right"),
    ("v1-pickle-gzip", "ContentDisallowed", "pickle can run any code and is never read"),
    ("v2-pickle", "ContentDisallowed", "pickle can run any code and is never read"),
    ("v2-yaml", "ContentDisallowed", "YAML is not read; application/json"),
];

fn module(kind: &str) -> &'static str {
    match kind {
        "InvalidTaskError" | "NotRegistered" => "celery.exceptions",
        _ => "kombu.exceptions",
    }
}

fn check(name: &str, envelope: &Envelope, kind: &str, says: &str) -> Refusal {
    let refusal = refused(name, envelope);
    let exception = &refusal.exception;
    let [arg] = exception.args.as_slice() else { panic!("{name}: {exception:?}") };
    let said = arg.as_str().filter(|text| !text.is_empty()).map_or_else(|| arg.to_string(), str::to_owned);
    assert_eq!((&*exception.kind, &*exception.module), (kind, module(kind)), "{name}: {said}");
    assert!(said.contains(says), "{name}\n said: {said}\n want: {says}");
    refusal
}

#[test]
fn every_vector_that_is_refused_can_be_answered() {
    for (name, kind, says) in REFUSED {
        let vector = vectors::load(name);
        let refusal = check(name, &vector.envelope, kind, says);
        let id = vector.envelope.headers.text("id").or(vector.envelope.correlation_id.as_deref());
        assert_eq!((Some(&*refusal.head.id), id.is_some()), (id, true), "{name}");
        assert_eq!(Some(refusal.head.correlation_id.as_str()), vector.envelope.correlation_id.as_deref(), "{name}");
        assert_eq!(refusal.head.reply_to, vector.envelope.reply_to, "{name}");
    }
}

#[test]
fn headers_that_are_wrong() {
    for (header, value, kind, says) in [
        ("id", Value::Bool(true), "InvalidTaskError", "id is true; text of 1 to 255 bytes is right"),
        ("id", Value::Null, "InvalidTaskError", "neither an id nor a correlation id"),
        ("id", Value::from(""), "InvalidTaskError", "neither an id nor a correlation id"),
        ("id", Value::from("x".repeat(256)), "InvalidTaskError", "id has 256 bytes; text of 1 to 255"),
        ("id", Value::from("a\nb"), "InvalidTaskError", "id \"a\\nb\" contains the control character U+000A"),
        ("compression", Value::from("GZIP"), "ContentDisallowed", "compression is \"GZIP\"; application/x-gzip, "),
        ("compression", Value::Int(1), "ContentDisallowed", "the header compression is no text"),
        ("compression", Value::from("zlib"), "DecodeError", "cannot be inflated as Zlib"),
        ("eta", Value::from(""), "InvalidTaskError", "eta is \"\"; a time in ISO 8601"),
        ("expires", Value::Int(60), "InvalidTaskError", "expires is 60; a time in ISO 8601"),
        ("timelimit", Value::Int(5), "InvalidTaskError", "timelimit is 5; a list of the hard"),
        ("timelimit", Value::List(vec![]), "InvalidTaskError", "timelimit is a list of 0; a list of the hard"),
        (
            "timelimit",
            Value::List(vec!["5".into(), Value::Null]),
            "InvalidTaskError",
            "timelimit is a list of 2; a list",
        ),
        ("task", Value::Bytes("t".into()), "NotRegistered", "null"),
    ] {
        let mut envelope = with_body("[[], {}, {}]");
        envelope.headers.set(header, value);
        check(header, &envelope, kind, says);
    }
}

#[test]
fn bodies_that_are_wrong() {
    let deep_args = format!("[{}{}, {{}}, {{}}]", "[".repeat(101), "]".repeat(101));
    let deep_kwargs = format!("[[], {{\"a\": {}{}}}, null]", "[".repeat(100), "]".repeat(100));
    let large = format!("[[\"{}\"], {{}}, null]", "x".repeat(2 * 1024 * 1024));
    for (body, kind, says) in [
        ("{}", "InvalidTaskError", "the body is an object without args; [args, kwargs, embed] is right"),
        ("[[], {}]", "InvalidTaskError", "the body is a list of 2"),
        ("\"text\"", "InvalidTaskError", "neither a list nor an object"),
        (" ", "DecodeError", "the body is no JSON"),
        ("[[], null, {}]", "InvalidTaskError", "kwargs is null; an object is right"),
        ("[[], {}, [1]]", "InvalidTaskError", "embed is a list; an object is right"),
        ("[[], {}, 1]", "InvalidTaskError", "embed is 1; an object is right"),
        (r#"[[], {}, {"errbacks": 5}]"#, "InvalidTaskError", "errbacks is 5; a list of signatures is right"),
        (r#"[[], {}, {"callbacks": [{}]}]"#, "InvalidTaskError", "callbacks[0] is no signature: missing field `task`"),
        (r#"[[], {}, {"chain": [{"task": "a"}, {"task": 1}]}]"#, "InvalidTaskError", "chain[1] is no signature"),
        (r#"[[], {}, {"chord": "sum"}]"#, "InvalidTaskError", "chord is a string; a signature"),
        (r#"[[], {}, {"chord": []}]"#, "InvalidTaskError", "chord is a list; a signature"),
        (r#"{"args": 5}"#, "InvalidTaskError", "args is 5; a list is right"),
        (r#"{"args": [], "kwargs": null}"#, "InvalidTaskError", "kwargs is null; an object is right"),
        (r#"[[], {"\ud800": 1}, {}]"#, "DecodeError", "kwargs has a name that is no Unicode"),
        ("[[nan], {}, {}]", "DecodeError", "the body is no JSON"),
        ("[[NaN], {}, {}", "DecodeError", "the body is no JSON: EOF"),
        ("[[\"\n\"], {}, {}]", "DecodeError", "control character"),
        ("[[01], {}, {}]", "DecodeError", "the body is no JSON"),
        (&deep_args, "DecodeError", "deeper than 100 levels"),
        (&deep_kwargs, "DecodeError", "deeper than 100 levels"),
        (&large, "DecodeError", "the body has 2097168 bytes; at most 2097152 are right"),
    ] {
        check(crate::excerpt::truncate(body, 60), &with_body(body), kind, says);
    }
}

#[test]
fn what_names_no_task_has_no_name_to_be_found_by() {
    let mut envelope = with_body("[[], {}, {}]");
    envelope.headers.take("task");
    check("no header task", &envelope, "InvalidTaskError", "the message names no task; a header task");
    envelope.body = r#"{"task": 5, "id": "i"}"#.into();
    check("a number", &envelope, "NotRegistered", "5");
    envelope.headers.take("id");
    envelope.body = r#"{"task": "t"}"#.into();
    let refusal = check("no id anywhere", &envelope, "InvalidTaskError", "neither an id nor a correlation id");
    assert_eq!((&*refusal.head.id, &*refusal.head.name), ("", "t"));
}

#[test]
fn messagepack_that_is_wrong() {
    let mut envelope = with_body("");
    envelope.content_type = Some("application/x-msgpack".to_owned());
    check("nothing", &envelope, "InvalidTaskError", "neither a list nor an object");
    for (body, kind, says) in [
        (&b"\x93\x90\x80"[..], "DecodeError", "no MessagePack that can be read: at byte 3: it ends too early"),
        (b"\x93\x90\x81\x01\x01\xc0", "DecodeError", "a member is named by FixPos(1); text is right"),
        (b"\x92\x90\x80", "InvalidTaskError", "the body is a list of 2"),
    ] {
        envelope.body = body.to_vec().into();
        check("MessagePack", &envelope, kind, says);
    }
}

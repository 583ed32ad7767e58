//! Messages of any bytes at all: none breaks the reader, and none makes it hold more than it may.

use super::*;
use crate::wire::celery::is_task;
use proptest::prelude::*;

fn header() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        (any::<i64>(), any::<u8>()).prop_map(|(mantissa, decimals)| Value::Decimal(mantissa, decimals)),
        "\\PC{0,20}".prop_map(Value::Text),
        prop::sample::select(&["2026-01-02", "zlib", "zstd", "xz", "t"][..]).prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Value::Bytes(bytes.into())),
        any::<u64>().prop_map(Value::Time),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::vec(("[a-c]", inner), 0..3).prop_map(|entries| Value::Table(Headers(entries))),
        ]
    })
}

fn headers() -> impl Strategy<Value = Headers> {
    let known = [
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "ignore_result",
        "stamped_headers",
        "stamps",
        "compression",
        "celery_beat_task",
        "mine",
    ];
    let name = prop::sample::select(known.to_vec()).prop_map(str::to_owned);
    prop::collection::vec((name, header()), 0..12).prop_map(Headers)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    // Bytes, text made of JSON's own words, and captured bodies with a few bytes changed.
    let words = &[
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "\\",
        "NaN",
        "-Infinity",
        "1",
        "null",
        "\"task\"",
        "\"args\"",
        "\"kwargs\"",
        "\"chain\"",
        "\"__type__\"",
        "\"__value__\"",
        "\"base64\"",
        "[[],{},",
        "\u{FEFF}",
        " ",
        "\\u",
        "d800",
    ][..];
    let text = prop::collection::vec(prop::sample::select(words), 0..30).prop_map(|words| words.concat().into_bytes());
    let mut names: Vec<String> = ["v1-", "v2-m", "v2-typed", "bad-"].into_iter().flat_map(vectors::names).collect();
    // Refused before its second kilobyte, and slow to read from its file.
    names.retain(|name| name != "bad-body-deep");
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let captured = (prop::sample::select(names), changes).prop_map(|(name, changes)| {
        let mut body = vectors::load(&name).envelope.body.to_vec();
        for (index, byte) in changes {
            if !body.is_empty() {
                let at = index.index(body.len());
                body[at] = byte;
            }
        }
        body
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..100), text, captured]
}

proptest! {
    #[test]
    fn any_message_is_a_task_or_refused(
        headers in headers(),
        body in body(),
        content_type in prop::sample::select(&["application/json", "application/x-msgpack", "text/plain", ""][..]),
        correlation_id in prop::option::of("\\PC{0,4}"),
    ) {
        let envelope = Envelope {
            body: body.into(),
            headers,
            content_type: Some(content_type.to_owned()),
            correlation_id,
            ..Envelope::default()
        };
        let bounds = Bounds { max_body_bytes: 4000, ..bounds() };
        is_task(&envelope);
        match decode(&envelope, &bounds) {
            Ok(task) => {
                let held = task.args.iter().chain(task.kwargs.iter().map(|(_, value)| value));
                prop_assert!(held.map(|json| json.get().len()).sum::<usize>() <= 2 * bounds.max_body_bytes);
                prop_assert!(!task.head.id.is_empty() && !task.head.name.is_empty());
                prop_assert!(task.eta.is_none_or(|eta| eta <= bounds.latest_eta));
            }
            Err(refusal) => {
                let modules = ["celery.exceptions", "kombu.exceptions"];
                prop_assert!(modules.contains(&&*refusal.exception.module));
                prop_assert_eq!(refusal.exception.args.len(), 1);
            }
        }
    }
}

#[test]
fn a_great_many_parts_are_refused_before_they_take_room() {
    let ones = ["1"; 500_000].join(",");
    let members: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":1")).collect();
    let members = members.join(",");
    let tasks = [r#"{"task":"t"}"#; 100_000].join(",");
    for (body, says) in [
        (format!("[[{ones}], {{}}, null]"), "args: there are 500000; at most 10000 are right"),
        (format!("[[], {{{members}}}, null]"), "kwargs: there are more than 10000 members"),
        (format!("[[], {{}}, {{\"chain\": [{tasks}]}}]"), "chain: there are 100000; at most 10000 are right"),
        (format!("{{\"args\": [], {members}}}"), "the body: there are more than 10000 members"),
    ] {
        let exception = refused(says, &with_body(&body)).exception;
        assert_eq!(exception.kind, "InvalidTaskError");
        assert!(exception.args[0].as_str().unwrap().starts_with(says), "{exception:?}");
    }
    let members: Vec<String> = (0..10_000).map(|n| format!("\"k{}\":1", n % 5_000)).collect();
    let task = taken("many members", &with_body(&format!("[[], {{{}}}, null]", members.join(","))));
    assert_eq!(task.kwargs.len(), 5_000);
}

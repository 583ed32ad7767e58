//! Every captured message, and what comes out of it.

use super::*;
use crate::wire::celery::{Signature, unmask, vectors};

mod hostile;
mod malformed;
mod parts;
mod python;

/// As if it were the day on which the messages were captured.
fn bounds() -> Bounds {
    Bounds { latest_eta: 1_795_330_000_000 + LONGEST_WAIT.as_millis() as u64, ..Bounds::default() }
}

fn good(name: &str) -> Task {
    taken(name, &vectors::load(name).envelope)
}

fn taken(name: &str, envelope: &Envelope) -> Task {
    decode(envelope, &bounds()).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"))
}

fn refused(name: &str, envelope: &Envelope) -> Refusal {
    match decode(envelope, &bounds()) {
        Ok(task) => panic!("{name} is no task: {task:?}"),
        Err(refusal) => *refusal,
    }
}

/// A message of protocol 2 with that body, and no header beside the two that must be.
fn with_body(body: &str) -> Envelope {
    let headers = [("id", Value::from("i")), ("task", Value::from("t"))];
    Envelope {
        body: body.to_owned().into(),
        content_type: Some("application/json".to_owned()),
        headers: Headers(headers.map(|(name, value)| (name.to_owned(), value)).into()),
        ..Envelope::default()
    }
}

/// The arguments of a task as they were written.
fn work(task: &Task) -> String {
    let args: Vec<&str> = task.args.iter().map(|arg| arg.get()).collect();
    let kwargs: Vec<String> = task.kwargs.iter().map(|(name, value)| format!("{name:?}: {}", value.get())).collect();
    unmask(&format!("[{}] {{{}}}", args.join(", "), kwargs.join(", "))).into_owned()
}

/// What most of the captured tasks have for arguments.
const USUAL: &str = r#"[] {"device": "dev-1", "topic": "dev/1/cmd", "payload": {"op": "get"}, "timeout": 5}"#;

/// Vectors of the task `mqtt.request` with the usual arguments.
const USUAL_ONES: &str = "v1-eta-expires v1-link v2-brotli v2-conf-max-priority v2-countdown v2-countdown-frac \
    v2-direct-exchange v2-direct-exchange-rk v2-eta-and-expires v2-eta-aware v2-eta-naive v2-eta-offset \
    v2-expires-datetime v2-expires-frac v2-expires-seconds v2-gzip v2-kwargs v2-link v2-link-error v2-link-many v2-lzma \
    v2-msgpack-link v2-msgpack-zstd v2-no-backend v2-no-retry-mandatory v2-priority v2-queue-max-priority \
    v2-quorum-direct v2-quorum-direct-countdown v2-quorum-topic v2-quorum-topic-countdown v2-redis-backend v2-reply-to \
    v2-retries v2-sent-event.0 v2-task-id v2-timelimit v2-timelimit-frac v2-topic-exchange \
    v2-topic-exchange-default-key v2-tz-kolkata v2-tz-utc-kolkata v2-zstd";

/// Vectors of the task `mqtt.echo` with the one argument 1, malformed in a way that does not matter.
const ACCEPTED: &str = "bad-chain-no-options bad-correlation-differs bad-embed-empty bad-embed-extra bad-embed-null \
    bad-eta-past bad-eta-space bad-eta-z bad-expires-naive-past bad-expires-past bad-headers-minimal bad-id-int \
    bad-id-null bad-ignore-result-string bad-lang-missing bad-ok-control bad-priority-255 bad-reply-to-empty \
    bad-reply-to-missing-queue bad-retries-string bad-timelimit-negative bad-timelimit-null";

/// The others: the task's name and its arguments.
const OTHERS: &[(&str, &str, &str)] = &[
    ("bad-body-dup-keys", "mqtt.echo", r#"[] {"a": 2}"#),
    ("bad-hybrid", "mqtt.echo", r#"[1] {"a": 2}"#),
    ("bad-task-unknown", "no.such.task", "[1] {}"),
    ("bad-v1-no-args", "mqtt.echo", "[] {}"),
    ("bad-v1-no-id", "mqtt.echo", "[] {}"),
    ("delayed-cd10-exp5", "mqtt.request", r#"[] {"label": "cd10-exp5"}"#),
    ("delayed-cd3.7", "mqtt.request", r#"[] {"label": "cd3.7"}"#),
    ("delayed-cd5", "mqtt.request", r#"[] {"label": "cd5"}"#),
    ("delayed-cd5-exp60", "mqtt.request", r#"[] {"label": "cd5-exp60"}"#),
    ("delayed-eta4", "mqtt.request", r#"[] {"label": "eta4"}"#),
    ("delayed-plain", "mqtt.request", r#"[] {"label": "plain"}"#),
    (
        "v1-basic",
        "mqtt.request",
        r#"["dev-1"] {"device": "dev-1", "topic": "dev/1/cmd", "payload": {"op": "get"}, "timeout": 5}"#,
    ),
    ("v1-chain", "mqtt.add", "[1, 2] {}"),
    ("v1-group.0", "mqtt.add", "[0, 0] {}"),
    ("v1-group.1", "mqtt.add", "[1, 1] {}"),
    ("v2-args", "mqtt.request", r#"["dev-1", "get", 3, true, null, 1.5] {}"#),
    ("v2-beat", "mqtt.request", r#"["dev-1"] {"timeout": 2}"#),
    (
        "v2-bigint",
        "mqtt.request",
        "[9223372036854775808, -9223372036854775809, 18446744073709551616, 10000000000000000000000000000000000000000, \
         1e+308] {}",
    ),
    ("v2-chain", "mqtt.add", "[1, 2] {}"),
    ("v2-chain-countdown", "mqtt.add", "[1, 2] {}"),
    ("v2-chain-link-error", "mqtt.add", "[1, 2] {}"),
    ("v2-chain-of-group", "mqtt.add", "[1, 1] {}"),
    ("v2-chain-with-chord.0", "mqtt.add", "[1, 1] {}"),
    ("v2-chain-with-chord.1", "mqtt.add", "[2, 2] {}"),
    ("v2-chord-chain-redis.0", "mqtt.add", "[1, 1] {}"),
    ("v2-chord-chain-redis.1", "mqtt.add", "[2, 2] {}"),
    ("v2-chord-redis.0", "mqtt.add", "[0, 0] {}"),
    ("v2-chord-redis.1", "mqtt.add", "[1, 1] {}"),
    ("v2-cli-call", "mqtt.request", r#"["dev-9"] {"timeout": 3}"#),
    ("v2-group-of-chains.0", "mqtt.add", "[1, 1] {}"),
    ("v2-group-of-chains.1", "mqtt.add", "[2, 2] {}"),
    ("v2-group.0", "mqtt.add", "[0, 0] {}"),
    ("v2-group.1", "mqtt.add", "[1, 1] {}"),
    ("v2-group.2", "mqtt.add", "[2, 2] {}"),
    ("v2-intkeys", "mqtt.request", r#"[] {"m": {"1": "c", "null": "b"}}"#),
    (
        "v2-mixed",
        "mqtt.request",
        r#"["dev-1"] {"device": "dev-1", "topic": "dev/1/cmd", "payload": {"op": "get"}, "timeout": 5}"#,
    ),
    (
        "v2-msgpack",
        "mqtt.request",
        r#"["dev-1", {"__type__": "base64", "__value__": "AP8="}, 1.5] {"device": "dev-1", "n": 1099511627776, "none": null}"#,
    ),
    ("v2-stamped", "mqtt.request", r#"[] {"device": "d"}"#),
    (
        "v2-starmap",
        "celery.starmap",
        r#"[] {"task": {"task": "mqtt.add", "args": [], "kwargs": {}, "options": {"queue": "commands"}, "subtask_type": null, "immutable": false}, "it": [[1, 2], [3, 4]]}"#,
    ),
    ("v2-unicode", "mqtt.request", r#"["ger\u00e4t-\u03a9", "\u65e5\u672c", "\ud83d\ude00", "a\"b\\c\n"] {}"#),
    (
        "v2-xmap",
        "celery.map",
        r#"[] {"task": {"task": "mqtt.echo", "args": [], "kwargs": {}, "options": {"queue": "commands"}, "subtask_type": null, "immutable": false}, "it": [1, 2]}"#,
    ),
];

/// Their arguments are too long for the table.
const LONG: &str = "v2-big-300kb v2-typed-values";

#[test]
fn every_good_vector_is_the_task_that_was_sent() {
    let usual = USUAL_ONES.split(' ').map(|name| (name, "mqtt.request", USUAL));
    let accepted = ACCEPTED.split(' ').map(|name| (name, "mqtt.echo", "[1] {}"));
    for (name, task_name, expected) in usual.chain(accepted).chain(OTHERS.iter().copied()) {
        let task = good(name);
        assert_eq!((&*task.head.name, work(&task).as_str()), (task_name, expected), "{name}");
    }
    let big = good("v2-big-300kb");
    assert_eq!((big.kwargs[0].0.as_str(), big.kwargs[0].1.get().len()), ("blob", 300_002));
    assert_eq!(good("v2-typed-values").kwargs.len(), 11);
}

#[test]
fn every_vector_is_in_a_table() {
    let good = [USUAL_ONES, ACCEPTED, LONG].into_iter().flat_map(|list| list.split(' '));
    let good = good.chain(OTHERS.iter().map(|(name, ..)| *name));
    let all: Vec<&str> = good.chain(malformed::REFUSED.iter().map(|(name, ..)| *name)).collect();
    for name in ["v1-", "v2-", "bad-", "delayed-"].into_iter().flat_map(vectors::names) {
        assert_eq!(all.iter().filter(|listed| **listed == name).count(), 1, "{name}");
    }
}

#[test]
fn who_asks_and_where_the_result_goes() {
    let head = good("v2-group.1").head;
    assert_eq!(&*head.id, head.correlation_id);
    assert_eq!(head.reply_to.as_deref(), Some("64a721e1-58f8-36f4-bcbf-e33720a77d1d"));
    assert_eq!(head.group.as_deref(), Some("5aa2b4a8-3464-49bb-8d25-a29a6d40e9d7"));
    assert_eq!((head.group_index, head.root_id.as_deref()), (Some(1), Some(&*head.id)));
    assert_eq!((head.parent_id, head.from_beat, head.ignore_result), (None, false, false));
    let head = good("v1-group.1").head;
    assert_eq!(head.group.as_deref(), Some("59a612b4-e7ce-43c3-a531-02deb6c315d2"));
    assert_eq!((head.group_index, head.root_id.as_deref()), (Some(1), Some(&*head.id)));
    assert!(good("v2-beat").head.from_beat);
    assert_eq!(good("v2-reply-to").head.reply_to.as_deref(), Some("my.replies"));
    assert_eq!(good("bad-reply-to-empty").head.reply_to, None);
    assert!(good("bad-ignore-result-string").head.ignore_result, "Python takes any text for true");
    let head = good("bad-correlation-differs").head;
    assert_eq!((&*head.id, &*head.correlation_id), ("57e1c7eb-4172-4a28-b8a3-62de039357b2", "other-corr"));
    assert_eq!(&*good("bad-id-int").head.id, "12345");
    assert_eq!(&*good("bad-id-null").head.id, "f2c2f6e7-797d-42de-b3d1-3b8cb29dcfc0");
    assert_eq!(&*good("bad-v1-no-id").head.id, "ab7d07d2-ead4-4a86-ab5d-da98278fe527");
    assert_eq!(good("bad-headers-minimal").head.root_id.as_deref(), Some("8cb7aae7-c52a-4e51-80be-65c0b63d1d55"));
}

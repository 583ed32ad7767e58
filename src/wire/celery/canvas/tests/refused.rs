//! What is refused before running, and messages that no queue takes.

use super::super::super::vectors::{load, names};
use super::super::super::{Embed, task_message};
use super::super::{after, lost, unservable};
use super::{done, read, sender, sig, task};
use crate::envelope::Value;
use serde_json::Value as Any;

fn behind(callback: &str) -> super::Task {
    task(Embed { callbacks: vec![sig(callback)], ..Embed::default() })
}

#[test]
fn a_chord_anywhere_needs_redis() {
    for name in ["v2-chord-redis.0", "v2-chord-chain-redis.0", "canvas-chain-into-chord.0", "v2-chain-with-chord.1"] {
        let task = read(&load(name).envelope);
        assert_eq!(unservable(&task, true), None, "{name}");
        let refused = unservable(&task, false).unwrap_or_else(|| panic!("{name} is not refused"));
        assert_eq!((&*refused.module, &*refused.kind), ("builtins", "NotImplementedError"));
        assert!(refused.args[0].as_str().unwrap().contains("Redis"), "{refused:?}");
    }
    // Only the worker makes a chord of this: a group with a task behind it.
    let hidden = r#"{"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [
        {"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [{"task": "a"}, {"task": "b"}]}},
        {"task": "c"}]}}"#;
    assert!(unservable(&behind(hidden), false).is_some());
    assert_eq!(unservable(&behind(hidden), true), None);
}

#[test]
fn what_needs_no_chord_needs_no_redis() {
    for name in ["v2-args", "v2-chain", "v2-link-many", "v2-chain-of-group", "v2-group.0", "canvas-link-chain.0"] {
        assert_eq!(unservable(&read(&load(name).envelope), false), None, "{name}");
    }
}

#[test]
fn nonsense_behind_a_task_is_refused_with_its_place() {
    let mut deep = "{\"task\": \"a\"}".to_owned();
    for _ in 0..20 {
        deep = format!(r#"{{"task": "celery.group", "subtask_type": "group", "kwargs": {{"tasks": [{deep}]}}}}"#);
    }
    for (callback, names) in [
        (r#"{"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": 5}}"#, "tasks of celery.group"),
        (r#"{"task": "celery.chain", "subtask_type": "chain"}"#, "tasks of celery.chain"),
        (r#"{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": []}}"#, "no body"),
        (r#"{"task": "a", "options": {"link": "b"}}"#, "option link of a"),
        (r#"{"task": "a", "options": {"chain": [1]}}"#, "option chain of a"),
        (r#"{"task": "celery.chunks", "subtask_type": "chunks"}"#, "chunks"),
        (deep.as_str(), "nests too deep"),
    ] {
        let refused = unservable(&behind(callback), true).unwrap_or_else(|| panic!("{callback} is not refused"));
        let text = refused.args[0].as_str().unwrap();
        assert!(text.contains(names), "{text}");
    }
}

#[test]
fn a_message_that_no_queue_takes_fails_its_task_and_all_behind_it() {
    let first = after(&read(&load("v2-chain").envelope), &done("3"), &sender());
    let lost = lost(&first.messages[0], &sender());
    let ids: Vec<&str> = lost.answers.iter().map(|answer| answer.id.as_str()).collect();
    assert_eq!(ids, ["9a48ca2c-99d8-41cb-8173-e020ed3cfb2c", "104515f1-d334-4b38-ab7b-a626528d7273"]);
    for answer in &lost.answers {
        assert_eq!(answer.reply_to.as_deref(), Some("64a721e1-58f8-36f4-bcbf-e33720a77d1d"));
        let body: Any = serde_json::from_slice(&answer.envelope.body).unwrap();
        assert_eq!(body["status"], "FAILURE");
        let text = body["result"]["exc_message"][0].as_str().unwrap();
        assert_eq!(text, "task mqtt.add could not be sent: there is no queue \"commands\"");
    }
}

#[test]
fn a_client_that_wants_no_result_gets_none_by_rpc() {
    let chained = r#"{"task": "a", "options": {"task_id": "x", "reply_to": "q", "ignore_result": true}}"#;
    let task = task(Embed { chain: vec![sig(chained)], ..Embed::default() });
    let after = after(&task, &super::bad_thing(), &sender());
    assert_eq!((after.answers[0].id.as_str(), &after.answers[0].reply_to), ("x", &None));
}

#[test]
fn a_task_goes_where_its_signature_says_or_its_route() {
    for (options, exchange, routing_key) in [
        (r#"{}"#, "", "for a"),
        (r#"{"queue": "q"}"#, "", "q"),
        (r#"{"queue": "q", "exchange": "x", "routing_key": "k"}"#, "x", "k"),
        (r#"{"exchange": "x", "routing_key": "k"}"#, "x", "k"),
        (r#"{"routing_key": "k"}"#, "", "for a"),
    ] {
        let after = after(&behind(&format!(r#"{{"task": "a", "options": {options}}}"#)), &done("1"), &sender());
        let message = &after.messages[0];
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), (exchange, routing_key), "{options}");
    }
}

#[test]
fn a_task_sent_on_is_the_task_that_came() {
    for name in names("v2-chain").into_iter().chain(names("v2-link")).chain(names("v2-group")) {
        let theirs = load(&name).envelope;
        let ours = task_message(&read(&theirs));
        let parse = |body: &[u8]| serde_json::from_slice::<Any>(body).unwrap();
        assert_eq!(parse(&ours.body), parse(&theirs.body), "{name}");
        assert_eq!((&ours.correlation_id, &ours.reply_to), (&theirs.correlation_id, &theirs.reply_to));
        for (header, their) in &theirs.headers.0 {
            let our = ours.headers.get(header);
            match header.as_str() {
                "origin" => {}
                // What was unset is set to what it means.
                "ignore_result" => assert_eq!(our, Some(&Value::Bool(false)), "{name}"),
                _ => assert_eq!(our, Some(their), "{name}: {header}"),
            }
        }
    }
}

//! Chords: parts, their completion, and their failure.

use super::super::super::vectors::load;
use super::super::super::{Embed, End, Exception, Head};
use super::super::chord::{ChordPart, broken, complete, key};
use super::super::{After, after};
use super::{bad_thing, done, read, sender, sig, task};
use serde_json::{Value as Any, json};

/// The parts of a captured chord whose first header task is a chain, with these two ends.
fn parts(chained: &End, alone: &End) -> [ChordPart; 2] {
    let first = after(&read(&load("v2-chord-chain-redis.0").envelope), chained, &sender());
    let mut first = match &first.messages[..] {
        // The chain's next step is the chord's part.
        [next] => after(&read(&next.envelope), &done("7"), &sender()),
        _ => first,
    };
    let mut second = after(&read(&load("v2-chord-chain-redis.1").envelope), alone, &sender());
    [first.parts.remove(0), second.parts.remove(0)]
}

fn body(after: &After) -> Any {
    let [message] = &after.messages[..] else { panic!("{after:?}") };
    serde_json::from_slice(&message.envelope.body).unwrap()
}

#[test]
fn keys_and_members_are_celerys() {
    let [first, second] = parts(&done("2"), &done("4"));
    assert_eq!(key(&first.group, ".j"), "celery-taskset-meta-c412f6ee-68c5-4c31-9b0a-9a52fb329dd6.j");
    assert_eq!(first.member(), r#"[1, "4318dc86-84c1-4852-b7ab-ef8a60e57592", "SUCCESS", 7]"#);
    assert_eq!((first.index, second.index), (Some(0), Some(1)));
    let after = complete(&second, &[first.member(), second.member()], None, &sender());
    assert_eq!(body(&after)[0], json!([[7, 4]]));
    let headers = &after.messages[0].envelope.headers;
    assert_eq!(headers.text("id"), Some("a1a1e85b-12e1-4c46-b354-84b78eeee099"));
    assert_eq!(headers.text("parent_id"), Some(&*second.id));
    assert_eq!(headers.text("root_id"), Some("2624f484-36b6-4201-8145-ecd8056c2ce1"));
}

#[test]
fn a_failure_in_a_chain_within_a_header_is_a_failed_part_of_the_chord() {
    let [first, second] = parts(&bad_thing(), &done("4"));
    assert_eq!((first.id.as_str(), first.state), ("4318dc86-84c1-4852-b7ab-ef8a60e57592", "FAILURE"));
    let after = complete(&second, &[first.member(), second.member()], None, &sender());
    let [answer] = &after.answers[..] else { panic!("{after:?}") };
    assert_eq!(answer.id, "a1a1e85b-12e1-4c46-b354-84b78eeee099");
    assert_eq!(answer.reply_to.as_deref(), Some("e9962d76-d0a4-36ad-9500-15c771933885"));
    let result: Any = serde_json::from_slice(&answer.envelope.body).unwrap();
    let text = "Dependency 4318dc86-84c1-4852-b7ab-ef8a60e57592 raised ValueError('bad thing', 42)";
    let expected = json!({"exc_type": "ChordError", "exc_message": [text], "exc_module": "celery.exceptions"});
    assert_eq!(result["result"], expected);
    // The body's errback, with the body's id.
    assert_eq!(after.messages[0].envelope.headers.text("task"), Some("mqtt.errback"));
    assert_eq!(body(&after)[0], json!(["a1a1e85b-12e1-4c46-b354-84b78eeee099"]));
}

#[test]
fn a_revoked_part_fails_the_chord_too() {
    let revoked = End::Revoked(Exception::revoked("expired"));
    let [first, second] = parts(&done("2"), &revoked);
    assert_eq!(second.state, "REVOKED");
    let after = complete(&second, &[first.member(), second.member()], None, &sender());
    let result: Any = serde_json::from_slice(&after.answers[0].envelope.body).unwrap();
    let text = "Dependency 2624f484-36b6-4201-8145-ecd8056c2ce1 raised TaskRevokedError('expired')";
    assert_eq!(result["result"]["exc_message"], json!([text]));
}

#[test]
fn what_cannot_be_completed_fails_with_the_reason() {
    let [part, _] = parts(&done("2"), &done("4"));
    let after = broken(&part, "Callback error: no queue".to_owned(), &sender());
    let result: Any = serde_json::from_slice(&after.answers[0].envelope.body).unwrap();
    assert_eq!(result["result"]["exc_message"], json!(["Callback error: no queue"]));
    let after = complete(&part, &["nonsense".to_owned()], None, &sender());
    assert_eq!((after.answers.len(), after.answers[0].state), (1, "FAILURE"));
}

/// `(a | group(b, c))` and `d` in a header: the body gets `[[b, c], d]`.
#[test]
fn results_are_lists_within_lists_where_the_header_is() {
    let leaf = |name: &str| format!(r#"{{"task": "{name}", "options": {{"task_id": "{name}"}}}}"#);
    let group = format!(
        r#"{{"task": "celery.group", "subtask_type": "group", "kwargs": {{"tasks": [{}, {}]}}}}"#,
        leaf("b"),
        leaf("c")
    );
    let chain = format!(
        r#"{{"task": "celery.chain", "subtask_type": "chain", "kwargs": {{"tasks": [{}, {group}]}}}}"#,
        leaf("a")
    );
    let chord = format!(
        r#"{{"task": "celery.chord", "subtask_type": "chord", "options": {{"task_id": "gid"}},
            "kwargs": {{"kwargs": {{}}, "header": [{chain}, {}], "body": {}}}}}"#,
        leaf("d"),
        leaf("body")
    );
    let first = task(Embed { callbacks: vec![sig(&chord)], ..Embed::default() });
    let begun = after(&first, &done("0"), &sender());
    assert_eq!((begun.chords[0].group.as_str(), begun.chords[0].size), ("gid", 3));
    let structure: Any = serde_json::from_str(begun.chords[0].structure.as_deref().unwrap()).unwrap();
    assert_eq!(structure["result"][1][1], json!([["d", null], null]));
    assert_eq!(structure["result"][1][0][1], json!([[["b", null], null], [["c", null], null]]));
    let [a, d] = &begun.messages[..] else { panic!("{begun:?}") };
    let inner = after(&read(&a.envelope), &done("1"), &sender());
    let mut parts: Vec<ChordPart> = [&inner.messages[0], &inner.messages[1], d]
        .into_iter()
        .zip(["\"b\"", "\"c\"", "\"d\""])
        .map(|(message, value)| after(&read(&message.envelope), &done(value), &sender()).parts.remove(0))
        .collect();
    let members: Vec<String> = parts.iter().rev().map(ChordPart::member).collect();
    let last = parts.pop().unwrap();
    let whole = complete(&last, &members, begun.chords[0].structure.as_deref(), &sender());
    assert_eq!(body(&whole)[0], json!([[["b", "c"], "d"]]));
    // A result that the structure names and nobody has is an error that is told.
    let torn = complete(&last, &members[1..], begun.chords[0].structure.as_deref(), &sender());
    assert_eq!(torn.answers[0].state, "FAILURE");
}

#[test]
fn numbers_that_only_python_knows_pass_through_a_chord() {
    let masked = super::super::super::nonfinite::mask("NaN").unwrap();
    let [first, second] = parts(&done("2"), &done(&masked));
    assert!(second.member().ends_with("\"SUCCESS\", NaN]"), "{}", second.member());
    let after = complete(&second, &[first.member(), second.member()], None, &sender());
    let envelope = &after.messages[0].envelope;
    assert!(envelope.body.starts_with(b"[[[7,NaN]], {}"), "{:?}", envelope.body);
    assert_eq!(envelope.headers.text("argsrepr"), Some("([7, nan],)"));
}

/// Celery before 5.7 writes a chord's body into its header's tasks before it is begun.
#[test]
fn a_chord_that_was_never_begun_has_no_parts() {
    let body = r#"{"task": "body", "options": {"task_id": "body"}}"#;
    let member = format!(r#"{{"task": "a", "options": {{"task_id": "a", "group_id": "g", "chord": {body}}}}}"#);
    let chord = format!(
        r#"{{"task": "celery.chord", "subtask_type": "chord", "options": {{"task_id": "g"}},
            "kwargs": {{"kwargs": {{}}, "header": [{member}, {member}], "body": {body}}}}}"#
    );
    let first = task(Embed { chain: vec![sig(&chord)], ..Embed::default() });
    let after = after(&first, &bad_thing(), &sender());
    assert!(after.parts.is_empty(), "{after:?}");
    assert_eq!(after.answers.iter().map(|answer| answer.id.as_str()).collect::<Vec<_>>(), ["a", "body"]);
}

#[test]
fn a_task_of_a_group_without_a_chord_is_no_part() {
    let vector = read(&load("v2-group.0").envelope);
    assert!(vector.head.group.is_some());
    let after = after(&vector, &done("1"), &sender());
    assert!(after.parts.is_empty() && after.messages.is_empty() && after.chords.is_empty());
    assert_ne!(vector.head, Head::default());
}

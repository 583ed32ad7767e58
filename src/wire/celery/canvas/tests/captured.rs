//! What we send on an end, field by field against what Celery's own worker sent.

use super::super::super::vectors::{Vector, load, names};
use super::super::super::{Child, End, Exception, Head, message_id, reply, result};
use super::super::chord::complete;
use super::super::{After, Message, after};
use super::{bad_thing, done, read, sender};
use crate::envelope::{Headers, Value};
use serde_json::Value as Any;
use std::collections::HashMap;

/// Compares what we made with what was captured: ids that the input determines are the same, others correspond.
struct Likeness {
    input: String,
    theirs_by_ours: HashMap<String, String>,
}

impl Likeness {
    fn to(inputs: &[&Vector]) -> Self {
        let text = inputs.iter().map(|vector| vector.json.to_string()).collect();
        Self { input: text, theirs_by_ours: HashMap::new() }
    }

    fn message(&mut self, ours: &Message, theirs: &Vector) {
        assert_eq!((&ours.exchange, &ours.routing_key), (&theirs.exchange, &theirs.routing_key));
        let (our, their) = (&ours.envelope, &theirs.envelope);
        assert_eq!(our.content_type, their.content_type);
        assert_eq!(our.content_encoding, their.content_encoding);
        assert_eq!(our.persistent, their.persistent);
        assert_eq!(our.priority, their.priority);
        assert_eq!(our.expiration, their.expiration);
        assert_eq!(our.message_id, None);
        self.text(our.correlation_id.as_ref().unwrap(), their.correlation_id.as_ref().unwrap(), "correlation_id");
        assert_eq!(our.correlation_id.as_deref(), our.headers.text("id"));
        // Celery's worker names a queue of its own where the client gave none.
        let named = their.reply_to.as_ref().filter(|queue| self.input.contains(*queue));
        assert_eq!(our.reply_to.as_ref(), named);
        let keys = |headers: &Headers| {
            let mut keys: Vec<String> = headers.0.iter().map(|(name, _)| name.clone()).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&our.headers), keys(&their.headers));
        for (name, value) in &our.headers.0 {
            match (value, their.headers.get(name).unwrap()) {
                (our, _) if name == "origin" => assert_eq!(*our, Value::Text("switchboard@test-1".to_owned())),
                // Our clock is read to the millisecond.
                (Value::Text(our), Value::Text(their)) if matches!(name.as_str(), "eta" | "expires") => {
                    assert_eq!(
                        (our.len(), &our[..23], &our[26..]),
                        (their.len(), &their[..23], &their[26..]),
                        "{name}"
                    );
                }
                (Value::Text(our), Value::Text(their)) => self.text(our, their, name),
                (our, their) => assert_eq!(our, their, "{name}"),
            }
        }
        let parse = |body: &[u8]| serde_json::from_slice::<Any>(body).unwrap();
        self.json(&parse(&our.body), &parse(&their.body), "body");
    }

    fn json(&mut self, ours: &Any, theirs: &Any, place: &str) {
        match (ours, theirs) {
            (Any::String(our), Any::String(their)) => self.text(our, their, place),
            (Any::Array(our), Any::Array(their)) => {
                assert_eq!(our.len(), their.len(), "{place}: {ours} / {theirs}");
                for (index, (our, their)) in our.iter().zip(their).enumerate() {
                    self.json(our, their, &format!("{place}/{index}"));
                }
            }
            (Any::Object(our), Any::Object(their)) => {
                for (name, their) in their {
                    // An option of no value; and Celery's worker's own queue.
                    let is_own = name == "reply_to" && !self.input.contains(their.as_str().unwrap());
                    let may_lack = is_own || their.is_null();
                    match our.get(name) {
                        None => assert!(may_lack, "{place}: we lack {name}"),
                        Some(our) => self.json(our, their, &format!("{place}/{name}")),
                    }
                }
                let more: Vec<_> = our.keys().filter(|name| !their.contains_key(*name)).collect();
                assert!(more.is_empty(), "{place}: we add {more:?}");
            }
            _ => assert_eq!(ours, theirs, "{place}"),
        }
    }

    fn text(&mut self, ours: &str, theirs: &str, place: &str) {
        let is_id = |text: &str| text.len() == 36 && text.bytes().filter(|byte| *byte == b'-').count() == 4;
        if is_id(ours) && is_id(theirs) && !self.input.contains(theirs) {
            let known = self.theirs_by_ours.entry(ours.to_owned()).or_insert_with(|| theirs.to_owned());
            assert_eq!(known, theirs, "{place}: another id");
        } else {
            assert_eq!(ours, theirs, "{place}");
        }
    }

    fn messages(&mut self, ours: &After, theirs: &[&str]) {
        assert_eq!(ours.messages.len(), theirs.len());
        for (our, their) in ours.messages.iter().zip(theirs) {
            self.message(our, &load(their));
        }
    }

    /// The result that goes with what was sent.
    fn result(&mut self, head: &Head, end: &End, after: &After, theirs: &str) {
        let vector = load(theirs);
        let body = result(head, end, &after.children, 1_795_332_313_871);
        let envelope = reply(head, body.clone(), message_id(&head.id));
        assert_eq!(head.reply_to.as_ref(), Some(&vector.routing_key));
        assert!(envelope.headers.is_empty() && vector.envelope.headers.is_empty());
        let without = |envelope: &crate::envelope::Envelope| crate::envelope::Envelope {
            body: Default::default(),
            message_id: None,
            ..envelope.clone()
        };
        assert_eq!(without(&envelope), without(&vector.envelope), "{theirs}");
        let parse = |body: &[u8]| serde_json::from_slice::<serde_json::Map<String, Any>>(body).unwrap();
        let (ours, mut theirs) = (parse(&body), parse(&vector.envelope.body));
        assert_eq!(ours["date_done"], "2026-11-22T07:25:13.871000+00:00");
        assert_eq!(theirs["date_done"].as_str().unwrap().len(), 32);
        theirs["date_done"] = ours["date_done"].clone();
        // A device's failure has no Python stack.
        theirs["traceback"] = Any::Null;
        self.json(&ours.into(), &theirs.into(), "result");
    }
}

/// A task and its end, and what Celery's worker sent then.
fn follows(input: &str, end: &End, sent: &[&str], its_result: Option<&str>) -> After {
    let vector = load(input);
    let task = read(&vector.envelope);
    let after = after(&task, end, &sender());
    let mut likeness = Likeness::to(&[&vector]);
    likeness.messages(&after, sent);
    if let Some(theirs) = its_result {
        likeness.result(&task.head, end, &after, theirs);
    }
    after
}

#[test]
fn a_chains_next_step_is_sent_with_the_rest_behind_it() {
    follows("out-chain-task", &done("13"), &["out-chain-task.2"], Some("out-chain-result-success.2"));
    let last = follows("out-chain-task.2", &done("113"), &[], Some("out-chain-result-success.3"));
    assert!(last.children.is_empty() && last.answers.is_empty() && last.parts.is_empty());
    follows("canvas-parent-priority.0", &done("2"), &["canvas-parent-priority.1"], None);
}

#[test]
fn options_of_a_callback_become_those_of_its_message() {
    follows("canvas-link-with-options.0", &done("2"), &["canvas-link-with-options.1"], None);
}

#[test]
fn a_callback_that_stands_for_several_is_sent_as_celery_sends_it() {
    follows("canvas-link-group.0", &done("2"), &["canvas-link-group.1", "canvas-link-group.2"], None);
    follows("canvas-link-chain.0", &done("2"), &["canvas-link-chain.1"], None);
    follows("canvas-link-chain.1", &done("12"), &["canvas-link-chain.2"], None);
}

#[test]
fn a_chord_in_a_chain_is_begun_and_its_body_has_the_rest_of_the_chain() {
    let first = load("canvas-chain-into-chord.0");
    let after_first = follows(
        "canvas-chain-into-chord.0",
        &done("2"),
        &["canvas-chain-into-chord.1", "canvas-chain-into-chord.2"],
        None,
    );
    let [start] = &after_first.chords[..] else { panic!("{after_first:?}") };
    assert_eq!((start.group.as_str(), start.size), ("d200020d-f988-43bf-9f31-5bd3caef81d1", 2));
    assert_eq!(start.structure, None);
    // Both parts come from messages of Celery's, the second completes the chord.
    let part = |vector: &str, value: &str| {
        let mut after = after(&read(&load(vector).envelope), &done(value), &sender());
        assert!(after.messages.is_empty());
        after.parts.remove(0)
    };
    let parts = [part("canvas-chain-into-chord.1", "12"), part("canvas-chain-into-chord.2", "22")];
    assert_eq!(parts[0].index, Some(0));
    assert_eq!(parts[0].member(), r#"[1, "f5c61e05-19c2-434d-b560-ee03299ac632", "SUCCESS", 12]"#);
    let members = parts.each_ref().map(|part| part.member());
    let body = complete(&parts[1], &members, None, &sender());
    Likeness::to(&[&first]).messages(&body, &["canvas-chain-into-chord.3"]);
    follows("canvas-chain-into-chord.3", &done("34"), &["canvas-chain-into-chord.4"], None);
}

#[test]
fn a_body_that_is_a_group_is_sent_whole() {
    let inputs = [load("canvas-chord-body-group.0"), load("canvas-chord-body-group.1")];
    let mut first = after(&read(&inputs[0].envelope), &done("2"), &sender());
    let mut last = after(&read(&inputs[1].envelope), &done("4"), &sender());
    let (first, last) = (first.parts.remove(0), last.parts.remove(0));
    let body = complete(&last, &[first.member(), last.member()], None, &sender());
    let theirs = ["canvas-chord-body-group.2", "canvas-chord-body-group.3"];
    Likeness::to(&[&inputs[0], &inputs[1]]).messages(&body, &theirs);
}

/// The tasks that these follow on were not captured; others of the same shape were.
#[test]
fn messages_have_the_shape_of_celerys_where_the_task_before_was_not_captured() {
    for (input, value, theirs) in [
        ("v2-chain", "3", &["out-chain-task"][..]),
        ("v2-link-many", "3", &["out-link-many-task", "out-link-many-task.2"]),
        ("v2-chain-of-group", "2", &["out-chain-group-task", "out-chain-group-task.2"]),
        ("v2-link", "3", &["out-link-task"]),
    ] {
        let after = after(&read(&load(input).envelope), &done(value), &sender());
        assert!(after.messages.len() >= theirs.len(), "{input}");
        for (ours, theirs) in after.messages.iter().zip(theirs) {
            let theirs = load(theirs);
            let body: Vec<Any> = serde_json::from_slice(&ours.envelope.body).unwrap();
            let their_body: Vec<Any> = serde_json::from_slice(&theirs.envelope.body).unwrap();
            let keys = |any: &Any| any.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&body[2]), keys(&their_body[2]));
            assert_eq!(body[2]["chain"].is_null(), their_body[2]["chain"].is_null(), "{input}");
            assert_eq!(body[0].as_array().unwrap().len(), their_body[0].as_array().unwrap().len(), "{input}");
            for (name, their) in &theirs.envelope.headers.0 {
                let our = ours.envelope.headers.get(name).unwrap_or_else(|| panic!("{input}: no {name}"));
                assert_eq!(std::mem::discriminant(our), std::mem::discriminant(their), "{input}: {name}");
            }
        }
    }
}

#[test]
fn results_are_those_of_celery() {
    for name in names("out-").into_iter().chain(names("pre-")).filter(|name| name.contains("-result-")) {
        let theirs = load(&name);
        let body: Any = serde_json::from_slice(&theirs.envelope.body).unwrap();
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let why = || {
            let field = |name: &str| body["result"][name].as_str().unwrap().to_owned().into();
            let args = body["result"]["exc_message"].as_array().unwrap().clone();
            Exception { module: field("exc_module"), kind: field("exc_type"), args }
        };
        let end = match body["status"].as_str().unwrap() {
            "SUCCESS" => done(&body["result"].to_string()),
            "FAILURE" => End::Failure(why()),
            "REVOKED" => End::Revoked(why()),
            // Said on the way, not at the end.
            "STARTED" | "RETRY" => continue,
            status => panic!("{name}: {status}"),
        };
        let head = Head {
            id: text("task_id").unwrap().into(),
            correlation_id: theirs.envelope.correlation_id.clone().unwrap(),
            reply_to: Some(theirs.routing_key.clone()),
            group: text("group_id"),
            parent_id: text("parent_id"),
            ..Head::default()
        };
        let after = After { children: children(&body["children"]), ..After::default() };
        Likeness::to(&[&theirs]).result(&head, &end, &after, &name);
    }
}

fn children(json: &Any) -> Vec<Child> {
    let child = |tuple: &Any| {
        let id = tuple[0][0].as_str().unwrap().to_owned();
        match &tuple[1] {
            Any::Null => Child::Task(id),
            members => Child::Group(id, children(members)),
        }
    };
    json.as_array().into_iter().flatten().map(child).collect()
}

#[test]
fn a_failure_is_that_of_every_later_step_and_goes_to_the_errbacks() {
    let input = load("v2-chain-link-error");
    let task = read(&input.envelope);
    let after = after(&task, &bad_thing(), &sender());
    let [errback] = &after.messages[..] else { panic!("{after:?}") };
    let theirs = load("out-link-error-task");
    // Its arguments, group and parent; the ids are of another run.
    let id = &*task.head.id;
    assert_eq!(errback.envelope.headers.text("task"), theirs.envelope.headers.text("task"));
    for name in ["parent_id", "root_id"] {
        assert_eq!(errback.envelope.headers.text(name), Some(id), "{name}");
    }
    assert_eq!(errback.envelope.headers.get("group_index"), theirs.envelope.headers.get("group_index"));
    assert!(errback.envelope.headers.text("group").is_some());
    let body: Vec<Any> = serde_json::from_slice(&errback.envelope.body).unwrap();
    assert_eq!(body[0], serde_json::json!([id]));
    let [answer] = &after.answers[..] else { panic!("{after:?}") };
    assert_eq!((answer.id.as_str(), answer.state), ("904423f2-d630-409a-a9bf-e0c8c3568895", "FAILURE"));
    assert_eq!(answer.reply_to, task.head.reply_to);
    // Celery's results of the steps that did not run look like that of the one that did.
    let theirs: Any = serde_json::from_slice(&load("out-chain-fail-result-failure.2").envelope.body).unwrap();
    let ours: Any = serde_json::from_slice(&answer.envelope.body).unwrap();
    let keys = |any: &Any| any.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&ours), keys(&theirs));
    for name in ["status", "result", "children"] {
        assert_eq!(ours[name], theirs[name], "{name}");
    }
}

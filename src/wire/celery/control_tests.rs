//! Requests and replies of remote control, against what Celery's own programs sent.

use super::*;
use crate::wire::celery::vectors::{Vector, load, names};

const NODE: &str = "ctl@lab";
/// A moment at which none of the captured requests is stale.
const THEN: f64 = 1_795_330_118.0;

fn asked(body: &str) -> Envelope {
    Envelope { body: body.to_owned().into(), ..Envelope::default() }
}

#[test]
fn every_captured_request_is_read_and_meant_for_whom_it_names() {
    let requests: Vec<String> = names("ctl-").into_iter().filter(|name| name.ends_with("-request")).collect();
    assert!(requests.len() > 25, "{requests:?}");
    for name in requests {
        let Vector { envelope, exchange, json, .. } = load(&name);
        let read = request(&envelope, NODE, THEN).unwrap();
        let body: Any = serde_json::from_str(json["body_text"].as_str().unwrap()).unwrap();
        let Some(read) = read else {
            assert_eq!(name, "ctl-ping-dest-other-request");
            continue;
        };
        assert_eq!((exchange.as_str(), read.method.as_str()), (EXCHANGE, body["method"].as_str().unwrap()), "{name}");
        assert_eq!(Any::Object(read.arguments), body["arguments"], "{name}");
        assert_eq!(read.ticket.as_deref(), body["ticket"].as_str(), "{name}");
        assert_eq!(serde_json::to_value(&read.reply_to).unwrap(), body["reply_to"], "{name}");
        assert_eq!(read.clock, json["headers"]["clock"].as_u64().unwrap(), "{name}");
        assert!(!read.is_stale, "{name}");
        assert!(request(&envelope, NODE, THEN + 1e6).unwrap().unwrap().is_stale, "{name}");
    }
}

#[test]
fn every_captured_reply_is_what_we_would_write_for_the_same_value() {
    for name in names("ctl-").into_iter().filter(|name| name.ends_with("-reply")) {
        let Vector { envelope, json, .. } = load(&name);
        let body: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&envelope.body).unwrap();
        let clock = json["headers"]["clock"].as_u64().unwrap();
        let ours = reply(NODE, json["headers"]["ticket"].as_str(), clock, &body[NODE]);
        let value = |envelope: &Envelope| serde_json::from_slice::<Any>(&envelope.body).unwrap();
        assert_eq!(value(&ours), value(&envelope), "{name}");
        let sorted = |envelope: &Envelope| {
            let mut headers = envelope.headers.0.clone();
            headers.sort_by(|a, b| a.0.cmp(&b.0));
            headers
        };
        assert_eq!(sorted(&ours), sorted(&envelope), "{name}");
        assert_eq!(
            Envelope { body: envelope.body.clone(), headers: envelope.headers.clone(), ..ours },
            envelope,
            "{name}"
        );
    }
}

#[test]
fn a_request_is_meant_for_all_for_those_it_lists_or_for_those_its_pattern_fits() {
    let cases = [
        (r#"{"method":"ping"}"#, true),
        (r#"{"method":"ping","destination":[],"pattern":"","matcher":"glob"}"#, true),
        (r#"{"method":"ping","destination":["a@b","ctl@lab"]}"#, true),
        (r#"{"method":"ping","destination":["a@b"],"pattern":"*","matcher":"glob"}"#, false),
        (r#"{"method":"ping","destination":"ctl@lab"}"#, true),
        (r#"{"method":"ping","destination":"ctl@lab.example"}"#, false),
        (r#"{"method":"ping","pattern":"other@*","matcher":"glob"}"#, false),
        (r#"{"method":"ping","pattern":"other@*"}"#, true),
        (r#"{"method":"ping","pattern":"c[a-z]+@","matcher":"pcre"}"#, true),
        (r#"{"method":"ping","pattern":"tl@lab","matcher":"pcre"}"#, false),
        (r#"{"method":"ping","pattern":"x|ctl","matcher":"pcre"}"#, true),
        (r#"{"method":"ping","pattern":"(?i)CTL@LAB$","matcher":"pcre"}"#, true),
    ];
    for (body, expected) in cases {
        assert_eq!(request(&asked(body), NODE, THEN).unwrap().is_some(), expected, "{body}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let wrong = |body: &str| request(&asked(body), NODE, THEN).unwrap_err();
    assert!(wrong("[]").contains("no request"), "{}", wrong("[]"));
    assert!(wrong(r#"{"arguments":{}}"#).contains("method"));
    assert!(wrong(r#"{"method":"ping","pattern":"(","matcher":"pcre"}"#).contains("cannot be read"));
    assert!(wrong(r#"{"method":"ping","pattern":"((a{100}){100}){100}","matcher":"pcre"}"#).contains("cannot be read"));
    assert!(wrong(r#"{"method":"ping","pattern":"x","matcher":"soundex"}"#).contains("glob or pcre"));
    let long = format!(r#"{{"method":"ping","pattern":"{}","matcher":"glob"}}"#, "*a".repeat(600));
    assert!(wrong(&long).contains("1200 bytes"));
    let pickled = Envelope { content_type: Some("application/x-python-serialize".to_owned()), ..asked("{}") };
    assert!(request(&pickled, NODE, THEN).unwrap_err().contains("application/json"));
}

#[test]
fn our_question_to_other_nodes_is_the_captured_one_and_their_answers_are_read() {
    let Vector { envelope, json, .. } = load("ctl-hello-request");
    let reply_to =
        ReplyTo { exchange: REPLY_EXCHANGE.to_owned(), routing_key: "0f5e6d67-a764-39ec-9678-689b06caf0b7".to_owned() };
    let ours = hello("ref@lab", &[] as &[&str], &reply_to, "95f3d4b5-be7e-426b-b8d3-32405cf593a7", 1);
    let body: Any = serde_json::from_str(json["body_text"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Any>(&ours.body).unwrap(), body);
    assert_eq!(
        request(&ours, NODE, THEN).unwrap().unwrap().method,
        request(&envelope, NODE, THEN).unwrap().unwrap().method
    );
    let answer = r#"{"a@lab": {"revoked": ["x", "y"], "clock": 7}, "ref@lab": null}"#;
    assert_eq!(greetings(&asked(answer)), [Greeting { revoked: vec!["x".to_owned(), "y".to_owned()], clock: 7 }]);
    assert_eq!(greetings(&asked("nonsense")), []);
}

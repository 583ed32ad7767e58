//! What must hold for any device, command, attempt and answer, however odd.

use super::*;
use proptest::prelude::*;

/// Names of any kind, with the characters that matter more often than chance would have them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_.:-]{1,20}",
        "\\PC{0,20}",
        proptest::collection::vec(
            prop_oneof![Just('/'), Just('+'), Just('#'), Just('$'), Just('\0'), Just('{'), Just('}'), any::<char>()],
            0..6
        )
        .prop_map(String::from_iter),
    ]
}

/// What this device would answer to this message, as firmware would do it: correlation, inbox and id repeated.
fn answer_of(name: &str, sent: &Rendered) -> (String, Vec<u8>, Option<Bytes>) {
    let topic = sent.answer.as_ref().unwrap().topic.as_str().to_owned();
    let payload = if name == "json" { sent.payload.to_vec() } else { b"{}".to_vec() };
    (topic, payload, sent.correlation.clone())
}

proptest! {
    #[test]
    fn an_answer_finds_its_attempt_and_device(device in name(), command in name(), attempt: u128) {
        for name in ["default", "json", "mqtt5"] {
            let profile = profile(name);
            let call = Call { attempt, ..call(&device, &command, &Payload::Empty) };
            let Ok(sent) = profile.render(&call) else { continue };
            let levels = |text: &str| text.split('/').count();
            let expected = match name { "default" => 6, "json" => 3, _ => 4 };
            prop_assert_eq!(levels(sent.topic.as_str()), expected);
            prop_assert!(!sent.topic.as_str().contains(['+', '#', '\0']));
            let answer = sent.answer.as_ref().unwrap();
            prop_assert!(!answer.topic.as_str().contains(['+', '#', '\0']));
            prop_assert!(answer.filter.matches(answer.topic.as_str()));

            let (topic, payload, correlation) = answer_of(name, &sent);
            let found = profile.identify("in", &topic, &payload, correlation.as_deref());
            prop_assert_eq!(found, Some(Identified { device: Some(&*device), key: Key::Attempt(attempt), code: None }));
            if name != "json" {
                prop_assert_eq!(profile.identify("other", &topic, &payload, correlation.as_deref()), None);
            }
        }
    }

    #[test]
    fn no_topic_is_taken_for_the_answer_of_a_device_that_would_not_answer_there(
        device in name(),
        inbox in "[a-z]{1,3}",
        attempt: u128,
        topic in "(devices|device)/[a-z$+]{0,2}/(responses|commands)/[a-z]{1,3}/[0-9]{1,3}(/x)?",
    ) {
        let profile = profile("default");
        if let Some(found) = profile.identify(&inbox, &topic, b"", None) {
            let Key::Attempt(number) = found.key else { panic!() };
            prop_assert_eq!(&topic, &format!("devices/{}/responses/{inbox}/{number}", found.device.unwrap()));
        }
        let empty = Payload::Empty;
        if let Ok(sent) = profile.render(&Call { inbox: &inbox, attempt, ..call(&device, "c", &empty) }) {
            let topic = sent.answer.unwrap().topic;
            let found = profile.identify(&inbox, topic.as_str(), b"", None).unwrap();
            prop_assert_eq!(found.device, Some(&*device));
        }
    }

    #[test]
    fn any_answer_is_read_without_a_panic(payload in proptest::collection::vec(any::<u8>(), 0..60), text in "[{}\\[\\]\":,a-z\\\\0-9]{0,40}") {
        for name in ["default", "json", "mqtt5"] {
            let profile = profile(name);
            profile.read(&payload);
            profile.read(text.as_bytes());
            profile.identify("in", "devices/d/response", text.as_bytes(), None);
            let member = format!("{{\"error\": {text}}}");
            let is_json = serde_json::from_str::<serde_json::Value>(&member);
            let rejected = is_json.is_ok_and(|json| !matches!(json["error"], serde_json::Value::Null | serde_json::Value::Bool(false)));
            prop_assert_eq!(profile.read(member.as_bytes()) != Reading::Success, rejected);
        }
    }
}

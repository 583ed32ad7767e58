//! Every way in which a profile can be written wrong, and what the user is told.

use super::*;

fn problems(keys: &str) -> Vec<String> {
    let said = with("default", keys).err().unwrap_or_default();
    said.into_iter().map(|problem| format!("{} {}", problem.key, problem.problem)).collect()
}

#[test]
fn one_key_changes_just_that() {
    let message = with("default", "qos = 0").unwrap().render(&call("d", "c", &Payload::Empty)).unwrap();
    assert_eq!(message.qos, 0);
    assert_eq!(message.topic.as_str(), "devices/d/commands/c/in/7");
}

#[test]
fn a_wrong_value_is_named_with_its_key_and_what_would_be_right() {
    for (keys, said) in [
        ("retain = \"yes\"", "retain is the string \"yes\"; true or false is right"),
        ("qos = 2", "qos is 2; a whole number from 0 to 1 is right"),
        ("qos = \"1\"", "qos is the string \"1\"; a whole number from 0 to 1 is right"),
        ("subscribe = \"all\"", "subscribe is the string \"all\"; \"shared\" or \"device\" is right"),
        ("payload = 5", "payload is 5; \"raw\" or \"text\" or \"json\" is right"),
        ("late_grace = \"5 s\"", "late_grace is the string \"5 s\"; a duration like"),
        ("late_grace = 5", "late_grace is 5; a duration like"),
        ("guarantee = \"exactly_once\"", "\"at_most_once\" or \"at_least_once\" is right"),
        ("correlate = \"id\"", "correlate is the string \"id\"; \"topic\", \"mqtt5\", \"json:/pointer\" or \"none\""),
        ("correlate = \"json:/id\"", "correlate matches answers by a member that no request carries"),
        ("error = \"/error\"", "error is \"/error\"; \"json:/pointer\", \"code\" or \"property:name\" is right"),
        ("error = \"json:error\"", "error is the JSON pointer \"error\"; one that begins with '/' is right"),
        ("error = {of = \"json:/s\"}", "error is another table than it can be"),
        ("error = {of = \"json:/s\", in = [1.5]}", "error is 1.5; a string, a whole number, true or false is right"),
        ("topic = 1", "topic is 1; a string is right"),
        ("topic = \"a/+/{device}\"", "topic is no topic template: it contains the wildcard '+'"),
        ("topic = \"\"", "topic is no topic template: it is empty"),
        ("topic = \"{device}/{payload}\"", "topic has the placeholder {payload}; here {device}, {command}"),
        ("topic = \"{device}/{seq\"", "topic has a '{' without its '}'"),
        ("topic = \"{device}/seq}\"", "topic has a '}' without its '{'"),
        ("topic = \"{device}{seq}\"", "topic has two placeholders in the level"),
        ("responses = [1]", "responses has the item 1; strings are right"),
        ("responses = [\"a/{x}\"]", "responses has \"a/{x}\", which has the placeholder {x}"),
        ("in_flight_per_device = 0", "in_flight_per_device is 0; a whole number from 1 is right"),
        ("status = \"x\"", "status is the string \"x\"; a table is right"),
        ("status = {online = \"up\"}", "status.topic is missing"),
        ("status = {topic = \"a\"}", "status.topic lacks {device}"),
        ("status = {topic = \"{device}\", up = 1}", "status.up is not known here; the keys are offline, online, topic"),
        ("user_properties = {a = 1}", "user_properties.a is 1; a string is right"),
        ("device_characters = \"\"", "device_characters is empty"),
        ("device_characters = \"z-a\"", "device_characters has the range \"z-a\", which runs backwards"),
        ("json = {id = \"{attempt}\"}", "json has no effect; with it, payload = \"json\" is right"),
        ("payload = \"json\"", "json is missing"),
        ("qqos = 1", "qqos is not known here; the keys are answer_device, "),
    ] {
        let said_instead = problems(keys);
        assert!(said_instead.iter().any(|problem| problem.contains(said)), "{keys}: {said_instead:?}");
    }
    assert!(compile("").unwrap_err().iter().any(|problem| problem.key == "topic"));
}

#[test]
fn each_key_that_there_is_is_named_once() {
    let said = problems("qqos = 1");
    let (_, known) = said[0].split_once("the keys are ").unwrap();
    let keys: Vec<&str> = known.split(", ").collect();
    assert!(keys.contains(&"json") && keys.is_sorted_by(|one, next| one < next), "{known}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let said = problems("qos = 9\nretain = 1\nnonsense = true\nstatus = {topic = 5}\nuser_properties = {a = \"{x}\"}");
    let keys: Vec<&str> = said.iter().map(|problem| problem.split(' ').next().unwrap()).collect();
    for key in ["qos", "retain", "nonsense", "status.topic", "user_properties.a"] {
        assert!(keys.contains(&key), "{key} is not in {said:?}");
    }
    assert_eq!(said.len(), 5, "{said:?}");
}

#[test]
fn what_would_take_one_answer_for_another_is_refused() {
    for (keys, said) in [
        ("responses = \"r/{inbox}/{seq}\"", "responses has a topic without {device}"),
        ("responses = \"r/{device}\"", "responses has no {seq} or {attempt} to match answers by"),
        ("topic = \"t/{device}/{inbox}\"", "topic does not tell the device the {seq}"),
        ("topic = \"t/{device}/{seq}\"", "responses has {inbox}, which no request tells the device"),
        ("topic = \"t/{command}/{inbox}/{seq}\"", "topic lacks {device}"),
        ("correlate = \"none\"", "correlate is \"none\", but the answer's topic differs"),
        (
            "correlate = \"none\"\nresponses = \"r/{device}\"\nin_flight_per_device = 2",
            "in_flight_per_device is over 1, but correlate is \"none\"",
        ),
        (
            "correlate = \"none\"\nresponses = \"r\"\nanswer_device = \"json:/src\"",
            "responses has a topic without {device}, and correlate is \"none\"",
        ),
        ("device_levels = 3", "subscribe is \"shared\", but a name in the answer's topic may span several levels"),
        ("error = \"code\"", "responses lacks the {code} by which answers are judged"),
        ("response_topic = true\nresponses = [\"a/{device}/{seq}\", \"b/{device}/{seq}\"]", "just one topic"),
        ("correlate = \"mqtt5\"\nresponses = []", "responses is missing"),
        ("payload = \"json\"\njson = {n = \"{seq}\"}", "attempt_bits lets {seq} grow"),
    ] {
        let said_instead = problems(keys);
        assert!(said_instead.iter().any(|problem| problem.contains(said)), "{keys}: {said_instead:?}");
    }
}

#[test]
fn where_to_read_a_refusal_is_no_use_without_what_is_one() {
    let keys = |judged: &str| {
        format!(
            "topic = \"t/{{device}}/{{seq}}\"\nresponses = \"r/{{device}}/{{seq}}\"\ncorrelate = \"topic\"\n{judged}"
        )
    };
    for key in ["error_code", "error_message"] {
        let said = compile(&keys(&format!("{key} = \"json:/code\""))).unwrap_err();
        assert_eq!((said.len(), &*said[0].key), (1, key), "{said:?}");
        assert!(said[0].problem.contains("each would be a success; error or success beside it is right"), "{said:?}");
    }
    for judge in ["error = \"json:/error\"", "success = {of = \"json:/status\", in = [\"ok\"]}"] {
        compile(&keys(&format!("error_code = \"json:/code\"\nerror_message = \"json:/text\"\n{judge}"))).unwrap();
    }
}

#[test]
fn without_correlation_a_device_gets_one_command_at_a_time() {
    let profile = with("default", "correlate = \"none\"\nresponses = \"r/{device}\"").unwrap();
    assert!(profile.one_at_a_time());
    assert_eq!(profile.in_flight_per_device(), Some(1));
    let found = profile.identify("in", "r/d", b"", None).unwrap();
    assert_eq!((found.device, found.key), (Some("d"), Key::AnswerTopic));
}

#[test]
fn limits_and_alphabets_are_kept() {
    let profile = with(
        "default",
        "max_payload_bytes = 3\nlate_grace = \"2m\"\nguarantee = \"at_least_once\"\nattempt_bits = 31\n\
         device_characters = \"a-z0-9-\"\ncommand_levels = 2\nretained_answers = true\nretain = true",
    )
    .unwrap();
    let sent = |device, command, payload: &'static [u8]| {
        profile.render(&call(device, command, &Payload::Bytes(Bytes::from_static(payload)))).map(|sent| sent.topic)
    };
    assert_eq!(sent("a-1", "x/y", b"123").unwrap().as_str(), "devices/a-1/commands/x/y/in/7");
    for (device, command, payload, field, said) in [
        ("a-1", "x", &b"1234"[..], "payload", "4 bytes in MQTT; profile \"default\" takes 3"),
        ("A", "x", b"", "device", "contains 'A'; characters out of \"a-z0-9-\" are right"),
        ("a", "x/y/z", b"", "command", "has 3 levels; at most 2 are right"),
        ("a", "x//", b"", "command", "has 3 levels"),
        ("a", "x/", b"", "command", "has an empty level"),
    ] {
        let invalid = sent(device, command, payload).unwrap_err();
        assert_eq!(invalid.field, field);
        assert!(invalid.message.contains(said), "{}", invalid.message);
    }
    assert_eq!(profile.late_grace(), Some(Duration::from_secs(120)));
    assert_eq!(profile.guarantee(), Some(Guarantee::AtLeastOnce));
    assert_eq!((profile.attempt_bits(), profile.max_payload_bytes()), (31, Some(3)));
    assert!(profile.retained_answers());
}

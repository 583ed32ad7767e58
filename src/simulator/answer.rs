//! What a simulated device says: `{"ok":true,…}` with what it was told, or an error.

use crate::profile::{Heard, Profile, Reading, Reply};
use serde_json::Value;
use serde_json::value::RawValue;

/// The code of every error that a simulated device answers with.
const CODE: &str = "simulated";
const MESSAGE: &str = "the simulated device refuses this one";

/// Whether the profile reads these answers as they are meant.
///
/// # Errors
///
/// What it takes them for.
pub(super) fn check(profile: &Profile) -> Result<(), String> {
    let success = profile.read(br#"{"ok":true}"#);
    if success != Reading::Success {
        return Err(format!("it reads the answer {{\"ok\":true}} as {success:?}"));
    }
    let refusal = profile.read(format!("{{{}}}", refused()).as_bytes());
    match refusal {
        Reading::Error { .. } => Ok(()),
        other => Err(format!("it reads the answer {{\"error\":…}} as {other:?}")),
    }
}

/// The answer to a request: a JSON object that begins with what the profile needs to recognise it.
pub(super) fn text(heard: &Heard<'_>, reply: &Reply, well: bool) -> String {
    let taken = |name: &str| reply.members.iter().any(|(taken, _)| taken == name);
    let mut members: Vec<String> =
        reply.members.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    if well {
        members.push("\"ok\":true".to_owned());
        let told = [("device", Value::from(&*heard.device)), ("command", Value::from(&*heard.command))];
        members.extend(told.iter().filter(|(name, _)| !taken(name)).map(|(name, value)| format!("\"{name}\":{value}")));
        members.push(format!("\"echo\":{}", echo(heard.payload)));
    } else {
        members.push(refused());
    }
    format!("{{{}}}", members.join(","))
}

fn refused() -> String {
    format!("\"error\":{{\"code\":\"{CODE}\",\"message\":\"{MESSAGE}\"}}")
}

/// A payload as JSON: its own text where it is JSON, `null` where there is none, else a string of what can be read of it.
fn echo(payload: &[u8]) -> String {
    if payload.is_empty() {
        return "null".to_owned();
    }
    match serde_json::from_slice::<&RawValue>(payload) {
        Ok(json) => json.get().to_owned(),
        Err(_) => Value::from(String::from_utf8_lossy(payload)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicName;

    fn answer(payload: &[u8], members: &[(&str, &str)], well: bool) -> String {
        let members = members.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let reply = Reply { topic: TopicName::new("t").unwrap(), correlation: None, members };
        let heard = Heard { device: "a".into(), command: "open".into(), payload, reply: None };
        let text = text(&heard, &reply, well);
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        text
    }

    #[test]
    fn an_answer_repeats_what_was_told_whatever_it_was() {
        let with = |echo: &str| format!(r#"{{"ok":true,"device":"a","command":"open","echo":{echo}}}"#);
        for (payload, expected) in [
            (&b""[..], "null"),
            (br#"{"n":1.10,"big":12345678901234567890123}"#, r#"{"n":1.10,"big":12345678901234567890123}"#),
            (b"\xFF\x00", "\"\u{FFFD}\\u0000\""),
            (b"say \"hello\"", r#""say \"hello\"""#),
        ] {
            assert_eq!(answer(payload, &[], true), with(expected));
        }
    }

    #[test]
    fn members_of_the_profile_come_first_and_are_not_repeated() {
        let answered = answer(b"1", &[("id", "\"07\""), ("device", "\"a\"")], true);
        assert_eq!(answered, r#"{"id":"07","device":"a","ok":true,"command":"open","echo":1}"#);
        let refused = answer(b"1", &[("id", "7")], false);
        assert!(refused.starts_with(r#"{"id":7,"error":{"code":"simulated","message":"#), "{refused}");
    }

    #[test]
    fn the_plain_profiles_read_the_answers_as_meant_and_others_are_told_apart() {
        for (name, table) in crate::profile::builtin() {
            let profile = Profile::compile(&name, &table).unwrap();
            if ["default", "json", "mqtt5"].contains(&name.as_str()) {
                assert_eq!(check(&profile), Ok(()), "{name}");
            }
        }
        let other = "topic = 'd/{device}'\nerror = 'json:/problem'".parse().unwrap();
        let wrong = check(&Profile::compile("other", &other).unwrap()).unwrap_err();
        assert!(wrong.contains("{\"error\":…} as Success"), "{wrong}");
    }
}

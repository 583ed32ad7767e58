//! What the keys of a profile must mean together, for an answer to be surely the answer of that device to that command.

use super::answer::{Predicate, Source};
use super::body::{Body, Node};
use super::compile::{Correlate, EXACT_JSON_BITS};
use super::slot::Slot;
use super::template::Template;
use super::{Problem, Profile};

/// Every contradiction between keys that are right one by one.
pub(super) fn contradictions(profile: &Profile) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut say = |key: &str, problem: &str| found.push(Problem { key: key.to_owned(), problem: problem.to_owned() });
    let p = profile;
    let any = |slot| p.responses.iter().any(|response| response.has(slot));

    if !p.request.has(Slot::Device) && !in_payload(p, Slot::Device) {
        say("topic", "lacks {device}, so no device would know that it is meant; {device} in it, or in json, is right");
    }
    if p.responses.iter().any(|response| !response.has(Slot::Device)) {
        if p.answer_device.is_none() {
            say(
                "responses",
                "has a topic without {device}: any device could answer for another; {device} in it is right, or \
                 answer_device = \"json:/…\", the member of the answer that names its device",
            );
        } else if p.correlate == Correlate::Nothing {
            say(
                "responses",
                "has a topic without {device}, and correlate is \"none\": one command at a time over all devices would \
                 be the only safe way; {device} in it is right, or a correlate that tells answers apart",
            );
        }
    }
    if p.shared && p.responses.iter().any(Template::is_wide) {
        say(
            "subscribe",
            "is \"shared\", but a name in the answer's topic may span several levels; \"device\" is right",
        );
    }
    if any(Slot::Inbox) && !learns(p, Slot::Inbox) {
        say(
            "responses",
            "has {inbox}, which no request tells the device; {inbox} in topic or json, or response_topic = true, is right",
        );
    }
    match &p.correlate {
        Correlate::Topic if p.responses.is_empty() || p.responses.iter().any(|topic| !numbered(topic)) => {
            say(
                "responses",
                "has no {seq} or {attempt} to match answers by; one of them in each topic, or another correlate, is right",
            );
        }
        Correlate::Topic if !learns(p, Slot::Seq) && !learns(p, Slot::Attempt) => {
            say(
                "topic",
                "does not tell the device the {seq} or {attempt} that its answer must carry; it is right in topic or json, or response_topic = true",
            );
        }
        Correlate::Nothing => {
            if p.responses.iter().any(|topic| numbered(topic) || topic.has(Slot::Job) || topic.has(Slot::Code)) {
                say(
                    "correlate",
                    "is \"none\", but the answer's topic differs from one answer to the next; \"topic\" is right",
                );
            }
            if p.in_flight_per_device.is_some_and(|most| most > 1) {
                say(
                    "in_flight_per_device",
                    "is over 1, but correlate is \"none\": two answers could be taken for each other; 1 is right",
                );
            }
        }
        Correlate::Mqtt5 | Correlate::Json(..) if p.responses.is_empty() => {
            say("responses", "is missing; the topics on which the device answers are right");
        }
        _ => {}
    }
    if p.response_topic && (p.responses.len() != 1 || any(Slot::Code)) {
        say(
            "response_topic",
            "is true, but it can carry just one topic without {code}; one such topic in responses is right",
        );
    }
    let j = &p.judgement;
    let judged_by_code = {
        let predicates =
            [&j.progress, &j.error, &j.success].into_iter().flatten().map(|Predicate { source, .. }| source);
        predicates.chain([&j.error_code, &j.error_message].into_iter().flatten()).any(|source| *source == Source::Code)
    };
    if judged_by_code && !p.responses.iter().all(|response| response.has(Slot::Code)) {
        say("responses", "lacks the {code} by which answers are judged; {code} as a level of each topic is right");
    }
    if j.error.is_none() && j.success.is_none() {
        for (key, source) in [("error_code", &j.error_code), ("error_message", &j.error_message)] {
            if source.is_some() {
                say(
                    key,
                    "is there, but nothing says which answers are refusals, so each would be a success; error or success \
                     beside it is right, like error = \"json:/error\"",
                );
            }
        }
    }
    if p.attempt_bits as usize > EXACT_JSON_BITS && matches!(&p.body, Body::Json(node) if node.has_number()) {
        say(
            "attempt_bits",
            "lets {seq} grow past what JSON readers hold exactly; 53 or less is right where \"{seq}\" is a number",
        );
    }
    found
}

fn numbered(topic: &Template) -> bool {
    topic.has(Slot::Seq) || topic.has(Slot::Attempt)
}

fn in_payload(profile: &Profile, slot: Slot) -> bool {
    matches!(&profile.body, Body::Json(node) if node.has(slot))
}

/// Whether a request tells the device this value.
fn learns(profile: &Profile, slot: Slot) -> bool {
    profile.response_topic
        || profile.request.has(slot)
        || in_payload(profile, slot)
        || profile.user_properties.iter().any(|(_, text)| text.has(slot))
}

impl Node {
    /// Whether the attempt stands in it as a number.
    fn has_number(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Text(text) => text.alone() == Some(Slot::Seq),
            Self::Array(items) => items.iter().any(Self::has_number),
            Self::Object { members, .. } => members.iter().any(|(_, value)| value.has_number()),
        }
    }
}

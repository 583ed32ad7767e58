//! From the keys of a profile to a profile: each key alone, then what they must mean together.

use super::alphabet::{Alphabet, Characters, MAX_BYTES};
use super::answer::{Judgement, Predicate, Source, Test};
use super::body::{Body, Node};
use super::keys::{Keys, wrong};
use super::pointer::Pointer;
use super::presence::Presence;
use super::slot::{IN_PROPERTY, IN_REQUEST, IN_RESPONSE, Slot, Text};
use super::template::Template;
use super::{Problem, Profile};
use crate::job::Guarantee;
use std::sync::OnceLock;
use toml::{Table, Value};

/// How an answer is matched to its attempt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Correlate {
    /// By `{seq}` or `{attempt}` in the answer's topic.
    Topic,
    /// By the correlation data of MQTT 5.
    Mqtt5,
    /// By a member of the answer.
    Json(Pointer, IdForm),
    /// Not at all.
    Nothing,
}

/// How the request spells the attempt that the answer repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum IdForm {
    /// `{attempt}`.
    Hex,
    /// `{seq}`.
    Decimal,
}

/// The largest attempt that every JSON reader takes as a number without rounding it, in bits.
pub(super) const EXACT_JSON_BITS: usize = 53;
/// The widest name that a profile may allow, in topic levels: brokers set limits from 8 levels up.
const MAX_LEVELS: i64 = 16;

/// A job id that becomes part of a topic follows the rules of topics.
pub(super) fn job_alphabet() -> Alphabet {
    Alphabet { field: "id", in_topic: true, max_levels: 1, max_bytes: MAX_BYTES, characters: None }
}

impl Profile {
    /// Compiles a profile from its keys.
    ///
    /// # Errors
    ///
    /// Every unknown key, bad value and contradiction at once.
    pub fn compile(name: &str, table: &Table) -> Result<Self, Vec<Problem>> {
        let mut keys = Keys::new(table, "");
        let mut device = alphabet(&mut keys, "device", ["device_characters", "device_levels", "device_max_bytes"]);
        let mut command = alphabet(&mut keys, "command", ["command_characters", "command_levels", "command_max_bytes"]);
        let widths = |slot| match slot {
            Slot::Device => device.max_levels,
            Slot::Command => command.max_levels,
            _ => 1,
        };
        let request = keys.parsed("topic", |text| Template::parse(text, IN_REQUEST, widths));
        let responses = responses(&mut keys, widths);
        let body = body(&mut keys);
        let correlate = correlate(&mut keys, body.as_ref());
        let user_properties = user_properties(&mut keys);
        let judgement = judgement(&mut keys);
        let presence = presence(&mut keys, widths);
        let everywhere = || request.iter().chain(&responses);
        device.in_topic = everywhere().any(|topic| topic.has(Slot::Device));
        command.in_topic = everywhere().any(|topic| topic.has(Slot::Command));
        let job_in_topic = everywhere().any(|topic| topic.has(Slot::Job));
        let one_at_a_time = matches!(correlate, Some(Correlate::Nothing));
        if request.is_none() && !table.contains_key("topic") {
            keys.problem("topic", "is missing; a topic template like \"devices/{device}/commands/{command}\" is right");
        }
        let profile = Self {
            name: name.to_owned(),
            qos: keys.number("qos", 0, 1).map_or(1, |qos| u8::from(qos == 1)),
            retain: keys.flag("retain").unwrap_or(false),
            shared: keys.choice("subscribe", &[("shared", true), ("device", false)]).unwrap_or(false),
            answer_device: keys.parsed("answer_device", json_pointer),
            response_topic: keys.flag("response_topic").unwrap_or(false),
            correlation_data: matches!(correlate, Some(Correlate::Mqtt5)),
            expiry: keys.flag("expiry").unwrap_or(false),
            content_type: keys.text("content_type").map(str::to_owned),
            attempt_bits: keys.number("attempt_bits", 16, 128).map_or(128, |bits| bits as u32),
            in_flight_per_device: keys.number("in_flight_per_device", 1, i64::MAX).or(one_at_a_time.then_some(1)),
            max_payload_bytes: keys.number("max_payload_bytes", 1, i64::MAX),
            late_grace: keys.duration("late_grace"),
            guarantee: keys.choice(
                "guarantee",
                &[Guarantee::AtMostOnce, Guarantee::AtLeastOnce].map(|guarantee| (guarantee.as_str(), guarantee)),
            ),
            retained_answers: keys.flag("retained_answers").unwrap_or(false),
            standing: OnceLock::new(),
            request: request.unwrap_or_else(|| Template::parse("-", &[], |_| 1).expect("a plain level is a template")),
            body: body.unwrap_or(Body::Raw),
            correlate: correlate.unwrap_or(Correlate::Nothing),
            responses,
            user_properties,
            judgement,
            presence,
            device,
            command,
            job_in_topic,
        };
        let mut problems = keys.finish();
        // A contradiction with a value that was not understood would be a riddle.
        if problems.is_empty() {
            problems = super::consistency::contradictions(&profile);
        }
        if problems.is_empty() { Ok(profile) } else { Err(problems) }
    }
}

fn alphabet(keys: &mut Keys<'_>, field: &'static str, names: [&'static str; 3]) -> Alphabet {
    let [characters, levels, bytes] = names;
    Alphabet {
        field,
        in_topic: true,
        characters: keys.parsed(characters, Characters::parse),
        max_levels: keys.number(levels, 1, MAX_LEVELS).unwrap_or(1),
        max_bytes: keys.number(bytes, 1, i64::from(u16::MAX)).unwrap_or(MAX_BYTES),
    }
}

fn responses(keys: &mut Keys<'_>, widths: impl Fn(Slot) -> usize + Copy) -> Vec<Template> {
    let mut templates = Vec::new();
    for text in keys.texts("responses").unwrap_or_default() {
        match Template::parse(text, IN_RESPONSE, widths) {
            Ok(template) => templates.push(template),
            Err(problem) => keys.problem("responses", format!("has {text:?}, which {problem}")),
        }
    }
    templates
}

#[derive(Clone, Copy)]
enum Form {
    Raw,
    Text,
    Json,
}

fn body(keys: &mut Keys<'_>) -> Option<Body> {
    let form = keys.choice("payload", &[("raw", Form::Raw), ("text", Form::Text), ("json", Form::Json)]);
    let given = keys.table("json").is_some();
    let template = keys.read("json", Node::parse);
    match form.unwrap_or(Form::Raw) {
        Form::Json if !given => {
            keys.problem("json", "is missing; with payload = \"json\" a table like {id = \"{attempt}\"} is right");
            None
        }
        Form::Json => template.map(Body::Json),
        _ if given => {
            keys.problem("json", "has no effect; with it, payload = \"json\" is right");
            None
        }
        Form::Text => Some(Body::Text),
        Form::Raw => Some(Body::Raw),
    }
}

fn correlate(keys: &mut Keys<'_>, body: Option<&Body>) -> Option<Correlate> {
    let form = match body {
        Some(Body::Json(node)) if node.has(Slot::Attempt) => Some(IdForm::Hex),
        Some(Body::Json(node)) if node.has(Slot::Seq) => Some(IdForm::Decimal),
        _ => None,
    };
    keys.parsed("correlate", |text| match text {
        "topic" => Ok(Correlate::Topic),
        "mqtt5" => Ok(Correlate::Mqtt5),
        "none" => Ok(Correlate::Nothing),
        _ if text.starts_with("json:") => match form {
            Some(form) => Ok(Correlate::Json(json_pointer(text)?, form)),
            None => {
                Err("matches answers by a member that no request carries; payload = \"json\" with a json table that \
                         has \"{attempt}\" or \"{seq}\" is right"
                    .to_owned())
            }
        },
        _ => Err(format!("is the string {text:?}; \"topic\", \"mqtt5\", \"json:/pointer\" or \"none\" is right")),
    })
}

fn json_pointer(text: &str) -> Result<Pointer, String> {
    match text.strip_prefix("json:") {
        Some(pointer) => Pointer::parse(pointer),
        None => Err(format!("is the string {text:?}; \"json:\" and a pointer is right, as \"json:/id\"")),
    }
}

fn user_properties(keys: &mut Keys<'_>) -> Vec<(String, Text)> {
    let mut properties = Vec::new();
    for (name, value) in keys.table("user_properties").into_iter().flatten() {
        let text = value.as_str().ok_or_else(|| wrong(value, "a string"));
        match text.and_then(|text| Text::parse(text, IN_PROPERTY)) {
            Ok(text) => properties.push((name.clone(), text)),
            Err(problem) => keys.problem(&format!("user_properties.{name}"), problem),
        }
    }
    properties
}

fn judgement(keys: &mut Keys<'_>) -> Judgement {
    Judgement {
        progress: keys.read("progress", predicate),
        error: keys.read("error", predicate),
        success: keys.read("success", predicate),
        error_code: keys.parsed("error_code", Source::parse),
        error_message: keys.parsed("error_message", Source::parse),
    }
}

/// `"json:/error"`, `{of = "json:/status", in = ["ok"]}` or `{of = "code", from = 200, to = 299}`.
fn predicate(value: &Value) -> Result<Predicate, String> {
    const RIGHT: &str = "a source like \"json:/error\", {of = \"json:/status\", in = [\"failed\"]} or {of = \"code\", from = 200, to = 299}";
    let table = match value {
        Value::String(text) => return Ok(Predicate { source: Source::parse(text)?, test: Test::Present }),
        Value::Table(table) => table,
        _ => return Err(wrong(value, RIGHT)),
    };
    let of = table.get("of").and_then(Value::as_str).ok_or_else(|| format!("has no text \"of\"; {RIGHT} is right"))?;
    let source = Source::parse(of)?;
    let number = |key: &str| table.get(key).and_then(Value::as_integer);
    let test = match (table.get("in"), number("from"), number("to")) {
        (Some(Value::Array(values)), None, None) if table.len() == 2 => Test::OneOf(
            values
                .iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text.clone()),
                    Value::Integer(_) | Value::Boolean(_) => Ok(value.to_string()),
                    _ => Err(wrong(value, "a string, a whole number, true or false")),
                })
                .collect::<Result<_, _>>()?,
        ),
        (None, Some(from), Some(to)) if table.len() == 3 => Test::Within(from, to),
        _ => return Err(format!("is another table than it can be; {RIGHT} is right")),
    };
    Ok(Predicate { source, test })
}

fn presence(keys: &mut Keys<'_>, widths: impl Fn(Slot) -> usize) -> Option<Presence> {
    let mut status = Keys::new(keys.table("status")?, "status.");
    let topic = status.parsed("topic", |text| {
        let topic = Template::parse(text, &[Slot::Device], widths)?;
        match topic.has(Slot::Device) {
            true => Ok(topic),
            false => Err("lacks {device}; a topic of each device's own is right".to_owned()),
        }
    });
    let mut words = |key, default: &str| {
        status.texts(key).map_or(vec![default.to_owned()], |words| words.into_iter().map(str::to_owned).collect())
    };
    let (online, offline) = (words("online", "online"), words("offline", "offline"));
    let problems = status.finish();
    if topic.is_none() && problems.is_empty() {
        keys.problem("status.topic", "is missing; a topic like \"devices/{device}/status\" is right");
    }
    keys.absorb(problems);
    Some(Presence { topic: topic?, online, offline })
}

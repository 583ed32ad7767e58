//! A task as a message to be sent: protocol 2.

use super::result::{instant, sent};
use super::{Embed, Head, Json, Signature, Task, repr};
use crate::envelope::{Envelope, Headers, Value};
use jiff::Timestamp;
use std::fmt::Write;

/// The options of sending that end in a message, beyond those that make its [`Head`] and [`Embed`].
#[derive(Default)]
pub(super) struct Sending {
    pub(super) shadow: Option<String>,
    pub(super) eta: Option<String>,
    pub(super) expires: Option<String>,
    /// The message's own time to live in milliseconds.
    pub(super) expiration: Option<u64>,
    pub(super) priority: Option<u8>,
    pub(super) retries: i64,
    /// Hard, then soft, in seconds.
    pub(super) limits: Limits,
    /// Names and values of stamps.
    pub(super) stamps: Vec<(String, Value)>,
    /// Headers of the application's own.
    pub(super) headers: Vec<(String, Value)>,
    pub(super) transient: bool,
    /// The remaining chain is written even where it is empty, as in a chain's last task.
    pub(super) in_chain: bool,
}

/// Time limits as their header has them.
pub(super) struct Limits([Value; 2]);

impl Default for Limits {
    fn default() -> Self {
        Self([Value::Null, Value::Null])
    }
}

impl Sending {
    /// What a signature's options say. Numbers of seconds count from now.
    ///
    /// A serializer or a compression is not among them: what is in a message is JSON already, and JSON without
    /// compression is what every Celery worker takes by default.
    pub(super) fn of(sig: &Signature, now_unix_ms: u64) -> Self {
        let seconds = |name| sig.option::<f64>(name);
        let text = |name| sig.option::<String>(name);
        let later = |seconds: f64| now_unix_ms.saturating_add_signed((seconds * 1000.0).round() as i64);
        let eta = seconds("countdown").filter(|seconds| *seconds != 0.0).map(|seconds| instant(later(seconds)));
        let (expires, ends) = match (seconds("expires"), text("expires")) {
            (Some(seconds), _) => (Some(instant(later(seconds))), Some(later(seconds))),
            (None, Some(text)) => (Some(text.clone()), parse(&text)),
            (None, None) => (None, None),
        };
        let names: Vec<String> = sig.option("stamped_headers").unwrap_or_default();
        let stamps = names.into_iter().map(|name| {
            let value = sig.option::<serde_json::Value>(&name).map_or(Value::Null, value);
            (name, value)
        });
        let headers = sig.option::<serde_json::Map<String, serde_json::Value>>("headers").unwrap_or_default();
        let limit = |name| sig.option::<serde_json::Value>(name).map_or(Value::Null, value);
        Self {
            shadow: text("shadow"),
            eta: eta.or_else(|| text("eta")),
            expires,
            expiration: ends.map(|at| at.saturating_sub(now_unix_ms)),
            priority: sig.option("priority"),
            retries: sig.option("retries").unwrap_or_default(),
            limits: Limits([limit("time_limit"), limit("soft_time_limit")]),
            stamps: stamps.collect(),
            headers: headers.into_iter().map(|(name, given)| (name, value(given))).collect(),
            transient: sig.option::<u8>("delivery_mode") == Some(1),
            in_chain: false,
        }
    }
}

/// The task itself as a message again: what is left of it is handed on.
///
/// The message has neither a priority nor a time to live of its own; that a task is not to be run after its `expires`
/// stands in its headers.
pub fn task_message(task: &Task) -> Envelope {
    let limit = |limit: Option<f64>| limit.map_or(Value::Null, seconds);
    let sending = Sending {
        shadow: task.shadow.clone(),
        eta: task.eta.map(instant),
        expires: task.expires.map(instant),
        retries: task.retries,
        limits: Limits([limit(task.hard_limit), limit(task.soft_limit)]),
        stamps: task.stamps.iter().map(|(name, values)| (name.clone(), texts(values))).collect(),
        headers: task.extra.0.clone(),
        ..Sending::default()
    };
    let kwargs: Vec<_> = task.kwargs.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let mut envelope = build(&task.head, &task.args, &kwargs, &task.embed, sending, "");
    envelope.headers.set("argsrepr", Value::Text(task.args_repr.clone()));
    envelope.headers.set("kwargsrepr", Value::Text(task.kwargs_repr.clone()));
    envelope
}

/// The message that makes a worker run a task.
pub(super) fn build(
    head: &Head,
    args: &[Json],
    kwargs: &[(&str, &Json)],
    embed: &Embed,
    sending: Sending,
    origin: &str,
) -> Envelope {
    let optional = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
    let stamped = sending.stamps.iter().map(|(name, _)| Value::Text(name.clone())).collect::<Vec<_>>();
    let mut headers = Headers(Vec::with_capacity(24));
    let mut set = |name: &str, value: Value| headers.0.push((name.to_owned(), value));
    set("lang", "py".into());
    set("task", Value::Text(head.name.to_string()));
    set("id", Value::Text(head.id.to_string()));
    set("shadow", optional(&sending.shadow));
    set("eta", optional(&sending.eta));
    set("expires", optional(&sending.expires));
    set("group", optional(&head.group));
    set("group_index", head.group_index.map_or(Value::Null, Value::Int));
    set("retries", Value::Int(sending.retries));
    set("timelimit", Value::List(sending.limits.0.into()));
    set("root_id", optional(&head.root_id));
    set("parent_id", optional(&head.parent_id));
    set("argsrepr", Value::Text(repr::arguments(args)));
    set("kwargsrepr", Value::Text(repr::named(kwargs.iter().copied())));
    set("origin", origin.into());
    set("ignore_result", Value::Bool(head.ignore_result));
    set("replaced_task_nesting", Value::Int(0));
    set("stamped_headers", if stamped.is_empty() { Value::Null } else { Value::List(stamped) });
    set("stamps", Value::Table(Headers(sending.stamps)));
    for (name, value) in sending.headers {
        // What Celery reads itself is not the application's to say, except the marks of who sent it.
        if headers.get(&name).is_none() || matches!(name.as_str(), "origin" | "replaced_task_nesting" | "lang") {
            headers.set(name, value);
        }
    }
    if head.from_beat {
        headers.set("celery_beat_task", Value::Bool(true));
    }
    Envelope {
        body: sent(body(args, kwargs, embed, sending.in_chain)),
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        correlation_id: Some(head.correlation_id.clone()),
        reply_to: head.reply_to.clone(),
        priority: sending.priority,
        expiration: sending.expiration.map(|ms| ms.to_string()),
        persistent: !sending.transient,
        headers,
        ..Envelope::default()
    }
}

/// `[args, kwargs, embed]`
fn body(args: &[Json], kwargs: &[(&str, &Json)], embed: &Embed, in_chain: bool) -> String {
    let list = |sigs: &[Signature], even_empty: bool| match sigs {
        [] if !even_empty => "null".to_owned(),
        sigs => super::signature::raw(sigs).get().to_owned(),
    };
    let mut json = String::from("[[");
    for (index, arg) in args.iter().enumerate() {
        json.push_str(if index > 0 { ", " } else { "" });
        json.push_str(arg.get());
    }
    json.push_str("], {");
    for (index, (name, value)) in kwargs.iter().enumerate() {
        json.push_str(if index > 0 { ", " } else { "" });
        super::result::string(&mut json, name);
        json.push_str(": ");
        json.push_str(value.get());
    }
    let callbacks = list(&embed.callbacks, false);
    let errbacks = list(&embed.errbacks, false);
    let chain = list(&embed.chain, in_chain);
    let chord = embed.chord.as_ref().map_or("null".to_owned(), |chord| super::signature::raw(chord).get().to_owned());
    let _ = write!(
        json,
        "}}, {{\"callbacks\": {callbacks}, \"errbacks\": {errbacks}, \"chain\": {chain}, \"chord\": {chord}}}]"
    );
    json
}

/// A date as a client writes it into `expires`, where it is one; without an offset it is in UTC.
fn parse(text: &str) -> Option<u64> {
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

/// Seconds as Celery writes them: an integer where they are whole.
fn seconds(seconds: f64) -> Value {
    match seconds.fract() == 0.0 && seconds.abs() < 1e15 {
        true => Value::Int(seconds as i64),
        false => Value::Float(seconds),
    }
}

/// The values of a stamp: one stands alone.
fn texts(values: &[String]) -> Value {
    match values {
        [one] => Value::Text(one.clone()),
        many => Value::List(many.iter().cloned().map(Value::Text).collect()),
    }
}

/// JSON as an AMQP value.
fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(value).collect()),
        serde_json::Value::Object(map) => {
            Value::Table(Headers(map.into_iter().map(|(name, member)| (name, value(member))).collect()))
        }
    }
}

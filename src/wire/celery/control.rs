//! Remote control, as `celery inspect`, `celery control` and Flower speak it: requests in, replies out.
//!
//! A request goes to all nodes at once, through the fanout exchange [`EXCHANGE`]; whether it is meant for us is ours to find out.

use super::event::transient;
use super::fnmatch::fnmatch;
use crate::envelope::{Envelope, Headers, Value};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Any};
use std::collections::BTreeMap;

/// Where requests are published to; fanout, gone with the broker.
pub const EXCHANGE: &str = "celery.pidbox";
/// Where replies are published to; direct, gone with the broker.
pub const REPLY_EXCHANGE: &str = "reply.celery.pidbox";

/// Bytes of a request that are looked at: a `hello` with as many revoked ids as any node remembers has less.
const LARGEST: usize = 16 * 1024 * 1024;
/// Bytes of a pattern, and of the program that it becomes.
const PATTERN: (usize, usize) = (1024, 256 * 1024);
/// Seconds by which a request may seem too old because its sender's clock is not ours.
const SKEW: f64 = 30.0;

/// A request that is meant for us.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The command, by the name or the alias that it was asked for.
    pub method: String,
    /// Its named arguments.
    pub arguments: Map<String, Any>,
    /// Where the reply goes; without it the command is carried out silently.
    pub reply_to: Option<ReplyTo>,
    /// By which the asker knows the reply.
    pub ticket: Option<String>,
    /// The asker's logical clock.
    pub clock: u64,
    /// The asker has stopped waiting by now.
    pub is_stale: bool,
}

/// Where a reply goes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ReplyTo {
    /// The exchange; [`REPLY_EXCHANGE`] for every Celery program, empty for the default one.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
}

#[derive(Deserialize)]
struct Body {
    method: String,
    #[serde(default)]
    arguments: Option<Map<String, Any>>,
    #[serde(default)]
    destination: Option<Any>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    matcher: Option<String>,
    #[serde(default)]
    ticket: Option<Any>,
    #[serde(default)]
    reply_to: Option<ReplyTo>,
}

/// Reads a request; `None` if it is meant for other nodes. `now` is in seconds since the Unix epoch.
///
/// # Errors
/// It is no request, or its pattern cannot be read; the text says what is wrong. Nobody can be answered then.
pub fn request(envelope: &Envelope, node: &str, now: f64) -> Result<Option<Request>, String> {
    if let Some(kind) = envelope.content_type.as_deref().filter(|kind| *kind != "application/json") {
        return Err(format!("its content type is {kind:?}; application/json is right"));
    }
    if envelope.body.len() > LARGEST {
        return Err(format!("it has {} bytes; at most {LARGEST} are looked at", envelope.body.len()));
    }
    let body: Body = serde_json::from_slice(&envelope.body).map_err(|error| format!("it is no request: {error}"))?;
    if !is_meant(&body, node)? {
        return Ok(None);
    }
    let ticket = match body.ticket {
        Some(Any::String(ticket)) => Some(ticket),
        None | Some(Any::Null) => None,
        Some(other) => Some(other.to_string()),
    };
    let expires = match envelope.headers.get("expires") {
        Some(Value::Float(at)) => Some(*at),
        Some(Value::Int(at)) => Some(*at as f64),
        _ => None,
    };
    let clock = match envelope.headers.get("clock") {
        Some(Value::Int(clock)) => u64::try_from(*clock).unwrap_or(0),
        _ => 0,
    };
    Ok(Some(Request {
        method: body.method,
        arguments: body.arguments.unwrap_or_default(),
        reply_to: body.reply_to,
        ticket,
        clock,
        is_stale: expires.is_some_and(|at| at + SKEW < now),
    }))
}

fn is_meant(body: &Body, node: &str) -> Result<bool, String> {
    match &body.destination {
        Some(Any::Array(nodes)) if !nodes.is_empty() => return Ok(nodes.iter().any(|name| name == node)),
        Some(Any::String(name)) if !name.is_empty() => return Ok(name == node),
        _ => {}
    }
    let (Some(pattern), Some(matcher)) = (&body.pattern, &body.matcher) else { return Ok(true) };
    if pattern.is_empty() || matcher.is_empty() {
        return Ok(true);
    }
    if pattern.len() > PATTERN.0 {
        return Err(format!("its pattern has {} bytes; at most {} are looked at", pattern.len(), PATTERN.0));
    }
    match &**matcher {
        "glob" => Ok(fnmatch(pattern, node)),
        // From the start, not to the end, as Python's `re.match`.
        "pcre" => regex_lite::RegexBuilder::new(&format!("^(?:{pattern})"))
            .size_limit(PATTERN.1)
            .build()
            .map(|pattern| pattern.is_match(node))
            .map_err(|error| format!("its pattern {pattern:?} cannot be read: {error}")),
        other => Err(format!("its matcher is {other:?}; glob or pcre is right")),
    }
}

/// The reply of a node: `{"NODE": value}`.
pub fn reply(node: &str, ticket: Option<&str>, clock: u64, value: &RawValue) -> Envelope {
    let mut headers = clocked(clock);
    if let Some(ticket) = ticket {
        headers.set("ticket", ticket.into());
    }
    Envelope { headers, ..transient(&BTreeMap::from([(node, value)])) }
}

/// The question with which a starting node asks the others for what is called off. The answers come to `reply_to`.
pub fn hello(node: &str, revoked: &[impl AsRef<str>], reply_to: &ReplyTo, ticket: &str, clock: u64) -> Envelope {
    let revoked: Vec<&str> = revoked.iter().map(AsRef::as_ref).collect();
    let body = serde_json::json!({
        "method": "hello",
        "arguments": {"from_node": node, "revoked": revoked},
        "destination": null,
        "pattern": null,
        "matcher": null,
        "ticket": ticket,
        "reply_to": reply_to,
    });
    Envelope { headers: clocked(clock), ..transient(&body) }
}

/// What another node answers to a [`hello`].
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Greeting {
    /// The ids that it knows to be called off.
    #[serde(default)]
    pub revoked: Vec<String>,
    /// Its logical clock.
    #[serde(default)]
    pub clock: u64,
}

/// Reads the answers in one message: the node that asked answers too, with nothing. What is none has none.
pub fn greetings(envelope: &Envelope) -> Vec<Greeting> {
    if envelope.body.len() > LARGEST {
        return Vec::new();
    }
    let nodes: BTreeMap<String, Option<Greeting>> = serde_json::from_slice(&envelope.body).unwrap_or_default();
    nodes.into_values().flatten().collect()
}

fn clocked(clock: u64) -> Headers {
    let mut headers = Headers::default();
    headers.set("clock", Value::Int(i64::try_from(clock).unwrap_or(i64::MAX)));
    headers
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;

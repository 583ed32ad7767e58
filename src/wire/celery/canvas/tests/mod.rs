//! Tests of the canvas: against what Celery's own worker sent, and whole canvases run to their end.

mod captured;
mod chords;
mod refused;
mod whole;

use super::super::{Embed, End, Exception, Head, Json, Signature, Task};
use super::{Sender, Target};
use crate::envelope::{Envelope, Value};
use serde_json::value::RawValue;

/// A task as its message says, read by other code than the program's: just enough for well-formed ones.
fn read(envelope: &Envelope) -> Task {
    let header = |name: &str| envelope.headers.text(name).map(str::to_owned);
    let (args, kwargs, embed): (Vec<Json>, serde_json::Map<String, serde_json::Value>, EmbedText) =
        serde_json::from_slice(&envelope.body).unwrap();
    let id = header("id").unwrap();
    let head = Head {
        id: id.as_str().into(),
        name: header("task").unwrap().into(),
        correlation_id: envelope.correlation_id.clone().unwrap(),
        reply_to: envelope.reply_to.clone(),
        ignore_result: envelope.headers.get("ignore_result") == Some(&Value::Bool(true)),
        from_beat: false,
        group: header("group"),
        group_index: match envelope.headers.get("group_index") {
            Some(Value::Int(index)) => Some(*index),
            _ => None,
        },
        root_id: header("root_id"),
        parent_id: header("parent_id"),
    };
    let list = |list: Option<Vec<Signature>>| list.unwrap_or_default();
    Task {
        head,
        shadow: header("shadow"),
        args,
        kwargs: kwargs.into_iter().map(|(name, value)| (name, json(&value.to_string()))).collect(),
        embed: Embed {
            callbacks: list(embed.callbacks),
            errbacks: list(embed.errbacks),
            chain: list(embed.chain),
            chord: embed.chord.map(Box::new),
        },
        eta: None,
        expires: None,
        retries: 0,
        soft_limit: None,
        hard_limit: None,
        args_repr: header("argsrepr").unwrap_or_default(),
        kwargs_repr: header("kwargsrepr").unwrap_or_default(),
        stamps: Vec::new(),
        extra: Default::default(),
    }
}

#[derive(serde::Deserialize)]
struct EmbedText {
    callbacks: Option<Vec<Signature>>,
    errbacks: Option<Vec<Signature>>,
    chain: Option<Vec<Signature>>,
    chord: Option<Signature>,
}

fn json(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn sig(text: &str) -> Signature {
    serde_json::from_str(text).unwrap()
}

/// A task without anything behind it.
fn task(embed: Embed) -> Task {
    let envelope = super::super::vectors::load("v2-args").envelope;
    Task { embed, ..read(&envelope) }
}

fn done(value: &str) -> End {
    End::Success(json(value))
}

fn bad_thing() -> End {
    let args = vec!["bad thing".into(), 42.into()];
    End::Failure(Exception { module: "builtins".into(), kind: "ValueError".into(), args })
}

/// 2026-11-22T07:25:13.871Z, from where the dates of `canvas-link-with-options` count.
const NOW: u64 = 1_795_332_313_871;

fn sender<'a>() -> Sender<'a> {
    let route = &|name: &str| Target { exchange: String::new(), routing_key: format!("for {name}") };
    Sender { node: "switchboard@test-1", route, now_unix_ms: NOW }
}

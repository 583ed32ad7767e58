//! What a command comes to: a value, an error in Celery's words, or something that others have to do first.

use crate::wire::celery::Json;
use crate::wire::celery::info::raw;
use crate::wire::celery::repr;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

/// Something that only the worker can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take tasks from one more queue.
    AddConsumer {
        /// Its name.
        queue: String,
        /// The exchange to bind it to; the queue's name where the command names none.
        exchange: String,
        /// That exchange's type.
        exchange_type: String,
        /// The routing key of the binding; the queue's name where the command names none.
        routing_key: String,
    },
    /// Take no more tasks from a queue.
    CancelConsumer {
        /// Its name.
        queue: String,
    },
    /// Stop, softly.
    Shutdown,
}

/// A command for the worker, and where it says how that went.
#[derive(Debug)]
pub struct Order {
    /// What to do.
    pub what: Command,
    /// What to tell whoever asked: of success in one's own words, or empty for Celery's; of failure what is in the way. Nobody
    /// reads it after the order's deadline.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// What a command comes to.
#[derive(Debug)]
pub(super) enum Answer {
    /// This is the reply.
    Value(Json),
    /// The worker has to do it; the text is Celery's reply to a success.
    Order(Command, String),
    /// A heartbeat is to be told now; the reply is null.
    Heartbeat,
    /// There is no reply, not even to whoever wants one.
    Shutdown,
}

impl Answer {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self::Value(raw(&json!({"ok": text.into()})))
    }

    pub(super) fn error(text: impl Into<String>) -> Self {
        Self::Value(raw(&json!({"error": text.into()})))
    }
}

/// The named arguments of a command.
pub(super) struct Arguments<'a> {
    pub(super) method: &'a str,
    pub(super) given: &'a Map<String, Value>,
}

impl<'a> Arguments<'a> {
    /// Whether all of these are given; Python's complaint where they are not.
    pub(super) fn need(&self, names: &[&str]) -> Result<(), String> {
        let missing: Vec<String> =
            names.iter().filter(|name| !self.given.contains_key(**name)).map(|name| repr::text(name)).collect();
        let (last, others) = match missing.split_last() {
            None => return Ok(()),
            Some(split) => split,
        };
        let listed = if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) };
        let (count, plural) = (missing.len(), if others.is_empty() { "" } else { "s" });
        let words = format!("{}() missing {count} required positional argument{plural}: {listed}", self.method);
        Err(format!("TypeError({})", repr::text(&words)))
    }

    /// An argument that is not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    /// A text, or a number as text; `None` where it is absent or null.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.wrong(name, "a text", other)),
        }
    }

    /// A number of seconds, not negative; `None` where it is absent or null.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(self.wrong(name, "a number of seconds", value)),
        }
    }

    /// Whether a flag is set, as Python takes it.
    pub(super) fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        }
    }

    /// A list of texts, or one text; absent and null are none.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, String> {
        self.get(name)
            .map_or(Ok(Vec::new()), |value| texts(value).ok_or_else(|| self.wrong(name, "a list of texts", value)))
    }

    fn wrong(&self, name: &str, right: &str, found: &Value) -> String {
        format!("{}(): {name} is {}; {right} is right", self.method, repr::json(&found.to_string()))
    }
}

/// One text or a list of them; numbers count as texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.to_owned()),
        _ => None,
    };
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

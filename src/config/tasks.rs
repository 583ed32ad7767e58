//! `[celery.tasks."NAME"]`: the application's own tasks, read from TOML and compiled.

use super::duration;
use super::json;
use super::kind::describe;
use super::suggest::{meant, nearest};
use super::url::redact;
use crate::job::{Guarantee, Mode};
use crate::wire::celery::call::{self, KEYS, Mapped, Mapping, Returns, Wait};
use serde_json::{Value as Json, json};
use std::time::Duration;
use toml::{Table, Value};

const BULK: [&str; 3] = ["rate", "concurrency", "abort"];

/// What a mapping is held against.
pub(super) struct Surroundings<'a> {
    /// Whether there is such a profile.
    pub is_profile: &'a dyn Fn(&str) -> bool,
    /// The names of the profiles, for messages.
    pub profiles: &'a [&'a str],
    /// The longest that a job may wait.
    pub max_timeout: Duration,
}

/// Something wrong with one task.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The task's name.
    pub task: String,
    /// The key within its table; empty where it concerns all of it.
    pub key: String,
    /// A sentence whose subject is the key.
    pub problem: String,
}

impl Wrong {
    /// The key with everything before it, as TOML writes it.
    pub(super) fn path(&self) -> String {
        match self.key.as_str() {
            "" => format!("celery.tasks.{:?}", self.task),
            key => format!("celery.tasks.{:?}.{key}", self.task),
        }
    }
}

/// Every mapping that is right, and everything that is wrong with the others.
pub(super) fn compile(tasks: &Table, surroundings: &Surroundings<'_>) -> (Vec<Mapped>, Vec<Wrong>) {
    let (mut mapped, mut wrong) = (Vec::new(), Vec::new());
    for (name, value) in tasks {
        let mut reader = Reader { problems: Vec::new(), surroundings };
        match reader.task(name, value) {
            Some(task) if reader.problems.is_empty() => mapped.push(task),
            _ => {}
        }
        wrong.extend(reader.problems.into_iter().map(|(key, problem)| Wrong {
            task: name.clone(),
            key,
            // A message may repeat a text, and in a text there may be an address with its password.
            problem: redact(&problem),
        }));
    }
    (mapped, wrong)
}

struct Reader<'a> {
    problems: Vec<(String, String)>,
    surroundings: &'a Surroundings<'a>,
}

impl Reader<'_> {
    fn wrong(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.push((key.to_owned(), problem.into()));
    }

    /// What the value should have been.
    fn expected(&mut self, key: &str, value: &Value, right: &str) {
        self.wrong(key, format!("is {}; right is {right}", describe(value)));
    }

    fn task(&mut self, name: &str, value: &Value) -> Option<Mapped> {
        let Value::Table(table) = value else {
            self.expected("", value, "a table: { command = \"open\" }");
            return None;
        };
        self.known("", table, &KEYS, "a task");
        if !table.contains_key("command") {
            self.wrong("command", "is missing; right is the command's name, like \"open\"");
        }
        let mapping = self.mapping(table);
        // Where names of arguments could not be read, every template would seem to name unknown ones.
        let unreadable = ["args", "kwargs", "defaults", "ignore"];
        if self.problems.iter().any(|(key, _)| unreadable.contains(&key.split('.').next().unwrap_or_default())) {
            return None;
        }
        match Mapped::compile(name, &mapping) {
            Ok(mapped) => Some(mapped),
            Err(found) => {
                self.problems.extend(found.into_iter().map(|problem| (problem.key, problem.problem)));
                None
            }
        }
    }

    fn known(&mut self, within: &str, table: &Table, names: &[&str], what: &str) {
        for key in table.keys().filter(|key| !names.contains(&key.as_str())) {
            self.wrong(&format!("{within}{key}"), format!("is no key of {what}; {}", meant(within, key, names)));
        }
    }

    fn mapping(&mut self, table: &Table) -> Mapping {
        let mut mapping = Mapping {
            args: self.names(table, "args"),
            kwargs: self.names(table, "kwargs").unwrap_or_default(),
            ignore: self.names(table, "ignore").unwrap_or_default(),
            defaults: self.defaults(table),
            command: self.text(table, "command").unwrap_or_default(),
            device: self.text(table, "device"),
            devices: self.text(table, "devices"),
            payload: table.get("payload").and_then(|value| self.json("payload", value)),
            profile: self.profile(table),
            mode: self
                .word(table, "mode", &[Mode::Request, Mode::Publish].map(|m| (m.as_str(), m)))
                .unwrap_or_default(),
            timeout: self.timeout(table),
            guarantee: self.word(
                table,
                "guarantee",
                &[Guarantee::AtMostOnce, Guarantee::AtLeastOnce].map(|guarantee| (guarantee.as_str(), guarantee)),
            ),
            returns: self.word(
                table,
                "result",
                &[("answer", Returns::Answer), ("none", Returns::Nothing), ("summary", Returns::Summary)],
            ),
            ..Mapping::default()
        };
        self.bulk(table, &mut mapping);
        mapping
    }

    fn text(&mut self, table: &Table, key: &str) -> Option<String> {
        match table.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            other => {
                self.expected(key, other, "a text in quotes");
                None
            }
        }
    }

    fn names(&mut self, table: &Table, key: &str) -> Option<Vec<String>> {
        let value = table.get(key)?;
        let names = value.as_array().map(|list| list.iter().map(|name| name.as_str().map(str::to_owned)));
        let names = names.and_then(Iterator::collect::<Option<Vec<_>>>);
        if names.is_none() {
            self.expected(key, value, "a list of arguments' names: [\"door\", \"speed\"]");
        }
        names
    }

    fn defaults(&mut self, table: &Table) -> Vec<(String, Json)> {
        match table.get("defaults") {
            None => Vec::new(),
            Some(Value::Table(defaults)) => defaults
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), self.json(&format!("defaults.{name}"), value)?)))
                .collect(),
            Some(other) => {
                self.expected("defaults", other, "a table: { speed = 1 }");
                Vec::new()
            }
        }
    }

    fn word<T: Copy>(&mut self, table: &Table, key: &str, words: &[(&str, T)]) -> Option<T> {
        let value = table.get(key)?;
        let found = words.iter().find(|(word, _)| value.as_str() == Some(*word)).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.expected(key, value, &words.join(" or "));
        }
        found
    }

    fn profile(&mut self, table: &Table) -> Option<String> {
        let name = self.text(table, "profile")?;
        if !(self.surroundings.is_profile)(&name) {
            let names = self.surroundings.profiles;
            let meant = match nearest(&name, names.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("there are {}", names.join(", ")),
            };
            self.wrong("profile", format!("is {name:?}, and there is no such profile; {meant}"));
        }
        Some(name)
    }

    fn timeout(&mut self, table: &Table) -> Option<Wait> {
        let value = table.get("timeout")?;
        let right = "a duration, such as \"5s\", or \"{timeout}\" for an argument in seconds";
        match value.as_str() {
            Some(text) if text.contains(['{', '}']) => {
                if !(text.starts_with('{') && text.ends_with('}')) {
                    self.expected("timeout", value, right);
                    return None;
                }
                Some(Wait::Argument(text.to_owned()))
            }
            Some(text) => match duration::parse(text) {
                Ok(time) if time > self.surroundings.max_timeout => {
                    let most = duration::format(self.surroundings.max_timeout);
                    self.wrong("timeout", format!("is {text:?}; right is at most worker.max_timeout, {most}"));
                    None
                }
                Ok(time) if !time.is_zero() => Some(Wait::Fixed(time)),
                _ => {
                    self.expected("timeout", value, right);
                    None
                }
            },
            None => {
                self.expected("timeout", value, right);
                None
            }
        }
    }

    fn bulk(&mut self, table: &Table, mapping: &mut Mapping) {
        let Some(value) = table.get("bulk") else { return };
        let Value::Table(bulk) = value else {
            return self.expected("bulk", value, "a table: { rate = 200, concurrency = 100, abort = \"20%:100\" }");
        };
        self.known("bulk.", bulk, &BULK, "bulk");
        if let Some(value) = bulk.get("rate") {
            let rate = value.as_float().or_else(|| value.as_integer().map(|rate| rate as f64));
            mapping.rate = rate.filter(|rate| rate.is_finite() && *rate >= 0.001);
            if mapping.rate.is_none() {
                self.expected("bulk.rate", value, "a number of devices a second from 0.001");
            }
        }
        if let Some(value) = bulk.get("concurrency") {
            let devices = value.as_integer().and_then(|devices| u32::try_from(devices).ok()).filter(|n| *n > 0);
            mapping.concurrency = devices.map(|devices| devices as usize);
            if mapping.concurrency.is_none() {
                self.expected("bulk.concurrency", value, "a whole number of devices from 1");
            }
        }
        if let Some(value) = bulk.get("abort") {
            mapping.abort = value.as_str().and_then(call::abort);
            if mapping.abort.is_none() {
                self.expected("bulk.abort", value, "\"20%:100\": when more than 20% have failed, of 100 or more");
            }
        }
    }

    fn json(&mut self, key: &str, value: &Value) -> Option<Json> {
        json::json(key, value).map_err(|(key, problem)| self.wrong(&key, problem)).ok()
    }
}

/// The JSON Schema of one task.
pub(super) fn schema() -> Json {
    let text = json!({"type": "string", "minLength": 1});
    let names = json!({"type": "array", "items": text});
    json!({
        "type": "object",
        "properties": {
            "args": names, "kwargs": names, "ignore": names, "defaults": {"type": "object"},
            "command": text, "device": text, "devices": text, "payload": {}, "profile": text,
            "mode": {"type": "string", "enum": ["request", "publish"]},
            "timeout": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|\\{[^{}]+\\})$"},
            "guarantee": {"type": "string", "enum": ["at_most_once", "at_least_once"]},
            "result": {"type": "string", "enum": ["answer", "none", "summary"]},
            "bulk": {
                "type": "object",
                "properties": {
                    "rate": {"type": "number", "minimum": 0.001},
                    "concurrency": {"type": "integer", "minimum": 1},
                    "abort": {"type": "string", "pattern": "^[0-9.]+%:[0-9]+$"},
                },
                "additionalProperties": false,
            },
        },
        "required": ["command"],
        "additionalProperties": false,
    })
}

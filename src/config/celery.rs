//! `[celery]`: what the worker is to a Celery application.

use super::kind::{Kind, describe};
use super::problem::Problem;
use super::sections::{Config, QueueType, Values, count, flag, queue_type, set, text, time, url};
use super::settings::Settings;
use super::tasks;
use super::url::Url;
use crate::envelope::{Headers, Value};
use crate::wire::celery::Routes;
use crate::wire::celery::call::Mapped;
use std::time::Duration;

/// `[celery]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct CelerySection {
    pub enabled: bool,
    pub queue: String,
    pub queue_type: QueueType,
    /// Without `x-queue-type`, unless the user wrote it.
    pub queue_arguments: Headers,
    pub exchange_type: ExchangeType,
    /// The queue's name where the user set none.
    pub exchange: String,
    /// The queue's name where the user set none.
    pub routing_key: String,
    /// `amqp.prefetch` where the user set none.
    pub prefetch: u16,
    pub default_queue: String,
    pub routes: Routes,
    pub events: bool,
    pub control: bool,
    pub task_events: bool,
    pub node_name: Option<String>,
    pub result_backend: Option<Url>,
    /// `None` keeps results for ever.
    pub result_expires: Option<Duration>,
    pub result_key_prefix: String,
    pub beat_results: bool,
    /// Compiled, and their profiles exist.
    pub tasks: Vec<Mapped>,
}

/// The type of the exchange that the Celery queue is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeType {
    /// Celery's default.
    Direct,
    /// What native delayed delivery needs.
    Topic,
}

impl ExchangeType {
    /// Its name in AMQP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
        }
    }
}

impl CelerySection {
    /// Builds all but what [`check`] reads from the user's own tables.
    pub(super) fn build(v: &Values, amqp_prefetch: u16) -> Self {
        let queue = set(text, v, "celery.queue");
        let prefetch = count(v, "celery.prefetch").map(|tasks| u16::try_from(tasks).unwrap_or(u16::MAX));
        Self {
            enabled: set(flag, v, "celery.enabled"),
            queue_type: queue_type(v, "celery.queue_type"),
            queue_arguments: Headers::default(),
            exchange_type: match set(text, v, "celery.exchange_type").as_str() {
                "topic" => ExchangeType::Topic,
                _ => ExchangeType::Direct,
            },
            exchange: text(v, "celery.exchange").unwrap_or_else(|| queue.clone()),
            routing_key: text(v, "celery.routing_key").unwrap_or_else(|| queue.clone()),
            prefetch: prefetch.unwrap_or(amqp_prefetch),
            default_queue: set(text, v, "celery.default_queue"),
            routes: Routes::default(),
            events: set(flag, v, "celery.events"),
            control: set(flag, v, "celery.control"),
            task_events: set(flag, v, "celery.task_events"),
            node_name: text(v, "celery.node_name"),
            result_backend: url(v, "celery.result_backend"),
            result_expires: Some(set(time, v, "celery.result_expires")).filter(|time| !time.is_zero()),
            result_key_prefix: set(text, v, "celery.result_key_prefix"),
            beat_results: set(flag, v, "celery.beat_results"),
            tasks: Vec::new(),
            queue,
        }
    }
}

/// Checks and fills in what stands in the user's own tables: arguments of the queue, routes, tasks.
pub(super) fn check(config: &mut Config, settings: &mut Settings) {
    let mut problems = Vec::new();
    let table = |path: &str| settings.values.get(path).and_then(|given| given.value.as_table());
    for (name, value) in table("celery.queue_arguments").into_iter().flatten() {
        let place = settings.place(&["celery", "queue_arguments", name]);
        match argument(name, value, config.celery.queue_type) {
            Ok(value) => config.celery.queue_arguments.set(name, value),
            Err(problem) => problems.push(Problem::new(place, format!("celery.queue_arguments.{name}"), problem)),
        }
    }
    let mut routes = Vec::new();
    for (pattern, queue) in table("celery.routes").into_iter().flatten() {
        match Kind::Queue.check(queue) {
            Ok(_) => routes.push((pattern.clone(), queue.as_str().unwrap_or_default().to_owned())),
            Err(problem) => {
                let place = settings.place(&["celery", "routes", pattern]);
                problems.push(Problem::new(place, format!("celery.routes.{pattern:?}"), problem));
            }
        }
    }
    config.celery.routes = Routes::new(routes);
    if let Some(table) = table("celery.tasks") {
        let is_profile = |name: &str| {
            let of_profile = |problem: &Problem| {
                let rest = problem.key.strip_prefix("profiles.").and_then(|key| key.strip_prefix(name));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            // One that has a problem of its own is there.
            config.profiles.contains_key(name) || settings.problems.iter().any(of_profile)
        };
        let names = config.profiles.keys().map(String::as_str).collect::<Vec<_>>();
        let surroundings =
            tasks::Surroundings { is_profile: &is_profile, profiles: &names, max_timeout: config.worker.max_timeout };
        let (tasks, wrong) = tasks::compile(table, &surroundings);
        for found in wrong {
            let path: Vec<&str> = ["celery", "tasks", &found.task].into_iter().chain(found.key.split('.')).collect();
            problems.push(Problem::new(settings.place(&path), found.path(), found.problem));
        }
        config.celery.tasks = tasks;
    }
    settings.problems.extend(problems);
}

/// One argument of the queue.
fn argument(name: &str, value: &toml::Value, queue_type: QueueType) -> Result<Value, String> {
    let type_name = match queue_type {
        QueueType::Quorum => "quorum",
        QueueType::Classic => "classic",
    };
    match (name, value) {
        ("x-queue-type", toml::Value::String(given)) if given != type_name => Err(format!(
            "contradicts: it is {given:?} and celery.queue_type {type_name:?}; right is to set celery.queue_type alone"
        )),
        ("x-max-priority", _) if queue_type == QueueType::Quorum => Err(
            "contradicts: celery.queue_type is \"quorum\", and only classic queues have priorities; right is \"classic\", \
             or no x-max-priority"
                .to_owned(),
        ),
        ("x-max-priority", toml::Value::Integer(most)) if !(1..=255).contains(most) => {
            Err(format!("is {}; right is a whole number from 1 to 255, at best 10", describe(value)))
        }
        (_, toml::Value::Integer(number)) => Ok(Value::Int(*number)),
        (_, toml::Value::Boolean(flag)) => Ok(Value::Bool(*flag)),
        (_, toml::Value::String(text)) => Ok(Value::Text(text.clone())),
        _ => Err(format!("is {}; right is a whole number, true or false, or a text", describe(value))),
    }
}

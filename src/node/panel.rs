//! The commands of remote control, by name. Nothing here waits; what others have to do is handed on.

use super::answer::{Answer, Arguments, Command};
use super::record::Record;
use super::{Book, Options, calling_off, setting, shown};
use crate::wire::celery::control::Request;
use crate::wire::celery::info::{Queue, masked, raw, report};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What commands are answered from.
pub(super) struct Panel {
    pub(super) book: Book,
    pub(super) options: Options,
    pub(super) started: Instant,
    /// The queues that tasks are taken from now.
    queues: Mutex<Vec<Queue>>,
}

/// Commands that only ask. Late, nobody waits for their answer any more; all others are carried out late too, as a revoke has
/// to be.
const QUESTIONS: &[&str] = &[
    "ping",
    "active",
    "dump_active",
    "reserved",
    "dump_reserved",
    "scheduled",
    "dump_schedule",
    "query_task",
    "revoked",
    "dump_revoked",
    "registered",
    "dump_tasks",
    "active_queues",
    "stats",
    "conf",
    "dump_conf",
    "report",
    "clock",
];

impl Panel {
    pub(super) fn new(book: Book, options: Options) -> Self {
        let queues = Mutex::new(options.queues.clone());
        Self { book, options, started: Instant::now(), queues }
    }

    /// Carries out a command, or says what is to be done; `None` where nobody waits for the answer any more.
    pub(super) fn answer(&self, request: &Request) -> Option<Answer> {
        let method = &*request.method;
        if request.is_stale && QUESTIONS.contains(&method) {
            return None;
        }
        let arguments = Arguments { method, given: &request.arguments };
        Some(self.carry_out(method, &arguments).unwrap_or_else(Answer::error))
    }

    fn carry_out(&self, method: &str, arguments: &Arguments<'_>) -> Result<Answer, String> {
        let book = &self.book;
        Ok(match method {
            "ping" => Answer::ok("pong"),
            "active" | "dump_active" => Answer::Value(shown::active(self, arguments.flag("safe"))),
            "reserved" | "dump_reserved" => Answer::Value(shown::reserved(self)),
            "scheduled" | "dump_schedule" => Answer::Value(shown::scheduled(self)),
            "query_task" => {
                arguments.need(&["ids"])?;
                Answer::Value(shown::query(self, &arguments.list("ids")?))
            }
            "revoked" | "dump_revoked" => Answer::Value(raw(&shown::ids(&book.revoked_ids()))),
            "registered" | "dump_tasks" => Answer::Value(raw(&self.registered(&arguments.list("taskinfoitems")?))),
            "active_queues" => Answer::Value(raw(&self.queues().iter().map(Queue::shown).collect::<Vec<_>>())),
            "stats" => Answer::Value(raw(&shown::stats(self))),
            "conf" | "dump_conf" => Answer::Value(raw(&masked(&self.options.conf))),
            "report" => Answer::ok(report(self.options.version, &self.options.conf)),
            "clock" => Answer::Value(raw(&json!({"clock": book.clock()}))),
            "hello" => {
                arguments.need(&["from_node"])?;
                Answer::Value(raw(&self.hello(arguments)?))
            }
            "revoke" => calling_off::revoke(book, arguments)?,
            "terminate" => calling_off::terminate(book, arguments)?,
            "revoke_by_stamped_headers" => calling_off::revoke_stamped(book, arguments)?,
            "enable_events" => setting::events(book, true, self.options.events),
            "disable_events" => setting::events(book, false, self.options.events),
            "heartbeat" => Answer::Heartbeat,
            "rate_limit" => setting::rate_limit(book, arguments)?,
            "time_limit" => setting::time_limit(book, arguments)?,
            "add_consumer" => add_consumer(arguments)?,
            "cancel_consumer" => {
                arguments.need(&["queue"])?;
                let queue = arguments.text("queue")?.unwrap_or_default();
                let done = format!("no longer consuming from {queue}");
                Answer::Order(Command::CancelConsumer { queue }, done)
            }
            "shutdown" => Answer::Shutdown,
            "autoscale" => return Err("ValueError('Autoscale not enabled')".to_owned()),
            "pool_restart" => return Err("ValueError('Pool restarts not enabled')".to_owned()),
            "pool_grow" | "pool_shrink" => {
                return Err(format!(
                    "{method} is not supported: worker.concurrency of the configuration says how many tasks run at a time"
                ));
            }
            "objgraph" | "memsample" | "memdump" => {
                return Err(format!("{method} is not supported: this worker is no Python program"));
            }
            "election" => return Err("election is not supported: this worker takes part in none".to_owned()),
            other => return Err(format!("KeyError({})", crate::wire::celery::repr::text(other))),
        })
    }

    fn registered(&self, items: &[String]) -> Vec<String> {
        let with_rate = items.is_empty() || items.iter().any(|item| item == "rate_limit");
        let register = self.book.register();
        let shown =
            register.totals().map(|(name, _)| match register.read(name, |terms| terms.rate.clone()).flatten() {
                Some(rate) if with_rate => format!("{name} [rate_limit={rate}]"),
                _ => name.to_owned(),
            });
        shown.collect()
    }

    /// Another node starts: what it knows to be called off is so here too, and the other way round.
    fn hello(&self, arguments: &Arguments<'_>) -> Result<Value, String> {
        if arguments.text("from_node")?.as_deref() == Some(&*self.options.name) {
            return Ok(Value::Null);
        }
        let theirs: Vec<Arc<str>> = arguments.list("revoked")?.into_iter().map(Arc::from).collect();
        if !theirs.is_empty() {
            self.book.merge(&theirs);
        }
        Ok(json!({"revoked": shown::ids(&self.book.revoked_ids()), "clock": self.book.tick()}))
    }

    /// Tasks are taken from that queue from now on, or no more.
    pub(super) fn note(&self, done: &Command) {
        let mut queues = self.queues();
        match done {
            Command::AddConsumer { queue, exchange, exchange_type, routing_key } => {
                let is_it = |known: &&Queue| known.name == *queue;
                if queues.iter().any(|known| is_it(&known)) {
                    return;
                }
                // One of the configuration comes back as it was.
                let own = self.options.queues.iter().find(is_it).cloned();
                queues.push(own.unwrap_or_else(|| Queue {
                    exchange: exchange.clone(),
                    exchange_type: exchange_type.clone(),
                    routing_key: routing_key.clone(),
                    ..Queue::direct(queue.clone())
                }));
            }
            Command::CancelConsumer { queue } => queues.retain(|known| known.name != *queue),
            Command::Shutdown => {}
        }
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks in that state, in the order of their coming as far as the book knows it.
    pub(super) fn records(&self, state: u8) -> impl Iterator<Item = Arc<Record>> {
        self.book.records().into_iter().filter(move |record| record.state() == state)
    }
}

fn add_consumer(arguments: &Arguments<'_>) -> Result<Answer, String> {
    arguments.need(&["queue"])?;
    let queue = arguments.text("queue")?.filter(|name| !name.is_empty()).ok_or("add_consumer(): queue is empty")?;
    let or_queue =
        |name| arguments.text(name).map(|text| text.filter(|text| !text.is_empty()).unwrap_or(queue.clone()));
    let (exchange, routing_key) = (or_queue("exchange")?, or_queue("routing_key")?);
    let exchange_type = arguments.text("exchange_type")?.unwrap_or_else(|| "direct".to_owned());
    let done = format!("add consumer {queue}");
    Ok(Answer::Order(Command::AddConsumer { queue, exchange, exchange_type, routing_key }, done))
}

#[cfg(test)]
#[path = "panel_tests.rs"]
mod tests;

//! What hears control commands and answers them: one mailbox after another, never waiting for what a command leads to.

use super::answer::{Answer, Command, Order};
use super::panel::Panel;
use crate::amqp::{Address, Connection, Error, Loose, Mailbox, MailboxSpec, ReplyQueue, SharedExchange};
use crate::envelope::{Envelope, Headers, Value};
use crate::wire::celery::control::{EXCHANGE, ReplyTo, Request, greetings, hello, reply, request};
use crate::wire::celery::event::seconds;
use crate::wire::celery::info::raw;
use serde_json::value::RawValue;
use serde_json::{Value as Any, json};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

/// Commands held in memory; more of them wait in the broker.
const CAPACITY: u16 = 64;
/// Between two tries to open the mailbox, at first and at most. A lost connection is noticed by the broker within seconds.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long other nodes may take to say what is called off: as long as Celery's own nodes wait.
const GREETING: Duration = Duration::from_secs(1);

/// See the file's head.
pub(super) struct Ears {
    pub(super) connection: Connection,
    pub(super) pidbox: SharedExchange,
    pub(super) panel: Arc<Panel>,
    pub(super) replies: Loose,
    pub(super) orders: mpsc::Sender<Order>,
    /// A heartbeat is wanted now.
    pub(super) beats: mpsc::Sender<()>,
    pub(super) tasks: TaskTracker,
}

impl Ears {
    /// Until the connection is closed for good, or the future is dropped.
    pub(super) async fn run(self) {
        let spec = spec(&self.panel.options.name, self.pidbox);
        let (mut pause, mut said) = (PAUSE.0, None);
        loop {
            let lost = match Mailbox::open(&self.connection, &spec, CAPACITY).await {
                Ok(mailbox) => {
                    tracing::info!(node = &*self.panel.options.name, epoch = mailbox.epoch(), "heard as a Celery node");
                    (pause, said) = (PAUSE.0, None);
                    self.tasks.spawn(greet(self.connection.clone(), self.panel.clone(), self.replies.clone()));
                    self.listen(mailbox).await
                }
                Err(error) => error,
            };
            if matches!(lost, Error::Closed) {
                return;
            }
            let reason = lost.to_string();
            // Once for each reason: a name that somebody else has may be tried for hours.
            if said.as_ref() != Some(&reason) {
                tracing::warn!(node = &*self.panel.options.name, %reason, "not heard as a Celery node; trying again");
                said = Some(reason);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn listen(&self, mut mailbox: Mailbox) -> Error {
        loop {
            match mailbox.next().await {
                Ok(envelope) => self.hear(&envelope),
                Err(error) => return error,
            }
        }
    }

    fn hear(&self, envelope: &Envelope) {
        let panel = &self.panel;
        let heard = Instant::now();
        let request = match request(envelope, &panel.options.name, seconds(SystemTime::now())) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(wrong) => return tracing::debug!(wrong, "a control command that cannot be read"),
        };
        panel.book.adjust(request.clock);
        match panel.answer(&request) {
            None => {}
            Some(Answer::Value(value)) => self.reply(&request, &value),
            Some(Answer::Heartbeat) => {
                // One that is wanted already is this one too.
                let _ = self.beats.try_send(());
                self.reply(&request, &raw(&Any::Null));
            }
            Some(Answer::Shutdown) => {
                tracing::warn!("stopped by remote control");
                let _ = self.order(Command::Shutdown);
            }
            Some(Answer::Order(command, done)) => match self.order(command.clone()) {
                Ok(answer) => {
                    self.tasks.spawn(await_worker(
                        self.panel.clone(),
                        self.replies.clone(),
                        request,
                        command,
                        done,
                        answer,
                    ));
                    return;
                }
                Err(why) => self.reply(&request, &raw(&json!({"error": why}))),
            },
        }
        tracing::debug!(method = request.method, took_us = heard.elapsed().as_micros() as u64, "control command");
    }

    fn order(&self, what: Command) -> Result<oneshot::Receiver<Result<String, String>>, String> {
        let (answer, heard) = oneshot::channel();
        match self.orders.try_send(Order { what, answer }) {
            Ok(()) => Ok(heard),
            Err(_) => Err("the worker has too many commands to carry out, or is being stopped".to_owned()),
        }
    }

    fn reply(&self, request: &Request, value: &RawValue) {
        send_reply(&self.panel, &self.replies, request, value);
    }
}

fn send_reply(panel: &Panel, replies: &Loose, request: &Request, value: &RawValue) {
    let Some(ReplyTo { exchange, routing_key }) = request.reply_to.clone() else { return };
    let envelope = reply(&panel.options.name, request.ticket.as_deref(), panel.book.tick(), value);
    replies.send(Address { exchange, routing_key }, envelope);
}

/// Replies when the worker has carried out a command, or has not in time.
async fn await_worker(
    panel: Arc<Panel>,
    replies: Loose,
    request: Request,
    command: Command,
    done: String,
    answer: oneshot::Receiver<Result<String, String>>,
) {
    let value = match timeout(panel.options.patience, answer).await {
        Ok(Ok(Ok(words))) => {
            panel.note(&command);
            json!({"ok": if words.is_empty() { done } else { words }})
        }
        Ok(Ok(Err(why))) => json!({"error": why}),
        Ok(Err(_)) => json!({"error": "the worker is being stopped"}),
        Err(_) => {
            json!({"error": format!("the worker did not do it within {} s", panel.options.patience.as_secs_f64())})
        }
    };
    send_reply(&panel, &replies, &request, &raw(&value));
}

/// Asks the other nodes what is called off: while we were not heard, we missed it.
async fn greet(connection: Connection, panel: Arc<Panel>, replies: Loose) {
    let mut queue = match ReplyQueue::open(&connection, CAPACITY).await {
        Ok(queue) => queue,
        Err(error) => return tracing::debug!(%error, "other nodes were not asked for revoked tasks"),
    };
    let reply_to = ReplyTo { exchange: String::new(), routing_key: queue.name().to_owned() };
    let (ours, ticket) = (panel.book.revoked_ids(), format!("{:032x}", rand::random::<u128>()));
    let question = hello(&panel.options.name, &ours, &reply_to, &ticket, panel.book.tick());
    replies.send(Address { exchange: EXCHANGE.to_owned(), routing_key: String::new() }, question);
    let start = Instant::now();
    while let Some(left) = GREETING.checked_sub(start.elapsed())
        && let Ok(Some(answer)) = queue.next_within(left).await
    {
        for greeting in greetings(&answer) {
            panel.book.adjust(greeting.clock);
            let theirs: Vec<Arc<str>> = greeting.revoked.into_iter().map(Arc::from).collect();
            if !theirs.is_empty() {
                tracing::info!(ids = theirs.len(), "revoked tasks learned from another node");
                panel.book.merge(&theirs);
            }
        }
    }
}

/// The mailbox as Celery's own nodes have it: gone with the node, and with what nobody took for five minutes.
fn spec(node: &str, exchange: SharedExchange) -> MailboxSpec {
    let mut arguments = Headers::default();
    arguments.set("x-expires", Value::Int(10_000));
    arguments.set("x-message-ttl", Value::Int(300_000));
    MailboxSpec { queue: format!("{node}.{EXCHANGE}"), exchange, routing_key: String::new(), arguments }
}

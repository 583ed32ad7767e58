//! The worker as a Celery node: seen by `celery inspect`, `celery events` and Flower, and controlled by them.
//!
//! [`Book`] knows the tasks under way; the worker writes into it. The [`Node`] reads it: its ears hear and answer control
//! commands, its voice tells events. Both live on a small thread of the node's own, so that a worker with all hands full is
//! heard from as fast as an idle one. What a command wants of the worker goes to it as an [`Order`].

mod answer;
mod book;
mod calling_off;
mod ears;
mod panel;
mod record;
mod register;
mod revoked;
mod setting;
mod shown;
mod terms;
mod thread;
mod voice;

pub use answer::{Command, Order};
pub use book::{Book, Entry};
pub use record::Via;

use crate::amqp::{Connection, Loose, Routes, SharedExchange};
use crate::wire::celery::info::{Broker, Queue};
use crate::wire::celery::{control, event};
use ears::Ears;
use panel::Panel;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use voice::Voice;

/// Replies, and messages of events, that wait to be written; those beyond are dropped and counted.
const ROOM: usize = 1024;
/// How long the end of a node waits for what it still does.
const LAST: Duration = Duration::from_secs(1);

/// What a node says of itself, and how it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name, with an `@` in it; no other node may have it.
    pub name: Arc<str>,
    /// The queues that tasks are taken from at the start. What control adds and cancels is counted from there.
    pub queues: Vec<Queue>,
    /// The settings that `conf` and `report` show, under Celery's names; secrets are masked.
    pub conf: Vec<(String, serde_json::Value)>,
    /// The broker that `stats` shows.
    pub broker: Broker,
    /// Tasks at one time.
    pub concurrency: usize,
    /// Messages that the broker lets us hold.
    pub prefetch: u32,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// How long the worker may take to carry out an order.
    pub patience: Duration,
    /// Our version.
    pub version: &'static str,
    /// Whether worker events are told, and task events once somebody asks for them.
    pub events: bool,
    /// Whether control commands are heard.
    pub control: bool,
}

impl Options {
    /// A node of that name with Celery's times, no queues and no settings.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            queues: Vec::new(),
            conf: Vec::new(),
            broker: Broker::default(),
            concurrency: 1,
            prefetch: 1,
            heartbeat: Duration::from_secs(2),
            patience: Duration::from_secs(5),
            version: env!("CARGO_PKG_VERSION"),
            events: true,
            control: true,
        }
    }
}

/// A node at work. Dropping it ends it without a word; [`Node::stop`] says goodbye.
pub struct Node {
    stop: CancellationToken,
    tasks: TaskTracker,
    replies: Loose,
    events: Loose,
    /// Ends the thread, and what is left on it.
    _thread: DropGuard,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts one on channels of its own of that connection, which should be the one that publishes: an alarm of the broker
    /// stops all that is written on it. It outlives every loss of the connection. Needs a Tokio runtime around it, in case there
    /// can be no more threads; never fails.
    pub fn start(connection: Connection, options: Options, book: Book, orders: mpsc::Sender<Order>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let thread = CancellationToken::new();
        let runtime = thread::start(thread.clone());
        // What is spawned from here on runs there.
        let _there = runtime.enter();
        let pidbox = SharedExchange { name: control::EXCHANGE, routes: Routes::Fanout, durable: false };
        let replying = SharedExchange { name: control::REPLY_EXCHANGE, routes: Routes::Direct, durable: false };
        let telling = SharedExchange { name: event::EXCHANGE, routes: Routes::Topic, durable: true };
        let replies = Loose::start(connection.clone(), vec![pidbox, replying], ROOM);
        let events = Loose::start(connection.clone(), vec![telling], ROOM);
        let (beats, asked) = mpsc::channel(1);
        if options.events {
            let voice = Voice::new(&options, book.clone(), events.clone());
            tasks.spawn(voice.run(connection.clone(), asked, stop.clone()));
        }
        if options.control {
            let panel = Arc::new(Panel::new(book, options));
            let ears =
                Ears { connection, pidbox, panel, replies: replies.clone(), orders, beats, tasks: tasks.clone() };
            let stopped = stop.clone();
            tasks.spawn(async move { stopped.run_until_cancelled_owned(ears.run()).await });
        }
        Self { stop, tasks, replies, events, _thread: thread.drop_guard() }
    }

    /// Replies and messages of events that were dropped: nobody took them in time, or there was no connection.
    pub fn dropped(&self) -> u64 {
        self.replies.dropped() + self.events.dropped()
    }

    /// Hears no more, tells the last events and that it is gone; takes a second, and the connection's `close_timeout` for each of
    /// its two channels, at most.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        // An order that the worker does not answer any more is not waited for.
        let _ = timeout(LAST, self.tasks.wait()).await;
        tokio::join!(self.replies.close(), self.events.close());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;

//! What tells events: that the worker is there, every two seconds, and what happens to tasks, in batches, when asked for.

use super::shown::load;
use super::{Book, Options};
use crate::amqp::{Address, Connection, LinkState, Loose};
use crate::wire::celery::event::{self, Condition, Happening, Sender, seconds};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Events of tasks in one message.
const BATCH: usize = 100;
/// How often events of tasks are taken and told. Taken one by one, each would wake this task, and its thread with it.
const EVERY: Duration = Duration::from_millis(200);
/// How long a connection that is up may take to be usable.
const READY: Duration = Duration::from_secs(1);

/// See the file's head.
pub(super) struct Voice {
    sender: Sender,
    condition: Condition,
    heartbeat: Duration,
    book: Book,
    out: Loose,
}

impl Voice {
    pub(super) fn new(options: &Options, book: Book, out: Loose) -> Self {
        let condition = Condition {
            freq: options.heartbeat.as_secs_f64(),
            active: 0,
            processed: 0,
            loadavg: [0.0; 3],
            sw_ident: "switchboard",
            sw_ver: options.version,
            sw_sys: system(),
        };
        let sender = Sender { node: options.name.clone(), pid: std::process::id() };
        Self { sender, condition, heartbeat: options.heartbeat, book, out }
    }

    /// Until the stop; `asked` wants heartbeats in between.
    pub(super) async fn run(mut self, connection: Connection, mut asked: mpsc::Receiver<()>, stop: CancellationToken) {
        let mut happenings = self.book.happenings();
        let mut tick = interval(self.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let mut taking = interval(EVERY);
        taking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut online = None;
        let mut link = connection.state();
        link.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = link.changed() => {
                    let state = link.borrow_and_update().clone();
                    if let LinkState::Up { epoch } = state && online != Some(epoch) {
                        online = Some(epoch);
                        // The state is told a moment before the connection can be used.
                        let _ = connection.up(READY).await;
                        self.tell("worker-online");
                    }
                }
                _ = tick.tick() => self.tell("worker-heartbeat"),
                Some(()) = asked.recv() => self.tell("worker-heartbeat"),
                _ = taking.tick() => self.tell_tasks(&mut happenings),
            }
        }
        // What the end of the last tasks has told.
        self.tell_tasks(&mut happenings);
        self.tell("worker-offline");
    }

    fn tell(&mut self, kind: &'static str) {
        self.condition.active = self.book.active() as u64;
        self.condition.processed = self.book.begun();
        self.condition.loadavg = load();
        let at = seconds(SystemTime::now());
        let (routing_key, envelope) = event::worker(&self.sender, kind, self.book.tick(), at, &self.condition);
        self.out.send(Address { exchange: event::EXCHANGE.to_owned(), routing_key }, envelope);
    }

    fn tell_tasks(&self, happenings: &mut Option<mpsc::Receiver<Happening>>) {
        let taken =
            happenings.as_mut().map(|waiting| std::iter::from_fn(|| waiting.try_recv().ok()).collect::<Vec<_>>());
        for part in taken.unwrap_or_default().chunks(BATCH) {
            let to = Address { exchange: event::EXCHANGE.to_owned(), routing_key: event::MULTI.to_owned() };
            self.out.send(to, event::tasks(&self.sender, part));
        }
    }
}

/// The system's name as Python's `platform.system()` has it.
fn system() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        "windows" => "Windows",
        other => other,
    }
}

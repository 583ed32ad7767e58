//! What tells events: that the worker is there, every two seconds, and what happens to tasks, in batches, when asked for.

use super::shown::load;
use super::{Book, Options};
use crate::amqp::{Address, Connection, LinkState, Loose};
use crate::wire::celery::event::{self, Condition, Happening, Sender, seconds};
use std::future::pending;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

/// Events of tasks in one message, and how long the first of them waits for others.
const BATCH: (usize, Duration) = (100, Duration::from_millis(500));
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
        let (mut batch, mut due): (Vec<Happening>, Option<Instant>) = (Vec::with_capacity(BATCH.0), None);
        let mut tick = interval(self.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
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
                taken = take(&mut happenings, &mut batch) => {
                    due = due.or(Some(Instant::now() + BATCH.1));
                    if !taken || batch.len() >= BATCH.0 {
                        self.flush(&mut batch, &mut due);
                    }
                }
                () = until(due) => self.flush(&mut batch, &mut due),
            }
        }
        // What the end of the last tasks has told.
        if let Some(happenings) = &mut happenings {
            while let Ok(happening) = happenings.try_recv() {
                batch.push(happening);
            }
        }
        self.flush(&mut batch, &mut due);
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

    fn flush(&self, batch: &mut Vec<Happening>, due: &mut Option<Instant>) {
        for part in batch.chunks(BATCH.0) {
            let to = Address { exchange: event::EXCHANGE.to_owned(), routing_key: event::MULTI.to_owned() };
            self.out.send(to, event::tasks(&self.sender, part));
        }
        batch.clear();
        *due = None;
    }
}

/// Takes what there is, up to a batch; false if there will be no more. Cancel safe.
async fn take(happenings: &mut Option<mpsc::Receiver<Happening>>, batch: &mut Vec<Happening>) -> bool {
    match happenings {
        Some(receiver) => {
            let taken = receiver.recv_many(batch, BATCH.0).await > 0;
            if !taken {
                *happenings = None;
            }
            taken
        }
        None => pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
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

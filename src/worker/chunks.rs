//! A chunk of a bulk: its devices commanded like those of any bulk, and each reported to the bulk's coordinator.

use super::admission::perhaps_run;
use super::chunk_course::{Course, Seen, course};
use super::handle::{InFlight, stopped};
use super::intake::{Taken, What, command, origin};
use super::many::Devices;
use super::recent::{End, Recall};
use super::reporter::Account;
use super::running::Running;
use super::{PIECES, Shared, Source};
use crate::amqp::Delivery;
use crate::bulk::{self, Crew, Order, Slot, Tally};
use crate::commander::{Command, NotStarted};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::job::{Bulk, Guarantee, Job, Targets};
use crate::metrics::metrics;
use crate::outcome::{Outcome, Status};
use crate::wire::bulk::Chunk;
use crate::wire::native;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// After the hard stop: what is said of the devices under way is confirmed within this, while the program still waits.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// Results of one chunk that are published at one time where nothing is sent.
const AT_ONCE: usize = 64;

/// A chunk and what is known of it.
struct Piece {
    chunk: Chunk,
    /// Without its devices, as the rules are.
    job: Job,
    rules: Bulk,
    guarantee: Guarantee,
}

/// From the delivery to its ack, which comes when everything of the chunk is reported.
pub(super) async fn handle(shared: &Arc<Shared>, source: Arc<Source>, mut delivery: Delivery) {
    let _counted = InFlight::count();
    if delivery.redelivered {
        metrics().redelivery();
    }
    let (piece, bulk) = match read(shared, &delivery) {
        Ok(read) => read,
        Err(why) => return shared.outbox.dead_letter(delivery, "invalid", &why).await,
    };
    // What may have been begun must not look as if nobody had.
    delivery.redelivered |= piece.chunk.perhaps;
    let hard = shared.shutdown.hard();
    let Some(entered) = hard.run_until_cancelled(enter(shared, &piece, delivery.redelivered)).await else { return };
    // It was reported here, or is by now.
    let Some(running) = entered else { return delivery.receipt.ack() };
    let origin = origin(shared, &delivery, piece.job.id.clone(), piece.job.command.clone());
    let made_at = piece.job.enqueued_at.unwrap_or(delivery.received.unix_ms);
    let queued = Duration::from_millis(delivery.received.unix_ms.saturating_sub(made_at));
    // What is to be done is not looked up there.
    let what = What::Answer(Box::new(perhaps_run("it was not begun")));
    let taken = Taken { origin, queued, mode: piece.job.mode, ..Taken::unread(shared, &source, delivery, what) };
    let account = shared.reporter.account(&piece.chunk.to, &piece.job.id, piece.chunk.release, bulk.targets.len());
    let done = async {
        see_to(shared, &taken, &piece, bulk, &running, &account).await;
        account.settled().await
    };
    let at_most_once = piece.guarantee == Guarantee::AtMostOnce;
    let last = async {
        hard.cancelled().await;
        // What is at the devices is told as unknown. What may run again is left to whoever gets it next.
        if at_most_once {
            sleep(LAST_WORDS).await;
        }
    };
    let done = tokio::select! {
        biased;
        done = AssertUnwindSafe(done).catch_unwind() => Some(done),
        () = last => None,
    };
    let is_told = match done {
        Some(Ok(is_told)) => is_told,
        Some(Err(_)) => {
            let (job_id, release) = (&*piece.job.id, piece.chunk.release);
            tracing::error!(job_id, release, "a chunk made the worker panic; only this chunk is affected");
            false
        }
        // The grace is over.
        None => false,
    };
    match is_told {
        true => {
            running.finish(End::Reached(Arc::new(Envelope::default())));
            taken.delivery.receipt.ack();
        }
        // Whoever gets it next knows that it was delivered before.
        false => taken.delivery.receipt.requeue(),
    }
}

/// Reads a chunk, or says what is wrong with it.
fn read(shared: &Shared, delivery: &Delivery) -> Result<(Piece, Bulk), String> {
    let missing = || format!("it is no chunk: the header {} is missing", crate::wire::bulk::CHUNK);
    let chunk = Chunk::of(&delivery.envelope).ok_or_else(missing)??;
    let mut job = native::decode(&delivery.envelope, &native::Limits::TAKEN).map_err(|wrong| wrong.failure.message)?;
    let Targets::Many(mut bulk) = std::mem::replace(&mut job.targets, Targets::One("".into())) else {
        return Err("it is a command to one device; a list of devices is right for a chunk".to_owned());
    };
    let (places, devices) = (chunk.at.len(), bulk.targets.len());
    if places != devices {
        return Err(format!("it has {devices} devices and {places} places for them; as many are right"));
    }
    // Whether too many fail is the coordinator's to say, who sees all of them.
    bulk.abort = None;
    let guarantee = shared.commander.guarantee(&job.profile, job.guarantee);
    let targets = std::mem::take(&mut bulk.targets);
    let rules = bulk.clone();
    Ok((Piece { chunk, job, rules, guarantee }, Bulk { targets, ..bulk }))
}

/// Enters a chunk as under way here. `None` if it was reported before, perhaps only after it was waited for: after a lost
/// connection the same chunk may come while it runs.
async fn enter(shared: &Arc<Shared>, piece: &Piece, redelivered: bool) -> Option<Running> {
    let key: Arc<str> = format!("{}/{}", piece.job.id, piece.chunk.release).into();
    loop {
        let now = Now::read().instant;
        let recall =
            shared.pieces.lock().unwrap_or_else(PoisonError::into_inner).begin(&key, 0, redelivered, now, &PIECES);
        match recall {
            Recall::New => return Some(Running::piece(shared, &key, &piece.job.id, piece.job.enqueued_at)),
            Recall::Done(_) => return None,
            Recall::Running(heard) => match heard.await {
                Ok(Some(_)) => return None,
                _ => continue,
            },
            // Every chunk has the same.
            Recall::Different => return None,
        }
    }
}

/// Sees to every device of a chunk; what is to be told of each has been given to the reporter by the end.
async fn see_to(shared: &Arc<Shared>, taken: &Taken, piece: &Piece, bulk: Bulk, running: &Running, account: &Account) {
    let soft = shared.shutdown.soft();
    loop {
        let seen = Seen {
            cancelled: running.cancel().is_cancelled(),
            redelivered: taken.delivery.redelivered,
            lost: taken.delivery.delivery_count.unwrap_or(0),
            claimed: shared.options.claims.is_some(),
        };
        match course(&piece.chunk, &piece.job, piece.guarantee, seen, Now::read()) {
            Course::Later(at) => {
                let wait = Duration::from_millis(at.saturating_sub(Now::read().unix_ms) + 1);
                // Stopped, what is not begun goes back.
                if soft.run_until_cancelled(sleep(wait)).await.is_none() {
                    return back(taken, account, piece.chunk.at.iter().collect()).await;
                }
            }
            Course::Back => return account.tell(piece.chunk.at.iter().collect(), None).await,
            Course::Say(outcome) => return say(shared, taken, piece, bulk, &outcome, account).await,
            Course::Run => return run(shared, taken, piece, bulk, running, account).await,
        }
    }
}

/// Nothing is sent: every device has this outcome.
async fn say(shared: &Arc<Shared>, taken: &Taken, piece: &Piece, bulk: Bulk, outcome: &Outcome, account: &Account) {
    let devices = Devices::new(shared, taken, &piece.rules, piece.guarantee, piece.job.enqueued_at);
    let told = stream::iter(bulk.targets.into_iter().zip(piece.chunk.at.iter())).map(|(target, place)| {
        let devices = &devices;
        async move {
            match devices.end(&target.device, outcome).await {
                Ok(()) => {
                    metrics().bulk_device(outcome.status);
                    account.tell(vec![place], Some(outcome.status)).await;
                }
                Err(_) => account.fail(),
            }
        }
    });
    told.buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Commands the devices; what is not begun goes back.
async fn run(shared: &Arc<Shared>, taken: &Taken, piece: &Piece, bulk: Bulk, running: &Running, account: &Account) {
    let id = &piece.job.id;
    let workers = shared.outbox.consumers(&taken.delivery.queue);
    let receipt = taken.delivery.receipt.hold();
    let is_current = move || receipt.is_current();
    let is_fresh = !taken.delivery.redelivered;
    let Some(had) = shared.parts.enter(id, piece.chunk.part, is_fresh, is_current, workers).await else {
        return account.tell(piece.chunk.at.iter().collect(), None).await;
    };
    let now = Now::read();
    let lease = is_fresh.then(|| now.instant_of(piece.chunk.until));
    let hold = now.instant + shared.options.bulk_hold;
    let places: Vec<u32> = piece.chunk.at.iter().collect();
    let order = Order {
        command: Command { cancel: Some(running.cancel()), ..command(&piece.job, piece.guarantee, &taken.delivery) },
        tally: Tally::new(places.len(), now.unix_ms),
        bulk,
        slots: shared.bulk_slots.within(had.devices.clone()),
        line: Some(had.line.clone()),
        until: lease.map_or(hold, |lease| lease.min(hold)),
        stop: shared.shutdown.soft(),
        cancel: running.cancel(),
    };
    let devices = Devices::new(shared, taken, &piece.rules, piece.guarantee, piece.job.enqueued_at);
    let hard = shared.shutdown.hard();
    let crew = Pieces { hard, devices, piece, account, places, next: AtomicUsize::new(0) };
    // The tally is the coordinator's.
    bulk::run(order, &crew).await;
}

/// These were not begun by this chunk.
async fn back(taken: &Taken, account: &Account, at: Vec<u32>) {
    match taken.delivery.redelivered {
        // Only the chunk itself says that they may have been begun before.
        true => account.fail(),
        false => account.tell(at, None).await,
    }
}

/// Commands the devices of one chunk and reports each, in the order in which they end.
struct Pieces<'a> {
    hard: CancellationToken,
    devices: Devices<'a>,
    piece: &'a Piece,
    account: &'a Account,
    places: Vec<u32>,
    /// How many devices had their turn: they have it in the order of their places.
    next: AtomicUsize,
}

impl Pieces<'_> {
    fn next(&self) -> u32 {
        // There are as many places as devices.
        self.places.get(self.next.fetch_add(1, Ordering::Relaxed)).copied().unwrap_or(u32::MAX)
    }
}

impl Crew for Pieces<'_> {
    fn command(
        &self,
        command: Command,
        stop: CancellationToken,
        mut slot: Slot,
    ) -> impl Future<Output = Result<Status, NotStarted>> + Send {
        let place = self.next();
        async move {
            let ran = tokio::select! {
                biased;
                ran = self.devices.run(&command, place, &stop, &mut slot) => ran,
                () = self.hard.cancelled(), if self.piece.guarantee == Guarantee::AtMostOnce => {
                    Ok((Status::Unknown, self.devices.end(&command.device, &stopped()).await))
                }
            };
            match &ran {
                Ok((status, Ok(()))) => self.account.tell(vec![place], Some(*status)).await,
                Ok((_, Err(_))) => self.account.fail(),
                Err(_) => back(self.devices.taken(), self.account, vec![place]).await,
            }
            ran.map(|(status, _)| status)
        }
    }

    async fn report(&self, device: Arc<str>, outcome: Outcome) {
        let place = self.next();
        let status = outcome.status;
        match self.devices.give_up(&device, outcome).await {
            Ok(()) => self.account.tell(vec![place], Some(status)).await,
            Err(_) => self.account.fail(),
        }
    }

    async fn leave(&self, count: usize) {
        let left = self.places.len().saturating_sub(count);
        self.next.store(self.places.len(), Ordering::Relaxed);
        back(self.devices.taken(), self.account, self.places[left..].to_vec()).await;
    }
}

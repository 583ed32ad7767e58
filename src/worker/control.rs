//! The reader of the control stream: what calls jobs off is noted, and whoever asked hears what is known of the job.

use super::Shared;
use super::recent::Glimpse;
use crate::amqp::{Address, Stream, StreamRecord, StreamState};
use crate::deadline::Now;
use crate::wire::celery;
use crate::wire::native::{Control, Known, Word};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

/// How long a worker waits at its start until it has read what was called off before.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(10);
/// Whoever asks waits no longer than this for a word, so a later one is not sent.
const WORD_WITHIN: Duration = Duration::from_secs(60);
/// How long a job that is called off may take to end, its result confirmed.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Words under way at one time; further ones are not said, which costs whoever asks the wait for them.
const WORDS: usize = 64;

/// The stream of the workers that take jobs from that queue.
pub fn stream(queue: &str) -> String {
    format!("{queue}.control")
}

/// Reads from now on; returns when everything up to now is known, or why it is not is said.
pub(super) async fn heed(shared: &Arc<Shared>, stream: (Stream, mpsc::Receiver<StreamRecord>), name: &str) {
    let (stream, records) = stream;
    let mut state = stream.state();
    let mark = format!("{:032x}", rand::random::<u128>());
    let (caught_up, is_caught_up) = oneshot::channel();
    tokio::spawn(read(shared.clone(), stream, records, mark.clone(), caught_up));
    let known = async {
        is_reading(&mut state).await && {
            let mark = Control::Mark { by: mark }.encode();
            let marking = shared.outbox.send_on(Address::queue(name), mark);
            let marked = async { marking.await.is_ok_and(|is_there| is_there) && is_caught_up.await.is_ok() };
            timeout(CATCH_UP_WITHIN, marked).await.unwrap_or(false)
        }
    };
    let Some(known) = shared.shutdown.soft().run_until_cancelled(known).await else { return };
    if !known {
        let reason = match &*state.borrow() {
            StreamState::Waiting { reason } => reason.clone(),
            StreamState::Reading => "it could not be read to its end in time".to_owned(),
        };
        tracing::warn!(stream = name, "cancelled jobs run all the same until it can be read: {reason}");
    }
}

/// Whether the first try to read succeeds. It waits for the connection: without it no job is taken either.
async fn is_reading(state: &mut watch::Receiver<StreamState>) -> bool {
    if *state.borrow_and_update() == StreamState::Reading {
        return true;
    }
    state.changed().await.is_ok() && *state.borrow() == StreamState::Reading
}

async fn read(
    shared: Arc<Shared>,
    stream: Stream,
    mut records: mpsc::Receiver<StreamRecord>,
    mark: String,
    caught_up: oneshot::Sender<()>,
) {
    let _reading = stream;
    let (hard, words) = (shared.shutdown.hard(), Arc::new(Semaphore::new(WORDS)));
    let mut caught_up = Some(caught_up);
    loop {
        let record = tokio::select! {
            biased;
            () = hard.cancelled() => return,
            record = records.recv() => record,
        };
        let Some(StreamRecord { envelope, .. }) = record else { return };
        match Control::decode(&envelope) {
            Some(Control::Cancel { id, at_ms, by }) => {
                let now = Now::read().unix_ms;
                let runs = shared.cancels().cancel(&id, at_ms, now);
                tracing::info!(job_id = &*id, runs, "cancelled by {by:?}");
                let reply_to = envelope.reply_to.filter(|queue| !queue.is_empty());
                let is_recent = now.saturating_sub(at_ms) < WORD_WITHIN.as_millis() as u64;
                if let (Some(reply_to), true, Ok(slot)) = (reply_to, is_recent, words.clone().try_acquire_owned()) {
                    let (shared, correlation_id) = (shared.clone(), envelope.correlation_id);
                    tokio::spawn(async move {
                        let word = word(&shared, &id, runs).await;
                        let answer = crate::envelope::Envelope { correlation_id, ..word.encode() };
                        if let Err(error) = shared.outbox.reply(&reply_to, answer).await {
                            tracing::warn!("a word about a cancelled job could not be published: {error}");
                        }
                        drop(slot);
                    });
                }
            }
            Some(Control::Mark { by }) if by == mark => {
                caught_up.take().map(|caught_up| caught_up.send(()));
            }
            Some(Control::Mark { .. }) => {}
            None => tracing::debug!("a record of the control stream is not understood"),
        }
    }
}

/// What is known of a job; of one that runs, after its end.
async fn word(shared: &Shared, id: &str, was_running: bool) -> Word {
    let mut known = Known::Finished;
    // A job that runs is first heard of as that, then as what came of it.
    for _ in 0..2 {
        match glimpse(shared, id) {
            Glimpse::Done(reply) => {
                let said = Word::of_result(id, &shared.options.name, known, &reply);
                return match celery::native_words(&reply.body) {
                    Some((status, executed)) => Word { status: Some(status), executed: Some(executed), ..said },
                    None => said,
                };
            }
            Glimpse::Running(heard) if was_running => {
                known = Known::Running;
                // Whatever it hears is looked up: an outcome that did not reach its device is not told to repetitions.
                let _ = timeout(END_WITHIN, heard).await;
            }
            Glimpse::Running(_) | Glimpse::Nothing => break,
        }
    }
    let known = if was_running { Known::Running } else { Known::Nothing };
    Word { id: id.to_owned(), worker: shared.options.name.to_string(), known, status: None, executed: None }
}

fn glimpse(shared: &Shared, id: &str) -> Glimpse {
    shared.recent.lock().unwrap_or_else(PoisonError::into_inner).glimpse(id)
}

//! The two tasks behind a claim log: one reads it, one writes the marks by which it is known that everything was read.

use super::log::{LogState, Shared};
use super::record::{Nonce, Record};
use super::table::Next;
use crate::amqp::{Stream, StreamRecord, StreamState};
use crate::deadline::Now;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// The pause after a mark that did not come back.
const AGAIN: Duration = Duration::from_millis(500);

/// Reads and marks, until it is dropped or the connection is closed for good.
pub(super) async fn run(shared: Arc<Shared>, stream: Stream, records: mpsc::Receiver<StreamRecord>) {
    // The mark that was read last, and a count of how often reading began.
    let (marked, read) = watch::channel((None, 0));
    tokio::select! {
        () = follow(&shared, records, marked) => {}
        () = mark(&shared, stream.state(), read) => {}
    }
    unready(&shared, "the connection is closed");
}

async fn follow(
    shared: &Arc<Shared>,
    mut records: mpsc::Receiver<StreamRecord>,
    marked: watch::Sender<(Option<Nonce>, u64)>,
) {
    while let Some(StreamRecord { offset, follows, envelope }) = records.recv().await {
        if !follows {
            tracing::info!(stream = shared.options.stream, offset, "reading the claim log from here");
            // Before anything is decided by what is known now.
            unready(shared, "reading what is in the log");
            shared.table().begin(offset);
            marked.send_modify(|(mark, beginnings)| (*mark, *beginnings) = (None, *beginnings + 1));
        }
        let Some(record) = Record::read(&envelope) else {
            tracing::debug!(offset, "a message in the claim log is no record");
            continue;
        };
        let subject = match &record {
            Record::Claim { subject, .. } => Some(subject.clone()),
            _ => None,
        };
        let next = shared.table().read(record, Now::read().unix_ms);
        match (next, subject) {
            (Next::Release(by), Some(subject)) => {
                shared.end(Record::Release { subject, by });
            }
            (Next::Marked(by), _) => marked.send_modify(|(mark, _)| *mark = Some(by)),
            _ => {}
        }
    }
}

/// Writes a mark and waits to read it, over and over: quickly until it succeeds, then now and then.
async fn mark(
    shared: &Arc<Shared>,
    mut state: watch::Receiver<StreamState>,
    mut read: watch::Receiver<(Option<Nonce>, u64)>,
) {
    let mut was_ready = false;
    loop {
        let reason = match &*state.borrow_and_update() {
            StreamState::Reading => None,
            StreamState::Waiting { reason } => Some(reason.clone()),
        };
        if let Some(reason) = reason {
            unready(shared, &reason);
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let wait = shared.options.wait;
        let by = Nonce::random();
        // Later on a new log means that an old one is gone, whatever was seen at the start.
        let clean = shared.options.clean && !was_ready;
        let marking = async {
            shared.write(&Record::Mark { by, at: Now::read().unix_ms, clean }).await.ok()?;
            let found = read.wait_for(|(mark, _)| *mark == Some(by)).await.ok()?;
            Some(found.1)
        };
        let beginnings = tokio::select! {
            marked = timeout(wait, marking) => marked.ok().flatten(),
            changed = state.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Some(beginnings) = beginnings else {
            unready(shared, "a mark of our own does not come back from the log");
            sleep(AGAIN).await;
            continue;
        };
        shared.state.send_if_modified(|state| std::mem::replace(state, LogState::Ready) != LogState::Ready);
        was_ready = true;
        let again = async {
            // Its sender lives as long as this.
            let _ = read.wait_for(|(_, now)| *now != beginnings).await;
        };
        tokio::select! {
            () = sleep(shared.options.mark_every) => {}
            () = again => unready(shared, "reading what is in the log"),
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

fn unready(shared: &Shared, reason: &str) {
    shared.state.send_if_modified(|state| {
        let now = LogState::CatchingUp { reason: reason.to_owned() };
        let changes = *state != now;
        if changes {
            *state = now;
        }
        changes
    });
}

//! The one task that settles the deliveries of a channel, in batches of whatever is ready.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::delivery::{Life, Settlement, Verdict};
use super::ledger::Ledger;

/// Settlements that RabbitMQ's channel hands on to a quorum queue without an answer of the queue
/// (`quorum_commands_soft_limit`).
///
/// It keeps the others until the queue has answered, and forgets them when it is closed: a burst of acks right before the
/// close came back as deliveries, of 300 up to 267. A get is answered after the queue has answered everything before it, and
/// so is a cancel: of this many settlements after one of them none is kept.
pub(super) const HANDED_ON: usize = 32;

/// How long a channel stays open after its last settlement, where no get told that all were handed on. The queue answers
/// within milliseconds, and on a machine at its knees within a multiple of them.
const LINGER: Duration = Duration::from_millis(1_500);

/// Writes settlements until every receipt of the channel is gone or the channel is, then closes the channel.
///
/// Only this task settles on the channel, so frames leave in the order in which it asks for them.
pub(super) async fn settle_all(
    channel: lapin::Channel,
    life: Arc<Life>,
    mut settlements: mpsc::Receiver<Settlement>,
    batch: usize,
    close_timeout: Duration,
) {
    let mut ledger = Ledger::default();
    let (mut ready, mut acked) = (Vec::with_capacity(batch), Vec::with_capacity(batch));
    loop {
        let received = tokio::select! {
            received = settlements.recv_many(&mut ready, batch) => received,
            () = life.ended() => 0,
        };
        if received == 0 {
            break;
        }
        tokio::select! {
            () = life.may_settle() => {}
            () = life.ended() => break,
        }
        let writing = write(&channel, &mut ledger, &mut ready, &mut acked);
        let written = tokio::select! {
            written = writing => written,
            // lapin answers "written" only once it is; behind a stalled socket that is never.
            () = life.ended() => break,
        };
        if let Err(error) = written {
            debug!(%error, "settling failed: the channel is gone, and the broker gives its messages out again");
            break;
        }
        life.settled(received);
    }
    let is_orderly = life.is_current();
    life.end();
    if channel.status().connected() {
        if is_orderly && !life.is_handed_on() {
            sleep(LINGER).await;
        }
        let _ = timeout(close_timeout, channel.close(200, "done".into())).await;
    }
}

/// What goes back precedes the acks: the prefix ack may cover tags of this batch that were given back, which is right only
/// if the broker has let go of them by then. Within each of the two groups no frame touches a tag of another, so they are
/// handed over together, which costs one wake-up instead of one each.
async fn write(
    channel: &lapin::Channel,
    ledger: &mut Ledger,
    ready: &mut Vec<Settlement>,
    acked: &mut Vec<u64>,
) -> lapin::Result<()> {
    let mut returned = Vec::new();
    for Settlement { tag, verdict } in ready.drain(..) {
        let requeue = match verdict {
            Verdict::Ack => {
                acked.push(tag);
                continue;
            }
            Verdict::Requeue => true,
            Verdict::Reject => false,
        };
        ledger.book(tag);
        returned.push(channel.basic_reject(tag, BasicRejectOptions { requeue }));
    }
    together(returned).await?;
    let acks = ledger.acks(acked).into_iter();
    acked.clear();
    together(acks.map(|ack| channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.multiple })).collect()).await
}

async fn together(frames: Vec<impl Future<Output = lapin::Result<()>>>) -> lapin::Result<()> {
    if !frames.is_empty() {
        try_join_all(frames).await?;
    }
    Ok(())
}

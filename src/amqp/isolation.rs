//! Where messages go over which a channel may have been closed: one at a time on a channel of their own, so that only the
//! guilty one fails.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::connection::backoff;
use super::flight::Flight;
use super::pool::{Routing, Try};
use super::{ChannelPool, Confirm, Options, PublishError};

/// How many verdicts on exchanges may wait to be read; one that does not fit only costs another round.
const VERDICTS: usize = 64;

/// The task's end.
pub(super) struct Isolation {
    pool: ChannelPool,
    suspects: mpsc::Receiver<Flight>,
    refused: mpsc::Sender<ShortString>,
    at_once: usize,
    pause: (Duration, Duration),
    close_timeout: Duration,
}

/// The publisher's end.
pub(super) struct Isolated {
    pub(super) suspects: mpsc::Sender<Flight>,
    /// Exchanges that do not exist or may not be written to.
    pub(super) refused: mpsc::Receiver<ShortString>,
}

impl Isolation {
    pub(super) fn new(pool: ChannelPool, options: &Options) -> (Self, Isolated) {
        let (suspects, suspected) = mpsc::channel(options.publish_queue.max(1));
        let (refused, verdicts) = mpsc::channel(VERDICTS);
        let pause = (options.backoff_min, options.backoff_max);
        let (at_once, close_timeout) = (options.channels.max(1), options.close_timeout);
        let isolation = Self { pool, suspects: suspected, refused, at_once, pause, close_timeout };
        (isolation, Isolated { suspects, refused: verdicts })
    }

    pub(super) async fn run(mut self) {
        let mut trials = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = trials.next() => {}
                suspect = self.suspects.recv(), if trials.len() < self.at_once => match suspect {
                    Some(flight) => trials.push(trial(self.pool.clone(), flight, self.refused.clone(), self.pause)),
                    None => break,
                },
            }
        }
        let _ = timeout(self.close_timeout, trials.count()).await;
    }
}

/// Sends one message until the broker took or refused it, or nobody waits any more.
async fn trial(pool: ChannelPool, flight: Flight, refused: mpsc::Sender<ShortString>, pause: (Duration, Duration)) {
    let Flight { message, mut done, nacks, .. } = flight;
    let mut failures = nacks.count;
    let answer = loop {
        let tried = tokio::select! {
            tried = pool.alone(&message) => tried,
            () = done.closed() => return,
        };
        match tried {
            Try::Confirmed(routing) => break Ok(Confirm { routed: routing == Routing::Routed }),
            Try::Refused(code, reason) => {
                warn!(%reason, "a message was refused by the broker; the others are not affected");
                // 403 and 404 are about the exchange, every other refusal about the message.
                if matches!(code, 403 | 404) {
                    let _ = refused.try_send(message.exchange.clone());
                }
                break Err(PublishError::Refused { reason });
            }
            Try::Nacked | Try::Lost(_) => failures += 1,
        }
        tokio::select! {
            () = sleep(backoff(failures, pause.0, pause.1, rand::random())) => {}
            () = done.closed() => return,
        }
    };
    // An error means that nobody waits any more.
    let _ = done.send(answer);
}

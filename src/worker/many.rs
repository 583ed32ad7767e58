//! A bulk job on this worker: results as they come, a summary at the end, the rest handed on when the worker stops.

use super::intake::{Running, Taken, command};
use super::{Shared, handle};
use crate::bulk::{self, Order, Report, Tally};
use crate::commander::LateHandler;
use crate::deadline::Now;
use crate::envelope::Value;
use crate::job::{Bulk, BulkResults, Job, Target, Targets};
use crate::outcome::Outcome;
use crate::wire::native::{self, Summary, Timing};
use std::sync::Arc;

/// What came of the delivery of a bulk.
pub(super) enum Ended {
    /// Every device has its outcome.
    Summary(Summary, Running),
    /// What is left is a message of its own.
    Continued,
    /// It is no longer ours.
    Lost,
}

/// The header in which the rest of a bulk carries the tally of what is done.
const TALLY: &str = "x-switchboard-tally";

pub(super) async fn run(shared: &Arc<Shared>, taken: &Taken, job: Job, mut bulk: Bulk, running: Running) -> Ended {
    let now = Now::read();
    let before = taken.delivery.envelope.headers.text(TALLY).and_then(|text| serde_json::from_str(text).ok());
    let tally = before.unwrap_or_else(|| Tally::new(bulk.targets.len(), now.unix_ms));
    let guarantee = shared.commander.guarantee(&job.profile, job.guarantee);
    let report = Results { shared, taken, stream: bulk.results == BulkResults::Stream };
    let targets = std::mem::take(&mut bulk.targets);
    let rules = bulk.clone();
    bulk.targets = targets;
    let order = Order {
        command: command(&job, guarantee, &taken.delivery),
        bulk,
        tally,
        slots: shared.bulk_slots.clone(),
        until: now.instant + shared.options.bulk_hold,
        stop: shared.shutdown.soft(),
    };
    let hard = shared.shutdown.hard();
    let ended = tokio::select! {
        biased;
        ended = bulk::run(&shared.commander, order, &report) => ended,
        // The grace is over: whoever gets the job next knows that it was delivered before.
        () = hard.cancelled() => bulk::Ended::Lost,
    };
    match ended {
        bulk::Ended::Finished(tally) => Ended::Summary(tally.summary(Now::read().unix_ms), running),
        bulk::Ended::Lost => Ended::Lost,
        bulk::Ended::Interrupted(tally, rest) => {
            // Before the rest is in the queue: it has the same id and another body, and may come back to this very worker.
            drop(running);
            match hand_on(shared, taken, job, rules, &tally, rest).await {
                true => Ended::Continued,
                false => Ended::Lost,
            }
        }
    }
}

/// A bulk that is not run: every device gets the same outcome.
pub(super) async fn answer_all(shared: &Arc<Shared>, taken: &Taken, bulk: Bulk, outcome: &Outcome) -> Summary {
    let now = Now::read();
    let before = taken.delivery.envelope.headers.text(TALLY).and_then(|text| serde_json::from_str::<Tally>(text).ok());
    let mut tally = before.unwrap_or_else(|| Tally::new(bulk.targets.len(), now.unix_ms));
    let report = Results { shared, taken, stream: bulk.results == BulkResults::Stream };
    for target in bulk.targets {
        tally.record(&target.device, outcome.status);
        report.outcome(target.device, outcome.clone()).await;
    }
    tally.summary(Now::read().unix_ms)
}

/// Publishes what is left of a bulk as a job of its own, with the tally so far, to the queue it came from.
async fn hand_on(shared: &Shared, taken: &Taken, job: Job, rules: Bulk, tally: &Tally, rest: Vec<Target>) -> bool {
    let original = &taken.delivery.envelope;
    let mut envelope = native::encode(&Job { targets: Targets::Many(Bulk { targets: rest, ..rules }), ..job });
    envelope.reply_to.clone_from(&original.reply_to);
    envelope.correlation_id.clone_from(&original.correlation_id);
    envelope.priority = original.priority;
    for (name, value) in &original.headers.0 {
        envelope.headers.set(name.clone(), value.clone());
    }
    envelope.headers.set(TALLY, Value::Text(serde_json::to_string(tally).unwrap_or_default()));
    shared.outbox.enqueue(&taken.delivery.queue, envelope).await
}

/// Streams each device's result to the requester, if it asked for that.
struct Results<'a> {
    shared: &'a Arc<Shared>,
    taken: &'a Taken,
    stream: bool,
}

impl Report for Results<'_> {
    async fn outcome(&self, device: Arc<str>, outcome: Outcome) {
        let envelope = &self.taken.delivery.envelope;
        let Some(reply_to) = envelope.reply_to.as_deref().filter(|queue| self.stream && !queue.is_empty()) else {
            return;
        };
        let total = self.taken.queued + self.taken.delivery.received.instant.elapsed();
        let timing = Timing { queued: self.taken.queued, waiting: outcome.waiting, device: outcome.device, total };
        let result = native::result(&self.taken.origin, &device, &outcome, &timing);
        if let Err(error) = self.shared.outbox.reply(reply_to, result).await {
            tracing::warn!(
                job_id = &*self.taken.origin.id,
                device = &*device,
                "a device's result could not be published: {error}"
            );
        }
    }

    fn late(&self, device: &Arc<str>) -> Option<LateHandler> {
        self.stream.then(|| handle::late_handler(self.shared, self.taken, device)).flatten()
    }
}

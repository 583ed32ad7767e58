//! Bulks that are called off: each is known by its id where jobs are that run, and whoever calls it off finds it there.

use super::actor::Actor;
use std::time::{Duration, Instant};

/// How often it is looked whether a bulk was called off.
pub(super) const CANCELS_EVERY: Duration = Duration::from_millis(200);

impl Actor {
    /// Whoever calls a bulk off hears that it runs, also while none of its devices is commanded here.
    pub(super) fn watch(&mut self) {
        let Self { office, watched, outside, .. } = self;
        watched.retain(|id, _| office.bulks.contains_key(id));
        for (id, bulk) in &office.bulks {
            let enter = || (outside.watch)(id, bulk.course.plan.made_at);
            watched.entry(id.clone()).or_insert_with(enter);
        }
    }

    pub(super) fn heed_cancels(&mut self, now: u64) {
        if self.cancels_at.is_some_and(|at| at.elapsed() < CANCELS_EVERY) {
            return;
        }
        self.cancels_at = Some(Instant::now());
        for (id, bulk) in &mut self.office.bulks {
            let is_called_off = (self.outside.is_cancelled)(id, bulk.course.plan.made_at);
            // An abort is told to the workers as a cancel; it remains one.
            if is_called_off && !bulk.course.known.aborted && bulk.course.cancel() {
                tracing::info!(job_id = &**id, "a bulk is called off");
                bulk.log.learnt(now);
            }
        }
    }
}

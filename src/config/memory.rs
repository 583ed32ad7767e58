//! How much memory a worker may come to need, from the numbers of its configuration: the formula of `docs/limits.md`.

use super::Config;
use std::fmt;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The program itself, its buffers, and every limit that is no key.
const BASE: u64 = 48 * MIB;
/// What is held of a message besides its body: properties, bookkeeping.
const ENVELOPE: u64 = 2 * KIB;
/// The same for a Celery task: its headers are more, and it is read into parts.
const TASK: u64 = 6 * KIB;
/// The task of a command, its place in the tables, the names in it.
const COMMAND: u64 = 8 * KIB;
/// A publish besides its payload.
const PUBLISH: u64 = KIB;
/// A command that was given up, with its names and, where a profile has a filter for each device, its subscription.
const LATE: u64 = 3 * KIB;
/// A finished job besides the body of its result.
const RECENT: u64 = 2 * KIB;
/// A device with failures, with the longest name.
const BREAKER: u64 = 512;
/// A job that is called off, with the longest id that is usual.
const CANCELLED: u64 = 256;
/// A command that is claimed or was.
const CLAIM: u64 = 200;
/// A device of a bulk, with the longest name, and once more where the rest of the bulk is written down.
const TARGET: u64 = 512;

/// What one limit costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What is held.
    pub what: &'static str,
    /// How many of it at most.
    pub count: u64,
    /// The bytes of each at most.
    pub each: u64,
}

/// The most memory that a worker needs. `Display` shows the sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    parts: Vec<Part>,
}

impl Config {
    /// The bound for a worker with this configuration, where no message is larger than a job for one device may be. What
    /// is larger is refused, but only once it was received: the AMQP broker's `max_message_size` bounds it.
    pub fn memory(&self) -> Memory {
        let (amqp, mqtt, worker, bulk) = (&self.amqp, &self.mqtt, &self.worker, &self.bulk);
        let job = largest_job(number(worker.max_payload_bytes));
        // The payload that all devices share, and those of their own, of which a single one may be larger than the rest together.
        let own = number(bulk.chunk_bytes.max(worker.max_payload_bytes)).saturating_mul(4).div_ceil(3);
        let chunk = job.saturating_add(own).saturating_add(number(bulk.chunk).saturating_mul(TARGET));
        let answer = number(mqtt.max_answer_bytes);
        // JSON in JSON as it stands; bytes in base64, and text with escapes, up to twice as long.
        let result = answer.saturating_mul(2);
        let jobs = number(worker.concurrency);
        // As many devices of bulks again whose outcome is on its way.
        let commands = jobs.saturating_add(number(worker.bulk_concurrency).saturating_mul(2));
        let claims = u64::from(worker.claims);
        let has_queue = self.celery.enabled && self.celery.queue != amqp.queue;
        let tasks = u64::from(has_queue) * (2 * u64::from(self.celery.prefetch) + 2);
        let part = |what, count, each| Part { what, count, each };
        let parts = vec![
            part("the program", 1, BASE),
            // As many again after a pause, and one from the queue of those kept apart.
            part("deliveries", 2 * u64::from(amqp.prefetch) + 2, job.saturating_add(ENVELOPE)),
            part("Celery deliveries", tasks, job.saturating_add(TASK)),
            part("commands", commands, job.saturating_add(COMMAND)),
            part("publishes", number(mqtt.max_inflight), job.saturating_add(PUBLISH)),
            // The answer and its result, then the result and its frames.
            part("answers", commands, result.saturating_mul(2).saturating_add(ENVELOPE)),
            part("late results", jobs, result.saturating_add(ENVELOPE)),
            part("late ids", number(worker.late_ids), LATE),
            part("recent ids", number(worker.recent_ids), RECENT),
            part("recent replies", 2, number(worker.recent_reply_bytes)),
            part("breakers", number(worker.breaker_devices), BREAKER),
            part("devices of bulks", number(worker.bulk_devices), TARGET),
            // As many again after a pause.
            part("chunks", 2 * u64::from(bulk.prefetch) + 1, chunk.saturating_add(ENVELOPE)),
            part("plans", 1, number(bulk.plan_bytes)),
            part("cancelled ids", number(worker.cancel_ids), CANCELLED),
            part("claim ids", claims * number(worker.claim_ids), CLAIM),
            part("claim replies", claims, number(worker.claim_reply_bytes)),
        ];
        Memory { parts }
    }
}

/// The longest message of a job for one device: its payload in base64, with the rest of the job around it.
fn largest_job(payload: u64) -> u64 {
    payload.saturating_mul(4).div_ceil(3).saturating_add(4 * KIB)
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Part {
    /// What all of it costs, in bytes.
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.each)
    }
}

impl Memory {
    /// What it is made of.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The sum in bytes, and a quarter more for what the allocator keeps and cannot use.
    pub fn bytes(&self) -> u64 {
        let sum = self.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.bytes()));
        sum.saturating_add(sum / 4)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.bytes().div_ceil(MIB))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Inputs, load};
    use super::*;

    fn with(change: impl Fn(&mut Config)) -> u64 {
        let mut config = load(&Inputs::default()).unwrap();
        change(&mut config);
        config.memory().bytes()
    }

    #[test]
    fn the_sum_is_that_of_its_parts_and_a_quarter() {
        let memory = load(&Inputs::default()).unwrap().memory();
        let sum: u64 = memory.parts().iter().map(Part::bytes).sum();
        assert_eq!(memory.bytes(), sum + sum / 4);
        assert_eq!(memory.to_string(), format!("{} MiB", memory.bytes().div_ceil(1 << 20)));
    }

    #[test]
    fn each_limit_counts() {
        let default = with(|_| {});
        type Change = fn(&mut Config);
        let changes: [Change; 16] = [
            |config| config.amqp.prefetch += 1,
            |config| config.celery.prefetch += 1,
            |config| config.worker.concurrency += 1,
            |config| config.worker.bulk_concurrency += 1,
            |config| config.worker.max_payload_bytes += 3,
            |config| config.mqtt.max_inflight += 1,
            |config| config.mqtt.max_answer_bytes += 1,
            |config| config.worker.late_ids += 1,
            |config| config.worker.recent_ids += 1,
            |config| config.worker.recent_reply_bytes += 1,
            |config| config.worker.breaker_devices += 1,
            |config| config.worker.bulk_devices += 1,
            |config| config.bulk.prefetch += 1,
            |config| config.bulk.chunk += 1,
            |config| config.bulk.chunk_bytes = config.worker.max_payload_bytes + 3,
            |config| config.bulk.plan_bytes += 1,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            assert!(with(change) > default, "change {index}");
        }
    }

    #[test]
    fn numbers_beyond_all_memory_are_no_overflow() {
        let all = with(|config| {
            let worker = &mut config.worker;
            (worker.concurrency, worker.max_payload_bytes, worker.late_ids) = (usize::MAX, usize::MAX, usize::MAX);
            config.mqtt.max_answer_bytes = usize::MAX;
        });
        assert_eq!(all, u64::MAX);
    }
}

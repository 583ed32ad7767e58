//! The keys of `[bulk]`.

use super::{DAY_MS, Key, MANY, PORTS, key};
use crate::config::kind::Kind;

/// The most shards: each worker consumes a queue for each of them.
const MOST_SHARDS: u64 = 64;

/// The most devices of a chunk: their places in the bulk go in a header, and one has room for 128 KiB.
const MOST_IN_CHUNK: u64 = 2_000;

/// Every key of the section.
pub(super) const KEYS: &[Key] = &[
    key(
        "bulk.shards",
        Kind::Count { min: 1, max: MOST_SHARDS },
        "4",
        "Over how many coordinators bulks are spread. Every replica must have the same number: a bulk is known where its id\n\
         belongs, and nowhere else. To change it, let all bulks end first.",
    ),
    key(
        "bulk.short",
        Kind::Count { min: 0, max: MANY },
        "1000",
        "Up to how many devices one worker runs a bulk alone; a larger one is spread over all workers. Every replica must have the\n\
         same. A lower one only while no bulk is under way: what lost its worker would be spread as if nobody had begun it.",
    ),
    key(
        "bulk.short_for",
        Kind::Time { min: 0, max: DAY_MS },
        r#""10s""#,
        "How long a bulk may take at its own rate for one worker to run it alone; the same for every replica, as short is.",
    ),
    key(
        "bulk.chunk",
        Kind::Count { min: 1, max: MOST_IN_CHUNK },
        "250",
        "How many devices of a spread bulk go to a worker in one piece, a chunk.",
    ),
    key(
        "bulk.chunk_bytes",
        Kind::Count { min: 1_024, max: 16_777_216 },
        "65536",
        "How many bytes of payloads a chunk has at most; a single larger payload makes a chunk by itself.",
    ),
    key(
        "bulk.prefetch",
        Kind::Count { min: 1, max: PORTS },
        "256",
        "How many chunks a worker has at a time. How many devices it commands at a time is worker.bulk_concurrency.",
    ),
    key(
        "bulk.lease",
        Kind::Time { min: 1_000, max: DAY_MS },
        r#""60s""#,
        "How long after its release the devices of a chunk may be begun; those that were not go back and are released anew.",
    ),
    key(
        "bulk.active",
        Kind::Count { min: 1, max: 10_000 },
        "16",
        "How many bulks of one shard are under way at a time; further ones wait for their turn.",
    ),
    key(
        "bulk.plan_bytes",
        Kind::Count { min: 1_048_576, max: 1 << 36 },
        "67108864",
        "How many bytes of device lists a worker holds for the bulks that it coordinates; beyond that further ones wait.",
    ),
];

//! `[bulk]`: bulk jobs that are spread over all workers.

use super::sections::{Values, count, set, size, time};
use std::time::Duration;

/// `[bulk]`
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in the table of keys")]
pub struct BulkSection {
    pub shards: u32,
    pub short: usize,
    pub short_for: Duration,
    pub chunk: usize,
    pub chunk_bytes: usize,
    pub prefetch: u16,
    pub lease: Duration,
    pub active: usize,
    pub plan_bytes: usize,
}

impl BulkSection {
    pub(super) fn build(v: &Values) -> Self {
        Self {
            shards: u32::try_from(set(count, v, "bulk.shards")).unwrap_or(1),
            short: size(v, "bulk.short"),
            short_for: set(time, v, "bulk.short_for"),
            chunk: size(v, "bulk.chunk"),
            chunk_bytes: size(v, "bulk.chunk_bytes"),
            prefetch: u16::try_from(set(count, v, "bulk.prefetch")).unwrap_or(u16::MAX),
            lease: set(time, v, "bulk.lease"),
            active: size(v, "bulk.active"),
            plan_bytes: size(v, "bulk.plan_bytes"),
        }
    }
}

//! What handles share with the driver besides the operations: places given back, and counts for the metrics.

use super::reader::ReaderId;
use crate::metrics::metrics;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The other side of an agent's channel: what needs no operation.
#[derive(Default)]
pub(crate) struct Port {
    released: Mutex<Vec<ReaderId>>,
    wake: Notify,
    last_reader: AtomicU64,
    filters: AtomicUsize,
    users: AtomicUsize,
}

impl Port {
    /// An id that no other reader of this agent has.
    pub(crate) fn next_reader(&self) -> ReaderId {
        self.last_reader.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Never waits and needs no runtime: it is called from `drop`.
    pub(crate) fn release(&self, reader: ReaderId) {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        self.wake.notify_one();
    }

    pub(crate) async fn released(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn take_released(&self) -> Vec<ReaderId> {
        std::mem::take(&mut self.released.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the gauges when the counts have changed.
    pub(crate) fn report(&self, filters: usize, users: usize) {
        if self.filters.swap(filters, Ordering::Relaxed) != filters {
            metrics().subscriptions(filters);
        }
        if self.users.swap(users, Ordering::Relaxed) != users {
            metrics().subscription_users(users);
        }
    }
}

/// A reader's place in the session, given back on drop.
pub(crate) struct Place {
    pub(crate) port: Arc<Port>,
    pub(crate) reader: ReaderId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.port.release(self.reader);
    }
}

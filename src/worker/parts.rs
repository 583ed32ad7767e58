//! What the chunks of one bulk that are here have together: their turn to begin devices, and this worker's part of its concurrency.

use crate::wire::bulk::Part;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Semaphore;

/// A bulk, and over how many workers its concurrency is divided; 0 where it is not.
type Key = (Arc<str>, u32);

/// Bulks of which a chunk is here.
#[derive(Default)]
pub(crate) struct Parts(Mutex<HashMap<Key, Weak<Had>>>);

/// What chunks of one bulk have together.
pub(super) struct Had {
    /// One chunk after the other begins its devices: many at one time would end together, and each report would tell a little of all.
    pub(super) line: Arc<Semaphore>,
    /// One permit for each device that may be under way, where the concurrency is divided.
    pub(super) devices: Option<Arc<Semaphore>>,
    /// Says whether those who were counted are the same still, since nobody was without a connection; none before a count was right.
    counted: tokio::sync::Mutex<Option<Box<dyn Fn() -> bool + Send + Sync>>>,
}

impl Parts {
    /// What chunks of that bulk have together, as long as somebody keeps it.
    fn of(&self, bulk: &Arc<str>, part: Option<Part>) -> Arc<Had> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (bulk.clone(), part.map_or(0, |part| part.workers));
        if let Some(had) = parts.get(&key).and_then(Weak::upgrade) {
            return had;
        }
        parts.retain(|_, had| had.strong_count() > 0);
        let devices = part.map(|part| Arc::new(Semaphore::new(part.devices.max(1) as usize)));
        let had = Arc::new(Had { line: Arc::new(Semaphore::new(1)), devices, counted: Default::default() });
        parts.insert(key, Arc::downgrade(&had));
        had
    }

    /// What a chunk of that bulk has with the others, to be kept while it runs; `None` if more workers take chunks than the concurrency
    /// was divided over, or nobody knows how many do. They are counted once for all chunks that are here together, as long as the
    /// delivery is current that they were counted for: whoever comes later counts this worker too, and begins nothing. Where the chunk
    /// has to be run by somebody in any case (not `is_asked`), they are not counted.
    pub(super) async fn enter(
        &self,
        bulk: &Arc<str>,
        part: Option<Part>,
        is_asked: bool,
        is_current: impl Fn() -> bool + Send + Sync + 'static,
        workers: impl Future<Output = Option<u32>>,
    ) -> Option<Arc<Had>> {
        let had = self.of(bulk, part);
        if let Some(part) = part.filter(|_| is_asked) {
            let mut counted = had.counted.lock().await;
            if !counted.as_ref().is_some_and(|is_current| is_current()) {
                workers.await.filter(|workers| *workers <= part.workers)?;
                *counted = Some(Box::new(is_current));
            }
        }
        Some(had)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;

    const PART: Option<Part> = Some(Part { devices: 2, workers: 2 });

    fn id() -> Arc<str> {
        "b".into()
    }

    fn free(had: &Had) -> usize {
        had.devices.as_ref().expect("divided").available_permits()
    }

    #[tokio::test]
    async fn chunks_of_one_bulk_have_one_part_together() {
        let parts = Parts::default();
        let first = parts.enter(&id(), PART, true, || true, ready(Some(2))).await.expect("ours");
        // Not counted again.
        let second = parts.enter(&id(), PART, true, || true, ready(None)).await.expect("ours");
        let other = parts.enter(&"c".into(), PART, true, || true, ready(Some(1))).await.expect("ours");
        let _all = first.devices.clone().expect("divided").acquire_many_owned(2).await.expect("open");
        assert_eq!((free(&second), free(&other)), (0, 2));
        drop((first, second));
        let later = parts.enter(&id(), PART, true, || true, ready(Some(2))).await.expect("ours");
        assert_eq!(free(&later), 2, "the others are gone");
        assert_eq!(parts.0.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn after_a_lost_connection_and_after_a_count_that_was_too_high_they_are_counted_anew() {
        let parts = Parts::default();
        let unasked = parts.enter(&id(), PART, false, || true, ready(None)).await.expect("somebody has to");
        assert!(parts.enter(&id(), PART, true, || true, ready(Some(3))).await.is_none());
        let first = parts.enter(&id(), PART, true, || false, ready(Some(2))).await.expect("ours");
        assert!(parts.enter(&id(), PART, true, || true, ready(Some(3))).await.is_none(), "somebody came meanwhile");
        let second = parts.enter(&id(), PART, true, || true, ready(Some(2))).await.expect("ours");
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&unasked, &second), "no more than one part");
    }

    #[tokio::test]
    async fn nobody_begins_who_finds_more_workers_than_have_a_part() {
        let parts = Parts::default();
        for found in [Some(3), None] {
            assert!(parts.enter(&id(), PART, true, || true, ready(found)).await.is_none());
        }
        assert!(parts.enter(&id(), PART, true, || true, ready(Some(2))).await.is_some(), "counted anew");
        let divided_anew = Some(Part { devices: 1, workers: 3 });
        assert!(parts.enter(&id(), divided_anew, true, || true, ready(Some(3))).await.is_some());
        assert!(parts.enter(&id(), PART, false, || true, ready(Some(3))).await.is_some(), "somebody has to");
    }
}

//! What is called off: a bounded memory of ids and stamps, without a clock of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many are remembered, and how long: as many, and as long, as Celery's own workers do.
pub(super) const MOST: usize = 50_000;
/// See [`MOST`].
pub(super) const KEPT: Duration = Duration::from_secs(3 * 3600);
/// The longest id that is remembered, in bytes: AMQP carries no longer one as a correlation id, and the memory has a bound.
const LONGEST: usize = 255;

/// The newest of what was called off. A task with such an id may come later, or not at all.
pub(super) struct Revoked {
    most: usize,
    at: HashMap<Arc<str>, Instant>,
    /// In the order of calling off; what was called off again stands there twice, and once in vain.
    order: VecDeque<(Instant, Arc<str>)>,
}

impl Revoked {
    pub(super) fn new(most: usize) -> Self {
        Self { most, at: HashMap::new(), order: VecDeque::new() }
    }

    /// Remembers it, and forgets what is too old or too much. Ids that no message can carry are not remembered.
    pub(super) fn add(&mut self, id: &str, now: Instant) {
        if id.len() <= LONGEST {
            let id: Arc<str> = id.into();
            self.at.insert(id.clone(), now);
            self.order.push_back((now, id));
        }
        self.forget(now);
    }

    pub(super) fn has(&self, id: &str, now: Instant) -> bool {
        self.at.get(id).is_some_and(|at| now.saturating_duration_since(*at) < KEPT)
    }

    /// All of them, the oldest first: who fills a memory with them in that order forgets the oldest.
    pub(super) fn ids(&mut self, now: Instant) -> Vec<Arc<str>> {
        self.forget(now);
        self.order.iter().filter(|(at, id)| self.at.get(id) == Some(at)).map(|(_, id)| id.clone()).collect()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, id)) = self.order.front() {
            if self.order.len() <= self.most && now.saturating_duration_since(*at) < KEPT {
                return;
            }
            // Called off again later, it stands further behind too.
            if self.at.get(id) == Some(at) {
                self.at.remove(id);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_are_forgotten_beyond_the_bound_and_after_their_time() {
        let (mut revoked, start) = (Revoked::new(2), Instant::now());
        for (index, id) in ["a", "b", "a", "c"].into_iter().enumerate() {
            revoked.add(id, start + Duration::from_millis(index as u64));
        }
        assert_eq!(["a", "b", "c"].map(|id| revoked.has(id, start)), [true, false, true]);
        assert_eq!(revoked.ids(start), ["a", "c"].map(Arc::<str>::from));
        let late = start + KEPT + Duration::from_millis(2);
        assert_eq!(["a", "c"].map(|id| revoked.has(id, late)), [false, true]);
        assert_eq!(revoked.ids(late), ["c"].map(Arc::<str>::from));
    }

    #[test]
    fn an_id_that_no_message_can_carry_costs_no_memory() {
        let (mut revoked, now) = (Revoked::new(10), Instant::now());
        revoked.add(&"x".repeat(256), now);
        assert_eq!(revoked.ids(now), Vec::<Arc<str>>::new());
    }

    proptest! {
        #[test]
        fn it_never_remembers_more_than_it_may_and_always_the_last(
            ids in prop::collection::vec(0u8..20, 1..200), most in 1usize..10,
        ) {
            let (mut revoked, start) = (Revoked::new(most), Instant::now());
            for (index, id) in ids.iter().enumerate() {
                let now = start + Duration::from_secs(index as u64);
                revoked.add(&id.to_string(), now);
                prop_assert!(revoked.at.len() <= most && revoked.order.len() <= most);
                prop_assert!(revoked.has(&id.to_string(), now));
            }
        }
    }
}

//! What waits for its time: one heap with a bound, instead of a timer for each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Items by the time at which they are due; of the same time, the first put in comes out first.
#[derive(Debug)]
pub(super) struct DueQueue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    bound: usize,
    count: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    number: u64,
    item: T,
}

impl<T> DueQueue<T> {
    /// An empty queue that takes at most so many items.
    pub(super) fn new(bound: usize) -> Self {
        Self { heap: BinaryHeap::new(), bound, count: 0 }
    }

    /// Puts an item in; false if the queue is full, and then it is gone.
    #[must_use]
    pub(super) fn put(&mut self, at: Instant, item: T) -> bool {
        if self.heap.len() >= self.bound {
            return false;
        }
        self.count += 1;
        self.heap.push(Reverse(Entry { at, number: self.count, item }));
        true
    }

    /// When the next item is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next item that is due now.
    pub(super) fn take(&mut self, now: Instant) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.item)
    }

    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

impl<T> Entry<T> {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn items_come_out_when_due_in_order_and_never_more_than_the_bound_wait() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut queue = DueQueue::new(4);
        for (ms, item) in [(30, "c"), (10, "a"), (10, "b"), (50, "d")] {
            assert!(queue.put(at(ms), item));
        }
        assert!(!queue.put(at(1), "too many"));
        assert_eq!((queue.next_at(), queue.take(at(9)), queue.len()), (Some(at(10)), None, 4));
        let due: Vec<_> = std::iter::from_fn(|| queue.take(at(30))).collect();
        assert_eq!(due, ["a", "b", "c"]);
        assert!(queue.put(at(40), "e"));
        assert_eq!((queue.take(at(60)), queue.take(at(60)), queue.next_at()), (Some("e"), Some("d"), None));
    }
}

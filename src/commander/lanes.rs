//! One lane per device: commands to it go one after another (or a few at a time), in the order in which they came.

use crate::table::Table;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The lanes of all devices that are being commanded now; a lane without commands takes no memory.
#[derive(Clone, Default)]
pub(crate) struct Lanes {
    lanes: Arc<Mutex<Table<Arc<str>, Lane>>>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<Waiting>,
    /// How many of those are counted; some of them may have given up since.
    counted: usize,
}

struct Waiting {
    next: oneshot::Sender<Slot>,
    counted: bool,
}

/// The right to command a device; the next in its lane gets it on drop.
pub(crate) struct Slot {
    lanes: Lanes,
    device: Option<Arc<str>>,
}

/// A place in a lane.
pub(crate) enum Turn {
    Now(Slot),
    Later(oneshot::Receiver<Slot>),
}

impl Lanes {
    /// Takes the next place in a device's lane, in the order of the calls. Dropping a place that waits gives it up.
    ///
    /// `None` where `most` wait already. Without `most` it may always wait and is not counted: whoever enters so bounds
    /// by himself how many he has waiting, and takes nobody else's place.
    pub(crate) fn enter(&self, device: &Arc<str>, width: usize, most: Option<usize>) -> Option<Turn> {
        let mut lanes = self.lock();
        let lane = lanes.entry(device.clone()).or_default();
        if lane.running < width.max(1) {
            lane.running += 1;
            return Some(Turn::Now(Slot { lanes: self.clone(), device: Some(device.clone()) }));
        }
        let counted = most.is_some();
        if most.is_some_and(|most| lane.is_full(most)) {
            return None;
        }
        let (next, turn) = oneshot::channel();
        lane.counted += usize::from(counted);
        lane.waiting.push_back(Waiting { next, counted });
        Some(Turn::Later(turn))
    }

    fn lock(&self) -> MutexGuard<'_, Table<Arc<str>, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one that still waits; `None` once the slot has gone back to the lane.
    fn next(&self, device: &Arc<str>) -> Option<oneshot::Sender<Slot>> {
        let mut lanes = self.lock();
        let lane = lanes.get_mut(device)?;
        let Some(Waiting { next, counted }) = lane.waiting.pop_front() else {
            lane.running -= 1;
            if lane.running == 0 {
                lanes.remove(device);
            }
            return None;
        };
        lane.counted -= usize::from(counted);
        Some(next)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Lane {
    /// Whether so many wait. The place of one that gave up is free: those are looked for before anybody is refused.
    fn is_full(&mut self, most: usize) -> bool {
        if self.counted >= most {
            self.waiting.retain(|waiting| !waiting.next.is_closed());
            self.counted = self.waiting.iter().filter(|waiting| waiting.counted).count();
        }
        self.counted >= most
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(device) = self.device.take() else { return };
        while let Some(next) = self.lanes.next(&device) {
            match next.send(Slot { lanes: self.lanes.clone(), device: Some(device.clone()) }) {
                Ok(()) => return,
                // That one gave up: its slot must not come back through this very function.
                Err(mut refused) => refused.device = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(turn: Option<Turn>) -> oneshot::Receiver<Slot> {
        match turn {
            Some(Turn::Later(receiver)) => receiver,
            Some(Turn::Now(_)) => panic!("should have to wait"),
            None => panic!("should not be refused"),
        }
    }

    fn now(turn: Option<Turn>) -> Slot {
        match turn {
            Some(Turn::Now(slot)) => slot,
            _ => panic!("should not have to wait"),
        }
    }

    #[test]
    fn commands_to_one_device_follow_each_other_and_others_do_not_wait() {
        let (lanes, device, other) = (Lanes::default(), Arc::from("a"), Arc::from("b"));
        let first = now(lanes.enter(&device, 1, Some(9)));
        let mut second = later(lanes.enter(&device, 1, Some(9)));
        let mut third = later(lanes.enter(&device, 1, Some(9)));
        drop(now(lanes.enter(&other, 1, Some(9))));
        assert!(second.try_recv().is_err());
        drop(first);
        let second = second.try_recv().unwrap();
        assert!(third.try_recv().is_err());
        drop(second);
        drop(third.try_recv().unwrap());
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn whoever_gave_up_is_passed_over() {
        let (lanes, device) = (Lanes::default(), Arc::from("a"));
        let first = now(lanes.enter(&device, 1, Some(9)));
        drop(later(lanes.enter(&device, 1, Some(9))));
        let mut third = later(lanes.enter(&device, 1, Some(9)));
        drop(first);
        drop(third.try_recv().unwrap());
        // A slot that was sent but never looked at goes on too.
        let first = now(lanes.enter(&device, 1, Some(9)));
        let unseen = later(lanes.enter(&device, 1, Some(9)));
        let mut last = later(lanes.enter(&device, 1, Some(9)));
        drop(first);
        drop(unseen);
        drop(last.try_recv().unwrap());
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn a_lane_can_be_wider() {
        let (lanes, device) = (Lanes::default(), Arc::from("a"));
        let _one = now(lanes.enter(&device, 2, Some(9)));
        let _two = now(lanes.enter(&device, 2, Some(9)));
        later(lanes.enter(&device, 2, Some(9)));
    }

    #[test]
    fn only_so_many_wait_and_a_place_that_is_free_is_never_refused() {
        let (lanes, device, other) = (Lanes::default(), Arc::from("a"), Arc::from("b"));
        let first = now(lanes.enter(&device, 1, Some(2)));
        let second = later(lanes.enter(&device, 1, Some(2)));
        let mut third = later(lanes.enter(&device, 1, Some(2)));
        assert!(lanes.enter(&device, 1, Some(2)).is_none());
        drop(now(lanes.enter(&other, 1, Some(2))));
        drop(second);
        let fourth = later(lanes.enter(&device, 1, Some(2)));
        assert!(lanes.enter(&device, 1, Some(2)).is_none());
        drop(first);
        let third = third.try_recv().unwrap();
        drop(later(lanes.enter(&device, 1, Some(2))));
        drop((fourth, third));
        assert_eq!(lanes.len(), 0);
        let _only = now(lanes.enter(&device, 1, Some(0)));
        assert!(lanes.enter(&device, 1, Some(0)).is_none(), "nobody waits");
    }

    #[test]
    fn who_is_not_counted_is_not_refused_and_takes_no_place_from_others_but_the_order_holds() {
        let (lanes, device) = (Lanes::default(), Arc::from("a"));
        let first = now(lanes.enter(&device, 1, Some(1)));
        let mut bulk: Vec<_> = (0..3).map(|_| later(lanes.enter(&device, 1, None))).collect();
        let mut single = later(lanes.enter(&device, 1, Some(1)));
        assert!(lanes.enter(&device, 1, Some(1)).is_none());
        drop(first);
        for turn in &mut bulk {
            assert!(single.try_recv().is_err());
            drop(turn.try_recv().unwrap());
        }
        drop(single.try_recv().unwrap());
        assert_eq!(lanes.len(), 0);
    }
}

//! One lane per device: commands to it go one after another (or a few at a time), in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The lanes of all devices that are being commanded now; a lane without commands takes no memory.
#[derive(Clone, Default)]
pub(crate) struct Lanes {
    lanes: Arc<Mutex<HashMap<Arc<str>, Lane>>>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
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
    pub(crate) fn enter(&self, device: &Arc<str>, width: usize) -> Turn {
        let mut lanes = self.lock();
        let lane = lanes.entry(device.clone()).or_default();
        if lane.running < width.max(1) {
            lane.running += 1;
            return Turn::Now(Slot { lanes: self.clone(), device: Some(device.clone()) });
        }
        let (next, turn) = oneshot::channel();
        lane.waiting.push_back(next);
        Turn::Later(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one that still waits; `None` once the slot has gone back to the lane.
    fn next(&self, device: &Arc<str>) -> Option<oneshot::Sender<Slot>> {
        let mut lanes = self.lock();
        let lane = lanes.get_mut(device)?;
        let next = lane.waiting.pop_front();
        if next.is_none() {
            lane.running -= 1;
            if lane.running == 0 {
                lanes.remove(device);
            }
        }
        next
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
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

    fn later(turn: Turn) -> oneshot::Receiver<Slot> {
        match turn {
            Turn::Later(receiver) => receiver,
            Turn::Now(_) => panic!("should have to wait"),
        }
    }

    fn now(turn: Turn) -> Slot {
        match turn {
            Turn::Now(slot) => slot,
            Turn::Later(_) => panic!("should not have to wait"),
        }
    }

    #[test]
    fn commands_to_one_device_follow_each_other_and_others_do_not_wait() {
        let (lanes, device, other) = (Lanes::default(), Arc::from("a"), Arc::from("b"));
        let first = now(lanes.enter(&device, 1));
        let mut second = later(lanes.enter(&device, 1));
        let mut third = later(lanes.enter(&device, 1));
        drop(now(lanes.enter(&other, 1)));
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
        let first = now(lanes.enter(&device, 1));
        drop(later(lanes.enter(&device, 1)));
        let mut third = later(lanes.enter(&device, 1));
        drop(first);
        drop(third.try_recv().unwrap());
        // A slot that was sent but never looked at goes on too.
        let first = now(lanes.enter(&device, 1));
        let unseen = later(lanes.enter(&device, 1));
        let mut last = later(lanes.enter(&device, 1));
        drop(first);
        drop(unseen);
        drop(last.try_recv().unwrap());
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn a_lane_can_be_wider() {
        let (lanes, device) = (Lanes::default(), Arc::from("a"));
        let _one = now(lanes.enter(&device, 2));
        let _two = now(lanes.enter(&device, 2));
        later(lanes.enter(&device, 2));
    }
}

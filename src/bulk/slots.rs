//! How many devices bulks command at one time, and of how many the outcome is on its way to whoever asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Places for devices, shared by all bulks; cheap to clone.
///
/// A device has one until it has its outcome, and then one of as many others until the outcome is told. So the way to the devices
/// is not idle while the broker confirms results, nor the other way round, and still nothing piles up anywhere.
#[derive(Clone, Debug)]
pub struct Slots {
    devices: Arc<Semaphore>,
    telling: Arc<Semaphore>,
    /// Microseconds for which a place stays empty before the next device has it.
    rest: Arc<AtomicU64>,
}

/// The place of one device; free when dropped.
#[derive(Debug)]
pub struct Slot {
    telling: Arc<Semaphore>,
    has: OwnedSemaphorePermit,
    is_answered: bool,
}

impl Slots {
    /// So many devices, and as many outcomes.
    pub fn new(width: usize) -> Self {
        Self {
            devices: Arc::new(Semaphore::new(width)),
            telling: Arc::new(Semaphore::new(width)),
            rest: Arc::default(),
        }
    }

    /// A place for a device, if there is one.
    pub(super) fn try_one(&self) -> Option<Slot> {
        if self.rest.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.devices.clone().try_acquire_owned().ok().map(|has| self.slot(has))
    }

    /// A place for a device, in turn with the others who wait. Cancel-safe, but the turn is lost.
    pub(super) async fn one(&self) -> Option<Slot> {
        let has = self.devices.clone().acquire_owned().await.ok()?;
        let rest = Duration::from_micros(self.rest.load(Ordering::Relaxed));
        if !rest.is_zero() {
            sleep(rest).await;
        }
        Some(self.slot(has))
    }

    /// How long a place stays empty from now on before the next device has it.
    pub fn rest_for(&self, rest: Duration) {
        self.rest.store(u64::try_from(rest.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn slot(&self, has: OwnedSemaphorePermit) -> Slot {
        Slot { telling: self.telling.clone(), has, is_answered: false }
    }

    /// Whether no device may begin.
    pub fn are_taken(&self) -> bool {
        self.devices.available_permits() == 0
    }

    /// Whether all are free, so many as there are.
    pub fn are_free(&self, width: usize) -> bool {
        self.devices.available_permits() >= width && self.telling.available_permits() >= width
    }

    /// So many more of each.
    pub fn add(&self, places: usize) {
        self.devices.add_permits(places);
        self.telling.add_permits(places);
    }

    /// So many fewer of each, as soon as they are free, in turn with those who want one. Says whether that was in time; if not,
    /// there are as many as before.
    pub async fn remove(&self, places: usize, within: Duration) -> bool {
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        let both = async { tokio::try_join!(self.devices.acquire_many(places), self.telling.acquire_many(places)) };
        let Ok(Ok((devices, telling))) = timeout(within, both).await else { return false };
        devices.forget();
        telling.forget();
        true
    }
}

impl Slot {
    /// The device has its outcome, and another one may begin; waits while too many outcomes are untold. Cancel-safe.
    pub async fn answered(&mut self) {
        if !self.is_answered
            && let Ok(telling) = self.telling.clone().acquire_owned().await
        {
            self.has = telling;
            self.is_answered = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_device_that_has_its_outcome_makes_room_for_another_while_few_are_untold() {
        let slots = Slots::new(1);
        let mut first = slots.try_one().expect("free");
        assert!(slots.are_taken() && slots.try_one().is_none());
        first.answered().await;
        first.answered().await;
        let mut second = slots.try_one().expect("the first has its outcome");
        let held_up = timeout(Duration::from_millis(20), second.answered()).await;
        assert!(held_up.is_err() && slots.are_taken(), "the first is not told yet");
        drop(first);
        second.answered().await;
        assert!(!slots.are_taken() && !slots.are_free(1), "the second is not told yet");
        drop(second);
        assert!(slots.are_free(1));
    }

    #[tokio::test]
    async fn a_place_rests_before_the_next_device_has_it() {
        let slots = Slots::new(1);
        slots.rest_for(Duration::from_millis(5));
        assert!(slots.try_one().is_none(), "at once nobody has one");
        let began = Instant::now();
        let first = slots.one().await.expect("free");
        assert!(began.elapsed() >= Duration::from_millis(5));
        drop(first);
        slots.rest_for(Duration::ZERO);
        assert!(slots.try_one().is_some());
    }

    #[tokio::test]
    async fn there_are_fewer_once_they_are_free() {
        let slots = Slots::new(3);
        let mut held = slots.try_one().expect("free");
        assert!(!slots.remove(3, Duration::from_millis(20)).await);
        assert!(slots.remove(2, Duration::from_millis(20)).await);
        assert!(slots.are_taken());
        held.answered().await;
        assert!(!slots.remove(1, Duration::from_millis(20)).await, "one outcome is untold");
        drop(held);
        slots.add(1);
        assert!(slots.try_one().is_some());
    }
}

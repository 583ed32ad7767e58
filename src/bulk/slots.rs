//! How many devices bulks command at one time, and of how many the outcome is on its way to whoever asked.

use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

/// Places are removed in so many parts.
const PARTS: usize = 8;

/// Places for devices, shared by all bulks; cheap to clone.
///
/// A device has one until it has its outcome, and then, where results are streamed, one of as many others until the outcome is told.
/// So the way to the devices is not idle while the broker confirms results, nor the other way round, and still nothing piles up.
#[derive(Clone, Debug)]
pub struct Slots {
    devices: Arc<Semaphore>,
    telling: Arc<Semaphore>,
    /// Microseconds for which a device that has a place waits before it begins.
    rest: Arc<AtomicU64>,
    /// What one bulk has of them: a device of it has one of these too, until it has its outcome.
    own: Option<Arc<Semaphore>>,
}

/// The place of one device; free when dropped.
#[derive(Debug)]
pub struct Slot {
    telling: Arc<Semaphore>,
    rest: Duration,
    has: OwnedSemaphorePermit,
    own: Option<OwnedSemaphorePermit>,
    is_answered: bool,
}

impl Slots {
    /// So many devices, and as many outcomes.
    pub fn new(width: usize) -> Self {
        Self {
            devices: Arc::new(Semaphore::new(width)),
            telling: Arc::new(Semaphore::new(width)),
            rest: Arc::default(),
            own: None,
        }
    }

    /// The same places, of which only so many are had at one time as there are permits; all of them without.
    pub fn within(&self, own: Option<Arc<Semaphore>>) -> Self {
        Self { own, ..self.clone() }
    }

    /// A place for a device, if there is one.
    pub(super) fn try_one(&self) -> Option<Slot> {
        let own = self.own.clone().map(Semaphore::try_acquire_owned).transpose().ok()?;
        self.devices.clone().try_acquire_owned().ok().map(|has| self.slot(has, own))
    }

    /// A place for a device, in turn with the others who wait. Cancel-safe, but the turn is lost.
    pub(super) async fn one(&self) -> Option<Slot> {
        let own = OptionFuture::from(self.own.clone().map(Semaphore::acquire_owned)).await.transpose().ok()?;
        self.devices.clone().acquire_owned().await.ok().map(|has| self.slot(has, own))
    }

    /// How long whoever has a place from now on waits before it begins.
    pub fn rest_for(&self, rest: Duration) {
        self.rest.store(u64::try_from(rest.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn slot(&self, has: OwnedSemaphorePermit, own: Option<OwnedSemaphorePermit>) -> Slot {
        let rest = Duration::from_micros(self.rest.load(Ordering::Relaxed));
        Slot { telling: self.telling.clone(), rest, has, own, is_answered: false }
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

    /// Up to so many fewer of each, as soon as they are free, in turn with those who want one. Says how many of each went in time.
    pub async fn remove(&self, places: usize, within: Duration) -> usize {
        let until = Instant::now() + within;
        let mut removed = 0;
        // In parts: all of them may not be free at one time, and what is held until they are is missing meanwhile.
        while removed < places {
            let part = (places - removed).min(places.div_ceil(PARTS));
            let count = u32::try_from(part).unwrap_or(u32::MAX);
            let both = async { tokio::try_join!(self.devices.acquire_many(count), self.telling.acquire_many(count)) };
            let Ok(Ok((devices, telling))) = timeout_at(until, both).await else { break };
            devices.forget();
            telling.forget();
            removed += part;
        }
        removed
    }
}

impl Slot {
    /// Waits as long as whoever has a place is to wait before it begins. Cancel-safe.
    pub(super) fn rest(&self) -> impl Future<Output = ()> + use<> {
        // On the heap, where there is one: most have none.
        OptionFuture::from((!self.rest.is_zero()).then(|| Box::pin(sleep(self.rest)))).map(|_| ())
    }

    /// The device has its outcome, and another one may begin; waits while too many outcomes are untold. Cancel-safe.
    pub async fn answered(&mut self) {
        if !self.is_answered
            && let Ok(telling) = self.telling.clone().acquire_owned().await
        {
            self.has = telling;
            self.own = None;
            self.is_answered = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

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
    async fn of_a_bulk_no_more_have_a_place_than_it_has_permits_until_they_have_their_outcome() {
        let all = Slots::new(3);
        let part = all.within(Some(Arc::new(Semaphore::new(1))));
        let mut first = part.try_one().expect("free");
        assert!(part.try_one().is_none() && part.one().now_or_never().is_none());
        let other = all.try_one().expect("others have their own");
        first.answered().await;
        let second = part.one().now_or_never().flatten().expect("the first has its outcome");
        drop((first, other));
        assert!(part.try_one().is_none());
        drop(second);
        let _third = part.try_one().expect("free again");
        let _rest: Vec<Slot> = std::iter::from_fn(|| all.try_one()).collect();
        assert!(all.are_taken());
    }

    #[tokio::test]
    async fn whoever_has_a_place_rests_before_it_begins() {
        let slots = Slots::new(2);
        let quick = slots.try_one().expect("free");
        slots.rest_for(Duration::from_millis(5));
        let slow = slots.try_one().expect("free");
        let began = Instant::now();
        slow.rest().await;
        assert!(began.elapsed() >= Duration::from_millis(5));
        assert_eq!(quick.rest().now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn there_are_fewer_once_they_are_free() {
        const SOON: Duration = Duration::from_millis(20);
        let slots = Slots::new(20);
        let mut held: Vec<Slot> = (0..4).map(|_| slots.try_one().expect("free")).collect();
        // Parts of three: sixteen are free.
        assert_eq!(slots.remove(20, SOON).await, 15);
        assert!(!slots.are_taken());
        held.truncate(1);
        assert_eq!(slots.remove(4, SOON).await, 4);
        assert!(slots.are_taken());
        held[0].answered().await;
        assert_eq!(slots.remove(1, SOON).await, 0, "one outcome is untold");
        drop(held);
        assert!(slots.are_free(1) && !slots.are_free(2));
        assert_eq!(slots.remove(1, SOON).await, 1);
        slots.add(2);
        assert!(slots.are_free(2) && !slots.are_free(3));
    }
}

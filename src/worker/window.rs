//! How many devices bulks command at one time: as many as may be, unless that keeps everybody waiting.
//!
//! Devices that answer at once let a bulk fill every queue on the way to them, and a single command waits behind all of it. How long
//! the MQTT broker takes to acknowledge shows that, whatever the devices themselves take: slow devices leave the window wide. Where
//! no single command has come for a while nobody is kept waiting, and the window is as wide as it may be.

use super::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// It begins so.
const FIRST: usize = 32;
/// It is never narrower: with devices that answer at once still some thousand a second.
const LEAST: usize = 4;
/// Bulks that began fewer devices than this between two looks are not what the broker is busy with.
const FEW: u64 = 8;
/// So long after a single command another one is to be expected.
const SHARED_FOR: Duration = Duration::from_secs(10);
/// An acknowledgement may take so much longer than twice the shortest.
const MORE: Duration = Duration::from_micros(300);
/// How long it may take until what is under way has made room for a narrower window.
const NARROWED_WITHIN: Duration = Duration::from_secs(1);

/// What is seen at a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// How long the broker took on the mean; `None` where it acknowledged nothing.
    took: Option<Duration>,
    /// Whether the window is full.
    is_full: bool,
    /// Whether single commands share the way.
    is_shared: bool,
    /// How many devices bulks began since the last look.
    begun: u64,
}

/// The window and what it is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Devices at one time.
    width: usize,
    most: usize,
    /// The shortest time that an acknowledgement took, as a mean over some; it is forgotten little by little.
    shortest: Option<Duration>,
    /// Whether it was ever too wide: before that it doubles.
    was_wide: bool,
}

impl Window {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { width: FIRST.min(most), most, shortest: None, was_wide: false }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Says how wide it is from now on.
    pub(super) fn look(&mut self, seen: Seen) -> usize {
        let Seen { took, is_full, is_shared, begun } = seen;
        let Some(took) = took else {
            // Nothing is on its way to the broker, so nobody waits there: devices are slow.
            self.width = if is_full { self.wider() } else { self.width };
            return self.width;
        };
        let shortest = self.shortest.map_or(took, |shortest| shortest + shortest / 200).min(took);
        self.shortest = Some(shortest);
        if !is_shared {
            self.was_wide = false;
        }
        if is_shared && begun >= FEW && took > shortest * 2 + MORE {
            self.was_wide = true;
            self.width = (self.width - self.width / 4).max(LEAST.min(self.most));
        } else if is_full {
            self.width = self.wider();
        }
        self.width
    }

    fn wider(&self) -> usize {
        let more = if self.was_wide { self.width / 8 + 1 } else { self.width };
        (self.width + more).min(self.most)
    }
}

/// Keeps the slots of bulks as many as the window is wide, until the hard stop.
pub(super) async fn keep(shared: Arc<Shared>) {
    let hard = shared.shutdown.hard();
    let mut window = Window::new(shared.options.bulk_concurrency);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut width = window.width();
    while hard.run_until_cancelled(ticks.tick()).await.is_some() {
        let slots = &shared.bulk_slots;
        let is_shared = shared.last_single.since().is_some_and(|since| since < SHARED_FOR);
        let seen = Seen {
            took: shared.commander.acknowledged_within(),
            is_full: slots.available_permits() == 0,
            is_shared,
            begun: shared.bulk_begun.swap(0, Ordering::Relaxed),
        };
        let wanted = window.look(seen);
        if wanted > width {
            slots.add_permits(wanted - width);
            width = wanted;
        }
        // In turn with those who want to command a device: what is under way has to end first.
        let too_many = u32::try_from(width.saturating_sub(wanted)).unwrap_or(0);
        if too_many > 0
            && let Ok(Ok(permits)) = timeout(NARROWED_WITHIN, slots.acquire_many(too_many)).await
        {
            permits.forget();
            width = wanted;
        }
    }
}

/// When something happened last.
#[derive(Debug)]
pub(crate) struct Last {
    began: Instant,
    /// Milliseconds after that, and one; 0 where it never did.
    at: AtomicU64,
}

impl Default for Last {
    fn default() -> Self {
        Self { began: Instant::now(), at: AtomicU64::new(0) }
    }
}

impl Last {
    /// It happens.
    pub(super) fn now(&self) {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX >> 1);
        self.at.store(at + 1, Ordering::Relaxed);
    }

    fn since(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// With many devices begun.
    fn seen(took: Duration, is_full: bool, is_shared: bool) -> Seen {
        Seen { took: Some(took), is_full, is_shared, begun: 100 }
    }

    #[test]
    fn it_opens_for_slow_devices_within_a_few_looks() {
        let mut window = Window::new(1000);
        let widths: Vec<usize> = (0..6).map(|_| window.look(seen(2 * MS, true, true))).collect();
        assert_eq!(widths, [64, 128, 256, 512, 1000, 1000]);
        let mut silent = Window::new(1000);
        let unseen = Seen { took: None, ..seen(MS, true, true) };
        assert_eq!((silent.look(unseen), silent.look(Seen { is_full: false, ..unseen })), (64, 64));
    }

    #[test]
    fn it_narrows_while_the_broker_is_kept_waiting_and_opens_with_care_afterwards() {
        let mut window = Window::new(1000);
        while window.look(seen(2 * MS, true, true)) < 1000 {}
        let narrowed: Vec<usize> = (0..4).map(|_| window.look(seen(40 * MS, true, true))).collect();
        assert_eq!(narrowed, [750, 563, 423, 318]);
        assert_eq!(window.look(seen(4 * MS, true, true)), 318 + 318 / 8 + 1);
        assert_eq!(window.look(seen(4 * MS, false, true)), 358, "nobody needs more");
    }

    #[test]
    fn it_does_not_narrow_where_bulks_are_not_what_the_broker_is_busy_with() {
        let mut window = Window::new(1000);
        while window.look(seen(2 * MS, true, true)) < 1000 {}
        assert_eq!(window.look(Seen { begun: FEW - 1, ..seen(40 * MS, true, true) }), 1000);
        assert_eq!(window.look(Seen { begun: FEW, ..seen(40 * MS, true, true) }), 750);
    }

    #[test]
    fn it_does_not_narrow_for_nobody() {
        let mut window = Window::new(1000);
        while window.look(seen(2 * MS, true, false)) < 1000 {}
        assert_eq!(window.look(seen(400 * MS, true, false)), 1000);
        assert_eq!(window.look(seen(400 * MS, true, true)), 750);
        assert_eq!(window.look(seen(400 * MS, true, false)), 1000);
    }

    #[test]
    fn a_broker_that_is_far_away_is_not_taken_for_one_that_is_busy() {
        let mut window = Window::new(500);
        for _ in 0..100 {
            window.look(seen(80 * MS, true, true));
        }
        assert_eq!(window.width(), 500);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            most in 1usize..2000,
            looks in prop::collection::vec((prop::option::of(0u64..500), any::<bool>(), any::<bool>(), 0u64..20), 0..200),
        ) {
            let mut window = Window::new(most);
            for (took, is_full, is_shared, begun) in looks {
                let width = window.look(Seen { took: took.map(Duration::from_millis), is_full, is_shared, begun });
                prop_assert!((LEAST.min(most)..=most).contains(&width));
            }
        }
    }
}

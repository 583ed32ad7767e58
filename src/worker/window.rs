//! How many devices bulks command at one time: as many as may be, unless that keeps everybody waiting.
//!
//! Devices that answer at once let a bulk fill every queue on the way to them, and a single command waits behind all of it. How long
//! the MQTT broker takes to acknowledge shows that, whatever the devices themselves take: slow devices leave the window wide. Where
//! no single command has come for a while nobody is kept waiting, and the window is as wide as it may be. As narrow as it can be,
//! and still in the way, a place rests before the next device has it: on machines that brokers and workers share, even a few devices
//! that are always under way take all the processors.

use super::Shared;
use crate::commander::Took;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// It begins so.
const FIRST: usize = 32;
/// It is never narrower: with devices that answer at once still some thousand a second, and some hundred with rests.
const LEAST: usize = 4;
/// Bulks that began fewer devices than this between two looks are not what the broker is busy with.
const FEW: u64 = 8;
/// So long after a single command another one is to be expected.
const SHARED_FOR: Duration = Duration::from_secs(10);
/// An acknowledgement may take so much longer than twice the shortest, or a quarter longer than is usual without bulks.
const MORE: Duration = Duration::from_micros(200);
/// By so much the rest changes at a look.
const REST: Duration = Duration::from_millis(1);
/// No place stays empty for longer.
const LONGEST_REST: Duration = Duration::from_millis(8);
/// How long it may take at a look until what is under way has made room for a narrower window; the next one goes on with it.
const NARROWED_WITHIN: Duration = Duration::from_millis(250);

/// What is seen at a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// How long the broker took; `None` where it acknowledged nothing.
    took: Option<Took>,
    /// Whether the window is full.
    is_full: bool,
    /// Whether single commands share the way.
    is_shared: bool,
    /// How many devices bulks began since the last look.
    begun: u64,
    /// Whether no device of a bulk is under way now.
    is_idle: bool,
}

/// The window and what it is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Devices at one time.
    width: usize,
    /// How long a place stays empty before the next device has it; only where the window is as narrow as can be.
    rest: Duration,
    most: usize,
    /// The shortest time that an acknowledgement ever took: under the load of a bulk that nobody has to share, all take longer.
    shortest: Option<Duration>,
    /// What an acknowledgement takes on the mean while no bulk is under way here, or as little of one as can be. Bulks that keep other
    /// workers busy count as what is usual.
    usual: Option<Duration>,
    /// Whether none was at the last look.
    was_idle: bool,
    /// Whether it was ever too wide: before that it doubles.
    was_wide: bool,
}

impl Window {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            width: FIRST.min(most),
            rest: Duration::ZERO,
            most,
            shortest: None,
            usual: None,
            was_idle: false,
            was_wide: false,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Says how wide it is from now on.
    pub(super) fn look(&mut self, seen: Seen) -> usize {
        let Seen { took, is_full, is_shared, begun, is_idle } = seen;
        let no_bulk = std::mem::replace(&mut self.was_idle, is_idle) && begun == 0;
        let Some(took) = took else {
            // Nothing is on its way to the broker, so nobody waits there: devices are slow. Unless something is, and it stands still.
            let stands_still = is_shared && begun > 0 && self.shortest.is_some();
            if is_full && !stands_still {
                self.widen();
            }
            return self.width;
        };
        let shortest = self.shortest.map_or(took.shortest, |shortest| shortest.min(took.shortest));
        self.shortest = Some(shortest);
        if !is_shared {
            self.was_wide = false;
        }
        let is_least = self.width == LEAST.min(self.most);
        // As little as bulks can do is like none: what is slow then is slow for other reasons.
        if no_bulk || (is_least && self.rest == LONGEST_REST) {
            self.usual = Some(usual(self.usual, took.mean, shortest));
        }
        let limit = (shortest * 2 + MORE).max(self.usual.unwrap_or_default() * 5 / 4);
        if is_shared && begun >= FEW && took.mean > limit {
            self.was_wide = true;
            let fewer = if took.mean > limit * 2 { self.width / 2 } else { self.width / 4 };
            if is_least {
                self.rest = (self.rest + REST).min(LONGEST_REST);
            }
            self.width = (self.width - fewer).max(LEAST.min(self.most));
        } else if is_full {
            self.widen();
        }
        self.width
    }

    fn widen(&mut self) {
        if !self.rest.is_zero() {
            self.rest -= REST;
            return;
        }
        let more = if self.was_wide { self.width / 8 + 1 } else { self.width };
        self.width = (self.width + more).min(self.most);
    }
}

/// What is usual, with one more mean: the last sixteen or so count, and none for more than twice what was usual.
fn usual(usual: Option<Duration>, mean: Duration, shortest: Duration) -> Duration {
    match usual {
        None => mean.min(shortest * 8),
        Some(usual) => (usual * 15 + mean.min(usual * 2)) / 16,
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
            is_full: slots.are_taken(),
            is_shared,
            begun: shared.bulk_begun.swap(0, Ordering::Relaxed),
            is_idle: slots.are_free(width),
        };
        let wanted = window.look(seen);
        slots.rest_for(window.rest);
        if wanted > width {
            slots.add(wanted - width);
            width = wanted;
        }
        // In turn with those who want to command a device: what is under way has to end first.
        let too_many = width.saturating_sub(wanted);
        if too_many > 0 {
            width -= slots.remove(too_many, NARROWED_WITHIN).await;
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

    /// With many devices begun, and acknowledgements that take alike.
    fn seen(took: Duration, is_full: bool, is_shared: bool) -> Seen {
        Seen { took: Some(Took { mean: took, shortest: took }), is_full, is_shared, begun: 100, is_idle: false }
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
        assert_eq!(narrowed, [500, 250, 125, 63]);
        assert_eq!(window.look(seen(5 * MS, true, true)), 48, "with more care where little is missing");
        assert_eq!(window.look(seen(4 * MS, true, true)), 48 + 48 / 8 + 1);
        assert_eq!(window.look(seen(4 * MS, false, true)), 55, "nobody needs more");
    }

    #[test]
    fn it_does_not_narrow_where_bulks_are_not_what_the_broker_is_busy_with() {
        let mut window = Window::new(1000);
        while window.look(seen(2 * MS, true, true)) < 1000 {}
        assert_eq!(window.look(Seen { begun: FEW - 1, ..seen(40 * MS, true, true) }), 1000);
        assert_eq!(window.look(Seen { begun: FEW, ..seen(40 * MS, true, true) }), 500);
    }

    #[test]
    fn it_does_not_narrow_for_nobody() {
        let mut window = Window::new(1000);
        while window.look(seen(2 * MS, true, false)) < 1000 {}
        assert_eq!(window.look(seen(400 * MS, true, false)), 1000);
        assert_eq!(window.look(seen(400 * MS, true, true)), 500);
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

    #[test]
    fn a_broker_that_was_only_seen_busy_is_known_by_its_shortest_acknowledgement() {
        let busy = Seen { took: Some(Took { mean: 20 * MS, shortest: MS }), ..seen(MS, true, false) };
        let mut window = Window::new(1000);
        while window.look(busy) < 1000 {}
        // An hour in which all of them take long, and nobody has to share.
        for _ in 0..72_000 {
            window.look(seen(20 * MS, true, false));
        }
        assert_eq!(window.look(seen(20 * MS, true, true)), 500);
    }

    #[test]
    fn a_broker_that_is_slower_for_good_is_not_taken_for_a_busy_one_for_ever() {
        let mut window = Window::new(1000);
        while window.look(seen(2 * MS, true, true)) < 1000 {}
        assert_eq!((0..30).map(|_| window.look(seen(10 * MS, true, true))).min(), Some(LEAST));
        // Some seconds in which less of the bulk makes it no faster.
        assert_eq!((0..200).map(|_| window.look(seen(10 * MS, true, true))).last(), Some(1000));
    }

    #[test]
    fn a_broker_that_is_no_faster_without_bulks_is_not_taken_for_one_that_they_keep_busy() {
        let of = |mean| Some(Took { mean, shortest: MS / 10 });
        let mut window = Window::new(1000);
        let idle = Seen { took: of(5 * MS), is_full: false, begun: 0, is_idle: true, ..seen(MS, true, true) };
        let busy = |mean| Seen { took: of(mean), ..seen(MS, true, true) };
        for _ in 0..100 {
            window.look(idle);
        }
        while window.look(busy(6 * MS)) < 1000 {}
        // Nothing began, but what began before may still be under way.
        for _ in 0..100 {
            window.look(Seen { begun: 0, ..busy(50 * MS) });
        }
        assert_eq!(window.look(busy(7 * MS)), 750);
    }

    #[test]
    fn as_narrow_as_can_be_its_places_rest_and_rest_no_longer_than_they_must() {
        let mut window = Window::new(1000);
        window.look(seen(MS, true, true));
        while window.look(seen(40 * MS, true, true)) > LEAST {}
        assert_eq!(window.rest, Duration::ZERO);
        let rests: Vec<Duration> = (0..9)
            .map(|_| {
                window.look(seen(40 * MS, true, true));
                window.rest
            })
            .collect();
        let expected = [1, 2, 3, 4, 5, 6, 7, 8, 8].map(|rest| rest * MS);
        assert_eq!(rests, expected);
        assert_eq!((window.look(seen(MS, true, true)), window.rest), (LEAST, 7 * MS), "first this, then the width");
        let none = Seen { took: None, ..seen(MS, true, true) };
        window.look(none);
        assert_eq!(window.rest, 7 * MS, "the broker stands still");
        window.look(Seen { begun: 0, ..none });
        assert_eq!(window.rest, 6 * MS, "nothing is on its way to it");
        window.look(seen(40 * MS, true, false));
        assert_eq!(window.rest, 5 * MS, "there is nobody to wait for");
    }

    #[test]
    fn what_is_slow_although_bulks_do_next_to_nothing_is_taken_for_usual() {
        let slow = Seen { took: Some(Took { mean: 3 * MS, shortest: MS }), ..seen(MS, true, true) };
        let mut window = Window::new(1000);
        while window.look(slow) > LEAST || window.rest < LONGEST_REST {}
        assert!((0..50).any(|_| window.look(slow) > LEAST));
    }

    #[test]
    fn a_broker_that_paused_once_is_not_taken_for_one_that_always_does() {
        assert_eq!(usual(None, 5_000 * MS, MS), 8 * MS);
        assert_eq!(usual(Some(16 * MS), 5_000 * MS, MS), 17 * MS);
        assert_eq!(usual(Some(16 * MS), Duration::ZERO, MS), 15 * MS);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            most in 1usize..2000,
            looks in prop::collection::vec(
                (prop::option::of((0u64..500, 0u64..500)), any::<bool>(), any::<bool>(), any::<bool>(), 0u64..20),
                0..200,
            ),
        ) {
            let mut window = Window::new(most);
            for (took, is_full, is_shared, is_idle, begun) in looks {
                let took = took.map(|(shortest, more)| {
                    Took { mean: Duration::from_millis(shortest + more), shortest: Duration::from_millis(shortest) }
                });
                let width = window.look(Seen { took, is_full, is_shared, begun, is_idle });
                prop_assert!((LEAST.min(most)..=most).contains(&width));
                prop_assert!(window.rest <= LONGEST_REST && (window.rest.is_zero() || width == LEAST.min(most)));
            }
        }
    }
}

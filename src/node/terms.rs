//! What control has set for the tasks of one name: time limits and a rate. Pure; time is an argument.

use std::time::{Duration, Instant};

/// The terms of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Terms {
    /// Seconds, softly.
    pub(super) soft: Option<f64>,
    /// Seconds.
    pub(super) hard: Option<f64>,
    /// The rate as it was given, for whoever asks.
    pub(super) rate: Option<String>,
    bucket: Option<Bucket>,
}

/// A bucket that holds one token: tasks start one after another, so far apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    apart: Duration,
    /// When the next task may start.
    next: Instant,
}

/// The longest that two tasks can be held apart: nothing here counts further.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Bytes of a rate's number: it is kept as it was given.
const DIGITS: usize = 32;

impl Terms {
    /// So many tasks may start in a second from now on; none is no limit. Places that were reserved before stay reserved for
    /// whoever has them, and do not count.
    pub(super) fn set_rate(&mut self, shown: &str, per_second: f64, now: Instant) {
        let apart = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(LONGEST).min(LONGEST);
        self.bucket = (per_second > 0.0).then_some(Bucket { apart, next: now });
        self.rate = self.bucket.map(|_| shown.to_owned());
    }

    /// Reserves the next place for one task; how long it must wait for it.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Duration> {
        let bucket = self.bucket.as_mut()?;
        let place = bucket.next.max(now);
        // A place beyond what the clock can count is the same place for all: they wait for the next change of the rate.
        bucket.next = place.checked_add(bucket.apart).unwrap_or(place);
        Some(place - now).filter(|wait| !wait.is_zero())
    }
}

/// Tasks per second of a rate as Celery writes it: `10/s`, `10/m`, `10/h`, a number alone; 0 is no limit.
///
/// # Errors
/// What Celery answers to a rate that it cannot read.
pub(super) fn per_second(rate: &str) -> Result<f64, String> {
    let (count, unit) = rate.split_once('/').unwrap_or((rate, "s"));
    let seconds = match unit {
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("KeyError({})", crate::wire::celery::repr::text(other))),
    };
    match count.trim().parse::<f64>() {
        Ok(per) if per.is_finite() && per >= 0.0 && count.len() <= DIGITS => Ok(per / seconds),
        _ => Err(format!("Invalid rate limit string: ValueError(\"not a number of tasks: {count:?}\")")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_celery_writes_them() {
        for (given, rate) in
            [("10/s", 10.0), ("30/m", 0.5), ("36/h", 0.01), ("7", 7.0), ("0", 0.0), ("0/m", 0.0), ("1.5", 1.5)]
        {
            assert_eq!(per_second(given), Ok(rate));
        }
        assert_eq!(per_second("10/y"), Err("KeyError('y')".to_owned()));
        for wrong in ["", "x/m", "-1/s", "inf", "NaN"] {
            assert!(per_second(wrong).unwrap_err().contains("Invalid rate limit string"), "{wrong}");
        }
    }

    #[test]
    fn tasks_take_their_places_one_after_another() {
        let (mut terms, now) = (Terms::default(), Instant::now());
        assert_eq!(terms.turn(now), None, "without a rate nobody waits");
        terms.set_rate("2/s", 2.0, now);
        let half = Duration::from_millis(500);
        assert_eq!([terms.turn(now), terms.turn(now), terms.turn(now)], [None, Some(half), Some(2 * half)]);
        assert_eq!(terms.turn(now + 10 * half), None, "what was not used is not saved up");
        assert_eq!(terms.turn(now + 10 * half), Some(half));
        terms.set_rate("0", 0.0, now);
        assert_eq!((terms.turn(now), &terms.rate), (None, &None));
    }

    #[test]
    fn a_rate_of_almost_nothing_does_not_overflow() {
        let (mut terms, now) = (Terms::default(), Instant::now());
        terms.set_rate("tiny", 1e-300, now);
        assert_eq!(terms.turn(now), None);
        for _ in 0..10_000 {
            assert!(terms.turn(now).is_some());
        }
    }
}

//! How fast a bulk goes and how long it may still take, for the line beside its bar.

use super::collected::Collected;
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Over how long the rate is taken: long enough to be calm, short enough to show a pause.
const OVER: Duration = Duration::from_secs(5);
/// The least time between two readings that are kept.
const STEP: Duration = Duration::from_millis(250);

/// Readings of the last seconds: when, and how many devices had answered.
#[derive(Debug)]
pub struct Pace(VecDeque<(Instant, usize)>);

impl Pace {
    /// Nothing has answered yet.
    pub fn new(now: Instant) -> Self {
        Self(VecDeque::from([(now, 0)]))
    }

    /// Devices a second, now that so many have answered; `None` as long as there is too little to tell.
    pub fn rate(&mut self, now: Instant, done: usize) -> Option<f64> {
        // One reading from before the span stays: the span begins there.
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= OVER) {
            self.0.pop_front();
        }
        if self.0.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            self.0.push_back((now, done));
        }
        let (since, before) = *self.0.front()?;
        let span = now.saturating_duration_since(since);
        (span >= STEP).then(|| done.saturating_sub(before) as f64 / span.as_secs_f64())
    }
}

/// Share done, rate, failures by status, time left.
pub fn line(collected: &Collected, devices: usize, rate: Option<f64>, note: Option<&str>) -> String {
    let waiting = collected.waiting();
    let done = devices.saturating_sub(waiting);
    // Rounded down: 100% is for all of them.
    let percent = (done.saturating_mul(100)).checked_div(devices).unwrap_or(100);
    let mut line = format!("{percent}% of {devices}");
    if let Some(rate) = rate {
        // Writing to a string cannot fail.
        let _ = if rate < 10.0 { write!(line, ", {rate:.1}/s") } else { write!(line, ", {rate:.0}/s") };
    }
    for (status, count) in collected.failed_by_status() {
        let _ = write!(line, ", {status} {count}");
    }
    match (note, rate) {
        (Some(note), _) => line.extend([", ", note]),
        (None, Some(rate)) if rate > 0.0 && waiting > 0 => {
            let _ = write!(line, ", {} left", clock(waiting as f64 / rate));
        }
        (None, _) => {}
    }
    line
}

/// A time as a clock shows it: `0:07`, `12:00`, `3:00:00`.
fn clock(seconds: f64) -> String {
    // A float that is too large becomes the largest whole number.
    let seconds = seconds.ceil() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..=999 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => "more than 999 hours".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::Answer;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(start);
        assert_eq!(pace.rate(after(10), 50), None, "too early to tell");
        assert_eq!(pace.rate(after(1000), 100), Some(100.0));
        for second in 2..=10 {
            pace.rate(after(second * 1000), 100 * second as usize);
        }
        assert_eq!(pace.rate(after(10_000), 1000), Some(100.0));
        // From here nothing comes: the rate falls to nothing within the span, and not before.
        let falling = [12_000, 14_000, 15_100].map(|ms| pace.rate(after(ms), 1000).unwrap());
        assert!(falling[0] > falling[1] && falling[1] > 0.0, "{falling:?}");
        assert_eq!(pace.rate(after(30_000), 1000), Some(0.0));
        assert!(pace.0.len() < 30, "{} readings are kept", pace.0.len());
    }

    #[test]
    fn thousands_of_readings_in_a_second_are_not_kept() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for step in 0..60_000_u32 {
            pace.rate(start + Duration::from_millis(1) * step, step as usize);
        }
        assert!(pace.0.len() <= 22, "{}", pace.0.len());
        assert_eq!(pace.rate(start + Duration::from_secs(60), 60_000).map(f64::round), Some(1000.0));
    }

    #[test]
    fn the_line_says_how_far_how_fast_what_failed_and_how_long() {
        let devices = 400;
        let names: Vec<String> = (0..devices).map(|index| format!("d{index}")).collect();
        let mut collected = Collected::new(names.iter().map(|name| name.as_str().into()));
        assert_eq!(line(&collected, devices, None, None), "0% of 400");
        for (index, name) in names.iter().take(199).enumerate() {
            let status = if index < 3 { "timed_out" } else { "succeeded" };
            let json = format!(r#"{{"device":"{name}","status":"{status}","executed":"unknown"}}"#);
            collected.take(&Answer::read(json.as_bytes()).unwrap());
        }
        assert_eq!(line(&collected, devices, Some(50.0), None), "49% of 400, 50/s, timed_out 3, 0:05 left");
        assert_eq!(line(&collected, devices, Some(0.0), Some("paused")), "49% of 400, 0.0/s, timed_out 3, paused");
        assert_eq!(line(&collected, devices, Some(0.0), None), "49% of 400, 0.0/s, timed_out 3", "no end in sight");
        for name in names.iter().skip(199) {
            let json = format!(r#"{{"device":"{name}","status":"succeeded","executed":"yes"}}"#);
            collected.take(&Answer::read(json.as_bytes()).unwrap());
        }
        assert_eq!(line(&collected, devices, Some(50.0), None), "100% of 400, 50/s, timed_out 3");
    }

    #[test]
    fn a_time_is_shown_as_a_clock_does() {
        for (seconds, shown) in [(0.2, "0:01"), (59.0, "0:59"), (720.0, "12:00"), (10_800.0, "3:00:00")] {
            assert_eq!(clock(seconds), shown);
        }
        assert_eq!(clock(f64::INFINITY), "more than 999 hours");
    }
}

//! Whether a device that keeps silent is still to be commanded: a pure machine, from what was seen of it to what is allowed.

use std::time::{Duration, Instant};

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// After so many failures in a row.
    pub(crate) failures: u32,
    /// For so long at first; twice as long after each probe that fails.
    pub(crate) pause: Duration,
}

/// A row that began longer ago than this is no row: a device that fails once an hour is commanded once an hour.
const ROW: Duration = Duration::from_secs(600);
/// The longest that a device is left alone, unless the first pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is known of a device with trouble; of any other nothing is, and its commands pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// So many commands in a row failed, the first of them then. Commands pass.
    Closed { failures: u32, since: Instant },
    /// Commands are refused until then; the next one after it is the probe.
    Open { silence: Silence, until: Instant, pause: Duration },
    /// The probe is under way; commands are refused until its end.
    HalfOpen { silence: Silence, pause: Duration, probe: u64 },
}

/// Why a device is not commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    /// Its first failure, or the instant of its word.
    pub(crate) since: Instant,
    pub(crate) cause: Cause,
}

/// What says that a device is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// So many commands in a row.
    Failures(u32),
    /// Its own word.
    Word,
}

/// Something that was seen of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was heard of: an answer of any kind, or the word that it is there.
    Spoke,
    /// A command got no answer, or found nobody subscribed; `probe` where the command was one.
    Failed { probe: Option<u64> },
    /// It said that it is not there.
    Offline,
    /// A command passes as the probe.
    Probed(u64),
    /// A probe ended and nothing is known: it was not sent, or its answer may have been lost.
    Released(u64),
}

/// Whether a command may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Yes,
    /// As the probe, which [`Event::Probed`] has to be told.
    AsProbe,
    /// `again` is when the next one may; `None` while a probe is under way.
    No {
        silence: Silence,
        again: Option<Instant>,
    },
}

/// Whether a command may be sent now.
pub(crate) fn allowed(breaker: Option<Breaker>, now: Instant) -> Allowed {
    match breaker {
        None | Some(Breaker::Closed { .. }) => Allowed::Yes,
        Some(Breaker::Open { until, .. }) if until <= now => Allowed::AsProbe,
        Some(Breaker::Open { silence, until, .. }) => Allowed::No { silence, again: Some(until) },
        Some(Breaker::HalfOpen { silence, .. }) => Allowed::No { silence, again: None },
    }
}

/// What is known after an event; `None` where there is nothing to remember.
pub(crate) fn after(breaker: Option<Breaker>, event: Event, now: Instant, rules: &Rules) -> Option<Breaker> {
    use Breaker::{Closed, HalfOpen, Open};
    let open = |silence, pause| Open { silence, until: now + pause, pause };
    let counted = |failures: u32, since| match failures >= rules.failures {
        true => open(Silence { since, cause: Cause::Failures(failures) }, rules.pause),
        false => Closed { failures, since },
    };
    let next = match (event, breaker) {
        (Event::Spoke, _) => return None,
        (Event::Failed { .. }, Some(Closed { failures, since })) if now.saturating_duration_since(since) <= ROW => {
            counted(failures + 1, since)
        }
        (Event::Failed { .. }, None | Some(Closed { .. })) => counted(1, now),
        // Only the probe's own failure says anything new: the others were sent before it opened.
        (Event::Failed { probe: Some(failed) }, Some(HalfOpen { silence, pause, probe })) if failed == probe => {
            open(silence, pause.saturating_mul(2).min(LONGEST_PAUSE.max(rules.pause)))
        }
        (Event::Offline, None | Some(Closed { .. })) => open(Silence { since: now, cause: Cause::Word }, rules.pause),
        (Event::Probed(probe), Some(Open { silence, pause, .. })) => HalfOpen { silence, pause, probe },
        // Nothing was learnt, so the next command may try at once.
        (Event::Released(ended), Some(HalfOpen { silence, pause, probe })) if ended == probe => {
            Open { silence, until: now, pause }
        }
        // A word that is said again on each new connection must not put the next try off.
        (_, unchanged) => return unchanged,
    };
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { failures: 3, pause: Duration::from_secs(30) };
    const FAILED: Event = Event::Failed { probe: None };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is known after these events at these seconds.
    fn played(start: Instant, events: &[(u64, Event)]) -> Option<Breaker> {
        events.iter().fold(None, |breaker, (at, event)| after(breaker, *event, start + secs(*at), &RULES))
    }

    fn failures(at: &[u64]) -> Vec<(u64, Event)> {
        at.iter().map(|at| (*at, FAILED)).collect()
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row_and_says_since_when() {
        let start = Instant::now();
        assert_eq!(allowed(played(start, &failures(&[0, 5])), start + secs(5)), Allowed::Yes);
        let open = played(start, &failures(&[0, 5, 9]));
        let silence = Silence { since: start, cause: Cause::Failures(3) };
        let refused = Allowed::No { silence, again: Some(start + secs(39)) };
        assert_eq!(allowed(open, start + secs(38)), refused);
        assert_eq!(allowed(open, start + secs(39)), Allowed::AsProbe);
    }

    #[test]
    fn a_row_is_broken_by_any_sign_of_life_and_by_time() {
        let start = Instant::now();
        let broken = [(0, FAILED), (1, FAILED), (2, Event::Spoke), (3, FAILED), (4, FAILED)];
        assert_eq!(played(start, &broken), Some(Breaker::Closed { failures: 2, since: start + secs(3) }));
        let slow = failures(&[0, 300, 601]);
        assert_eq!(played(start, &slow), Some(Breaker::Closed { failures: 1, since: start + secs(601) }));
        assert!(matches!(played(start, &failures(&[0, 300, 600])), Some(Breaker::Open { .. })));
    }

    #[test]
    fn one_probe_passes_and_its_failure_doubles_the_pause_up_to_a_bound() {
        let start = Instant::now();
        let mut breaker = played(start, &failures(&[0, 0, 0]));
        let mut now = start;
        let pauses: Vec<u64> = (0..7)
            .map(|probe| {
                let Some(Breaker::Open { until, pause, .. }) = breaker else { panic!("{breaker:?}") };
                now = until;
                breaker = after(breaker, Event::Probed(probe), now, &RULES);
                assert!(matches!(allowed(breaker, now), Allowed::No { again: None, .. }), "one probe at a time");
                breaker = after(breaker, Event::Failed { probe: Some(probe) }, now, &RULES);
                pause.as_secs()
            })
            .collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(after(breaker, Event::Spoke, now, &RULES), None);
        let long = Rules { pause: secs(3600), ..RULES };
        let probed =
            Breaker::HalfOpen { silence: Silence { since: start, cause: Cause::Word }, pause: secs(3600), probe: 7 };
        let failed = after(Some(probed), Event::Failed { probe: Some(7) }, start, &long);
        assert!(
            matches!(failed, Some(Breaker::Open { pause, .. }) if pause == secs(3600)),
            "never shorter: {failed:?}"
        );
    }

    #[test]
    fn what_was_sent_before_it_opened_changes_nothing() {
        let start = Instant::now();
        let open = played(start, &failures(&[0, 0, 0]));
        assert_eq!(after(open, FAILED, start + secs(9), &RULES), open);
        let probed = after(open, Event::Probed(2), start + secs(30), &RULES);
        for others in [FAILED, Event::Failed { probe: Some(1) }, Event::Released(1)] {
            assert_eq!(after(probed, others, start + secs(31), &RULES), probed);
        }
    }

    #[test]
    fn a_probe_that_taught_nothing_makes_room_for_the_next() {
        let start = Instant::now();
        let events = [failures(&[0, 0, 0]), vec![(30, Event::Probed(1)), (31, Event::Released(1))]].concat();
        let open = played(start, &events);
        assert_eq!(allowed(open, start + secs(31)), Allowed::AsProbe);
        assert!(matches!(open, Some(Breaker::Open { pause, .. }) if pause == RULES.pause));
        assert_eq!(after(None, Event::Released(1), start, &RULES), None);
    }

    #[test]
    fn the_word_offline_opens_at_once_and_its_repetition_puts_nothing_off() {
        let start = Instant::now();
        let silence = Silence { since: start, cause: Cause::Word };
        let open = played(start, &[(0, Event::Offline), (20, Event::Offline)]);
        assert_eq!(open, Some(Breaker::Open { silence, until: start + secs(30), pause: secs(30) }));
        let probed = after(open, Event::Probed(1), start + secs(30), &RULES);
        assert_eq!(after(probed, Event::Offline, start + secs(30), &RULES), probed);
        assert_eq!(after(probed, Event::Spoke, start + secs(31), &RULES), None);
        let counting = played(start, &[(0, FAILED), (4, Event::Offline)]);
        assert!(matches!(counting, Some(Breaker::Open { silence: Silence { cause: Cause::Word, .. }, .. })));
    }
}

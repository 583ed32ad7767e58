//! Misfires, overlap, jitter and the clock, one example each.

use super::*;

const IDLE: fn(&str) -> bool = |_| false;
const BUSY: fn(&str) -> bool = |_| true;

fn hourly() -> Schedule {
    schedule(Calendar::every(Duration::from_secs(3600)).unwrap())
}

fn minutely() -> Schedule {
    schedule(Calendar::every(Duration::from_secs(60)).unwrap())
}

fn since(last: u64) -> Memory {
    Memory { last: Some(last), ..Memory::default() }
}

/// The instants that fire, in units, and what lapses.
fn shape(decision: &Decision, unit: u64) -> (Vec<u64>, Vec<(&'static str, u64)>) {
    let lapses = decision.lapses.iter().map(|lapse| (lapse.reason.as_str(), lapse.count));
    (decision.fires.iter().map(|fire| fire.instant / unit).collect(), lapses.collect())
}

#[test]
fn a_schedule_that_nobody_has_seen_before_begins_now() {
    let begun = due(&hourly(), Memory::default(), 5 * HOUR, IDLE);
    assert_eq!(shape(&begun, HOUR), (vec![], vec![]));
    assert_eq!((begun.memory, begun.wake), (since(5 * HOUR), Some(6 * HOUR)));
    let early = due(&hourly(), begun.memory, 6 * HOUR - 1, IDLE);
    assert_eq!(shape(&early, HOUR), (vec![], vec![]));
    let fired = due(&hourly(), early.memory, 6 * HOUR + 7, IDLE);
    let fire = Fire { id: "n@1970-01-01T06:00:00Z".into(), instant: 6 * HOUR, late_ms: 7 };
    assert_eq!((fired.fires, fired.wake), (vec![fire], Some(7 * HOUR)));
    assert_eq!(due(&hourly(), fired.memory, 6 * HOUR + 7, IDLE).fires, []);
}

#[test]
fn an_instant_fires_once_though_the_clock_is_set_back() {
    let fired = due(&hourly(), since(5 * HOUR), 6 * HOUR, IDLE);
    for now in [5 * HOUR, 0, 6 * HOUR, 7 * HOUR - 1] {
        let again = due(&hourly(), fired.memory, now, IDLE);
        assert_eq!((again.fires, again.memory, again.wake), (vec![], fired.memory, Some(7 * HOUR)));
    }
}

#[test]
fn what_is_late_by_more_than_its_grace_lapses_or_is_made_up_for_once() {
    let once = Schedule { catch_up: Duration::from_secs(6 * 3600), ..hourly() };
    let skip = Schedule { misfire: Misfire::Skip, ..once.clone() };
    let now = 10 * HOUR + 30 * MINUTE;
    // The instants at 5 to 10; those before 4:30 are too old.
    assert_eq!(shape(&due(&once, since(HOUR), now, IDLE), HOUR), (vec![10], vec![("too_old", 3), ("misfire", 5)]));
    assert_eq!(shape(&due(&skip, since(HOUR), now, IDLE), HOUR), (vec![], vec![("too_old", 3), ("misfire", 6)]));
    // One that is on time makes up for those before it.
    assert_eq!(shape(&due(&once, since(7 * HOUR), 10 * HOUR + MINUTE, IDLE), HOUR), (vec![10], vec![("misfire", 2)]));
    assert_eq!(shape(&due(&skip, since(9 * HOUR), 10 * HOUR + MINUTE, IDLE), HOUR), (vec![10], vec![]));
    assert_eq!(shape(&due(&skip, since(9 * HOUR), 10 * HOUR + MINUTE + 1, IDLE), HOUR), (vec![], vec![("misfire", 1)]));
}

#[test]
fn years_without_anybody_looking_cost_nothing_and_a_backlog_comes_in_parts() {
    let year = 365 * 24 * HOUR;
    let every = schedule(Calendar::every(Duration::from_secs(1)).unwrap());
    let cron = schedule(Calendar::cron("* * * * * *", "Europe/Berlin").unwrap());
    for (seconds, exact) in [(every, true), (cron, false)] {
        let started = std::time::Instant::now();
        let decision = due(&seconds, since(year), 2 * year, IDLE);
        assert!(started.elapsed() < Duration::from_secs(1));
        // On time are the last minute's, of which the first 100 at most come at once; each overlaps with the first.
        assert_eq!(decision.fires.len(), 1);
        assert_eq!(decision.memory.last, Some(2 * year));
        let lapsed: u64 = decision.lapses.iter().map(|lapse| lapse.count).sum();
        assert_eq!(lapsed + 1 == year / 1000, exact, "{:?}", decision.lapses);
        assert!(lapsed >= 2000);
        let all = Schedule { overlap: Overlap::Allow, grace: Duration::from_secs(150), ..seconds };
        let first = due(&all, since(2 * year - 140_000), 2 * year, IDLE);
        assert_eq!((first.fires.len(), first.wake), (100, Some(2 * year - 39_000)));
        let second = due(&all, first.memory, 2 * year, IDLE);
        assert_eq!((second.fires.len(), second.wake), (40, Some(2 * year + 1000)));
    }
}

#[test]
fn each_overlap_has_its_way_with_the_next_fire() {
    let fired = Memory { last: Some(5 * MINUTE), fired: Some(5 * MINUTE), queued: None };
    let with = |overlap| Schedule { overlap, ..minutely() };
    let running: &dyn Fn(&str) -> bool = &|id: &str| id == "n@1970-01-01T00:05:00Z";
    let decide = |overlap, now| due(&with(overlap), fired, now, running);
    assert_eq!(shape(&decide(Overlap::Skip, 6 * MINUTE), MINUTE), (vec![], vec![("overlap", 1)]));
    assert_eq!(shape(&decide(Overlap::Allow, 6 * MINUTE), MINUTE), (vec![6], vec![]));
    let cancel = decide(Overlap::Cancel, 6 * MINUTE);
    assert_eq!(shape(&cancel, MINUTE), (vec![6], vec![]));
    assert_eq!(cancel.cancel.as_deref(), Some("n@1970-01-01T00:05:00Z"));
    // Of two at once the later one is left, and the one that runs is cancelled all the same.
    let two = decide(Overlap::Cancel, 7 * MINUTE);
    assert_eq!(shape(&two, MINUTE), (vec![7], vec![("overlap", 1)]));
    assert_eq!(two.cancel.as_deref(), Some("n@1970-01-01T00:05:00Z"));
}

#[test]
fn one_fire_waits_for_the_one_before_and_the_newest_has_the_place() {
    let queue = Schedule { overlap: Overlap::Queue, ..minutely() };
    let fired = Memory { last: Some(5 * MINUTE), fired: Some(5 * MINUTE), queued: None };
    let first = due(&queue, fired, 6 * MINUTE, BUSY);
    assert_eq!((shape(&first, MINUTE), first.memory.waiting()), ((vec![], vec![]), Some(6 * MINUTE)));
    let second = due(&queue, first.memory, 7 * MINUTE, BUSY);
    assert_eq!((shape(&second, MINUTE), second.memory.waiting()), ((vec![], vec![("overlap", 1)]), Some(7 * MINUTE)));
    let free = due(&queue, second.memory, 7 * MINUTE + 5, IDLE);
    assert_eq!((shape(&free, MINUTE), free.memory.waiting()), ((vec![7], vec![]), None));
    // Free just when the next is due: what waits goes first, and the next waits in its place.
    let both = due(&queue, second.memory, 8 * MINUTE, IDLE);
    assert_eq!((shape(&both, MINUTE), both.memory.waiting()), ((vec![7], vec![]), Some(8 * MINUTE)));
    // What waited through a long absence has been passed by later ones.
    let late = due(&queue, second.memory, 30 * MINUTE + 30_000, IDLE);
    assert_eq!(shape(&late, MINUTE), (vec![30], vec![("misfire", 22), ("overlap", 1)]));
    // A memory from before it fired does not bring it back.
    assert_eq!(free.memory.merge(second.memory), free.memory);
}

#[test]
fn jitter_puts_a_fire_off_and_its_id_stays() {
    let jittered = Schedule { jitter: Duration::from_secs(50), ..minutely() };
    let delays: Vec<u64> = (0..60).map(|minute| jittered.delay(minute * MINUTE)).collect();
    assert!(delays.iter().all(|delay| *delay < 50_000));
    // Spread over the range, not bunched: a tenth of it holds no third of them.
    for tenth in 0..10 {
        assert!(delays.iter().filter(|delay| **delay / 5000 == tenth).count() < 20, "{delays:?}");
    }
    let delay = jittered.delay(6 * MINUTE);
    assert!(delay > 0);
    let before = due(&jittered, since(5 * MINUTE), 6 * MINUTE + delay - 1, IDLE);
    assert_eq!((before.fires.len(), before.wake), (0, Some(6 * MINUTE + delay)));
    let fired = due(&jittered, since(5 * MINUTE), 6 * MINUTE + delay, IDLE);
    let fire = Fire { id: "n@1970-01-01T00:06:00Z".into(), instant: 6 * MINUTE, late_ms: 0 };
    assert_eq!(fired.fires, [fire]);
}

#[test]
fn a_schedule_that_is_switched_off_fires_nothing_then_nor_for_that_time_later() {
    let off = Schedule { enabled: false, ..minutely() };
    let silent = due(&off, since(5 * MINUTE), 9 * MINUTE + 1, IDLE);
    assert_eq!((shape(&silent, MINUTE), silent.wake), ((vec![], vec![]), Some(10 * MINUTE)));
    assert_eq!(shape(&due(&minutely(), silent.memory, 9 * MINUTE + 2, IDLE), MINUTE), (vec![], vec![]));
}

#[test]
fn a_pattern_that_is_wrong_says_what_would_be_right() {
    let wrong = |text: &str| Calendar::cron(text, "UTC").unwrap_err().cron.unwrap();
    for (text, says) in [
        ("", "has 0 fields; right are 5"),
        ("@daily", "has 1 fields"),
        ("* * * *", "has 4 fields"),
        ("0 0 0 1 1 * 2030", "has 7 fields"),
        ("60 * * * *", "is \"60 * * * *\", which is no cron pattern"),
        ("x * * * *", "right is a pattern such as"),
        ("0 3 1 * MON", "a day of the month and a day of the week"),
        ("0 3 1-31 * MON-SUN", "right is one of them"),
        ("0 0 30 2 *", "a day that never comes"),
    ] {
        assert!(wrong(text).contains(says), "{text}: {}", wrong(text));
    }
    let both = Calendar::cron("x", "Europe/Berlim").unwrap_err();
    assert!(both.cron.is_some() && both.zone.is_some());
    for right in ["0 3 * * *", "*/10 * * * * *", "0 3 1-7 * +MON", "0 3 * * MON#1", "0 3 L * *", "0 3 ? * MON-FRI"] {
        Calendar::cron(right, "America/New_York").unwrap();
    }
    assert!(Calendar::every(Duration::from_millis(999)).unwrap_err().contains("right is"));
    assert!(zone_names().iter().any(|name| name == "Europe/Berlin"));
}

#[test]
fn a_memory_is_a_few_numbers_in_json() {
    let memory = Memory { last: Some(7), fired: Some(5), queued: None };
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(text, r#"{"last":7,"fired":5}"#);
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
    assert_eq!(serde_json::from_str::<Memory>("{}").unwrap(), Memory::default());
}

#[test]
fn the_id_of_a_fire_names_its_schedule() {
    assert_eq!(name_of(&hourly().fire_id(1_795_919_400_000)), Some("n"));
    assert_eq!(hourly().fire_id(1_795_919_400_000).as_ref(), "n@2026-11-29T02:30:00Z");
    assert_eq!((name_of("01J8ZQ"), name_of("a b@x"), name_of("@x")), (None, None, None));
    assert!(is_name("Nightly.close_all-2") && !is_name("") && !is_name("ä") && !is_name(&"n".repeat(65)));
}

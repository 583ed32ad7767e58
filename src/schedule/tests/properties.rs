//! What holds for every schedule, every clock and every history.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Something that happens to whoever decides.
#[derive(Clone, Debug)]
enum Event {
    /// The clock goes on, by so many milliseconds.
    Pass(u64),
    /// The clock is set.
    Jump(i64),
    /// Somebody else takes over, with what these of the records say, in this order, the last one among them in any case.
    Takeover(Vec<prop::sample::Index>),
    /// Whatever runs ends.
    End,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (0..5 * MINUTE).prop_map(Event::Pass),
        1 => (0..200 * MINUTE).prop_map(Event::Pass),
        2 => (-90 * 60_000..90 * 60_000_i64).prop_map(Event::Jump),
        2 => prop::collection::vec(any::<prop::sample::Index>(), 0..5).prop_map(Event::Takeover),
        2 => Just(Event::End),
    ];
    prop::collection::vec(event, 1..60)
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let calendar = prop_oneof![
        (1..600_u64).prop_map(|seconds| Calendar::every(Duration::from_secs(seconds)).unwrap()),
        prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "0 * * * *", "5,35 1-3 * * *", "*/20 * * * * *"])
            .prop_map(|pattern| Calendar::cron(pattern, "Europe/Berlin").unwrap()),
    ];
    let misfire = prop::sample::select(Misfire::ALL.to_vec());
    let overlap = prop::sample::select(Overlap::ALL.to_vec());
    (calendar, misfire, overlap, 0..120_u64, 120..7200_u64, prop_oneof![Just(0), 0..30_u64]).prop_map(
        |(calendar, misfire, overlap, grace, catch_up, jitter)| Schedule {
            misfire,
            overlap,
            grace: Duration::from_secs(grace),
            catch_up: Duration::from_secs(catch_up),
            jitter: Duration::from_secs(jitter),
            ..schedule(calendar)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_instant_is_settled_once_through_jumps_restarts_and_merges(
        schedule in schedules(),
        // Around the change of Berlin's clocks in October.
        start in ms("2026-10-24T22:00:00Z")..ms("2026-10-25T03:00:00Z"),
        events in events(),
    ) {
        let (mut now, mut latest) = (start, start);
        let running: RefCell<BTreeSet<String>> = RefCell::default();
        let is_running = |id: &str| running.borrow().contains(id);
        let mut records = vec![due(&schedule, Memory::default(), now, is_running).memory];
        let (mut fired, mut lapsed) = (Vec::<u64>::new(), 0);
        for event in events {
            let mut memory = *records.last().unwrap();
            match event {
                Event::Pass(by) => now += by,
                Event::Jump(by) => now = now.saturating_add_signed(by),
                Event::End => running.borrow_mut().clear(),
                Event::Takeover(indexes) => {
                    let read = indexes.iter().map(|index| *index.get(&records));
                    memory = read.fold(memory, |memory, record| record.merge(memory));
                    prop_assert_eq!(memory, *records.last().unwrap());
                }
            }
            latest = latest.max(now);
            loop {
                let decision = due(&schedule, memory, now, is_running);
                for fire in &decision.fires {
                    // One that waited may fire after the clock was set back.
                    prop_assert!(fire.instant <= latest, "before its time");
                    prop_assert_eq!(schedule.calendar.next_after(fire.instant - 1), Some(fire.instant));
                    prop_assert!(fired.last() < Some(&fire.instant), "not after the one before");
                    fired.push(fire.instant);
                }
                running.borrow_mut().extend(decision.fires.iter().map(|fire| fire.id.to_string()));
                if let Some(id) = &decision.cancel {
                    running.borrow_mut().remove(&**id);
                }
                lapsed += decision.lapses.iter().map(|lapse| lapse.count).sum::<u64>();
                memory = decision.memory;
                records.push(memory);
                if decision.wake.is_none_or(|wake| wake > now) {
                    break;
                }
            }
            // Everything up to the last that is settled has been told: it fired, it lapsed, or it waits.
            let passed = walk(&schedule.calendar, records[0].last.unwrap(), memory.last.unwrap());
            let told = fired.len() as u64 + lapsed + u64::from(memory.waiting().is_some());
            prop_assert_eq!(told, passed);
            // And nothing is left that is due.
            if let Some(next) = schedule.calendar.next_after(memory.last.unwrap()) {
                prop_assert!(next + schedule.delay(next) > now);
            }
        }
    }

    #[test]
    fn memories_merge_in_any_order_any_number_of_times(
        [a, b, c] in [memories(), memories(), memories()],
    ) {
        prop_assert_eq!(a.merge(b), b.merge(a));
        prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
        prop_assert_eq!(a.merge(a), a);
    }

    #[test]
    fn a_calendar_has_the_same_instants_wherever_the_search_begins(
        pattern in prop::sample::select(vec![
            "* * * * * *", "*/7 * * * *", "30 2 * * *", "0 * * * *", "0,30 1,2,3 * * *", "15 */2 * * *", "0 0 1 * *",
            "59 23 L * *", "0 12 * * MON#1", "*/30 1-3 * * SUN", "30 0-4 * * *",
        ]),
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca",
            "America/St_Johns", "Antarctica/Troll", "Pacific/Chatham", "America/Santiago",
        ]),
        start in ms("2026-01-01T00:00:00Z")..ms("2028-01-01T00:00:00Z"),
        further in prop::collection::vec(0..400 * MINUTE, 1..20),
    ) {
        let calendar = Calendar::cron(pattern, zone).unwrap();
        let next = calendar.next_after(start).unwrap();
        prop_assert!(next > start);
        for by in further {
            let from = start + by;
            let found = calendar.next_after(from).unwrap();
            prop_assert!(found > from);
            if from < next {
                prop_assert_eq!(found, next, "from {}", in_utc(from));
            }
            // Whatever was found is found from just before it too.
            prop_assert_eq!(calendar.next_after(found - 1), Some(found), "{}", in_utc(found));
        }
    }

    #[test]
    fn what_lies_between_two_instants_is_what_a_walk_finds(
        calendar in schedules().prop_map(|schedule| schedule.calendar),
        from in ms("2026-10-24T00:00:00Z")..ms("2026-10-26T00:00:00Z"),
        span in 0..8 * HOUR,
    ) {
        let passed = calendar.between(from, from + span);
        let count = walk(&calendar, from, from + span);
        prop_assert_eq!(passed.count, if matches!(calendar, Calendar::Every(_)) { count } else { count.min(1000) });
        prop_assert_eq!(passed.latest, last(&calendar, from, from + span));
    }
}

fn memories() -> impl Strategy<Value = Memory> {
    let instant = || prop::option::of(0..5_u64);
    (instant(), instant(), instant()).prop_map(|(last, fired, queued)| Memory { last, fired, queued })
}

fn instants(calendar: &Calendar, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
    std::iter::successors(calendar.next_after(from), |at| calendar.next_after(*at)).take_while(move |at| *at <= to)
}

fn walk(calendar: &Calendar, from: u64, to: u64) -> u64 {
    instants(calendar, from, to).count() as u64
}

fn last(calendar: &Calendar, from: u64, to: u64) -> Option<u64> {
    instants(calendar, from, to).last()
}

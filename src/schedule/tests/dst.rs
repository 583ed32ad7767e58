//! Where clocks change: what each kind of pattern does, instant by instant, as the documentation promises.

use super::super::Calendar;
use super::*;

/// The instants of one day in Berlin, as its clocks show them.
fn on(day: &str, pattern: &str) -> Vec<String> {
    let calendar = Calendar::cron(pattern, "Europe/Berlin").unwrap();
    let midnight: jiff::civil::Date = day.parse().unwrap();
    let start = midnight.in_tz("Europe/Berlin").unwrap();
    let end = midnight.tomorrow().unwrap().in_tz("Europe/Berlin").unwrap().timestamp().as_millisecond() as u64;
    let mut at = start.timestamp().as_millisecond() as u64 - 1;
    let mut found = Vec::new();
    while let Some(next) = calendar.next_after(at).filter(|next| *next < end) {
        at = next;
        found.push(
            in_zone(next, "Europe/Berlin").unwrap()[11..16].to_owned()
                + &in_zone(next, "Europe/Berlin").unwrap()[19..22],
        );
    }
    found
}

#[test]
fn where_a_clock_is_set_forward_fixed_times_are_made_up_for_and_others_go_on() {
    let day = "2026-03-29";
    assert_eq!(on(day, "30 2 * * *"), ["03:00+02"]);
    assert_eq!(on(day, "0 3 * * *"), ["03:00+02"]);
    assert_eq!(on(day, "30 1 * * *"), ["01:30+01"]);
    assert_eq!(on(day, "*/30 1-3 * * *"), ["01:00+01", "01:30+01", "03:00+02", "03:30+02"]);
    assert_eq!(on(day, "0 * * * *").len(), 23);
    // Each time of a list is as fixed as one alone; two that fall together are one.
    assert_eq!(on(day, "30 2,14 * * *"), ["03:00+02", "14:30+02"]);
    assert_eq!(on(day, "0,30 2 * * *"), ["03:00+02"]);
}

#[test]
fn where_a_clock_is_set_back_fixed_times_come_once_and_others_go_on() {
    let day = "2026-10-25";
    assert_eq!(on(day, "30 2 * * *"), ["02:30+02"]);
    assert_eq!(on(day, "0 3 * * *"), ["03:00+01"]);
    assert_eq!(
        on(day, "*/30 1-3 * * *"),
        ["01:00+02", "01:30+02", "02:00+02", "02:30+02", "02:00+01", "02:30+01", "03:00+01", "03:30+01"]
    );
    // Every hour is every hour: the clock shows one of them twice.
    assert_eq!(on(day, "0 * * * *").len(), 25);
    assert_eq!(on(day, "30 2,14 * * *"), ["02:30+02", "14:30+01"]);
    assert_eq!(on(day, "0,30 2 * * *"), ["02:00+02", "02:30+02"]);
}

//! `switchboard schedule next`: the next fires, in UTC and as the schedule's own clock shows them.

use super::{Next, table};
use crate::cli::{BadUsage, print, say};
use crate::config::Config;
use crate::deadline::Now;
use crate::schedule::{Schedule, in_utc, in_zone};
use serde_json::json;
use std::process::ExitCode;

/// Says when they fire, in the order of their times. Jitter is left out: an instant names a fire, whenever it begins.
///
/// # Errors
///
/// There is no schedule of that name.
pub fn run(config: &Config, args: &Next) -> anyhow::Result<ExitCode> {
    let now = Now::read().unix_ms;
    let chosen: Vec<&Schedule> = match &args.name {
        None => config.schedules.iter().collect(),
        Some(name) => vec![named(config, name)?],
    };
    let count = args.count.unwrap_or(if args.name.is_some() { 5 } else { 1 });
    let mut fires = Vec::new();
    for schedule in &chosen {
        if !schedule.enabled {
            say(format_args!("the schedule {:?} is switched off", schedule.name));
            continue;
        }
        let calendar = &schedule.calendar;
        let instants = std::iter::successors(calendar.next_after(now), |at| calendar.next_after(*at));
        fires.extend(instants.take(count as usize).map(|at| (at, *schedule)));
    }
    fires.sort_by_key(|(at, _)| *at);
    if args.json {
        for (at, schedule) in fires {
            let zone = schedule.calendar.zone();
            let local = in_zone(at, zone);
            let id = schedule.fire_id(at);
            print(json!({"name": &schedule.name, "id": id, "at": in_utc(at), "local": local, "timezone": zone}));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 4]> = fires
        .into_iter()
        .map(|(at, schedule)| {
            let zone = schedule.calendar.zone();
            [schedule.name.to_string(), in_utc(at), in_zone(at, zone).unwrap_or_default(), zone.to_owned()]
        })
        .collect();
    match rows.is_empty() {
        true if chosen.is_empty() => print("no schedules"),
        true => {}
        false => print(table::table(["name", "UTC", "local", "zone"], &rows)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The schedule of that name.
///
/// # Errors
///
/// There is none; which there are.
pub fn named<'c>(config: &'c Config, name: &str) -> Result<&'c Schedule, BadUsage> {
    config.schedules.iter().find(|schedule| &*schedule.name == name).ok_or_else(|| {
        let names: Vec<&str> = config.schedules.iter().map(|schedule| &*schedule.name).collect();
        let right = match names.is_empty() {
            true => "the configuration has none".to_owned(),
            false => format!("there are {}", names.join(", ")),
        };
        BadUsage(format!("there is no schedule {name:?}; {right}"))
    })
}

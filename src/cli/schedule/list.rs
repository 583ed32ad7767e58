//! `switchboard schedule list`: every schedule with its times, its command, its devices and its next fire.

use super::{List, table, when};
use crate::bulk::Targets;
use crate::cli::print;
use crate::cli::report::Plain;
use crate::config::Config;
use crate::deadline::Now;
use crate::schedule::{Devices, Schedule, in_utc};
use crate::wire::native::Limits;
use serde_json::{Value as Json, json};
use std::process::ExitCode;

/// Lists them; a file of devices is read for its number.
pub fn run(config: &Config, args: &List) -> anyhow::Result<ExitCode> {
    let now = Now::read().unix_ms;
    let worker = &config.worker;
    let limits = Limits {
        max_payload_bytes: worker.max_payload_bytes,
        max_devices: worker.max_devices,
        no_devices: false,
        repeats: false,
    };
    let mut rows = Vec::new();
    for schedule in &config.schedules {
        let next = next(schedule, now);
        let devices = Counted::of(&schedule.work.devices, limits);
        if args.json {
            print(line(schedule, &devices, next.as_deref()));
            continue;
        }
        rows.push([
            schedule.name.to_string(),
            when(schedule),
            schedule.calendar.zone().to_owned(),
            Plain(&schedule.work.template().command).to_string(),
            Plain(&devices.text()).to_string(),
            next.unwrap_or_else(|| if schedule.enabled { "never" } else { "off" }.to_owned()),
        ]);
    }
    if !args.json {
        match rows.is_empty() {
            true => print("no schedules"),
            false => print(table::table(["name", "when", "zone", "command", "devices", "next (UTC)"], &rows)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn next(schedule: &Schedule, now: u64) -> Option<String> {
    schedule.calendar.next_after(now).filter(|_| schedule.enabled).map(in_utc)
}

fn line(schedule: &Schedule, devices: &Counted, next: Option<&str>) -> Json {
    let job = schedule.work.template();
    json!({
        "name": &schedule.name,
        "when": when(schedule),
        "timezone": schedule.calendar.zone(),
        "enabled": schedule.enabled,
        "command": &job.command,
        "profile": &job.profile,
        "devices": devices.json(),
        "misfire": schedule.misfire.as_str(),
        "overlap": schedule.overlap.as_str(),
        "reply_to": schedule.reply_to,
        "next": next,
    })
}

/// A source of devices, and how many it has now.
enum Counted {
    Listed(usize),
    File(String, Result<usize, String>),
    Online,
}

impl Counted {
    fn of(devices: &Devices, limits: Limits) -> Self {
        match devices {
            Devices::Listed(targets) => Self::Listed(targets.len()),
            Devices::File(path) => {
                let read = Targets::of_file(path, limits).map(|found| found.targets.len());
                Self::File(path.display().to_string(), read.map_err(|error| error.to_string()))
            }
            Devices::Online => Self::Online,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Listed(count) => count.to_string(),
            Self::File(path, Ok(count)) => format!("{count} of {path}"),
            Self::File(_, Err(problem)) => problem.clone(),
            Self::Online => "those online".to_owned(),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Listed(count) => json!({"source": "listed", "count": count}),
            Self::File(path, Ok(count)) => json!({"source": "file", "file": path, "count": count}),
            Self::File(path, Err(problem)) => json!({"source": "file", "file": path, "problem": problem}),
            Self::Online => json!({"source": "online"}),
        }
    }
}

//! The job of a schedule: read as the message it will be, in the same words and with the same limits.

use super::reader::Reader;
use crate::config::kind::describe;
use crate::config::rules::shown;
use crate::config::sections::Protocol;
use crate::config::suggest::{meant, nearest};
use crate::config::{duration, json};
use crate::envelope::Envelope;
use crate::job::{Job, Payload};
use crate::profile::{Call, Profile};
use crate::schedule::{Devices, Work};
use crate::wire::native::{Limits, decode};
use serde_json::{Map, Value as Json};
use std::fs::File;
use std::path::PathBuf;
use toml::{Table, Value};

/// The keys of a job within a schedule.
const NAMES: [&str; 12] = [
    "device",
    "devices",
    "targets",
    "devices_file",
    "devices_online",
    "command",
    "payload",
    "mode",
    "profile",
    "timeout_ms",
    "guarantee",
    "bulk",
];
const SOURCES: [&str; 5] = ["device", "devices", "targets", "devices_file", "devices_online"];
/// Fields of a job that a schedule says by itself, each with the reason.
const NOT_HERE: [(&str, &str); 3] = [
    ("id", "is made of the schedule's name and the time of the fire; right is to leave it out"),
    ("not_before", "is one moment, and a schedule says when by cron or every; right is to leave it out"),
    ("expires_at", "is one moment, and a schedule has many; right is catch_up, which says how late a fire may be"),
];
/// Stands for a device that only the fire will know, and for its id.
const SOME_DEVICE: &str = "device-1";
const SOME_FIRE: &str = "name@2026-01-01T00:00:00Z";

impl Reader<'_> {
    /// What the schedule does.
    pub(super) fn work(&mut self, value: Option<&Value>) -> Option<Work> {
        let table = match value {
            Some(Value::Table(table)) => table,
            other => {
                let is = other.map_or("missing".to_owned(), describe);
                self.wrong(
                    "job",
                    format!("is {is}; right is a table: {{ device = \"garage-7\", command = \"close\" }}"),
                );
                return None;
            }
        };
        let elsewhere = self.source(table);
        let mut members = Map::new();
        for (name, value) in
            table.iter().filter(|(name, _)| !matches!(name.as_str(), "devices_file" | "devices_online"))
        {
            let key = format!("job.{name}");
            if let Some((_, problem)) = NOT_HERE.iter().find(|(not_here, _)| not_here == name) {
                self.wrong(&key, *problem);
            } else if !NAMES.contains(&name.as_str()) {
                self.wrong(&key, format!("is no field of a schedule's job; {}", meant("job.", name, &NAMES)));
            } else {
                match json::json(&key, value) {
                    Ok(value) => drop(members.insert(name.clone(), value)),
                    Err((key, problem)) => self.wrong(&key, problem),
                }
            }
        }
        let devices = elsewhere?;
        if devices.is_some() {
            members.insert("devices".to_owned(), vec![Json::from(SOME_DEVICE)].into());
        }
        let worker = &self.config.worker;
        let limits = Limits {
            max_payload_bytes: worker.max_payload_bytes,
            max_devices: worker.max_devices,
            no_devices: false,
            repeats: false,
        };
        let envelope = Envelope {
            body: Json::Object(members).to_string().into(),
            content_type: Some("application/json".to_owned()),
            message_id: Some(SOME_FIRE.to_owned()),
            ..Envelope::default()
        };
        match decode(&envelope, &limits) {
            Ok(mut job) => {
                // Said here, so that it is the same for the coordinator and for every worker.
                let of_profile = self.config.profiles.get(&*job.profile).and_then(|profile| profile.guarantee());
                job.guarantee = job.guarantee.or(of_profile).or(Some(worker.default_guarantee));
                self.against_profile(Work::new(job, devices))
            }
            Err(wrong) => {
                self.wrong("job", format!("is no job: {}", wrong.failure.message));
                None
            }
        }
    }

    /// Where the devices come from if not from the job itself; `None` where that is wrong.
    fn source(&mut self, table: &Table) -> Option<Option<Devices>> {
        let given: Vec<&str> = SOURCES.into_iter().filter(|name| table.contains_key(*name)).collect();
        let right = format!("exactly one of {} is right", SOURCES.join(", "));
        match given[..] {
            [] => {
                self.wrong("job", format!("has no device; {right}"));
                None
            }
            ["devices_file"] => match &table["devices_file"] {
                Value::String(path) if !path.is_empty() => {
                    let path = PathBuf::from(path);
                    // Read again for every fire; what is missing now is a slip rather than a file to come.
                    if let Err(error) = File::open(&path) {
                        let shown = shown(&path);
                        self.wrong("job.devices_file", format!("names {shown}, which cannot be read: {error}"));
                    }
                    Some(Some(Devices::File(path)))
                }
                other => {
                    self.wrong("job.devices_file", format!("is {}; right is the path of a file", describe(other)));
                    None
                }
            },
            ["devices_online"] => match &table["devices_online"] {
                Value::Boolean(true) => Some(Some(Devices::Online)),
                other => {
                    self.wrong("job.devices_online", format!("is {}; right is true, or no such key", describe(other)));
                    None
                }
            },
            [_] => Some(None),
            _ => {
                self.wrong("job", format!("has {} together; {right}", given.join(" and ")));
                None
            }
        }
    }

    fn against_profile(&mut self, work: Work) -> Option<Work> {
        let job = work.template();
        let max = self.config.worker.max_timeout;
        if let Some(timeout) = job.timeout.filter(|timeout| *timeout > max) {
            let max = duration::format(max);
            self.wrong(
                "job.timeout_ms",
                format!("is {}; right is at most worker.max_timeout, {max}", timeout.as_millis()),
            );
        }
        let Some(profile) = self.config.profiles.get(&*job.profile) else {
            self.no_profile(&job.profile);
            return Some(work);
        };
        if profile.needs_mqtt5() && self.config.mqtt.protocol == Protocol::V311 {
            self.wrong(
                "job.profile",
                format!("is {:?}, which needs MQTT 5, and mqtt.protocol is 3.1.1", profile.name()),
            );
        }
        let problem = match &work.devices {
            Devices::Listed(targets) => targets.iter().find_map(|target| {
                render(profile, job, &target.device, target.payload.as_ref().unwrap_or(&job.payload))
            }),
            Devices::File(_) | Devices::Online => {
                render(profile, job, SOME_DEVICE, &job.payload).filter(|(field, _)| *field != "device")
            }
        };
        if let Some((field, problem)) = problem {
            self.wrong("job", format!("does not suit its profile {:?}: {field}: {problem}", profile.name()));
        }
        if work.devices == Devices::Online && profile.presence().and_then(|presence| presence.filter()).is_none() {
            let name = profile.name();
            self.wrong(
                "job.devices_online",
                format!("is true, and the profile {name:?} has no topic on which all its devices say that they are there; right is devices_file, or a profile with presence"),
            );
        }
        Some(work)
    }

    fn no_profile(&mut self, name: &str) {
        // One that has a problem of its own is there.
        let of_profile = |problem: &&crate::config::problem::Problem| {
            let rest = problem.key.strip_prefix("profiles.").and_then(|key| key.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if self.elsewhere.iter().any(|problem| of_profile(&problem)) {
            return;
        }
        let names: Vec<&str> = self.config.profiles.keys().map(String::as_str).collect();
        let meant = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("there are {}", names.join(", ")),
        };
        self.wrong("job.profile", format!("is {name:?}, and there is no such profile; {meant}"));
    }
}

/// What the profile cannot carry, as field and sentence.
fn render(profile: &Profile, job: &Job, device: &str, payload: &Payload) -> Option<(&'static str, String)> {
    let (command, inbox, job_id) = (&*job.command, "inbox", SOME_FIRE);
    let call = Call { device, command, payload, inbox, attempt: 0, job_id, expires_at: None };
    profile.render(&call).err().map(|invalid| (invalid.field, invalid.message))
}

//! `switchboard schedule` as a shell sees it: real configuration files, no broker.

use serde_json::Value as Json;
use std::process::{Command, Output};

const CONFIG: &str = "
[[schedules]]
name = 'nightly'
cron = '30 2,14 * * *'
timezone = 'Europe/Berlin'
job = { devices = ['garage-7', 'garage-8'], command = 'close' }

[[schedules]]
name = 'poll'
every = '15m'
overlap = 'queue'
job = { devices_file = 'FLEET', command = 'read', bulk = { concurrency = 50 } }

[[schedules]]
name = 'sync'
cron = '0 0 12 * * MON-FRI'
enabled = false
job = { devices_online = true, command = 'sync' }
";

/// A configuration and the fleet's file that it names.
struct Files {
    config: tempfile::NamedTempFile,
    fleet: tempfile::NamedTempFile,
}

fn files(config: &str) -> Files {
    let fleet = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(fleet.path(), "a\nb\n{\"device\": \"c\"}\n").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.replace("FLEET", fleet.path().to_str().unwrap())).unwrap();
    Files { config: file, fleet }
}

impl Files {
    fn switchboard(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SWITCHBOARD_")) {
            command.env_remove(name);
        }
        command.args(arguments).arg("--config").arg(self.config.path()).output().unwrap()
    }

    /// What it printed, when it has ended well and said nothing on standard error.
    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.switchboard(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.is_empty(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Vec<Json> {
        self.printed(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[test]
fn list_shows_times_command_devices_and_the_next_fire() {
    let files = files(CONFIG);
    let printed = files.printed(&["schedule", "list"]);
    let lines: Vec<Vec<&str>> = printed.lines().map(words).collect();
    assert_eq!(lines[0], ["name", "when", "zone", "command", "devices", "next (UTC)"]);
    assert_eq!(lines[1][..5], ["nightly", "30 2,14 * * *", "Europe/Berlin", "close", "2"]);
    let of_fleet = format!("3 of {}", files.fleet.path().display());
    assert_eq!(lines[2][..5], ["poll", "every 15m", "UTC", "read", &of_fleet]);
    assert_eq!(lines[3], ["sync", "0 0 12 * * MON-FRI", "UTC", "sync", "those online", "off"]);
    let next: jiff::Timestamp = lines[2][5].parse().unwrap();
    let ahead = next.as_second() - jiff::Timestamp::now().as_second();
    assert!(next.as_second() % 900 == 0 && (-5..=900).contains(&ahead), "{next}");

    let json = files.json(&["schedule", "list", "--json"]);
    assert_eq!(json.len(), 3);
    assert_eq!((&json[0]["when"], &json[0]["devices"]["count"]), (&"30 2,14 * * *".into(), &2.into()));
    assert_eq!((&json[1]["devices"]["source"], &json[1]["devices"]["count"]), (&"file".into(), &3.into()));
    assert_eq!((&json[1]["overlap"], &json[0]["misfire"]), (&"queue".into(), &"once".into()));
    assert_eq!((&json[2]["devices"]["source"], &json[2]["next"]), (&"online".into(), &Json::Null));

    // The file is read as it is now, and one that went wrong hides no schedule.
    std::fs::write(files.fleet.path(), "a\n{\"devise\": 1}\n").unwrap();
    let json = files.json(&["schedule", "list", "--json"]);
    assert!(json[1]["devices"]["problem"].as_str().unwrap().contains("line 2: unknown field `devise`"), "{}", json[1]);
    assert_eq!(json.len(), 3);
}

#[test]
fn next_shows_the_instants_in_utc_and_on_the_schedules_own_clock() {
    let files = files(CONFIG);
    let json = files.json(&["schedule", "next", "nightly", "--count", "800", "--json"]);
    // More than a year: each side of summer time is in it.
    assert_eq!(json.len(), 800);
    let mut offsets = std::collections::BTreeSet::new();
    let mut before = jiff::Timestamp::now();
    for fire in &json {
        let [at, local] = ["at", "local"].map(|key| fire[key].as_str().unwrap());
        let instant: jiff::Timestamp = at.parse().unwrap();
        assert_eq!(local.parse::<jiff::Timestamp>().unwrap(), instant);
        assert_eq!(fire["id"], format!("nightly@{at}"));
        assert!(instant > before, "{at}");
        before = instant;
        offsets.insert(local[19..].to_owned());
        // At half past, or right after the hour that a clock leaves out.
        assert!(["02:30:00", "14:30:00", "03:00:00"].contains(&&local[11..19]), "{local}");
    }
    assert!(offsets.contains("+01:00") && offsets.contains("+02:00"), "{offsets:?}");

    let printed = files.printed(&["schedule", "next", "poll"]);
    assert_eq!(words(printed.lines().next().unwrap()), ["name", "UTC", "local", "zone"]);
    assert_eq!(printed.lines().count(), 6);

    // All of them, in the order of their times; what is switched off is said and has none.
    let all = files.switchboard(&["schedule", "next", "--count", "3", "--json"]);
    assert!(String::from_utf8_lossy(&all.stderr).contains("the schedule \"sync\" is switched off"));
    let all = String::from_utf8(all.stdout).unwrap();
    let fires: Vec<Json> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(fires.len(), 6);
    let times: Vec<&str> = fires.iter().map(|fire| fire["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_name_that_nobody_has_and_an_empty_list_are_said() {
    let with = files(CONFIG);
    let unknown = with.switchboard(&["schedule", "next", "nightl"]);
    assert_eq!(unknown.status.code(), Some(64));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("there is no schedule \"nightl\"; there are nightly, poll, sync"), "{said}");
    let without = files("");
    for command in ["list", "next"] {
        assert_eq!(without.printed(&["schedule", command]), "no schedules\n");
        assert_eq!(without.printed(&["schedule", command, "--json"]), "");
    }
}

#[test]
fn wrong_schedules_are_all_named_at_once_with_their_lines() {
    let wrong = files(
        "[[schedules]]\nname = 'a'\ncron = '0 3 1 * MON'\njob = { device = 'd' }\n\n\
         [[schedules]]\nname = 'a'\nevery = '1h'\ntimezone = 'Europe/Berlin'\noverlap = 'both'\n\
         job = { devices_file = '/nowhere/fleet', command = 'c', id = 'x' }\n",
    );
    let output = wrong.switchboard(&["schedule", "list"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(64), 0));
    let said = String::from_utf8(output.stderr).unwrap();
    for place in [
        "line 3: schedules.a.cron",
        "line 4: schedules.a.job\n    is no job: command is missing",
        "line 7: schedules.a.name",
        "line 9: schedules.a.timezone",
        "line 10: schedules.a.overlap",
        "line 11: schedules.a.job.devices_file",
        "line 11: schedules.a.job.id",
    ] {
        assert!(said.contains(place), "{place} is not in\n{said}");
    }
    assert_eq!(said.matches("schedules.a.").count(), 7, "{said}");
}

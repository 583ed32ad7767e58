//! `[[schedules]]` as its users meet it: what is read, and every problem at once.

use super::*;
use crate::job::{Mode, Payload, Target, Targets};
use crate::schedule::{Calendar, Devices, Misfire, Overlap};

const JOB: &str = "job = { device = 'd', command = 'c' }";

fn one(keys: &str) -> String {
    format!("[[schedules]]\nname = 'n'\n{keys}\n")
}

#[test]
fn a_schedule_is_read_with_its_defaults_and_with_every_key() {
    let text = one(&format!("cron = '0 3 * * *'\n{JOB}"));
    let [plain] = &load(&with_file(&text)).unwrap().schedules[..] else { panic!("one schedule") };
    assert_eq!((&*plain.name, plain.calendar.pattern(), plain.calendar.zone()), ("n", Some("0 3 * * *"), "UTC"));
    assert_eq!((plain.misfire, plain.overlap, plain.enabled), (Misfire::Once, Overlap::Skip, true));
    assert_eq!((plain.grace.as_secs(), plain.catch_up.as_secs(), plain.jitter.as_secs()), (60, 3600, 0));
    assert_eq!((&plain.reply_to, &*plain.work.template().command), (&None, "c"));
    let d = Target { device: "d".into(), payload: None };
    assert_eq!(plain.work.devices, Devices::Listed(vec![d.clone()]));

    let text = one(
        "every = '90s'\nmisfire = 'skip'\ngrace = '5s'\ncatch_up = '10m'\noverlap = 'queue'\njitter = '30s'\n\
         enabled = false\nreply_to = 'results'\n[schedules.job]\ntargets = [{ device = 'd' }, { device = 'e', payload = 5 }]\n\
         command = 'c'\npayload = { speed = 2 }\nmode = 'publish'\ntimeout_ms = 1500\nguarantee = 'at_least_once'\n\
         profile = 'json'\nbulk = { rate_per_second = 10 }",
    );
    let [full] = &load(&with_file(&text)).unwrap().schedules[..] else { panic!("one schedule") };
    assert_eq!(full.calendar, Calendar::Every(90_000));
    assert_eq!((full.misfire, full.overlap, full.enabled), (Misfire::Skip, Overlap::Queue, false));
    assert_eq!((full.grace.as_secs(), full.catch_up.as_secs(), full.jitter.as_secs()), (5, 600, 30));
    assert_eq!(full.reply_to.as_deref(), Some("results"));
    let Devices::Listed(targets) = full.work.devices.clone() else { panic!("{:?}", full.work.devices) };
    let job = full.job(1_795_919_400_000, targets);
    assert_eq!((&*job.id, job.mode, &*job.profile), ("n@2026-11-29T02:30:00Z", Mode::Publish, "json"));
    assert_eq!((job.timeout, job.guarantee), (Some(Duration::from_millis(1500)), Some(Guarantee::AtLeastOnce)));
    assert_eq!(job.payload, Payload::Json("{\"speed\":2}".into()));
    let Targets::Many(bulk) = job.targets else { panic!("a bulk") };
    let e = Target { device: "e".into(), payload: Some(Payload::Json("5".into())) };
    assert_eq!((bulk.targets, bulk.rate_per_second), (vec![d, e], Some(10.0)));
}

#[test]
fn devices_come_from_a_file_or_from_what_they_say_of_themselves() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let source = |source: &str| one(&format!("every = '1m'\njob = {{ command = 'c', {source} }}"));
    let from_file = load(&with_file(&source(&format!("devices_file = '{}'", file.path().display())))).unwrap();
    assert_eq!(from_file.schedules[0].work.devices, Devices::File(file.path().into()));
    let online = load(&with_file(&source("devices_online = true, bulk = { concurrency = 5 }"))).unwrap();
    assert_eq!(online.schedules[0].work.devices, Devices::Online);
    for (wrong, says) in [
        (
            "devices_file = '/nowhere/fleet.txt'",
            "schedules.n.job.devices_file names /nowhere/fleet.txt, which cannot be",
        ),
        ("devices_file = 5", "schedules.n.job.devices_file is the number 5; right is the path"),
        ("devices_online = false", "schedules.n.job.devices_online is false; right is true"),
        ("devices_online = true, profile = 'quiet'", "devices_online is true, and the profile \"quiet\" has no topic"),
        ("devices_online = true, device = 'd'", "schedules.n.job has device and devices_online together; exactly one"),
        ("payload = 1", "schedules.n.job has no device; exactly one of device, devices, targets, devices_file"),
    ] {
        let quiet = "[profiles.quiet]\ntopic = '{device}/{command}'\n";
        let problem = problem(&(source(wrong) + quiet));
        assert!(problem.contains(says), "{problem}");
    }
}

#[test]
fn what_is_wrong_with_a_schedule_is_said_with_what_would_be_right() {
    for (keys, says) in [
        (JOB, "schedules.n has neither cron nor every"),
        ("cron = '0 3 * * *'\nevery = '1h'\nJOB", "schedules.n has both cron and every"),
        (
            "cron = '0 3 1 * MON'\nJOB",
            "schedules.n.cron is \"0 3 1 * MON\", with a day of the month and a day of the week",
        ),
        ("cron = '@daily'\nJOB", "schedules.n.cron has 1 fields; right are 5"),
        ("cron = 5\nJOB", "schedules.n.cron is the number 5"),
        (
            "cron = '* * * * *'\ntimezone = 'Europa/Berlin'\nJOB",
            "timezone is \"Europa/Berlin\", which is no time zone; did you mean \"Europe/Berlin\"?",
        ),
        ("cron = '* * * * *'\ntimezone = 'nonsense'\nJOB", "right is a name such as \"Europe/Berlin\""),
        ("every = '1h'\ntimezone = 'Europe/Berlin'\nJOB", "schedules.n.timezone is for cron"),
        ("every = '10ms'\nJOB", "every is \"10ms\"; right is a duration from \"1s\" to \"366d\", such as \"5s\","),
        ("every = '1m'\njitter = '1m'\nJOB", "schedules.n.jitter is 1m, and fires come 1m apart; right is less"),
        ("cron = '0 8,20 * * *'\njitter = '12h'\nJOB", "schedules.n.jitter is 12h, and fires come 12h apart"),
        ("every = '1m'\ngrace = '2h'\nJOB", "schedules.n.grace contradicts: grace is 2h and catch_up 1h"),
        ("every = '1m'\nmisfire = 'all'\nJOB", "schedules.n.misfire is \"all\"; right is \"skip\" or \"once\""),
        ("every = '1m'\noverlap = 5\nJOB", "right is \"skip\" or \"allow\" or \"queue\" or \"cancel\""),
        ("every = '1m'\nreply_to = ''\nJOB", "schedules.n.reply_to is \"\"; right is a queue's name"),
        ("every = '1m'\nenabled = 'no'\nJOB", "schedules.n.enabled is \"no\"; right is true or false"),
        ("every = '1m'\nzone = 'UTC'\nJOB", "schedules.n.zone is no key of a schedule"),
        ("every = '1m'", "schedules.n.job is missing; right is a table"),
        (
            "every = '1m'\njob = { device = 'd', command = 'c', id = 'x' }",
            "schedules.n.job.id is made of the schedule's name",
        ),
        (
            "every = '1m'\njob = { device = 'd', command = 'c', not_before = 'x' }",
            "schedules.n.job.not_before is one moment",
        ),
        ("every = '1m'\njob = { device = 'd', command = 'c', expires_at = 'x' }", "right is catch_up"),
        (
            "every = '1m'\njob = { device = 'd', comand = 'c', command = 'c' }",
            "job.comand is no field of a schedule's job; did you mean job.command?",
        ),
        (
            "every = '1m'\njob = { device = 'd' }",
            "schedules.n.job is no job: command is missing; the command's name is right",
        ),
        ("every = '1m'\njob = { devices = [], command = 'c' }", "devices is an empty list"),
        (
            "every = '1m'\njob = { device = 'd', command = 'c', timeout_ms = 301000 }",
            "timeout_ms is 301000; right is at most worker.max_timeout, 5m",
        ),
        (
            "every = '1m'\njob = { device = 'd', command = 'c', profile = 'jsn' }",
            "schedules.n.job.profile is \"jsn\", and there is no such profile; did you mean \"json\"?",
        ),
        (
            "every = '1m'\njob = { devices = ['d', 'a/b'], command = 'c' }",
            "does not suit its profile \"default\": device: device \"a/b\"",
        ),
        (
            "every = '1m'\njob = { devices_online = true, command = 'c/+' }",
            "does not suit its profile \"default\": command",
        ),
        (
            "every = '1m'\njob = { device = 'd', command = 'c', payload = inf }",
            "schedules.n.job.payload is the number inf",
        ),
    ] {
        let problem = problem(&one(&keys.replace("JOB", JOB)));
        assert!(problem.contains(says), "{keys}: {problem}");
    }
}

#[test]
fn everything_wrong_is_said_at_once_each_in_its_line() {
    let text = format!(
        "[worker]\nconcurrency = 0\n\n[[schedules]]\nname = 'a b'\ncron = 'x'\ntimezone = 'y'\n{JOB}\n\n\
         [[schedules]]\nname = 'twice'\nevery = '1h'\n{JOB}\n\n[[schedules]]\nname = 'twice'\nevery = '5'\n\
         misfire = 'never'\n[schedules.job]\ndevice = 'd'\ncomand = 'c'\n"
    );
    let problems = problems(&with_file(&text));
    let expected = [
        "sb.toml, line 2: worker.concurrency",
        "sb.toml, line 5: schedules.a b.name is \"a b\"; right is a name of 1 to 64 letters",
        "sb.toml, line 6: schedules.a b.cron has 1 fields",
        "sb.toml, line 7: schedules.a b.timezone is \"y\"",
        "sb.toml, line 16: schedules.twice.name is \"twice\", as that of schedule 2",
        "sb.toml, line 17: schedules.twice.every is \"5\"",
        "sb.toml, line 18: schedules.twice.misfire is \"never\"",
        "sb.toml, line 21: schedules.twice.job.comand is no field",
        "sb.toml, line 19: schedules.twice.job is no job: command is missing",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for expected in expected {
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected} is not in {problems:#?}");
    }
    let by_variable = with_environment(&[("SCHEDULES", "[{ name = 'n', every = '1' }]")]);
    assert!(
        super::problems(&by_variable)[0].starts_with("environment variable SWITCHBOARD__SCHEDULES: schedules.n.every")
    );
    assert!(problem("schedules = 5").contains("schedules is the number 5; right is [[schedules]]"));
    assert!(problem("schedules = [5]").contains("schedules[0] is the number 5; right is a table"));
}

#[test]
fn the_schema_knows_every_key_of_a_schedule_and_the_documented_example_is_right() {
    let schema = schema();
    let known = schema["properties"]["schedules"]["items"]["properties"].as_object().unwrap();
    let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut keys = crate::config::schedules::NAMES;
    keys.sort_unstable();
    assert_eq!(names, keys);
    let example = commented_file();
    let (_, example) = example.split_once("# [[schedules]]\n").unwrap();
    let example: String = example.lines().map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
    let config = load(&with_file(&format!("[[schedules]]\n{example}"))).unwrap();
    assert_eq!((&*config.schedules[0].name, config.schedules[0].calendar.zone()), ("nightly", "Europe/Berlin"));
    assert!(keys.iter().all(|key| *key == "every" || example.contains(&format!("{key} = "))));
}

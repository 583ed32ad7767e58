//! The configuration as its users meet it: sources and their order, and every problem by its key, place and remedy.

mod celery;
mod schedules;

use super::kind::Kind;
use super::*;
use crate::job::Guarantee;
use std::time::Duration;

fn with_file(text: &str) -> Inputs {
    Inputs { file: Some(File { path: "sb.toml".into(), text: text.into() }), ..Inputs::default() }
}

fn with_environment(variables: &[(&str, &str)]) -> Inputs {
    let environment = variables.iter().map(|(name, value)| (format!("SWITCHBOARD__{name}"), (*value).to_owned()));
    Inputs { environment: environment.collect(), ..Inputs::default() }
}

fn problems(inputs: &Inputs) -> Vec<String> {
    load(inputs).unwrap_err().0.iter().map(|problem| problem.to_string().replace("\n    ", " ")).collect()
}

/// The one problem that a file has.
fn problem(text: &str) -> String {
    let problems = problems(&with_file(text));
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

fn rendered(config: &Config, profile: &str) -> crate::profile::Rendered {
    let payload = crate::job::Payload::Empty;
    let call = crate::profile::Call {
        device: "d",
        command: "c",
        payload: &payload,
        inbox: "i",
        attempt: 1,
        job_id: "j",
        expires_at: None,
    };
    config.profiles[profile].render(&call).unwrap()
}

#[test]
fn another_queue_of_jobs_has_another_queue_of_chunks_unless_that_is_named() {
    let bulk_queue = |text: &str| {
        let environment = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        let environment = environment.map(|(name, value)| (format!("SWITCHBOARD__AMQP__{name}"), value.to_owned()));
        load(&Inputs { environment: environment.collect(), ..Inputs::default() }).unwrap().amqp.bulk_queue
    };
    assert_eq!(bulk_queue("QUEUE=jobs"), "jobs.bulk");
    assert_eq!(bulk_queue("QUEUE=jobs BULK_QUEUE=switchboard.bulk"), "switchboard.bulk");
    assert_eq!(bulk_queue("QUEUE=switchboard.commands"), "switchboard.bulk");
}

#[test]
fn without_any_source_the_defaults_are_those_of_the_contract() {
    let config = load(&Inputs::default()).unwrap();
    assert_eq!(config.amqp.url.expose(), "amqp://guest:guest@127.0.0.1:5672/%2f");
    assert_eq!((config.amqp.queue.as_str(), config.amqp.queue_type), ("switchboard.commands", QueueType::Quorum));
    assert_eq!((config.amqp.declare, config.amqp.prefetch), (true, 1000));
    assert_eq!(config.amqp.bulk_queue, "switchboard.bulk");
    assert_eq!(config.amqp.dead_letter_queue, "switchboard.dead");
    assert_eq!((config.mqtt.url.expose(), config.mqtt.protocol), ("mqtt://127.0.0.1:1883", Protocol::V5));
    assert_eq!((config.mqtt.client_id_prefix.as_str(), &config.mqtt.username), ("switchboard", &None));
    assert_eq!((config.mqtt.keep_alive.as_secs(), config.mqtt.session_expiry.as_secs()), (30, 60));
    assert_eq!((config.worker.concurrency, config.worker.per_device), (1000, 1));
    assert_eq!((config.worker.per_device_queue, config.worker.presence), (100, true));
    assert_eq!((config.worker.breaker_failures, config.worker.breaker_pause.as_secs()), (5, 30));
    assert_eq!((config.worker.default_timeout.as_secs(), config.worker.max_timeout.as_secs()), (10, 300));
    assert_eq!((config.worker.default_guarantee, config.worker.claims), (Guarantee::AtMostOnce, false));
    assert_eq!((config.worker.grace.as_secs(), config.worker.late_grace.as_secs()), (30, 60));
    assert_eq!((config.worker.max_payload_bytes, config.http.listen.to_string()), (262_144, "127.0.0.1:9464".into()));
    assert_eq!((config.amqp.confirm_timeout.as_secs(), config.mqtt.max_inflight), (30, 1000));
    let worker = &config.worker;
    assert_eq!((config.mqtt.max_answer_bytes, worker.late_ids, worker.breaker_devices), (1 << 20, 50_000, 100_000));
    assert_eq!((worker.recent_ids, worker.recent_reply_bytes, worker.recent_for.as_secs()), (10_000, 8 << 20, 600));
    assert_eq!((worker.patience.as_secs(), worker.hold.as_secs(), worker.bulk_hold.as_secs()), (3, 30, 600));
    assert_eq!(worker.scheduling, Scheduling::Batch);
    assert_eq!((worker.max_devices, worker.bulk_devices, worker.bulk_concurrency), (100_000, 200_000, 1000));
    assert_eq!((config.celery.enabled, config.celery.queue.as_str()), (true, "switchboard.celery"));
    assert_eq!(
        (config.celery.queue_type, config.celery.events, config.celery.control),
        (QueueType::Classic, true, true)
    );
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", crate::telemetry::logging::Format::Text));
}

#[test]
fn a_later_source_replaces_an_earlier_one_key_by_key() {
    let mut inputs = with_file(
        "[worker]\nconcurrency = 10\nper_device = 2\n[amqp]\nqueue = 'file'\n[profiles.default]\nqos = 2\nretain = true",
    );
    inputs.environment = vec![
        ("SWITCHBOARD__WORKER__CONCURRENCY".into(), "20".into()),
        ("SWITCHBOARD__AMQP__QUEUE".into(), "environment".into()),
        ("SWITCHBOARD__PROFILES__DEFAULT__QOS".into(), "0".into()),
    ];
    inputs.flags = vec![Flag { key: "worker.concurrency", name: "--concurrency", value: "30".into() }];
    let config = load(&inputs).unwrap();
    assert_eq!((config.worker.concurrency, config.worker.per_device), (30, 2));
    assert_eq!((config.amqp.queue.as_str(), config.amqp.prefetch), ("environment", 30));
    let rendered = rendered(&config, "default");
    assert_eq!((rendered.qos, rendered.retain), (0, true));
}

#[test]
fn a_variable_reaches_every_depth_and_heeds_no_case() {
    let ca = tempfile::NamedTempFile::new().unwrap();
    let mut inputs = with_file("[profiles.my-lamp]\nresponses = ['r/{device}/{inbox}/{seq}']\ncorrelate = 'topic'");
    let variables = with_environment(&[
        ("AMQP__URL", "amqps://h"),
        ("AMQP__TLS__CA_FILE", ca.path().to_str().unwrap()),
        ("mqtt__protocol", "3.1.1"),
        ("CELERY__QUEUE_ARGUMENTS", "{ x-max-priority = 10 }"),
        ("PROFILES__MY_LAMP__TOPIC", "my/{device}/{command}/{inbox}/{seq}"),
        ("PROFILES__DEFAULT__STATUS__ONLINE", "here"),
    ]);
    inputs.environment = variables.environment;
    let config = load(&inputs).unwrap();
    assert_eq!(config.amqp.tls.ca_file.as_deref(), Some(ca.path()));
    assert_eq!(
        (config.mqtt.protocol, config.celery.queue_arguments.get("x-max-priority")),
        (Protocol::V311, Some(&crate::envelope::Value::Int(10)))
    );
    assert!(rendered(&config, "my-lamp").topic.as_str().starts_with("my/d/c/"));
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_remedy() {
    let mut inputs = with_file("[amqp]\nquue = 'x'\nprefetch = 0\n\n[worker]\ndefault_timeout = 5\n");
    inputs.environment = vec![("SWITCHBOARD__LOG__FORMAT".into(), "xml".into())];
    inputs.flags = vec![Flag { key: "http.listen", name: "--http", value: "9464".into() }];
    let invalid = load(&inputs).unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "the configuration cannot be used:\n\
         sb.toml, line 2: amqp.quue\n    is no key of this section; did you mean amqp.queue?\n\
         sb.toml, line 3: amqp.prefetch\n    is the number 0; right is a whole number from 1 to 65535\n\
         sb.toml, line 6: worker.default_timeout\n    is the number 5; right is a duration from \"1ms\" to \"1d\", such as \"250ms\", \"5s\", \"2m\" or \"1h\"\n\
         flag --http: http.listen\n    is \"9464\"; right is an IP address and a port, such as \"127.0.0.1:9464\" or \"0.0.0.0:9464\"\n\
         environment variable SWITCHBOARD__LOG__FORMAT: log.format\n    is \"xml\"; right is \"text\" or \"json\""
    );
}

#[test]
fn an_unknown_key_names_the_one_that_was_meant() {
    for (text, meant) in [
        ("[amqp]\nconcurrency = 1", "did you mean worker.concurrency?"),
        ("[mqtt]\npassword = 'canary'", "did you mean mqtt.password_file?"),
        ("[worker]\ndefault_timout = '1s'", "did you mean worker.default_timeout?"),
        ("[amqp.tls]\nca = 'x'", "did you mean amqp.tls.ca_file?"),
        ("[amqp.tls]\nciphers = 'x'", "`switchboard schema config` lists all"),
        ("[wroker]\nconcurrency = 1", "did you mean [worker]?"),
        ("concurrency = 1", "did you mean worker.concurrency?"),
        ("[profile.default]\nqos = 1", "did you mean [profiles]?"),
        ("amqp = 1", "right is [amqp] with its keys below"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(meant) && !problem.contains("canary"), "{problem}");
    }
    let problems = problems(&with_environment(&[("AMQP__QUE", "x"), ("PROFILES__DEFAULT", "x"), ("X", "")]));
    assert!(problems[0].contains("variable SWITCHBOARD__AMQP__QUE: amqp.que is no key"), "{problems:?}");
    assert_eq!(problems.len(), 3);
}

#[test]
fn contradictions_are_found_and_each_names_both_sides() {
    for (text, said) in [
        (
            "[worker]\ndefault_timeout = '10m'",
            "line 2: worker.default_timeout contradicts: worker.default_timeout is 10m and worker.max_timeout 5m",
        ),
        ("[worker]\nmax_timeout = '1s'", "line 2: worker.max_timeout contradicts: worker.default_timeout is 10s"),
        ("[amqp]\ndead_letter_queue = 'switchboard.commands'", "amqp.queue and amqp.dead_letter_queue are both"),
        ("[amqp]\nbulk_queue = 'switchboard.commands'", "amqp.queue and amqp.bulk_queue are both"),
        (
            "[amqp]\nqueue = 'q'\nqueue_type = 'quorum'\n[celery]\nqueue = 'q'\nqueue_type = 'classic'",
            "it has one type",
        ),
        (
            "[amqp]\nurl = 'amqps://h'\n[amqp.tls]\ncert_file = '/dev/null'",
            "amqp.tls.cert_file needs amqp.tls.key_file as well",
        ),
        (
            "[mqtt]\nurl = 'mqtts://h'\n[mqtt.tls]\nkey_file = '/dev/null'",
            "mqtt.tls.key_file needs mqtt.tls.cert_file as well",
        ),
        ("[mqtt.tls]\nca_file = '/dev/null'", "does not go over TLS; right is mqtts:// or wss://"),
        (
            "[amqp]\nurl = 'amqps://h'\n[amqp.tls]\nca_file = '/nowhere/ca.pem'",
            "names /nowhere/ca.pem, which cannot be read",
        ),
        ("[mqtt]\nusername = 'u'\npassword_file = '/nowhere/p'", "names /nowhere/p, which cannot be read"),
        ("[mqtt]\nurl = 'mqtt://u:canary@h'\nusername = 'v'", "mqtt.url names another user"),
        ("[mqtt]\nurl = 'mqtt://h/mqtt'", "only ws:// and wss:// have one"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(said) && !problem.contains("canary"), "{problem}");
    }
    assert!(load(&with_file("[celery]\nqueue = 'switchboard.commands'")).is_ok());
    assert!(load(&with_file("[celery]\nenabled = false\nqueue = 'switchboard.dead'")).is_ok());
    assert!(load(&with_file("[mqtt]\nurl = 'ws://h:80/mqtt'")).is_ok());
}

#[test]
fn a_wrong_value_is_not_blamed_a_second_time_for_a_contradiction() {
    let said = problem("[worker]\ndefault_timeout = '10m'\nmax_timeout = 'long'");
    assert!(said.contains("worker.max_timeout is \"long\""), "{said}");
}

#[test]
fn bad_values_say_what_would_be_right() {
    for (text, right) in [
        ("[amqp]\nurl = 'http://h'", "amqp://, amqps://"),
        ("[amqp]\nqueue_type = 'stream'", "\"quorum\" or \"classic\""),
        ("[amqp]\nqueue = 'amq.x'", "does not begin with \"amq.\""),
        ("[amqp]\ndeclare = 'yes'", "true or false"),
        ("[mqtt]\nprotocol = 5", "\"5\" or \"3.1.1\""),
        (
            "[mqtt]\nkeep_alive = '1s'",
            "a duration of whole seconds from \"5s\" to \"65535s\", such as \"5s\", \"2m\" or \"1h\"",
        ),
        ("[mqtt]\nkeep_alive = '5500ms'", "is \"5500ms\"; right is a duration of whole seconds"),
        ("[mqtt]\nsession_expiry = '1500ms'", "is \"1500ms\"; right is a duration of whole seconds"),
        ("[worker]\nconcurrency = 0", "a whole number from 1 to 65535"),
        ("[worker]\nper_device = 0", "a whole number from 1 to 65535"),
        ("[worker]\ndefault_guarantee = 'exactly_once'", "\"at_most_once\" or \"at_least_once\""),
        ("[http]\nlisten = 'localhost'", "\"127.0.0.1:9464\""),
        ("[log]\nlevel = 'loud'", "error, warn, info"),
        ("[profiles]\ndefault = 1", "[profiles.NAME]"),
        ("[worker\n", "line 1 is no valid TOML"),
        ("[worker]\nconcurrency = 1\nconcurrency = 2", "line 3 is no valid TOML"),
    ] {
        let problem = problem(text).replace(":  ", " ");
        assert!(problem.contains(right), "{problem}");
    }
}

#[test]
fn a_profile_is_laid_over_the_builtin_one_and_its_problems_name_their_place() {
    let config = load(&with_file("[profiles.default]\nqos = 0")).unwrap();
    assert_eq!((rendered(&config, "default").qos, rendered(&config, "json").qos), (0, 1));
    for name in ["default", "json", "mqtt5"] {
        assert!(config.profiles.contains_key(name), "{name}");
    }
    let mut inputs = with_file("[profiles.default]\nqos = 3\n\n[profiles.default.status]\nonlin = 'x'");
    inputs.environment = vec![("SWITCHBOARD__PROFILES__DEFAULT__RETAIN".into(), "yes".into())];
    let problems = problems(&inputs);
    for said in [
        "line 2: profiles.default.qos is",
        "line 5: profiles.default.status.onlin",
        "DEFAULT__RETAIN: profiles.default.retain is",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(said)), "{said}: {problems:?}");
    }
}

#[test]
fn what_a_profile_lacks_is_said_of_the_place_where_the_profile_begins() {
    for text in ["\n[profiles.x]\n", "\n[profiles.x]\nretain = true\n", "\nprofiles = { x = {} }"] {
        let problem = problem(text);
        assert!(problem.starts_with("sb.toml, line 2: profiles.x.topic is missing"), "{problem}");
    }
    let problems = problems(&with_environment(&[("PROFILES__X__RETAIN", "true")]));
    assert!(problems[0].starts_with("environment variable SWITCHBOARD__PROFILES__X__RETAIN: profiles.x.topic"));
}

#[test]
fn every_example_of_what_would_be_right_is() {
    let kinds = KEYS.iter().map(|key| key.kind).filter(|kind| !matches!(kind, Kind::Queue));
    for kind in kinds {
        let right = kind.right();
        for example in right.split('"').skip(1).step_by(2) {
            assert!(kind.check(&toml::Value::String(example.into())).is_ok(), "{example}: {right}");
        }
    }
}

#[test]
fn whole_seconds_may_be_written_in_any_unit() {
    let config = load(&with_file("[mqtt]\nkeep_alive = '5000ms'\nsession_expiry = '0ms'")).unwrap();
    assert_eq!((config.mqtt.keep_alive, config.mqtt.session_expiry), (Duration::from_secs(5), Duration::ZERO));
}

#[test]
fn a_claim_is_remembered_for_longer_than_its_command_can_take() {
    let problem = problem("[worker]\nclaims = true\nclaim_window = '5m'\nmax_timeout = '3m'");
    assert!(problem.contains("worker.claim_window") && problem.contains("twice"), "{problem}");
    for right in ["claims = false\nclaim_window = '5m'", "claims = true\nclaim_window = '10m'", "claims = true"] {
        assert!(load(&with_file(&format!("[worker]\n{right}"))).is_ok(), "{right}");
    }
}

#[test]
fn what_this_version_does_not_serve_is_said_and_not_ignored() {
    let problem = problem("[log]\notlp_endpoint = 'http://h:4317'");
    assert!(problem.contains("is not served"), "{problem}");
    assert!(load(&with_file("schedules = []\n[worker]\nclaims = false\n[celery]\nenabled = true\nevents = true\ncontrol = true\n[celery.tasks]")).is_ok());
}

#[test]
fn the_password_comes_from_its_file_and_is_shown_nowhere() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary\n").unwrap();
    let text = format!(
        "[mqtt]\nusername = 'u'\npassword_file = '{}'\n[amqp]\nurl = 'amqp://u:canary@h'",
        file.path().display()
    );
    let config = load(&with_file(&text)).unwrap();
    assert_eq!(config.mqtt.password.as_ref().map(Secret::expose), Some("canary"));
    assert!(!format!("{config:?} {config:#?}").contains("canary"));

    let no_user = problem(&format!("[mqtt]\npassword_file = '{}'", file.path().display()));
    assert!(no_user.contains("needs mqtt.username"), "{no_user}");
    std::fs::write(file.path(), "\n").unwrap();
    assert!(problem(&text).contains("which is empty"));

    let config = load(&with_file("[mqtt]\nurl = 'mqtt://u:can%20ary@h'")).unwrap();
    assert_eq!((config.mqtt.username.as_deref(), config.mqtt.password.unwrap().expose()), (Some("u"), "can ary"));
}

#[test]
fn a_secret_in_any_wrong_place_is_not_repeated() {
    let secret = "amqp://u:canary@h";
    for key in KEYS.iter().map(|key| key.path).chain(["amqp.x", "x", "schedules", "profiles.default"]) {
        for value in [format!("'{secret}'"), format!("['{secret}']"), format!("{{ x = '{secret}' }}")] {
            let text = format!("{key} = {value}\n");
            if let Err(invalid) = load(&with_file(&text)) {
                assert!(!invalid.to_string().contains("canary"), "{text}{invalid}");
            }
        }
    }
    let unclosed = problem(&format!("amqp.url = '{secret}"));
    assert!(!unclosed.contains("canary"), "{unclosed}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let invalid = Inputs::of_process(Some(Path::new("/nowhere/sb.toml")), Vec::new()).unwrap_err();
    assert!(invalid.to_string().contains("/nowhere/sb.toml\n    this configuration file cannot be read"), "{invalid}");
}

#[test]
fn the_documented_file_is_the_one_made_from_the_table_of_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DEFAULT_FILE);
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    if env::var_os("SWITCHBOARD_REWRITE").is_some() {
        std::fs::write(&path, commented_file()).unwrap();
    }
    assert!(there == commented_file(), "run `SWITCHBOARD_REWRITE=1 cargo test documented_file` and look at the change");
    assert!(load(&with_file(&there)).is_ok());
}

#[test]
fn the_documented_file_with_its_defaults_put_in_force_changes_nothing() {
    // Keys without default have nothing after their `=`; examples of profiles and schedules begin with "# ".
    let in_force = commented_file().lines().fold(String::new(), |text, line| {
        let line = match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') && !key.ends_with('=') => key,
            _ => line,
        };
        text + line + "\n"
    });
    assert_eq!(in_force.matches("\nurl = ").count(), 2);
    let (defaults, config) = (load(&Inputs::default()).unwrap(), load(&with_file(&in_force)).unwrap());
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
}

#[test]
fn the_schema_holds_every_key_with_its_default() {
    let schema = schema();
    for key in KEYS {
        let pointer = format!("/properties/{}", key.path.replace('.', "/properties/"));
        let of_key = schema.pointer(&pointer).unwrap_or_else(|| panic!("{pointer}"));
        assert_eq!(of_key.get("default").is_some(), key.default.is_some(), "{pointer}");
        assert!(of_key["description"].is_string(), "{pointer}");
    }
    assert_eq!(schema["properties"]["worker"]["properties"]["concurrency"]["default"], 1000);
    assert_eq!(schema["properties"]["amqp"]["additionalProperties"], false);
}

#[test]
fn durations_of_the_configuration_are_durations() {
    let config = load(&with_file("[worker]\ngrace = '250ms'\nlate_grace = '0s'")).unwrap();
    assert_eq!((config.worker.grace, config.worker.late_grace), (Duration::from_millis(250), Duration::ZERO));
}

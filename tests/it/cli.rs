//! The binary as a shell sees it: exit codes, and what goes to which stream.

use std::process::{Command, Output};

fn switchboard(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    // Nothing of the machine's own configuration may count.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SWITCHBOARD_")) {
        command.env_remove(name);
    }
    command.current_dir(std::env::temp_dir()).args(arguments).envs(variables.iter().copied());
    command.output().expect("the binary was built and runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

#[test]
fn help_and_version_end_well_on_standard_output() {
    for arguments in
        [&["--help"][..], &["--version"], &["help", "send"], &["worker", "--help"], &["worker", "--version"]]
    {
        let output = switchboard(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("switchboard") && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn bad_usage_is_64_and_says_so_on_standard_error() {
    for arguments in
        [&[][..], &["dance"], &["worker", "--loud"], &["send"], &["send", "d", "c", "no json"], &["schema", "cake"]]
    {
        let output = switchboard(arguments, &[]);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_bad_configuration_is_64_with_every_problem_and_no_secret() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[amqp]\nurl = 'amqp://u:canary@h:x'\nquue = 'q'\n\n[worker]\nconcurrency = 0\n")
        .expect("written");
    let path = file.path().to_str().expect("a plain path");
    let arguments = ["worker", "--config", path, "--http", "nowhere", "--mqtt-url", "mqtt://u:canary@h/topic"];
    let output =
        switchboard(&arguments, &[("SWITCHBOARD__LOG__FORMAT", "xml"), ("SWITCHBOARD__MQTT__PASSWORD", "canary")]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for place in [
        &format!("{path}, line 2: amqp.url"),
        &format!("{path}, line 3: amqp.quue\n    is no key of this section; did you mean amqp.queue?"),
        &format!("{path}, line 6: worker.concurrency"),
        "flag --http: http.listen",
        "flag --mqtt-url: mqtt.url",
        "environment variable SWITCHBOARD__LOG__FORMAT: log.format",
        "environment variable SWITCHBOARD__MQTT__PASSWORD: mqtt.password",
    ] {
        assert!(said.contains(place), "{place} is not in\n{said}");
    }
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn the_file_is_found_by_flag_then_variable() {
    let bad = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(bad.path(), "[nonsense]\n").expect("written");
    let good = tempfile::NamedTempFile::new().expect("a file");
    let (bad, good) = (bad.path().to_str().expect("plain"), good.path().to_str().expect("plain"));
    // A bad flag value beside the file shows which file was read, without starting anything.
    for (arguments, expected) in
        [(&["worker", "--http", "x"][..], true), (&["worker", "--http", "x", "--config", good], false)]
    {
        let output = switchboard(arguments, &[("SWITCHBOARD_CONFIG", bad)]);
        assert_eq!(output.status.code(), Some(64));
        assert_eq!(text(&output.stderr).contains("nonsense"), expected, "{}", text(&output.stderr));
    }
}

#[test]
fn schemas_are_json_and_completions_are_not_empty() {
    for of in ["job", "result", "config"] {
        let output = switchboard(&["schema", of], &[]);
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((output.status.code(), &schema["type"]), (Some(0), &"object".into()), "{of}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = switchboard(&["completions", shell], &[]);
        assert!(output.status.success() && text(&output.stdout).contains("dead-letters"), "{shell}");
    }
}

//! The example application of Celery: what its documentation says of it, and its demonstration from start to end.

use crate::harness::eventually::eventually;
use crate::harness::worker::PROGRAM;
use crate::harness::{celery, source};
use std::process::Stdio;
use std::time::Duration;
use tokio::time::timeout;

/// On a machine with nothing else to do it takes half a minute.
const WITHIN: Duration = Duration::from_secs(240);
const GONE_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_demonstration_of_celery_answers_every_step_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let python = tokio::task::spawn_blocking(celery::python).await.unwrap();
    let mut command = tokio::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/demo-celery"));
    command.arg(PROGRAM).env("TMPDIR", folder.path()).env("SWITCHBOARD_CELERY_PYTHON", python);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(WITHIN, command.output()).await.expect("it ends by itself").unwrap();
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for (step, answer) in [
        ("a command by its task's name", "{'ok': True"),
        ("a task of the application's own, mapped", "{'ok': True"),
        ("a device that refuses", "DeviceRejected: "),
        ("a device that is silent", "executed: unknown"),
        ("a call that is wrong", "executed: no"),
        ("a group over a hundred devices", "100 answers"),
        ("a bulk over a hundred devices", "completed, 100 of 100"),
        ("a command, then a task in Python", "lamp-5 said {'ok': True"),
        ("a task in Python, then a command to what it found", "{'ok': True"),
        ("countdown=2  ", "{'ok': True"),
        ("countdown=2, expires=1", "TaskRevokedError: expired"),
        ("revoked while it waits", "TaskRevokedError: revoked"),
        ("celery inspect: the worker is a node", "takes ['switchboard.celery']"),
        ("beat, every two seconds, and what Flower shows", "is online"),
        ("Every step was answered", ""),
    ] {
        let line = said.lines().find(|line| line.contains(step)).unwrap_or_else(|| panic!("no {step:?} in {said}"));
        assert!(line.contains(answer), "{line}");
    }
    eventually("the demonstration leaves no process and no file", GONE_WITHIN, async || {
        std::fs::read_dir(folder.path()).unwrap().next().is_none() && crate::demo::processes(folder.path()).is_empty()
    })
    .await;
}

#[test]
fn the_exceptions_module_has_ten_lines_and_the_five_classes() {
    let module = source::read("examples/celery/switchboard/exceptions.py");
    assert!(module.lines().filter(|line| !line.is_empty()).count() <= 10, "{module}");
    for class in ["DeviceRejected", "DeviceTimeout", "DeviceUnreachable", "OutcomeUnknown", "InvalidCommand"] {
        assert!(module.contains(&format!("class {class}(CommandFailed)")), "{class}");
    }
}

//! `switchboard demo` from its start to its end, and what it leaves behind: nothing.

use super::harness::eventually::eventually;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;

/// On a machine with nothing else to do it takes half a minute.
const WITHIN: Duration = Duration::from_secs(240);
/// The end of what was killed, and of the shell that removes its folder.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// The demonstration with a temporary folder of its own, by which everything that it starts or leaves is known.
fn demo(folder: &std::path::Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.arg("demo").env("TMPDIR", folder).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The processes that have this text in their command line or folder.
pub(crate) fn processes(folder: &std::path::Path) -> Vec<String> {
    let text = folder.to_str().expect("a plain path");
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let of_folder = all.filter_map(|process| {
        let command = std::fs::read(process.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let inside = std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        (command.contains(text) || inside).then_some(command)
    });
    of_folder.collect()
}

async fn gone(folder: &std::path::Path) {
    eventually("the demonstration leaves no process and no file", GONE_WITHIN, async || {
        processes(folder).is_empty() && std::fs::read_dir(folder).unwrap().next().is_none()
    })
    .await;
}

#[tokio::test]
async fn it_accounts_for_every_job_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = timeout(WITHIN, demo(folder.path()).output()).await.expect("it ends by itself").unwrap();
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{progress}");
    assert!(said.contains("Every job is accounted for"), "{said}");
    let row = |name: &str| -> Vec<u32> {
        let line = said.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
        line[name.len() + 2..].split_whitespace().map_while(|word| word.parse().ok()).collect()
    };
    for (status, jobs, bulk) in [("undeliverable", 90, 5), ("expired", 60, 0), ("invalid", 30, 0), ("unknown", 0, 0)] {
        assert_eq!(row(status), [jobs, bulk], "{status} in\n{said}");
    }
    let ended: u32 = ["succeeded", "rejected", "timed_out"].map(|status| row(status)[0]).iter().sum();
    assert_eq!((ended, row("dead letters")[0]), (2790, 30), "{said}");
    assert!(["rejected", "timed_out", "late answers"].iter().all(|name| row(name)[0] > 0), "{said}");
    let fires = said.lines().find_map(|line| line.split_once("every 2 seconds: ")?.1.split(' ').next()?.parse().ok());
    assert!(fires.is_some_and(|fires: u32| fires >= 4), "it is played for more than ten seconds: {said}");
    assert!(said.lines().filter(|line| line.trim_start().starts_with("switchboard-")).count() == 2, "{said}");
    gone(folder.path()).await;
}

#[tokio::test]
async fn two_replicas_are_faster_than_one_and_every_job_of_both_backlogs_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut scale = demo(folder.path());
    scale.args(["--scale", "1,2", "--jobs", "600"]);
    let output = timeout(WITHIN, scale.output()).await.expect("it ends by itself").unwrap();
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // It fails by itself where two replicas bring less than half of what they should.
    assert_eq!(output.status.code(), Some(0), "{said}\n{progress}");
    assert!(said.contains("Every job is accounted for: each has one result."), "{said}");
    for replicas in ["1", "2"] {
        assert!(said.lines().any(|line| line.split_whitespace().next() == Some(replicas)), "{replicas} in\n{said}");
    }
    gone(folder.path()).await;
}

#[tokio::test]
async fn numbers_of_replicas_that_do_not_rise_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for numbers in ["2,1", "2,2", "0,1", "1,two"] {
        let output = demo(folder.path()).args(["--scale", numbers]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(64), "{numbers}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn an_interrupt_while_a_broker_starts_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("RabbitMQ is being started", GONE_WITHIN, async || {
        processes(folder.path()).iter().any(|process| process.contains("rabbit"))
    })
    .await;
    let pid = child.id().expect("it runs").to_string();
    let kill = Command::new("/bin/sh").args(["-c", "kill -s INT \"$1\"", "signal", &pid]).status();
    assert!(kill.unwrap().success());
    let status = timeout(GONE_WITHIN, child.wait()).await.expect("it ends at once").unwrap();
    assert_eq!(status.code(), Some(1));
    gone(folder.path()).await;
}

#[tokio::test]
async fn a_broker_that_is_not_installed_is_named_with_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).env("SWITCHBOARD_RABBITMQ_SERVER", "/no/such/server").output();
    let output = timeout(WITHIN, output).await.expect("it ends by itself").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["make demo", "/no/such/server", "apt-get install rabbitmq-server"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    gone(folder.path()).await;
}

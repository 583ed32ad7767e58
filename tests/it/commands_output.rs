//! Commands whose output cannot be written: a full disk is told and makes them fail, a reader who has enough does not.

use crate::harness::device::Dialect;
use crate::harness::eventually::eventually;
use crate::harness::worker::{PROGRAM, ended, err};
use crate::worker_scene::{SOON, Scene};
use lapin::BasicProperties;
use std::fs::File;
use std::process::{Output, Stdio};
use tokio::process::Command;

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone, as `head` does.
fn closed() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

async fn run(environment: &[(String, String)], arguments: &[&str], out: Stdio, err: Stdio) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).envs(environment.iter().cloned()).stdin(Stdio::null()).stdout(out).stderr(err);
    let child = command.kill_on_drop(true).spawn().unwrap();
    let done = tokio::time::timeout(SOON, child.wait_with_output()).await;
    done.unwrap_or_else(|_| panic!("switchboard {arguments:?} runs longer than {SOON:?}")).unwrap()
}

/// On a full disk it fails and says why, once; without a reader it ends as ever and says nothing of it.
async fn holds(environment: &[(String, String)], arguments: &[&str]) {
    let output = run(environment, arguments, full(), Stdio::piped()).await;
    ended(&output, 2);
    let said = "switchboard: standard output cannot be written: No space left on device";
    assert_eq!(err(&output).matches(said).count(), 1, "{arguments:?}: {}", err(&output));
    let output = run(environment, arguments, closed(), Stdio::piped()).await;
    ended(&output, 0);
    assert!(!err(&output).contains("standard output"), "{arguments:?}: {}", err(&output));
}

#[tokio::test]
async fn what_needs_no_broker_fails_where_its_output_is_lost() {
    for line in ["schema job", "schema config", "completions bash", "schedule next", "--help", "--version"] {
        holds(&[], &line.split(' ').collect::<Vec<_>>()).await;
    }
    let nothing_said = run(&[], &["schema", "job"], full(), full()).await;
    ended(&nothing_said, 2);
}

#[tokio::test]
async fn results_that_cannot_be_written_are_no_success() {
    let mut scene = Scene::start(Dialect::Default).await;
    let _worker = scene.worker().await;
    let nobody = BasicProperties::default().with_delivery_mode(2);
    scene.caller.send_with(&scene.options.queue, b"garbage", nobody).await;
    eventually("a dead letter", SOON, async || scene.caller.depth(&scene.dead).await == Some(1)).await;
    scene = scene.set_places();
    for line in [
        "send d open",
        "send d open --json",
        "send d open --no-wait",
        "bulk open --device a --device b",
        "bulk open --device a --device b --json",
        "dead-letters list",
        "dead-letters list --json",
    ] {
        holds(&scene.options.environment, &line.split(' ').collect::<Vec<_>>()).await;
    }
}

impl Scene {
    /// Broker and queue for commands, which here are given by the environment alone.
    fn set_places(self) -> Self {
        let (url, queue) = (self.options.amqp_url.clone(), self.options.queue.clone());
        self.set("AMQP__URL", &url).set("AMQP__QUEUE", &queue)
    }
}

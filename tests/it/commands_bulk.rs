//! What a person asks of the coordinator of a bulk, and what `switchboard bulk` asks of it; worker and coordinator played by hand.

use crate::harness::caller::{Caller, Taken};
use crate::harness::eventually::eventually;
use crate::harness::worker::{PROGRAM, ended, err, out, run_in};
use crate::harness::{rabbitmq, unique};
use lapin::BasicProperties;
use serde_json::{Value, json};
use std::process::{Output, Stdio};
use std::time::Duration;
use switchboard::wire::bulk::{shard_of, shard_queue};

const SOON: Duration = Duration::from_secs(60);
/// As many as a configuration has that says nothing of it.
const SHARDS: u32 = 4;

/// A broker, queues of one test's own, and both ends of them.
struct Desk {
    caller: Caller,
    amqp_url: String,
    queue: String,
    bulk_queue: String,
}

impl Desk {
    /// Without the coordinator's queues.
    async fn bare() -> Self {
        let amqp_url = rabbitmq::shared().await.url();
        let caller = Caller::connect(&amqp_url).await;
        Self { caller, amqp_url, queue: unique("commands"), bulk_queue: unique("bulk") }
    }

    async fn start() -> Self {
        let desk = Self::bare().await;
        // Before the program does, so that it can be listened to from the start.
        desk.caller.declare(&desk.queue, "quorum").await;
        for shard in 0..SHARDS {
            desk.caller.declare(&shard_queue(&desk.bulk_queue, shard), "quorum").await;
        }
        desk
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("SWITCHBOARD__AMQP__URL".to_owned(), self.amqp_url.clone()),
            ("SWITCHBOARD__AMQP__QUEUE".to_owned(), self.queue.clone()),
            ("SWITCHBOARD__AMQP__BULK_QUEUE".to_owned(), self.bulk_queue.clone()),
        ]
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        run_in(&self.environment(), arguments, SOON).await
    }

    fn shard(&self, id: &str) -> String {
        shard_queue(&self.bulk_queue, shard_of(id, SHARDS))
    }

    /// Takes the next question for a bulk and answers that it stands so; what else came of it is in `more`.
    async fn answer(&self, id: &str, state: &str, more: Value) -> Taken {
        let asked = self.caller.take(&self.shard(id), SOON).await;
        let mut word = json!({"id": id, "state": state});
        let fields = word.as_object_mut().unwrap();
        fields.extend(more.as_object().cloned().unwrap_or_default());
        self.tell(&asked, "switchboard.bulk.word", &word).await;
        asked
    }

    /// Sends a message to whoever waits for the answer to another.
    async fn tell(&self, to: &Taken, kind: &str, body: &Value) {
        let properties = BasicProperties::default().with_type(kind.into());
        let properties = match to.properties.correlation_id() {
            Some(id) => properties.with_correlation_id(id.clone()),
            None => properties,
        };
        self.caller.send_with(&to.reply_to(), body.to_string().as_bytes(), properties).await;
    }
}

fn running() -> Value {
    let counts = json!({"succeeded": 40, "timed_out": 22});
    let failed: Vec<String> = (0..22).map(|index| format!("d{index}")).collect();
    json!({"total": 1000, "counts": counts, "outstanding": 100, "failed": failed, "duration_ms": 12_345})
}

#[tokio::test]
async fn bulk_status_says_how_a_bulk_stands() {
    let desk = Desk::start().await;
    let (output, asked) = tokio::join!(desk.run(&["bulk-status", "b"]), desk.answer("b", "running", running()));
    ended(&output, 0);
    let right = "b: running\nsucceeded          40\ntimed_out          22\nunder way         100\n\
                 waiting           838\ndevices          1000   in 12.3 s\nfailed: d0\n";
    assert!(out(&output).starts_with(right) && out(&output).ends_with("\n… and 2 more\n"), "{}", out(&output));
    assert_eq!(out(&output).matches("\nfailed: ").count(), 20);
    assert_eq!((&asked.body["id"], &asked.body["what"]), (&json!("b"), &json!("status")));
    assert_eq!(asked.properties.kind().as_ref().map(ToString::to_string).as_deref(), Some("switchboard.bulk.ask"));

    let (output, _) = tokio::join!(desk.run(&["bulk-status", "b", "--json"]), desk.answer("b", "paused", running()));
    ended(&output, 0);
    let word: Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!((&word["state"], &word["counts"]["succeeded"]), (&json!("paused"), &json!(40)));

    let (output, _) = tokio::join!(desk.run(&["bulk-status", "b"]), desk.answer("b", "not_known", json!({})));
    ended(&output, 1);
    assert!(out(&output).starts_with("b: not known: it never came, ended long ago,"), "{}", out(&output));
}

#[tokio::test]
async fn a_bulk_that_nobody_coordinates_is_2() {
    let (bare, desk) = tokio::join!(Desk::bare(), Desk::start());
    let (queueless, silent, paused) = tokio::join!(
        bare.run(&["bulk-status", "b"]),
        desk.run(&["bulk-status", "silent", "--json"]),
        desk.run(&["bulk-pause", "held"])
    );
    ended(&queueless, 2);
    assert!(err(&queueless).contains("there is no queue") && err(&queueless).contains("no worker is there"));
    ended(&silent, 2);
    assert!(out(&silent).is_empty() && err(&silent).contains("within 5 s: no worker is there to coordinate bulks\n"));
    ended(&paused, 2);
    assert!(err(&paused).contains("the next worker will still read what was asked for"), "{}", err(&paused));
    // What somebody asked who is gone is no work for the next coordinator; what changes the bulk is.
    let asked = desk.caller.take(&desk.shard("held"), SOON).await;
    assert_eq!((&asked.body["id"], &asked.body["what"]), (&json!("held"), &json!("pause")));
    eventually("the question has gone", SOON, async || desk.caller.depth(&desk.shard("silent")).await == Some(0)).await;
}

#[tokio::test]
async fn a_bulk_that_is_watched_is_asked_about_until_it_has_ended() {
    let desk = Desk::start().await;
    let answers = async {
        for state in ["running", "running", "paused"] {
            desk.answer("b", state, running()).await;
        }
        let end = json!({"total": 1000, "counts": {"succeeded": 1000}, "duration_ms": 20_000});
        desk.answer("b", "completed", end).await;
    };
    let (output, ()) = tokio::join!(desk.run(&["bulk-status", "b", "--watch"]), answers);
    ended(&output, 0);
    let right = "b: running, 62 of 1000 done, 22 failed, 100 under way, 12.3 s\n\
                 b: paused, 62 of 1000 done, 22 failed, 100 under way, 12.3 s\n\
                 b: completed\nsucceeded        1000\ndevices          1000   in 20.0 s\n";
    assert_eq!(out(&output), right);
}

#[tokio::test]
async fn watching_ends_when_nobody_reads_what_it_prints() {
    let desk = Desk::start().await;
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["bulk-status", "b", "--watch"]).envs(desk.environment()).kill_on_drop(true);
    // Its reader has gone, as `head` does.
    command.stdout(std::io::pipe().unwrap().1);
    let mut child = command.spawn().unwrap();
    desk.answer("b", "running", running()).await;
    let ended = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_pause_and_its_end_are_asked_for_and_what_came_of_it_is_said() {
    let desk = Desk::start().await;
    let (output, asked) = tokio::join!(desk.run(&["bulk-pause", "b"]), desk.answer("b", "paused", running()));
    ended(&output, 0);
    assert_eq!(out(&output), "b: paused with 62 of 1000 devices done; 100 are with workers and come to their end\n");
    assert_eq!(asked.body["what"], "pause");
    let (output, asked) =
        tokio::join!(desk.run(&["bulk-resume", "b", "--json"]), desk.answer("b", "running", running()));
    ended(&output, 0);
    assert_eq!(asked.body["what"], "resume");
    assert_eq!(serde_json::from_str::<Value>(out(&output)).unwrap()["state"], "running");
    let (output, _) = tokio::join!(desk.run(&["bulk-pause", "b"]), desk.answer("b", "not_known", json!({})));
    ended(&output, 1);
    assert!(out(&output).contains("one worker runs it alone and such a bulk cannot be paused"), "{}", out(&output));
    ended(&desk.run(&["bulk-pause", ""]).await, 64);
}

#[tokio::test]
async fn a_silent_bulk_is_waited_for_as_long_as_its_coordinator_says_that_it_goes_on() {
    let desk = Desk::start().await;
    let bulk = async |id: &str| desk.run(&["bulk", "open", "--device", "d", "--timeout", "1ms", "--id", id]).await;
    let played = async {
        // One after the other in one queue: which is whose is in the job.
        let (one, other) = (desk.caller.take(&desk.queue, SOON).await, desk.caller.take(&desk.queue, SOON).await);
        let job_of = |id: &str| if one.body["id"] == id { one.clone() } else { other.clone() };
        let goes_on = async {
            desk.answer("goes-on", "paused", running()).await;
            let job = job_of("goes-on");
            let result = json!({"id": "goes-on", "device": "d", "status": "succeeded", "executed": "yes"});
            desk.tell(&job, "switchboard.result", &result).await;
            let counts = json!({"succeeded": 1});
            let summary = json!({"status": "completed", "total": 1, "counts": counts, "duration_ms": 1.0});
            desk.tell(&job, "switchboard.summary", &summary).await;
        };
        let ((), gone) = tokio::join!(goes_on, desk.answer("gone", "not_known", json!({})));
        assert_eq!((&gone.body["what"], &gone.body["id"]), (&json!("status"), &json!("gone")));
    };
    let (goes_on, gone, ()) = tokio::join!(bulk("goes-on"), bulk("gone"), played);
    ended(&goes_on, 0);
    assert!(err(&goes_on).contains("the bulk is paused; `switchboard bulk-resume goes-on`"), "{}", err(&goes_on));
    ended(&gone, 1);
    assert!(err(&gone).contains("nothing more of the job gone for 10.001 s, with 1 devices to go"), "{}", err(&gone));
}

#[tokio::test]
async fn without_a_terminal_an_interrupt_leaves_the_bulk_running_and_says_how_to_look() {
    let desk = Desk::start().await;
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["bulk", "open", "--device", "a", "--device", "b", "--id", "left", "--queue", &desk.queue]);
    command.envs(desk.environment()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    let job = desk.caller.take(&desk.queue, SOON).await;
    assert_eq!(job.body["id"], "left");
    let result = json!({"id": "left", "device": "a", "status": "succeeded", "executed": "yes"});
    // As it is taken, the program is past everything that an interrupt would end by itself.
    desk.tell(&job, "switchboard.result", &result).await;
    eventually("SIGINT is caught", SOON, async || catches_interrupts(&pid)).await;
    let sent = std::process::Command::new("/bin/sh").args(["-c", "kill -s INT \"$1\"", "signal", &pid]).status();
    assert!(sent.unwrap().success());
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    ended(&output, 130);
    for said in [
        "interrupted; the job left goes on without us, with ",
        "`switchboard bulk-status left` says how it stands",
        &format!("`switchboard cancel left --queue {}` calls it off", desk.queue),
    ] {
        assert!(err(&output).contains(said), "{said} is not in {}", err(&output));
    }
    assert!(!err(&output).contains("[y]es"), "nobody is there to be asked: {}", err(&output));
}

/// Whether a process deals with SIGINT itself, by what the system says of it.
fn catches_interrupts(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 0b10 != 0
}

#[tokio::test]
async fn a_schedule_is_fired_through_the_queue_of_its_shard() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switchboard.toml");
    let text = "[[schedules]]\nname = 'nightly'\ncron = '0 3 * * *'\njob = { device = 'd', command = 'poll' }\n";
    std::fs::write(&file, text).unwrap();
    let run = ["schedule", "run", "nightly", "--json", "--config", file.to_str().unwrap()];
    let desk = Desk::start().await;
    let output = desk.run(&run).await;
    ended(&output, 0);
    let fired = desk.caller.take(&desk.shard("nightly"), SOON).await;
    assert_eq!(fired.properties.kind().as_ref().map(ToString::to_string).as_deref(), Some("switchboard.bulk.fire"));
    let (name, at) = fired.body["id"].as_str().unwrap().rsplit_once('@').unwrap();
    let at: jiff::Timestamp = at.parse().unwrap();
    assert_eq!((name, fired.body["schedule"].as_str()), ("nightly", Some("nightly")));
    assert_eq!(fired.body["at"], at.as_millisecond());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["id"], fired.body["id"]);

    let bare = Desk::bare().await.run(&run).await;
    ended(&bare, 2);
    assert!(err(&bare).contains("no worker is there to coordinate schedules"), "{}", err(&bare));
    let unknown = desk.run(&["schedule", "run", "weekly"]).await;
    ended(&unknown, 64);
    assert!(err(&unknown).contains("there is no schedule weekly"), "{}", err(&unknown));
}

//! `switchboard simulate` as devices would be: commanded through a broker by the library, and ended by a signal.

use super::harness::mosquitto;
use std::future::IntoFuture;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use switchboard::commander::{Commander, Options};
use switchboard::demo::brokers::Mosquitto;
use switchboard::job::Payload;
use switchboard::mqtt::{self, Agent};
use switchboard::outcome::{Outcome, Status};
use switchboard::profile::{Profile, builtin};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);

/// A `switchboard simulate` whose devices are subscribed. Dropping it kills it.
struct Simulator {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Simulator {
    async fn start(broker: &Mosquitto, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command.args(["simulate", "--mqtt-url", &broker.url(), "--latency", "1ms..5ms"]).args(arguments);
        command.current_dir(broker.folder()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        timeout(WITHIN, output.read_line(&mut line)).await.expect("it says that it is ready").unwrap();
        assert!(line.contains("Ctrl-C ends it"), "{line:?}");
        Self { child, output }
    }

    /// SIGTERM; what it says at its end.
    async fn stop(mut self) -> String {
        let pid = self.child.id().expect("it runs").to_string();
        let kill = std::process::Command::new("/bin/sh").args(["-c", "kill -s TERM \"$1\"", "signal", &pid]).status();
        assert!(kill.unwrap().success());
        let mut said = String::new();
        timeout(WITHIN, self.output.read_to_string(&mut said)).await.expect("it ends").unwrap();
        assert_eq!(timeout(WITHIN, self.child.wait()).await.unwrap().unwrap().code(), Some(0), "{said}");
        said
    }
}

async fn commander(broker: &Mosquitto) -> Commander {
    let agent = Agent::connect(mqtt::Options::new(&broker.url()).unwrap()).await.unwrap();
    let profiles = builtin().into_iter().map(|(name, table)| Arc::new(Profile::compile(&name, &table).unwrap()));
    Commander::new(agent, profiles, Options::default())
}

async fn command(commander: &Commander, device: &str, profile: &str, wait: Duration) -> Outcome {
    let payload = Payload::Json(r#"{"speed":2}"#.into());
    let outcome = commander.command(device, "open", payload).profile(profile).timeout(wait).into_future();
    timeout(WITHIN * 2, outcome).await.expect("an outcome")
}

#[tokio::test]
async fn devices_of_every_plain_profile_answer_and_the_absent_are_known() {
    let broker = mosquitto::start();
    let commander = commander(&broker).await;
    for profile in ["default", "json", "mqtt5"] {
        let prefix = format!("{profile}-");
        let simulator =
            Simulator::start(&broker, &["--devices", "10", "--prefix", &prefix, "--profile", profile]).await;
        for number in 0..10 {
            let device = format!("{prefix}{number}");
            let outcome = command(&commander, &device, profile, WITHIN).await;
            assert_eq!(outcome.status, Status::Succeeded, "{profile}: {outcome:?}");
            let answer: serde_json::Value = serde_json::from_slice(&outcome.response.unwrap()).unwrap();
            assert_eq!((&answer["device"], &answer["ok"]), (&device.as_str().into(), &true.into()), "{answer}");
            assert_eq!((&answer["command"], &answer["echo"]["speed"]), (&"open".into(), &2.into()), "{answer}");
        }
        let absent = command(&commander, &format!("{prefix}10"), profile, WITHIN).await;
        assert_eq!(absent.status, Status::Undeliverable, "{profile}: {absent:?}");
        let said = simulator.stop().await;
        assert!(said.starts_with("10 commands: 10 answered, 0 rejected"), "{said}");
    }
}

#[tokio::test]
async fn shares_are_kept_and_presence_follows_the_fleet() {
    let broker = mosquitto::start();
    let commander = commander(&broker).await;
    let agent = Agent::connect(mqtt::Options::new(&broker.url()).unwrap()).await.unwrap();
    let mut statuses = agent.subscribe("devices/+/status").await.unwrap();
    let refusing = Simulator::start(&broker, &["--devices", "1", "--prefix", "refusing-", "--reject", "100%"]).await;
    let silent = Simulator::start(&broker, &["--devices", "1", "--prefix", "silent-", "--silent", "100%"]).await;
    let twice = Simulator::start(&broker, &["--devices", "1", "--prefix", "twice-", "--duplicate", "100%"]).await;
    for _ in 0..3 {
        let online = statuses.next_within(WITHIN).await.unwrap();
        assert_eq!((&online.payload[..], online.topic().ends_with("-0/status")), (&b"online"[..], true));
    }
    let rejected = command(&commander, "refusing-0", "default", WITHIN).await;
    assert_eq!((rejected.status, &*rejected.failure.unwrap().code), (Status::Rejected, "simulated"));
    let nothing = command(&commander, "silent-0", "default", Duration::from_millis(300)).await;
    assert_eq!(nothing.status, Status::TimedOut);
    assert_eq!(command(&commander, "twice-0", "default", WITHIN).await.status, Status::Succeeded);
    assert!(refusing.stop().await.starts_with("1 commands: 0 answered, 1 rejected"));
    assert!(silent.stop().await.contains("1 silent"));
    assert!(twice.stop().await.contains("1 answered twice"));
    for _ in 0..3 {
        assert_eq!(&statuses.next_within(WITHIN).await.unwrap().payload[..], b"offline");
    }
}

#[tokio::test]
async fn thousands_of_devices_share_a_subscription_and_lose_nothing() {
    let broker = mosquitto::start();
    let commander = commander(&broker).await;
    let simulator = Simulator::start(&broker, &["--devices", "5000"]).await;
    let commands = (0..5000).map(|number| {
        let (commander, device) = (commander.clone(), format!("dev-{number}"));
        async move { command(&commander, &device, "default", WITHIN).await.status }
    });
    let ended = futures_util::future::join_all(commands).await;
    assert_eq!(ended.iter().filter(|status| **status == Status::Succeeded).count(), 5000);
    let said = simulator.stop().await;
    assert!(said.starts_with("5000 commands: 5000 answered"), "{said}");
}

#[test]
fn what_cannot_be_played_is_bad_usage() {
    for (arguments, expected) in [
        (&["--silent", "60%", "--reject", "60%"][..], "100% at most is right"),
        (&["--profile", "none-such"], "right is one of"),
        (&["--devices", "20000000"], "too many"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_switchboard"));
        let output = command.arg("simulate").args(arguments).current_dir(std::env::temp_dir()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

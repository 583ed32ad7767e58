//! Scripts, Makefile and container files: they parse, they do what they say, and the accounts in them can do no more than they should.

use crate::harness::eventually::eventually;
use crate::harness::rabbitmq::OwnNode;
use crate::harness::worker::{self, Worker, run};
use crate::harness::{mosquitto, source, unique};
use async_rs::Runtime;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, SubscribeFilter};
use saphyr::{LoadableYamlNode, Yaml};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use switchboard::demo::brokers::mosquitto::Options;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(20);

fn with_ending(ending: &str) -> Vec<String> {
    let files: Vec<String> = source::project_files().into_iter().filter(|path| path.ends_with(ending)).collect();
    assert!(!files.is_empty(), "no file ends in {ending}");
    files
}

fn in_project(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn every_yaml_file_parses() {
    for path in with_ending(".yml") {
        Yaml::load_from_str(&source::read(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn scripts_are_sound_and_setup_says_that_nothing_is_missing() {
    for script in ["scripts/setup", ".ci/run"] {
        let (sound, said) = in_project("bash", &["-n", script]);
        assert!(sound, "{script}: {said}");
    }
    let (complete, said) = in_project("scripts/setup", &["--check"]);
    assert!(complete, "{said}");
    let (accepted, said) = in_project("scripts/setup", &["--frobnicate"]);
    assert!(!accepted && said.contains("--frobnicate"), "{said}");
}

#[test]
fn make_alone_prints_what_there_is() {
    let (done, said) = in_project("make", &["--no-print-directory"]);
    assert!(done, "{said}");
    for target in [
        "demo",
        "demo-celery",
        "demo-scale",
        "test",
        "faults",
        "soak",
        "lint",
        "check",
        "bench",
        "instructions",
        "image",
        "up",
        "down",
        "doc",
        "setup",
        "build",
    ] {
        assert!(said.contains(&format!("make {target} ")), "no {target} in:\n{said}");
    }
}

/// A configuration of `docker/` with paths and port of this test.
fn lines_of(path: &str, replace: &[(&str, &Path)]) -> Vec<String> {
    let lines = source::read(path);
    let lines = lines.lines().filter(|line| !line.starts_with("listener") && !line.starts_with("log_dest"));
    let replaced = lines.map(|line| {
        replace.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, &to.display().to_string()))
    });
    replaced.collect()
}

#[test]
fn mosquitto_takes_the_configurations_that_are_shipped() {
    let files = tempfile::tempdir().unwrap();
    let _certificates = mosquitto::certificates(files.path(), true);
    let acl = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/mosquitto/acl");
    let replace = [("/mosquitto/config/tls", files.path()), ("/mosquitto/config/acl", acl.as_path())];
    for path in ["docker/mosquitto.conf", "docker/mosquitto/secure.conf"] {
        mosquitto::start_with(Options { lines: lines_of(path, &replace), ..Options::default() });
    }
}

/// Somebody on the MQTT broker under a name of their own.
struct Somebody {
    client: AsyncClient,
    heard: mpsc::Receiver<String>,
    /// One for each publish that the broker acknowledged; closed when the connection is.
    settled: mpsc::Receiver<()>,
}

impl Somebody {
    async fn called(name: &str, port: u16, filters: &[&str]) -> Self {
        let mut options = MqttOptions::new(unique(name), "127.0.0.1", port);
        options.set_credentials(name, "");
        let (client, mut events) = AsyncClient::new(options, 10);
        let filters = filters.iter().map(|filter| SubscribeFilter::new((*filter).to_owned(), QoS::AtLeastOnce));
        client.subscribe_many(filters).await.unwrap();
        let (sender, heard) = mpsc::channel(100);
        let (settle, settled) = mpsc::channel(100);
        let (told, subscribed) = tokio::sync::oneshot::channel();
        let mut told = Some(told);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(told.take().map(|told| told.send(()))),
                    Event::Incoming(Packet::Publish(publish)) => {
                        sender.send(publish.topic).await.unwrap();
                    }
                    Event::Incoming(Packet::PubAck(_)) => settle.send(()).await.unwrap(),
                    _ => {}
                }
            }
        });
        tokio::time::timeout(SOON, subscribed).await.unwrap().unwrap();
        Self { client, heard, settled }
    }

    /// Returns when the broker acknowledged it, or closed the connection for it: either is an answer to what is forbidden.
    async fn says(&mut self, topic: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, "x").await.unwrap();
        tokio::time::timeout(SOON, self.settled.recv()).await.expect("the broker reacts");
    }

    async fn hears(&mut self) -> String {
        tokio::time::timeout(SOON, self.heard.recv()).await.expect("something is heard").unwrap()
    }
}

#[tokio::test]
async fn a_device_hears_its_own_commands_and_speaks_for_itself_only() {
    let acl = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/mosquitto/acl");
    let lines = vec![format!("acl_file {}", acl.display())];
    let broker = mosquitto::start_with(Options { lines, ..Options::default() });
    let port = broker.port();
    let filters = ["devices/+/responses/#", "devices/+/response", "devices/+/status"];
    let mut worker = Somebody::called("switchboard-worker", port, &filters).await;
    let mut lamp = Somebody::called("lamp", port, &["devices/#", "#"]).await;
    // What the lamp may not hear comes first, so that hearing the second proves that the first was withheld.
    for (forbidden, allowed) in [
        ("devices/door/commands/open/i/1", "devices/lamp/commands/on/i/2"),
        ("devices/door/request", "devices/lamp/request"),
    ] {
        worker.says(forbidden).await;
        worker.says(allowed).await;
        // Both of its subscriptions match; the broker may deliver to each.
        let mut heard = lamp.hears().await;
        while heard != allowed {
            assert!(heard.starts_with("devices/lamp/"), "{heard}");
            heard = lamp.hears().await;
        }
    }
    for (forbidden, allowed) in [
        ("devices/door/responses/i/1", "devices/lamp/responses/i/2"),
        ("devices/door/response", "devices/lamp/response"),
        ("devices/door/status", "devices/lamp/status"),
        ("devices/lamp/commands/on/i/3", "devices/lamp/responses/i/3"),
    ] {
        // Each from a connection of its own: mosquitto 2.0.11 ends one of MQTT 3.1.1 that publishes what it may not.
        Somebody::called("lamp", port, &["nothing"]).await.says(forbidden).await;
        Somebody::called("lamp", port, &["nothing"]).await.says(allowed).await;
        assert_eq!(worker.hears().await, allowed);
    }
}

async fn log_in(node: &OwnNode, user: &str) -> Connection {
    let url = format!("amqp://{user}:replace-me@127.0.0.1:{}/%2f", node.node().port());
    let runtime = Runtime::tokio_current();
    Connection::connect_with_runtime(&url, ConnectionProperties::default(), runtime).await.unwrap()
}

/// Whether the broker allows it; each question on a channel of its own, since a refusal closes the channel.
async fn may<T>(connection: &Connection, act: impl AsyncFnOnce(Channel) -> lapin::Result<T>) -> bool {
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    match tokio::time::timeout(SOON, act(channel)).await.expect("the broker answers") {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().contains("ACCESS_REFUSED"), "{error}");
            false
        }
    }
}

async fn may_publish(connection: &Connection, exchange: &str, key: &str) -> bool {
    may(connection, async |channel| {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = channel.basic_publish(exchange.into(), key.into(), options, b"{}", BasicProperties::default());
        sent.await?.await
    })
    .await
}

async fn may_consume(connection: &Connection, queue: &str) -> bool {
    may(connection, async |channel| {
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
    })
    .await
}

async fn may_declare(connection: &Connection, queue: &str, exclusive: bool) -> bool {
    let options = QueueDeclareOptions { durable: !exclusive, exclusive, ..Default::default() };
    may(connection, async |channel| channel.queue_declare(queue.into(), options, FieldTable::default()).await).await
}

#[tokio::test]
async fn the_accounts_of_rabbitmq_can_do_their_work_and_nothing_else() {
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/rabbitmq/definitions.json");
    let line = format!("load_definitions = {}", definitions.display());
    let shipped = source::read("docker/rabbitmq/rabbitmq.conf");
    let shipped = shipped.lines().filter(|line| !line.starts_with("load_definitions"));
    let lines: Vec<&str> = shipped.chain([line.as_str()]).collect();
    let node = OwnNode::start(&lines).await;

    let producer = log_in(&node, "switchboard-producer").await;
    assert!(may_publish(&producer, "switchboard.jobs", "switchboard.commands").await);
    assert!(may_declare(&producer, "", true).await, "a reply queue");
    assert!(!may_publish(&producer, "", "switchboard.dead").await, "a result can be forged");
    assert!(!may_consume(&producer, "switchboard.commands").await);
    assert!(!may_declare(&producer, "mine", false).await);

    let worker = log_in(&node, "switchboard-worker").await;
    for queue in ["switchboard.commands", "switchboard.bulk"] {
        assert!(may_consume(&worker, queue).await, "{queue}");
    }
    assert!(may_publish(&worker, "", "switchboard.dead").await);
    assert!(may_declare(&worker, "", true).await, "a control queue");
    assert!(!may_publish(&worker, "switchboard.jobs", "switchboard.commands").await);
    assert!(!may_consume(&worker, "switchboard.dead").await);
    for queue in ["mine", "switchboard.bulk.coordinator.x"] {
        assert!(!may_declare(&worker, queue, false).await, "{queue}");
    }
    for (queue, kind) in [
        ("commands.control", "stream"),
        ("commands.claims", "stream"),
        ("commands.quarantine", "quorum"),
        ("bulk.coordinator.0", "quorum"),
        ("bulk.coordinator.63", "quorum"),
    ] {
        let queue = format!("switchboard.{queue}");
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        let used = async |channel: Channel| {
            channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), arguments).await?;
            // Of a stream that is consumed without a prefetch the broker says so.
            channel.basic_qos(1, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default()).await
        };
        assert!(may(&worker, used).await, "{queue}");
    }

    // The program itself, with all that it does unless told otherwise.
    let mqtt = mosquitto::start();
    let options = worker::Options {
        amqp_url: format!("amqp://switchboard-worker:replace-me@127.0.0.1:{}/%2f", node.node().port()),
        mqtt_url: mqtt.url(),
        queue: "switchboard.commands".to_owned(),
        environment: [("CELERY__QUEUE", "switchboard.celery"), ("AMQP__BULK_QUEUE", "switchboard.bulk")]
            .map(|(key, queue)| (format!("SWITCHBOARD__{key}"), queue.to_owned()))
            .to_vec(),
        ..worker::Options::default()
    };
    let program = Worker::start_ready(&options, SOON).await;
    eventually("it is a Celery node", SOON, async || program.log().contains("heard as a Celery node")).await;
    assert!(!program.log().contains("ACCESS_REFUSED"), "{}", program.log());

    let operator = log_in(&node, "switchboard-operator").await;
    let get = async |channel: Channel| {
        channel.basic_get("switchboard.dead".into(), BasicGetOptions::default()).await.map(|message| message.is_some())
    };
    assert!(may(&operator, get).await, "the dead letters");
    assert!(may_publish(&operator, "", "switchboard.commands").await);
    assert!(!may_consume(&operator, "switchboard.commands").await);
    let url = format!("amqp://switchboard-operator:replace-me@127.0.0.1:{}/%2f", node.node().port());
    for command in [&["dead-letters", "list"][..], &["cancel", "x", "--wait", "1ms"]] {
        let output = run(&[command, &["--amqp-url", &url]].concat(), SOON).await;
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

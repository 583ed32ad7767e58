//! The private brokers under every other test: they start, they die, they leave nothing behind.

use crate::harness::caller::Caller;
use crate::harness::eventually::eventually;
use crate::harness::mosquitto::certificates;
use crate::harness::rabbitmq::OwnNode;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use switchboard::demo::brokers::{Error, Mosquitto, RabbitMq, Redis, mosquitto, rabbitmq, redis};

const SOON: Duration = Duration::from_secs(30);

fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(500)).is_ok()
}

#[test]
fn mosquitto_starts_dies_and_starts_again_on_its_port() {
    let mut broker = Mosquitto::start(mosquitto::Options::default()).unwrap();
    let (port, folder) = (broker.port(), broker.folder().to_owned());
    assert!(answers(port));
    broker.kill();
    assert!(!answers(port));
    broker.start_again().unwrap();
    assert!(answers(port));
    broker.stop().unwrap();
    assert!(!answers(port));
    broker.start_again().unwrap();
    drop(broker);
    assert!(!answers(port) && !folder.exists());
}

#[test]
fn a_line_that_mosquitto_does_not_know_is_named_in_the_error() {
    let options = mosquitto::Options { lines: vec!["frobnicate true".into()], ..Default::default() };
    let error = Mosquitto::start(options).unwrap_err();
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    assert!(error.to_string().contains("frobnicate"), "{error}");
}

#[test]
fn mosquitto_has_a_tls_listener_where_it_is_asked_for_one() {
    let files = tempfile::tempdir().unwrap();
    let tls = Some(certificates(files.path(), false));
    let ca_file = files.path().join("ca.crt");
    let broker = Mosquitto::start(mosquitto::Options { tls, ..Default::default() }).unwrap();
    let address = format!("127.0.0.1:{}", broker.tls_port());
    let client = Command::new("openssl")
        .args([
            "s_client",
            "-brief",
            "-verify_return_error",
            "-verify_ip",
            "127.0.0.1",
            "-connect",
            &address,
            "-CAfile",
        ])
        .arg(ca_file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
}

#[test]
fn mosquitto_keeps_retained_messages_where_it_is_asked_to() {
    let mut broker = Mosquitto::start(mosquitto::Options { persistence: true, ..Default::default() }).unwrap();
    broker.stop().unwrap();
    assert!(broker.folder().join("mosquitto.db").is_file());
    broker.start_again().unwrap();
}

#[tokio::test]
async fn rabbitmq_keeps_what_it_confirmed_over_kill_9_and_hangs_while_it_is_frozen() {
    let mut own = OwnNode::start(&[]).await;
    let url = own.node().url();
    let caller = Caller::connect(&url).await;
    for kind in ["quorum", "classic"] {
        caller.declare(kind, kind).await;
        for number in 0..10 {
            caller.send(kind, &json!({"id": number})).await;
        }
    }
    own.with(|node| node.freeze()).await;
    let job = json!({"id": 10});
    let hangs = tokio::time::timeout(Duration::from_millis(500), caller.send("quorum", &job)).await;
    assert!(hangs.is_err());
    own.with(|node| node.thaw()).await;
    eventually("it goes on after the thaw", SOON, async || caller.depth("quorum").await == Some(11)).await;
    own.wait_written_down("quorum").await;
    own.with(|node| {
        node.kill();
        node.start_again()
    })
    .await;
    assert_eq!(own.node().url(), url);
    let caller = Caller::connect(&url).await;
    assert_eq!(caller.take_dead_letters("classic").await.len(), 10);
    eventually("the quorum queue is back", SOON, async || caller.depth("quorum").await == Some(11)).await;
    assert_eq!(caller.take_dead_letters("quorum").await.len(), 11);
    let listed = own.with(|node| node.ctl(&["list_queues", "name"])).await;
    assert!(listed.contains("quorum") && listed.contains("classic"), "{listed}");
    let refused = own.node().ctl(&["frobnicate"]).unwrap_err();
    assert!(refused.to_string().starts_with("rabbitmqctl frobnicate failed"), "{refused}");
    let folder = own.node().folder().to_owned();
    drop(own);
    assert!(!folder.exists());
}

#[test]
fn redis_starts_dies_and_starts_again_on_its_port() {
    let mut server = Redis::start(redis::Options::default()).unwrap();
    let (port, folder) = (server.port(), server.folder().to_owned());
    assert!(answers(port));
    server.kill();
    assert!(!answers(port));
    server.start_again().unwrap();
    assert!(answers(port));
    drop(server);
    assert!(!answers(port) && !folder.exists());
    let options = redis::Options { lines: vec!["frobnicate yes".into()], ..Default::default() };
    let error = Redis::start(options).unwrap_err();
    assert!(matches!(error, Error::Ended { .. }) && error.to_string().contains("frobnicate"), "{error}");
}

/// Not a test: the process that [`a_killed_process_takes_its_brokers_along`] kills.
#[test]
#[ignore = "it waits to be killed"]
fn process_with_a_broker() {
    let mqtt = Mosquitto::start(mosquitto::Options::default()).unwrap();
    let amqp = RabbitMq::start(rabbitmq::Options::default()).unwrap();
    let results = Redis::start(redis::Options::default()).unwrap();
    println!("broker {} {}", mqtt.port(), mqtt.folder().display());
    println!("broker {} {}", results.port(), results.folder().display());
    println!("broker {} {}", amqp.port(), amqp.folder().display());
    println!("broker {} {}", amqp.epmd_port(), amqp.folder().display());
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}

#[tokio::test]
async fn a_killed_process_takes_its_brokers_along() {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "brokers::process_with_a_broker", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let brokers = lines.filter_map(|line| {
        let (port, folder) = line.strip_prefix("broker ")?.split_once(' ')?;
        Some((port.parse::<u16>().ok()?, PathBuf::from(folder)))
    });
    let brokers: Vec<(u16, PathBuf)> = brokers.take(4).collect();
    assert!(brokers.len() == 4 && brokers.iter().all(|(port, folder)| answers(*port) && folder.is_dir()));
    process.kill().unwrap();
    process.wait().unwrap();
    for (port, folder) in brokers {
        eventually("port and folder are free", SOON, async || !answers(port) && !folder.exists()).await;
    }
}

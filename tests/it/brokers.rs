//! The private brokers under every other test: they start, they die, they leave nothing behind.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use switchboard::demo::brokers::{Error, Mosquitto, mosquitto};

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

/// Not a test: the process that [`a_killed_process_takes_its_brokers_along`] kills.
#[test]
#[ignore = "it waits to be killed"]
fn process_with_a_broker() {
    let broker = Mosquitto::start(mosquitto::Options::default()).unwrap();
    println!("broker {} {}", broker.port(), broker.folder().display());
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}

#[test]
fn a_killed_process_takes_its_brokers_along() {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "brokers::process_with_a_broker", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let said = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("broker ").map(str::to_owned)).unwrap();
    let (port, folder) = said.split_once(' ').unwrap();
    let port = port.parse().unwrap();
    assert!(answers(port) && Path::new(folder).is_dir());
    process.kill().unwrap();
    process.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while answers(port) || Path::new(folder).exists() {
        assert!(Instant::now() < deadline, "the broker on port {port} or its folder {folder} is still there");
        std::thread::yield_now();
    }
}

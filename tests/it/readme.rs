//! What the README says is tried: its device in ten lines of Python, and the first command to it.

use crate::harness::eventually::eventually;
use crate::harness::worker::{self, Options, Worker};
use crate::harness::{mosquitto, rabbitmq, unique};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const README: &str = include_str!("../../README.md");
const LAMP: &str = include_str!("../../examples/lamp.py");
const SOON: Duration = Duration::from_secs(60);

#[test]
fn the_device_that_the_readme_shows_is_the_one_in_examples() {
    assert!(README.contains(&format!("```python\n{LAMP}```")), "README.md and examples/lamp.py differ");
}

/// A Python with paho-mqtt, made once and kept beside the build.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = venv.join("bin/python");
    let has_paho =
        || Command::new(&python).args(["-c", "import paho.mqtt"]).output().is_ok_and(|done| done.status.success());
    if !has_paho() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output().unwrap();
        assert!(made.status.success(), "python3 -m venv: {}", String::from_utf8_lossy(&made.stderr));
        let installed =
            Command::new(&python).args(["-m", "pip", "install", "--quiet", "paho-mqtt>=2,<3"]).output().unwrap();
        assert!(installed.status.success(), "pip install paho-mqtt: {}", String::from_utf8_lossy(&installed.stderr));
    }
    python
}

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_device_written_by_hand_answers_its_first_command() {
    let (amqp, mqtt) = (rabbitmq::shared().await, mosquitto::start());
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let queue = unique("commands");
    let options = Options { amqp_url: amqp.url(), mqtt_url: mqtt.url(), queue: queue.clone(), ..Options::default() };
    let _worker = Worker::start_ready(&options, SOON).await;
    let mut lamp = Command::new(python);
    lamp.args([concat!(env!("CARGO_MANIFEST_DIR"), "/examples/lamp.py"), &mqtt.port().to_string()])
        .stdout(Stdio::null());
    let _lamp = Ends(lamp.spawn().unwrap());
    let send = ["send", "my-lamp", "on", r#"{"level": 3}"#, "--json", "--queue", &queue];
    let urls = ["--amqp-url", &amqp.url(), "--mqtt-url", &mqtt.url()].map(str::to_owned);
    // Undeliverable until the lamp has subscribed.
    eventually("the lamp answers", SOON, async || {
        let arguments: Vec<&str> = send.iter().copied().chain(urls.iter().map(String::as_str)).collect();
        let sent = worker::run(&arguments, SOON).await;
        let said = String::from_utf8_lossy(&sent.stdout).into_owned();
        sent.status.success() && said.contains(r#""response":{"ok": true, "command": "on", "got": {"level": 3}}"#)
    })
    .await;
}

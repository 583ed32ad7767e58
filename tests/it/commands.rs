//! The commands of a requester, `send`, `bulk`, `call` and `check`, against real brokers: what they print and how they end.

use crate::harness::device::{Behaviour, Dialect, Fleet};
use crate::harness::worker::{Options, Worker, ended, err, out, run};
use crate::harness::{mosquitto, rabbitmq, unique};
use serde_json::Value;
use std::process::Output;
use std::time::Duration;
use switchboard::demo::brokers::Mosquitto;
use switchboard::demo::brokers::mosquitto::Options as MqttOptions;

const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// Brokers, devices and a worker.
struct Bench {
    mqtt: Mosquitto,
    fleet: Fleet,
    amqp_url: String,
    queue: String,
    _worker: Worker,
}

impl Bench {
    async fn start(name: &str) -> Self {
        let amqp_url = rabbitmq::shared().await.url();
        let mqtt = mosquitto::start();
        let fleet = Fleet::start(mqtt.port(), Dialect::Default).await;
        let queue = unique(name);
        let options =
            Options { amqp_url: amqp_url.clone(), mqtt_url: mqtt.url(), queue: queue.clone(), ..Options::default() };
        let worker = Worker::start_ready(&options, READY_WITHIN).await;
        Self { mqtt, fleet, amqp_url, queue, _worker: worker }
    }

    /// `send` or `bulk`.
    async fn queued(&self, arguments: &[&str]) -> Output {
        let places = ["--amqp-url", &self.amqp_url, "--queue", &self.queue];
        run(&[arguments, &places].concat(), DONE_WITHIN).await
    }

    async fn call(&self, arguments: &[&str]) -> Output {
        run(&[&["call"], arguments, &["--mqtt-url", &self.mqtt.url()]].concat(), DONE_WITHIN).await
    }
}

fn lines(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn send_brings_the_result_and_its_exit_code() {
    let bench = Bench::start("send").await;
    let sent = bench.queued(&["send", "garage-7", "open", "{\"speed\": 2}"]).await;
    ended(&sent, 0);
    assert!(
        out(&sent).starts_with("garage-7 open: succeeded\n{\n  \"echo\": {\n    \"speed\": 2\n  },\n"),
        "{}",
        out(&sent)
    );
    assert!(err(&sent).is_empty(), "a worker consumes, so there is nothing to warn of: {}", err(&sent));

    let json = bench.queued(&["send", "garage-7", "open", "--json"]).await;
    ended(&json, 0);
    let [result] = &lines(&json)[..] else { panic!("one line: {}", out(&json)) };
    assert_eq!((&result["status"], &result["executed"]), (&"succeeded".into(), &"yes".into()));

    bench.fleet.behave_as("door", Behaviour::Reject);
    let rejected = bench.queued(&["send", "door", "open"]).await;
    ended(&rejected, 1);
    assert!(out(&rejected).contains("door open: rejected") && out(&rejected).contains("busy: the door is blocked"));

    bench.fleet.behave_as("mute", Behaviour::Silent);
    let silent = bench.queued(&["send", "mute", "open", "--timeout", "200ms"]).await;
    ended(&silent, 1);
    assert!(out(&silent).contains("timed_out; nobody knows whether it was executed"), "{}", out(&silent));

    let one_way = bench.queued(&["send", "mute", "open", "--one-way"]).await;
    ended(&one_way, 0);

    let wrong = bench.queued(&["send", "a/+", "open"]).await;
    ended(&wrong, 1);
    assert!(out(&wrong).contains("invalid; surely not executed"), "{}", out(&wrong));

    let executed = bench.fleet.executed().len();
    let id = bench.queued(&["send", "later", "open", "--no-wait"]).await;
    ended(&id, 0);
    assert_eq!(out(&id).trim().len(), 26, "the job's id alone: {}", out(&id));
    bench.fleet.wait_for(executed + 1, DONE_WITHIN).await;
}

#[tokio::test]
async fn the_first_send_makes_the_queue_and_says_that_no_worker_is_there() {
    let amqp_url = rabbitmq::shared().await.url();
    let queue = unique("first");
    let arguments = ["send", "d", "c", "--timeout", "1ms", "--amqp-url", &amqp_url, "--queue", &queue];
    let sent = run(&arguments, DONE_WITHIN).await;
    ended(&sent, 1);
    for said in ["no worker consumes from the queue", "no result of the job", "switchboard check"] {
        assert!(err(&sent).contains(said), "{said} is not in {}", err(&sent));
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_2_and_its_password_is_not_shown() {
    let amqp = ["--amqp-url", "amqp://me:canary@127.0.0.1:1/%2f"];
    let mqtt = ["--mqtt-url", "mqtt://me:canary@127.0.0.1:1"];
    for (arguments, place) in
        [(&["send", "d", "c"][..], amqp), (&["bulk", "c", "--device", "d"], amqp), (&["call", "d", "c"], mqtt)]
    {
        let output = run(&[arguments, &place].concat(), DONE_WITHIN).await;
        ended(&output, 2);
        assert!(err(&output).contains("127.0.0.1:1") && !err(&output).contains("canary"), "{}", err(&output));
    }
    let check = run(&[&["check"], &amqp[..], &mqtt[..]].concat(), DONE_WITHIN).await;
    ended(&check, 1);
    assert_eq!(out(&check).matches("FAILED").count(), 2, "{}", out(&check));
    assert!(out(&check).contains("ok       memory: at most 22025 MiB"), "{}", out(&check));
    assert!(!out(&check).contains("canary"), "{}", out(&check));
}

#[tokio::test]
async fn call_goes_straight_to_the_device() {
    let mqtt = mosquitto::start();
    let fleet = Fleet::start(mqtt.port(), Dialect::Default).await;
    fleet.behave_as("door", Behaviour::Reject);
    let url = mqtt.url();
    let call =
        async |arguments: &[&str]| run(&[&["call"], arguments, &["--mqtt-url", &url]].concat(), DONE_WITHIN).await;
    let called = call(&["garage-7", "open", "{\"speed\": 2}"]).await;
    ended(&called, 0);
    assert!(out(&called).contains("\"speed\": 2"), "{}", out(&called));
    let rejected = call(&["door", "open", "--json"]).await;
    ended(&rejected, 1);
    assert_eq!(lines(&rejected)[0]["status"], "rejected");
    let invalid = call(&["a/+", "open"]).await;
    ended(&invalid, 1);
    assert!(out(&invalid).contains("invalid; surely not executed"), "{}", out(&invalid));
    fleet.wait_for(2, DONE_WITHIN).await;
}

#[tokio::test]
async fn bulk_streams_results_and_sums_them_up() {
    let bench = Bench::start("bulk").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a\n\nb\na\n{\"device\": \"c\", \"payload\": {\"own\": true}}\n").unwrap();
    let path = file.path().to_str().unwrap();
    let all = bench.queued(&["bulk", "open", "--devices", path, "--json"]).await;
    ended(&all, 0);
    let results = lines(&all);
    let (summary, results) = results.split_last().unwrap();
    assert_eq!((results.len(), &summary["total"], &summary["counts"]["succeeded"]), (3, &3.into(), &3.into()));
    let own = results.iter().find(|result| result["device"] == "c").unwrap();
    assert_eq!(own["response"]["echo"]["own"], true);

    bench.fleet.behave_as("b", Behaviour::Reject);
    let some = bench.queued(&["bulk", "open", "--device", "a", "--device", "b"]).await;
    ended(&some, 1);
    assert!(out(&some).starts_with("b: rejected (busy: the door is blocked)\n"), "{}", out(&some));
    assert!(
        out(&some).contains("succeeded           1\nrejected            1\ndevices             2"),
        "{}",
        out(&some)
    );

    std::fs::write(file.path(), "a\n{\"devise\": \"b\"}\n").unwrap();
    let wrong = bench.queued(&["bulk", "open", "--devices", path]).await;
    ended(&wrong, 64);
    assert!(err(&wrong).contains("line 2: unknown field `devise`"), "{}", err(&wrong));
}

#[tokio::test]
async fn check_says_what_it_finds() {
    let bench = Bench::start("check").await;
    let mqtt_url = bench.mqtt.url();
    let places = ["check", "--amqp-url", &bench.amqp_url, "--mqtt-url", &mqtt_url, "--queue", &bench.queue];
    let good = run(&places, DONE_WITHIN).await;
    ended(&good, 0);
    for line in
        ["ok       AMQP: connected", "as it should be, 1 consumers", "ok       profile default: an answer comes"]
    {
        assert!(out(&good).contains(line), "{line} is not in\n{}", out(&good));
    }
    let called = bench.call(&["garage-7", "open"]).await;
    ended(&called, 0);

    let other = unique("other");
    let queue = run(&[&places[..6], &[&other]].concat(), DONE_WITHIN).await;
    ended(&queue, 0);
    assert!(out(&queue).contains(&format!("queue {other}: does not exist yet")), "{}", out(&queue));
}

#[tokio::test]
async fn check_tells_a_broker_that_holds_packets_back() {
    let amqp_url = rabbitmq::shared().await.url();
    let queue = unique("slow");
    for (lines, delayed) in [(&[][..], false), (&["set_tcp_nodelay false".to_owned()], true)] {
        let mqtt = mosquitto::start_with(MqttOptions { lines: lines.to_vec(), ..Default::default() });
        let output =
            run(&["check", "--amqp-url", &amqp_url, "--mqtt-url", &mqtt.url(), "--queue", &queue], DONE_WITHIN).await;
        ended(&output, 0);
        assert_eq!(out(&output).contains("lacks TCP_NODELAY"), delayed, "{}", out(&output));
    }
}

#[tokio::test]
async fn check_names_the_broker_of_a_list_that_took_it_and_those_that_did_not() {
    let port = rabbitmq::shared().await.port();
    let mqtt = mosquitto::start();
    let list = format!("amqp://guest:guest@127.0.0.1:1/;127.0.0.1:{port}");
    let (mqtt_url, queue) = (mqtt.url(), unique("list"));
    let check = |url: String| {
        let (mqtt_url, queue) = (mqtt_url.clone(), queue.clone());
        async move { run(&["check", "--amqp-url", &url, "--mqtt-url", &mqtt_url, "--queue", &queue], DONE_WITHIN).await }
    };
    let some = check(list).await;
    ended(&some, 0);
    for words in
        ["warning  AMQP: no AMQP connection to 127.0.0.1:1: ", &format!("AMQP: connected to 127.0.0.1:{port}, one of")]
    {
        assert!(out(&some).contains(words), "{words} is not in\n{}", out(&some));
    }
    let none = check("amqp://guest:canary@127.0.0.1:1/;127.0.0.1:2".to_owned()).await;
    ended(&none, 1);
    let said = format!("{}{}", out(&none), err(&none));
    assert!(said.contains("127.0.0.1:1: ") && said.contains("127.0.0.1:2: ") && !said.contains("canary"), "{said}");
}

//! Scripted devices: one MQTT connection that answers for any number of them, and a log of what each one did.
//!
//! The client is a library's, as in a device of the field, and none of the code under test.

use super::eventually::found;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Filter, Packet, Publish, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a fleet may take to be connected and subscribed.
const READY_WITHIN: Duration = Duration::from_secs(20);
const RETRY_AFTER: Duration = Duration::from_millis(50);
const MAX_PACKET: u32 = 16 * 1024 * 1024;

/// How the devices are spoken to: the built-in profile of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `devices/{device}/commands/{command}/{inbox}/{seq}`, answered on `devices/{device}/responses/{inbox}/{seq}`.
    Default,
    /// `devices/{device}/request` and `…/response`, matched by `id` in the JSON.
    Json,
    /// `devices/{device}/commands/{command}` with response topic and correlation data.
    Mqtt5,
}

/// What a device does with a command. It counts as executed in every case.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Answers `{"ok": true, "echo": payload}`.
    Echo,
    /// Echoes after this long; too late, where that is longer than the job waits.
    Slow(Duration),
    /// Does not answer.
    Silent,
    /// Answers `{"error": {"code": "busy", "message": "the door is blocked"}}`.
    Reject,
    /// Echoes this many times.
    Duplicate(usize),
    /// Echoes with the retain flag.
    Retained,
    /// Answers with bytes that are neither JSON nor text.
    Garbage,
    /// Answers with a JSON text of this many bytes.
    Huge(usize),
    /// Answers in the name of the device `intruder`, on that device's topic, with everything else right.
    Spoof,
    /// Answers with this.
    Answer(Value),
    /// Answers with exactly these bytes.
    Bytes(&'static [u8]),
}

/// One command that a device executed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Executed {
    pub(crate) device: String,
    /// Empty where the request does not say (a JSON body without it).
    pub(crate) command: String,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// The job's id, as far as it arrived: the member `job` of the body, or the user property `job`.
    pub(crate) job: Option<String>,
    /// When it arrived: milliseconds since the Unix epoch.
    pub(crate) at: u64,
}

/// Any number of devices on one connection. Dropping it takes them all off the network without a word.
pub(crate) struct Fleet {
    client: AsyncClient,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    dialect: Dialect,
    behaviours: Mutex<(Behaviour, HashMap<String, Behaviour>)>,
    log: Mutex<Vec<Executed>>,
    ready: watch::Sender<bool>,
}

/// A command as it arrived, and where its answer goes.
struct Command {
    executed: Executed,
    answer: Option<Answer>,
}

struct Answer {
    topic: String,
    /// The `id` of a JSON request, which its answer repeats.
    id: Option<Value>,
    correlation: Option<Bytes>,
}

impl Fleet {
    /// Connects to the broker on this port of 127.0.0.1 and answers for every device there is, until told otherwise with
    /// [`Behaviour::Echo`]. Subscribed when it returns.
    pub(crate) async fn start(port: u16, dialect: Dialect) -> Self {
        let mut options = MqttOptions::new(super::unique("fleet"), "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(10)).set_clean_start(true).set_max_packet_size(Some(MAX_PACKET));
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, events) = AsyncClient::new(options, 10_000);
        let shared = Arc::new(Shared {
            dialect,
            behaviours: Mutex::new((Behaviour::Echo, HashMap::new())),
            log: Mutex::default(),
            ready: watch::Sender::new(false),
        });
        let task = tokio::spawn(run(events, client.clone(), Arc::clone(&shared)));
        let fleet = Self { client, shared, task };
        fleet.wait_subscribed().await;
        fleet
    }

    /// Waits until the devices hear what is sent to them: again, after their broker was away.
    pub(crate) async fn wait_subscribed(&self) {
        let mut ready = self.shared.ready.subscribe();
        let subscribed = tokio::time::timeout(READY_WITHIN, ready.wait_for(|ready| *ready)).await;
        subscribed.expect("the devices are subscribed in time").expect("their task runs");
    }

    /// What every device does that has no behaviour of its own.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.shared.behaviours.lock().unwrap().0 = behaviour;
    }

    /// What this device does.
    pub(crate) fn behave_as(&self, device: &str, behaviour: Behaviour) {
        self.shared.behaviours.lock().unwrap().1.insert(device.to_owned(), behaviour);
    }

    /// Everything that was executed so far, in the order of arrival.
    pub(crate) fn executed(&self) -> Vec<Executed> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Waits until this many commands were executed, and returns all there are.
    pub(crate) async fn wait_for(&self, count: usize, within: Duration) -> Vec<Executed> {
        let log = &self.shared.log;
        found(&format!("{count} commands are executed"), within, async || {
            let log = log.lock().unwrap();
            (log.len() >= count).then(|| log.clone())
        })
        .await
    }

    /// Publishes anything at QoS 1, as a device may at any time.
    pub(crate) async fn publish(&self, topic: &str, payload: impl Into<Bytes>, retain: bool) {
        let sent = self.client.publish_bytes(topic, QoS::AtLeastOnce, retain, payload.into()).await;
        sent.expect("the devices' connection takes a publish");
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Drives the connection, over every loss, and acts on each command in a task of its own.
async fn run(mut events: EventLoop, client: AsyncClient, shared: Arc<Shared>) {
    let filter = match shared.dialect {
        Dialect::Default | Dialect::Mqtt5 => "devices/+/commands/#",
        Dialect::Json => "devices/+/request",
    };
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) if connack.code == ConnectReturnCode::Success => {
                // Not awaited: the room that it may wait for is made by this very loop.
                let asked = client.try_subscribe_many([Filter::new(filter, QoS::AtLeastOnce)]);
                asked.expect("there is room for one subscription");
            }
            Ok(Event::Incoming(Packet::SubAck(suback))) => {
                let granted = suback.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)));
                assert!(granted, "the broker refuses the devices' subscription: {suback:?}");
                shared.ready.send_replace(true);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if let Some(command) = shared.dialect.read(&publish) {
                    shared.log.lock().unwrap().push(command.executed.clone());
                    let behaviours = shared.behaviours.lock().unwrap();
                    let own = behaviours.1.get(&command.executed.device);
                    let behaviour = own.unwrap_or(&behaviours.0).clone();
                    tokio::spawn(act(client.clone(), command, behaviour));
                }
            }
            Ok(_) => {}
            Err(_) => {
                shared.ready.send_replace(false);
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

impl Dialect {
    /// Reads a message as a command; `None` for a topic of another shape.
    fn read(self, publish: &Publish) -> Option<Command> {
        let topic = std::str::from_utf8(&publish.topic).ok()?;
        let body: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
        let text = |member: &str| body.get(member).and_then(Value::as_str).map(str::to_owned);
        let properties = publish.properties.clone().unwrap_or_default();
        let mut levels = topic.split('/').skip(1);
        let device = levels.next()?.to_owned();
        let (command, job, answer) = match self {
            Self::Default => {
                let command = levels.nth(1)?.to_owned();
                let path: Vec<&str> = levels.collect();
                let topic = format!("devices/{device}/responses/{}", path.join("/"));
                let answer = (path.len() == 2).then_some(Answer { topic, id: None, correlation: None });
                (command, text("job"), answer)
            }
            Self::Json => {
                let topic = format!("devices/{device}/response");
                let answer = body.get("id").map(|id| Answer { topic, id: Some(id.clone()), correlation: None });
                (text("command").unwrap_or_default(), text("job"), answer)
            }
            Self::Mqtt5 => {
                let job = properties.user_properties.iter().find(|(name, _)| name == "job");
                let correlation = properties.correlation_data;
                let answer = properties.response_topic.map(|topic| Answer { topic, id: None, correlation });
                (levels.nth(1)?.to_owned(), job.map(|(_, job)| job.clone()).or_else(|| text("job")), answer)
            }
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let executed = Executed { device, command, topic: topic.to_owned(), payload: publish.payload.clone(), job, at };
        Some(Command { executed, answer })
    }
}

async fn act(client: AsyncClient, command: Command, behaviour: Behaviour) {
    let Some(mut answer) = command.answer else { return };
    let with_id = |mut body: Value| {
        if let (Some(id), Some(members)) = (&answer.id, body.as_object_mut()) {
            members.insert("id".into(), id.clone());
        }
        Bytes::from(body.to_string())
    };
    let payload = serde_json::from_slice(&command.executed.payload).unwrap_or(Value::Null);
    let echo = with_id(json!({"ok": true, "echo": payload}));
    let (payload, times, retain) = match behaviour {
        Behaviour::Echo => (echo, 1, false),
        Behaviour::Slow(delay) => {
            tokio::time::sleep(delay).await;
            (echo, 1, false)
        }
        Behaviour::Silent => return,
        Behaviour::Reject => (with_id(json!({"error": {"code": "busy", "message": "the door is blocked"}})), 1, false),
        Behaviour::Duplicate(times) => (echo, times, false),
        Behaviour::Retained => (echo, 1, true),
        Behaviour::Garbage => (Bytes::from_static(b"\xff\x00\xfe{\""), 1, false),
        Behaviour::Huge(bytes) => {
            let frame = with_id(json!({"huge": ""})).len();
            (with_id(json!({"huge": "x".repeat(bytes.saturating_sub(frame))})), 1, false)
        }
        Behaviour::Spoof => {
            let own = format!("devices/{}/", command.executed.device);
            answer.topic = answer.topic.replacen(&own, "devices/intruder/", 1);
            (echo, 1, false)
        }
        Behaviour::Answer(body) => (with_id(body), 1, false),
        Behaviour::Bytes(bytes) => (Bytes::from_static(bytes), 1, false),
    };
    for _ in 0..times {
        let properties = PublishProperties { correlation_data: answer.correlation.clone(), ..Default::default() };
        let (topic, payload) = (answer.topic.clone(), payload.clone());
        let sent = client.publish_bytes_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties).await;
        // The fleet may be gone by now: then there is no device to answer.
        if sent.is_err() {
            return;
        }
    }
}

//! The harness against the real brokers, before anything is tested with it: devices answer, callers collect.

use crate::harness::caller::Caller;
use crate::harness::device::{Behaviour, Dialect, Fleet};
use crate::harness::{eventually::eventually, mosquitto, proxy::Proxy, rabbitmq, unique};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(20);

/// What a worker would be to the devices: it sends commands and sees everything that they publish.
struct Peer {
    client: AsyncClient,
    seen: mpsc::Receiver<Publish>,
}

impl Peer {
    async fn connect(port: u16, filter: &str) -> Self {
        let mut options = MqttOptions::new(unique("peer"), "127.0.0.1", port);
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut events) = AsyncClient::new(options, 100);
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let (sender, seen) = mpsc::channel(100);
        let (told, subscribed) = tokio::sync::oneshot::channel();
        let mut told = Some(told);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(told.take().map(|told| told.send(()))),
                    Event::Incoming(Packet::Publish(publish)) => sender.send(publish).await.unwrap(),
                    _ => {}
                }
            }
        });
        tokio::time::timeout(SOON, subscribed).await.unwrap().unwrap();
        Self { client, seen }
    }

    async fn send(&self, topic: &str, payload: &Value, properties: PublishProperties) {
        let payload = payload.to_string();
        let sent = self.client.publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties);
        sent.await.unwrap();
    }

    async fn next(&mut self) -> (String, Publish) {
        let publish = tokio::time::timeout(SOON, self.seen.recv()).await.expect("a device answers").unwrap();
        (String::from_utf8(publish.topic.to_vec()).unwrap(), publish)
    }
}

fn json_of(publish: &Publish) -> Value {
    serde_json::from_slice(&publish.payload).unwrap()
}

#[tokio::test]
async fn devices_of_the_default_profile_do_as_they_are_told() {
    let broker = mosquitto::start();
    let fleet = Fleet::start(broker.port(), Dialect::Default).await;
    let mut peer = Peer::connect(broker.port(), "devices/+/responses/#").await;
    for (device, behaviour) in [
        ("slow", Behaviour::Slow(Duration::from_millis(1))),
        ("silent", Behaviour::Silent),
        ("reject", Behaviour::Reject),
        ("twice", Behaviour::Duplicate(2)),
        ("garbage", Behaviour::Garbage),
        ("huge", Behaviour::Huge(5_000)),
        ("spoof", Behaviour::Spoof),
        ("answer", Behaviour::Answer(json!({"door": "open"}))),
    ] {
        fleet.behave_as(device, behaviour);
    }
    let mut ask = async |device: &str, answers: usize| {
        let topic = format!("devices/{device}/commands/open/inbox/7");
        peer.send(&topic, &json!({"job": "j1"}), PublishProperties::default()).await;
        let mut got = Vec::new();
        for _ in 0..answers {
            got.push(peer.next().await);
        }
        got
    };
    assert!(ask("silent", 0).await.is_empty());
    let echo = json!({"ok": true, "echo": {"job": "j1"}});
    for device in ["plain", "slow"] {
        let got = ask(device, 1).await;
        assert_eq!(
            (got[0].0.clone(), json_of(&got[0].1)),
            (format!("devices/{device}/responses/inbox/7"), echo.clone())
        );
    }
    assert_eq!(json_of(&ask("reject", 1).await[0].1)["error"]["code"], "busy");
    assert_eq!(ask("twice", 2).await.len(), 2);
    assert!(std::str::from_utf8(&ask("garbage", 1).await[0].1.payload).is_err());
    assert_eq!(ask("huge", 1).await[0].1.payload.len(), 5_000);
    assert_eq!(ask("spoof", 1).await[0].0, "devices/intruder/responses/inbox/7");
    assert_eq!(json_of(&ask("answer", 1).await[0].1), json!({"door": "open"}));
    let log = fleet.wait_for(9, SOON).await;
    assert!(log.iter().all(|executed| executed.command == "open" && executed.job.as_deref() == Some("j1")));
    assert_eq!((log[0].device.as_str(), log[0].topic.as_str()), ("silent", "devices/silent/commands/open/inbox/7"));
    assert!(log[0].at > 1_700_000_000_000 && log[0].payload == json!({"job": "j1"}).to_string().as_bytes());
}

#[tokio::test]
async fn devices_of_the_json_and_mqtt5_profiles_answer_where_they_are_asked_to() {
    let broker = mosquitto::start();
    let json_fleet = Fleet::start(broker.port(), Dialect::Json).await;
    let mqtt5_fleet = Fleet::start(broker.port(), Dialect::Mqtt5).await;
    let mut peer = Peer::connect(broker.port(), "devices/+/response").await;
    let request = json!({"id": "a1", "job": "j1", "command": "open", "payload": {"speed": 2}});
    peer.send("devices/lamp/request", &request, PublishProperties::default()).await;
    let (topic, answer) = peer.next().await;
    assert_eq!((topic.as_str(), &json_of(&answer)["id"]), ("devices/lamp/response", &json!("a1")));
    assert_eq!(json_fleet.executed()[0].job.as_deref(), Some("j1"));
    assert_eq!(json_fleet.executed()[0].command, "open");

    let mut peer = Peer::connect(broker.port(), "answers/here").await;
    let properties = PublishProperties {
        response_topic: Some("answers/here".into()),
        correlation_data: Some("c1".into()),
        user_properties: vec![("job".into(), "j2".into())],
        ..Default::default()
    };
    peer.send("devices/lamp/commands/close", &Value::Null, properties).await;
    let (_, answer) = peer.next().await;
    assert_eq!(answer.properties.unwrap().correlation_data.unwrap(), "c1");
    assert_eq!(mqtt5_fleet.executed()[0].job.as_deref(), Some("j2"));
    assert_eq!(mqtt5_fleet.executed()[0].command, "close");
}

#[tokio::test]
async fn devices_come_back_after_their_connection_was_cut_and_what_they_retain_stays() {
    let broker = mosquitto::start();
    let path = Proxy::to(broker.port()).await;
    let fleet = Fleet::start(path.addr().port(), Dialect::Default).await;
    fleet.behave(Behaviour::Retained);
    path.cut();
    let peer = Peer::connect(broker.port(), "nothing").await;
    eventually("a command is executed after the cut", SOON, async || {
        peer.send("devices/d/commands/open/inbox/7", &json!({}), PublishProperties::default()).await;
        !fleet.executed().is_empty()
    })
    .await;
    fleet.publish("devices/d/status", "online", true).await;
    for filter in ["devices/d/status", "devices/d/responses/#"] {
        eventually("the broker retains it", SOON, async || {
            let mut late = Peer::connect(broker.port(), filter).await;
            tokio::time::timeout(Duration::from_millis(200), late.seen.recv())
                .await
                .is_ok_and(|seen| seen.unwrap().retain)
        })
        .await;
    }
}

#[tokio::test]
async fn a_caller_publishes_with_confirms_and_collects_every_reply() {
    let caller = Caller::connect(&rabbitmq::shared().await.url()).await;
    let queue = unique("commands");
    assert_eq!(caller.depth(&queue).await, None);
    caller.declare(&queue, "quorum").await;
    caller.send(&queue, &json!({"id": "j1"})).await;
    eventually("the message is in the queue", SOON, async || caller.depth(&queue).await == Some(1)).await;

    let own = caller.properties().with_correlation_id("c".into()).with_message_id("m".into()).with_type("k".into());
    let own = (json!({"id": "j1"}).to_string().into_bytes(), own);
    caller.send_all(caller.reply_to(), [own.clone(), own]).await;
    let replies = caller.wait_for(2, SOON).await;
    assert_eq!(replies.len(), caller.replies().len());
    for reply in replies {
        assert_eq!(reply.body, json!({"id": "j1"}));
        let properties = [reply.correlation_id, reply.message_id, reply.kind];
        assert_eq!(properties.map(Option::unwrap), ["c", "m", "k"]);
    }
    let letters = caller.take_dead_letters(&queue).await;
    assert_eq!((letters.len(), letters[0].body.as_slice()), (1, &br#"{"id":"j1"}"#[..]));
    assert_eq!((&letters[0].message_id, &letters[0].reason), (&None, &None));
}

#[tokio::test]
#[should_panic(expected = "does not take it")]
async fn a_job_for_a_queue_that_is_not_there_fails_its_sender() {
    let caller = Caller::connect(&rabbitmq::shared().await.url()).await;
    caller.send(&unique("nobody"), &json!({})).await;
}

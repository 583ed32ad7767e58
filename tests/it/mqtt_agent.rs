//! The MQTT half against mosquitto: many users of one agent, and what the network does to them.

use crate::harness::scripted::{Said, Scripted};
use crate::harness::{eventually::eventually, mosquitto, proxy::Proxy, unique};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use switchboard::mqtt::{Agent, Error, Fate, LinkState, Message, Options, Protocol, Qos};

const SOON: Duration = Duration::from_secs(20);
const BOTH: [Protocol; 2] = [Protocol::V5, Protocol::V311];

async fn connect(url: &str, protocol: Protocol) -> Agent {
    let mut options = Options::new(url).unwrap();
    options.protocol = protocol;
    Agent::connect(options).await.unwrap()
}

fn path_of(message: &Message) -> &str {
    message.topic().rsplit('/').next().unwrap_or_default()
}

/// Answers each `ask/…` on `tell/…`, or where MQTT 5 says, with the payload it got.
async fn echo(url: &str, protocol: Protocol) -> tokio::task::JoinHandle<()> {
    let mut options = Options::new(url).unwrap();
    (options.protocol, options.reader_queue) = (protocol, 20_000);
    let device = Agent::connect(options).await.unwrap();
    let mut asked = device.subscribe("ask/#").await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let properties = message.properties.clone().unwrap_or_default();
            let topic = properties.response_topic.clone();
            let topic = topic.unwrap_or_else(|| message.topic().replacen("ask", "tell", 1));
            let answer = switchboard::mqtt::Properties { correlation: properties.correlation, ..Default::default() };
            let publish = device.publish(topic, message.payload).properties(answer);
            tokio::spawn(publish.into_future());
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_share_one_agent() {
    for protocol in BOTH {
        let broker = mosquitto::start();
        let device = echo(&broker.url(), protocol).await;
        let agent = connect(&broker.url(), protocol).await;
        let tasks = (0..100).map(|task| {
            let agent = agent.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let text = format!("{task}.{round}");
                    let request = agent.request(format!("ask/{text}"), text.clone());
                    let answer = request.reply_on(format!("tell/{text}")).within(SOON).await.unwrap();
                    assert_eq!((path_of(&answer), &answer.payload[..]), (&text[..], text.as_bytes()));
                }
            })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        device.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_at_once_each_get_their_own_answer() {
    let broker = mosquitto::start();
    let device = echo(&broker.url(), Protocol::V5).await;
    let agent = connect(&broker.url(), Protocol::V5).await;
    let requests = (0..10_000).map(|number| {
        let request = agent.request(format!("ask/{number}"), number.to_string()).within(Duration::from_secs(60));
        async move { (number, request.await) }
    });
    for (number, answer) in join_all(requests).await {
        assert_eq!(answer.unwrap().payload, number.to_string());
    }
    device.abort();
}

#[tokio::test]
async fn a_message_that_matches_many_filters_reaches_each_reader_once() {
    for protocol in BOTH {
        let broker = mosquitto::start();
        let agent = connect(&broker.url(), protocol).await;
        let filters = ["é/#", "é/+", "é/1", "#", "+/1", "é/1", "é/2"];
        let mut readers = join_all(filters.map(|filter| agent.subscribe(filter))).await;
        let mut own = agent.subscribe("$own/#").await.unwrap();
        for topic in ["é/1", "$own/1", "é/2"] {
            agent.publish(topic, topic).await.unwrap();
        }
        for (filter, reader) in filters.iter().zip(&mut readers) {
            let reader = reader.as_mut().unwrap();
            let mut got = Vec::new();
            // The last of them has come when an end that comes after it has.
            agent.publish("é/1", "end").await.unwrap();
            agent.publish("é/2", "end").await.unwrap();
            while let Ok(message) = reader.next_within(SOON).await {
                if message.payload == "end" {
                    break;
                }
                got.push(String::from_utf8(message.payload.to_vec()).unwrap());
            }
            let expected: Vec<_> = ["é/1", "é/2"]
                .into_iter()
                .filter(|topic| match *filter {
                    "é/1" | "+/1" => *topic == "é/1",
                    "é/2" => *topic == "é/2",
                    _ => true,
                })
                .collect();
            assert_eq!(got, expected, "{filter} {protocol:?}");
        }
        assert_eq!(own.next_within(SOON).await.unwrap().topic(), "$own/1");
    }
}

#[tokio::test]
async fn a_retained_message_is_never_an_answer_but_a_subscriber_sees_it() {
    for protocol in BOTH {
        let broker = mosquitto::start();
        let agent = connect(&broker.url(), protocol).await;
        agent.publish("tell/lamp", "stale").retain().await.unwrap();
        let mut reader = agent.subscribe("tell/+").await.unwrap();
        let kept = reader.next_within(SOON).await.unwrap();
        assert!(kept.retain && kept.payload == "stale");
        // Heard by somebody, or MQTT 5 says that nobody is there.
        let _listener = agent.subscribe("ask/lamp").await.unwrap();
        let request = agent.request("ask/lamp", "x").reply_on("tell/lamp").within(Duration::from_millis(300));
        assert_eq!(request.await, Err(Error::Timeout(Duration::from_millis(300))), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_request_that_nobody_hears_fails_at_once_where_the_broker_says_so() {
    let broker = mosquitto::start();
    let agent = connect(&broker.url(), Protocol::V5).await;
    assert_eq!(agent.publish("nobody", "x").await, Ok(Fate::NoSubscribers));
    assert_eq!(agent.publish("nobody", "x").qos(Qos::AtMostOnce).await, Ok(Fate::Written));
    let error = agent.request("nobody", "x").reply_on("tell").await.unwrap_err();
    assert!(matches!(error, Error::Undelivered(_)), "{error}");
    let older = connect(&broker.url(), Protocol::V311).await;
    assert_eq!(older.request("nobody", "x").await, Err(Error::NoReplyFilter));
}

#[tokio::test]
async fn a_slow_reader_loses_its_own_messages_and_delays_nobody() {
    let broker = mosquitto::start();
    let mut options = Options::new(&broker.url()).unwrap();
    options.reader_queue = 10;
    let agent = Agent::connect(options).await.unwrap();
    let mut slow = agent.subscribe("t").await.unwrap();
    let mut quick = agent.subscribe("t").await.unwrap();
    for number in 0..50 {
        agent.publish("t", number.to_string()).await.unwrap();
        assert_eq!(quick.next_within(SOON).await.unwrap().payload, number.to_string());
    }
    assert_eq!((slow.lagged(), quick.lagged()), (40, 0));
    assert_eq!(slow.next_within(SOON).await.unwrap().payload, "0", "the oldest ones are kept");
}

#[tokio::test]
async fn a_filter_has_one_subscription_however_many_users_and_none_a_while_after_the_last() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        options.linger = Duration::from_millis(100);
        let (agent, mut link) = tokio::join!(Agent::connect(options), broker.accept_new());
        let agent = agent.unwrap();
        let (first, _) = tokio::join!(agent.subscribe("a/+"), link.grant());
        let others = join_all((0..100).map(|_| agent.subscribe("a/+"))).await;
        assert!(others.iter().all(Result::is_ok));
        drop(others);
        assert_eq!(link.next_within(Duration::from_millis(300)).await, None, "one of them still reads");
        drop(first);
        let Said::Unsubscribe { pkid, filters } = link.next().await else { panic!("no UNSUBSCRIBE") };
        assert_eq!(filters, ["a/+"]);
        // A user who comes meanwhile waits for the answer, and is then subscribed anew.
        let comes_back = tokio::spawn({
            let agent = agent.clone();
            async move { agent.subscribe("a/+").await }
        });
        assert_eq!(link.next_within(Duration::from_millis(50)).await, None);
        link.unsuback(pkid, 1).await;
        assert_eq!(link.grant().await, ["a/+"]);
        comes_back.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn two_clients_with_one_id_are_told_what_is_wrong_also_by_a_broker_that_does_not_say() {
    let broker = mosquitto::start();
    for protocol in BOTH {
        let mut options = Options::new(&broker.url()).unwrap();
        (options.protocol, options.client_id) = (protocol, unique("twin"));
        options.backoff_min = Duration::from_millis(1);
        let twins = [Agent::start(options.clone()), Agent::start(options)];
        let mut state = twins[0].state();
        let told = state.wait_for(|state| matches!(state, LinkState::Down { reason } if reason.contains("twin")));
        tokio::time::timeout(SOON, told).await.expect("the id is suspected").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_under_load_leaves_no_publish_without_a_fate_and_none_sent_twice() {
    for protocol in BOTH {
        let mut broker = mosquitto::start();
        let mut options = Options::new(&broker.url()).unwrap();
        (options.protocol, options.backoff_max) = (protocol, Duration::from_millis(200));
        let agent = Agent::connect(options.clone()).await.unwrap();
        options.client_id = unique("watcher");
        options.reader_queue = 100_000;
        let watcher = Agent::connect(options).await.unwrap();
        let mut seen = watcher.subscribe("load/#").await.unwrap();
        let load = {
            let agent = agent.clone();
            tokio::spawn(async move {
                let senders = (0..50).map(|sender| {
                    let agent = agent.clone();
                    tokio::spawn(async move {
                        let mut fates = Vec::new();
                        for number in 0..60 {
                            let topic = format!("load/{sender}/{number}");
                            let publish = agent.publish(topic, format!("{sender}/{number}"));
                            fates.push((format!("{sender}/{number}"), publish.within(SOON).await.unwrap()));
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        fates
                    })
                });
                join_all(senders).await.into_iter().flat_map(Result::unwrap).collect::<BTreeMap<_, _>>()
            })
        };
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(80)).await;
            broker = tokio::task::spawn_blocking(move || {
                broker.kill();
                broker.start_again().unwrap();
                broker
            })
            .await
            .unwrap();
            for one in [&agent, &watcher] {
                eventually("both are connected again", SOON, async || one.state().borrow().is_up()).await;
            }
        }
        let fates = load.await.unwrap();
        assert_eq!(fates.len(), 3000);
        watcher.publish("load/end", "end").await.unwrap();
        let mut arrived = BTreeMap::<String, usize>::new();
        loop {
            let message = seen.next_within(SOON).await.unwrap();
            if message.payload == "end" {
                break;
            }
            *arrived.entry(String::from_utf8(message.payload.to_vec()).unwrap()).or_default() += 1;
        }
        let mut tally = BTreeMap::<String, usize>::new();
        for (key, fate) in &fates {
            *tally.entry(format!("{fate:?}")).or_default() += 1;
            assert!(matches!(fate, Fate::Acknowledged | Fate::NoSubscribers | Fate::Unknown), "{key}: {fate:?}");
        }
        println!("{protocol:?}: {tally:?}, {} arrived", arrived.len());
        assert!(arrived.values().all(|times| *times == 1), "{arrived:?}");
    }
}

#[tokio::test]
async fn a_request_under_way_outlives_a_cut_of_the_connection() {
    let broker = mosquitto::start();
    let path = Proxy::to(broker.port()).await;
    let mut options = Options::new(&format!("mqtt://{}", path.addr())).unwrap();
    options.backoff_min = Duration::from_millis(1);
    let agent = Agent::connect(options).await.unwrap();
    let device = connect(&broker.url(), Protocol::V5).await;
    let mut asked = device.subscribe("ask").await.unwrap();
    let request = tokio::spawn(agent.request("ask", "x").reply_on("tell").within(SOON).into_future());
    asked.next_within(SOON).await.unwrap();
    path.cut();
    let mut state = agent.state();
    let back = state.wait_for(|state| *state == LinkState::Up { epoch: 2 });
    tokio::time::timeout(SOON, back).await.unwrap().unwrap();
    device.publish("tell", "answer").await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().payload, "answer");
}

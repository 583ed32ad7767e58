//! A broker that is slow, silent, wrong or stingy, as no real one can be made to be.

use crate::harness::scripted::{BOTH, Said, Scripted, packet};
use crate::mqtt_peer::{SOON, connected, fate, is_down, publish};
use std::time::{Duration, Instant};
use switchboard::mqtt::{Agent, Fate, NotSent, Protocol};

#[tokio::test]
async fn acknowledgements_of_nothing_and_repeated_ones_do_no_harm() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let (agent, mut link) = connected(&broker, broker.options()).await;
        for pkid in [1, 2, 77, 65_535] {
            link.puback(pkid).await;
            link.suback(pkid, &[0]).await;
            link.unsuback(pkid, 1).await;
        }
        // PUBREL of a QoS 2 message from an older session.
        link.send(&packet(0x62, &[0, 9])).await;
        for payload in ["a", "b"] {
            let sent = publish(&agent, payload);
            let (pkid, got) = link.next_publish().await;
            assert_eq!(got, payload);
            link.suback(pkid, &[1]).await;
            link.unsuback(pkid, 1).await;
            link.puback(pkid).await;
            link.puback(pkid).await;
            assert_eq!(fate(sent).await, Fate::Acknowledged);
        }
    }
}

#[tokio::test]
async fn a_refused_publish_is_told_and_gives_its_place_in_the_window_back() {
    let broker = Scripted::start(Protocol::V5).await;
    // Receive maximum 1.
    let (agent, mut link) = tokio::join!(Agent::connect(broker.options()), broker.accept_with(false, &[33, 0, 1]));
    let agent = agent.unwrap();
    for code in [0x97, 0x87, 0x10, 0x80] {
        let (first, second) = (publish(&agent, "first"), publish(&agent, "second"));
        let (pkid, _) = link.next_publish().await;
        assert_eq!(link.next_within(Duration::from_millis(30)).await, None, "over the receive maximum");
        link.send(&packet(0x40, &[(pkid >> 8) as u8, pkid as u8, code])).await;
        let (pkid, _) = link.next_publish().await;
        link.puback(pkid).await;
        let mut fates = [fate(first).await, fate(second).await];
        fates.sort_by_key(|fate| *fate == Fate::Acknowledged);
        match &fates {
            [Fate::NoSubscribers, Fate::Acknowledged] => assert_eq!(code, 0x10),
            [Fate::Refused(refusal), Fate::Acknowledged] => assert_eq!(refusal.code, code),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_smaller_window_after_a_reconnect_is_kept_to() {
    let broker = Scripted::start(Protocol::V5).await;
    let (agent, mut link) = connected(&broker, broker.options()).await;
    let _first: Vec<_> = (0..5).map(|number| publish(&agent, &number.to_string())).collect();
    for _ in 0..5 {
        link.next_publish().await;
    }
    link.reset();
    let mut link = broker.accept_with(false, &[33, 0, 2]).await;
    let sent: Vec<_> = (0..4).map(|number| publish(&agent, &number.to_string())).collect();
    let pkids = [link.next_publish().await.0, link.next_publish().await.0];
    assert_eq!(link.next_within(Duration::from_millis(30)).await, None);
    for pkid in pkids {
        link.puback(pkid).await;
    }
    let served = tokio::spawn(link.serve());
    for sent in sent {
        assert_eq!(fate(sent).await, Fate::Acknowledged);
    }
    agent.close().await;
    served.await.unwrap();
}

#[tokio::test]
async fn a_full_window_holds_up_neither_acknowledgements_nor_subscriptions() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        options.max_inflight = 1;
        let (agent, mut link) = connected(&broker, options).await;
        let _stuck = [publish(&agent, "a"), publish(&agent, "b")];
        link.next_publish().await;
        let (subscription, _) = tokio::join!(agent.subscribe("a"), link.grant());
        link.publish("a", Some(5), b"x").await;
        assert_eq!(link.next().await, Said::PubAck(5));
        assert_eq!(subscription.unwrap().next_within(SOON).await.unwrap().payload, "x");
    }
}

#[tokio::test]
async fn a_queue_of_one_is_slow_but_not_stuck_even_for_a_reader_that_publishes() {
    let broker = Scripted::start(Protocol::V5).await;
    let mut options = broker.options();
    options.queue = 1;
    let (agent, mut link) = connected(&broker, options).await;
    let (subscription, _) = tokio::join!(agent.subscribe("a"), link.grant());
    let mut subscription = subscription.unwrap();
    for _ in 0..50 {
        link.publish("a", None, b"x").await;
    }
    let served = tokio::spawn(link.serve());
    for _ in 0..50 {
        subscription.next_within(SOON).await.unwrap();
        assert_eq!(agent.publish("t", "x").await, Ok(Fate::Acknowledged));
    }
    agent.close().await;
    served.await.unwrap();
}

#[tokio::test]
async fn a_message_too_large_in_either_direction_costs_no_connection() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        options.max_incoming = 10_000;
        // The broker takes 1000 bytes.
        let accepted = broker.accept_with(false, &[39, 0, 0, 3, 232]);
        let (agent, mut link) = tokio::join!(Agent::connect(options), accepted);
        let agent = agent.unwrap();
        if protocol == Protocol::V5 {
            let fate = agent.publish("t", vec![0; 1000]).await.unwrap();
            assert!(matches!(fate, Fate::NotSent(NotSent::TooLarge { limit: 1000, .. })), "{fate:?}");
        }
        let (subscription, _) = tokio::join!(agent.subscribe("a"), link.grant());
        link.publish("a", Some(6), &[b'x'; 3_000_000]).await;
        assert_eq!(link.next().await, Said::PubAck(6), "or it would come again for ever");
        link.publish("a", Some(7), b"small").await;
        assert_eq!(link.next().await, Said::PubAck(7));
        assert_eq!(subscription.unwrap().next_within(SOON).await.unwrap().payload, "small");
    }
}

#[tokio::test]
async fn a_server_keep_alive_of_zero_makes_no_storm_of_pings() {
    let broker = Scripted::start(Protocol::V5).await;
    let mut options = broker.options();
    options.keep_alive = Duration::from_secs(1);
    let (agent, mut link) = tokio::join!(Agent::connect(options), broker.accept_with(false, &[19, 0, 0]));
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(link.next().await, Said::Ping);
        link.send(&[0xD0, 0]).await;
    }
    assert!(start.elapsed() > Duration::from_millis(1300), "three pings within {:?}", start.elapsed());
    assert!(agent.unwrap().state().borrow().is_up());
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_left_after_its_keep_alive() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        options.keep_alive = Duration::from_secs(1);
        let (agent, mut link) = connected(&broker, options).await;
        let start = Instant::now();
        assert!(is_down(&agent).await.contains("nothing came"));
        assert!(start.elapsed() < Duration::from_secs(4));
        assert_eq!((link.next().await, link.next().await), (Said::Ping, Said::Gone));
    }
}

#[tokio::test]
async fn a_broker_that_stops_reading_is_left_although_it_goes_on_sending() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        options.keep_alive = Duration::from_secs(1);
        let (agent, mut link) = connected(&broker, options).await;
        let sent: Vec<_> = (0..40)
            .map(|_| {
                let publish = agent.publish("t", vec![b'x'; 500_000]).within(Duration::from_secs(1));
                tokio::spawn(async move { publish.await })
            })
            .collect();
        let reason = tokio::select! {
            reason = is_down(&agent) => reason,
            () = async {
                loop {
                    link.send(&[0xD0, 0]).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            } => unreachable!(),
        };
        assert!(reason.contains("read nothing"), "{reason}");
        drop(link);
        for sent in sent {
            let fate = fate(sent).await;
            assert!(matches!(fate, Fate::Unknown | Fate::NotSent(NotSent::Expired)), "{fate:?}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_never_acknowledges_makes_a_publish_unknown_and_is_left_when_the_window_is_gone() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        (options.ack_timeout, options.max_inflight) = (Duration::from_millis(100), 2);
        let (agent, mut link) = connected(&broker, options).await;
        let first = publish(&agent, "first");
        let (pkid, _) = link.next_publish().await;
        assert_eq!(fate(first).await, Fate::Unknown);
        assert!(agent.state().borrow().is_up(), "one is missing, the others go on");
        link.puback(pkid).await;
        let both = [publish(&agent, "a"), publish(&agent, "b")];
        for sent in both {
            assert_eq!(fate(sent).await, Fate::Unknown);
        }
        let link = broker.accept_new().await;
        let served = tokio::spawn(link.serve());
        assert_eq!(fate(publish(&agent, "again")).await, Fate::Acknowledged);
        agent.close().await;
        served.await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_does_not_answer_a_subscription_is_left_and_the_next_one_grants_it() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        options.ack_timeout = Duration::from_millis(100);
        let (agent, mut link) = connected(&broker, options).await;
        let subscriber = agent.clone();
        let subscription = tokio::spawn(async move { subscriber.subscribe("a").await });
        assert!(matches!(link.next().await, Said::Subscribe { .. }));
        assert_eq!(link.next().await, Said::Gone);
        assert_eq!(broker.accept_new().await.grant().await, ["a"]);
        subscription.await.unwrap().unwrap();
    }
}

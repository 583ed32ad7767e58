//! Cuts and outages, against a scripted broker: what was sent, what was not, and what comes first afterwards.

use crate::harness::scripted::{BOTH, Said, Scripted};
use crate::mqtt_peer::{connected, fate, publish};
use std::time::{Duration, Instant};
use switchboard::mqtt::{Agent, Fate, NotSent, Protocol};

#[tokio::test]
async fn a_publish_begun_before_a_cut_is_unknown_and_never_sent_again_and_one_not_begun_is_sent_once_after_it() {
    for protocol in BOTH {
        for session_present in [false, true] {
            let broker = Scripted::start(protocol).await;
            let mut options = broker.options();
            options.max_inflight = 3;
            let (agent, mut link) = connected(&broker, options).await;
            let mut sent = Vec::new();
            for number in 0..3 {
                sent.push(publish(&agent, &number.to_string()));
                assert_eq!(link.next_publish().await.1, number.to_string());
            }
            sent.extend((3..6).map(|number| publish(&agent, &number.to_string())));
            link.reset();
            let link = broker.accept_with(session_present, &[]).await;
            let served = tokio::spawn(link.serve());
            for (number, sent) in sent.into_iter().enumerate() {
                let expected = if number < 3 { Fate::Unknown } else { Fate::Acknowledged };
                assert_eq!(fate(sent).await, expected, "{number} {protocol:?}");
            }
            agent.close().await;
            let said = served.await.unwrap();
            let mut payloads = Vec::new();
            for said in &said[..said.len() - 1] {
                let Said::Publish { payload, dup: false, .. } = said else { panic!("{said:?}") };
                payloads.push(payload.clone());
            }
            payloads.sort();
            assert_eq!(payloads, ["3", "4", "5"], "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn what_was_asked_before_there_was_a_connection_is_done_when_there_is_one_subscriptions_first() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let agent = Agent::start(broker.options());
        let subscriber = agent.clone();
        let subscription = tokio::spawn(async move { subscriber.subscribe("a/+").await });
        tokio::task::yield_now().await;
        let sent: Vec<_> = (0..5).map(|number| publish(&agent, &number.to_string())).collect();
        let mut link = broker.accept_new().await;
        assert_eq!(link.grant().await, ["a/+"]);
        let served = tokio::spawn(link.serve());
        for sent in sent {
            assert_eq!(fate(sent).await, Fate::Acknowledged);
        }
        subscription.await.unwrap().unwrap();
        agent.close().await;
        served.await.unwrap();
    }
}

#[tokio::test]
async fn after_a_reconnect_nothing_is_published_before_the_subscriptions_are_granted_again() {
    for protocol in BOTH {
        // A broker that says it kept the session may be wrong: everything is subscribed again all the same.
        for session_present in [false, true] {
            let broker = Scripted::start(protocol).await;
            let (agent, mut link) = connected(&broker, broker.options()).await;
            let (kept, _) = tokio::join!(agent.subscribe("a"), link.grant());
            let (gone, _) = tokio::join!(agent.subscribe("b/#"), link.grant());
            drop(gone);
            link.reset();
            let mut link = broker.accept_with(session_present, &[]).await;
            let sent = publish(&agent, "x");
            let Said::Subscribe { pkid, filters, .. } = link.next().await else { panic!("no SUBSCRIBE") };
            assert_eq!(filters, ["a"], "{protocol:?}");
            if session_present {
                let Said::Unsubscribe { pkid, filters } = link.next().await else { panic!("no UNSUBSCRIBE") };
                assert_eq!(filters, ["b/#"], "what nobody reads any more is not left with the broker");
                link.unsuback(pkid, 1).await;
            }
            assert_eq!(link.next_within(Duration::from_millis(50)).await, None, "published before the grant");
            assert!(!agent.state().borrow().is_up());
            link.suback(pkid, &[1]).await;
            assert_eq!(link.next_publish().await.1, "x");
            drop((kept, sent));
        }
    }
}

#[tokio::test]
async fn a_publish_that_waits_through_an_outage_expires_on_time_and_never_arrives_late() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let agent = Agent::start(broker.options());
        let start = Instant::now();
        let fate = agent.publish("t", "late").within(Duration::from_millis(80)).await.unwrap();
        assert_eq!(fate, Fate::NotSent(NotSent::Expired));
        assert!(start.elapsed() >= Duration::from_millis(80) && start.elapsed() < Duration::from_secs(3));
        let mut link = broker.accept_new().await;
        let _sent = publish(&agent, "in time");
        assert_eq!(link.next_publish().await.1, "in time");
    }
}

#[tokio::test]
async fn a_publish_whose_future_is_dropped_before_it_was_sent_is_not_sent() {
    let broker = Scripted::start(Protocol::V5).await;
    let agent = Agent::start(broker.options());
    let dropped = publish(&agent, "dropped");
    tokio::task::yield_now().await;
    dropped.abort();
    drop(dropped.await);
    let mut link = broker.accept_new().await;
    let _sent = publish(&agent, "kept");
    assert_eq!(link.next_publish().await.1, "kept");
}

#[tokio::test]
async fn hundreds_of_dropped_futures_leave_the_connection_working() {
    let broker = Scripted::start(Protocol::V5).await;
    let (agent, link) = connected(&broker, broker.options()).await;
    let served = tokio::spawn(link.serve());
    for round in 0..300u64 {
        let limit = Duration::from_micros(round * 7 % 400);
        let request = agent.request("t", "x").reply_on(format!("answers/{}", round % 7)).within(Duration::from_secs(5));
        drop(tokio::time::timeout(limit, request.into_future()).await);
        drop(tokio::time::timeout(limit, agent.publish("t", "x").into_future()).await);
    }
    assert_eq!(fate(publish(&agent, "still alive")).await, Fate::Acknowledged);
    agent.close().await;
    served.await.unwrap();
}

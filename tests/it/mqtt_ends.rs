//! How an agent begins and ends, and what it refuses to begin.

use crate::harness::scripted::{BOTH, Said, Scripted, packet};
use crate::mqtt_peer::{SOON, connected, fate, is_closed, publish};
use std::time::Duration;
use switchboard::mqtt::{Agent, Error, Fate, LinkState, NotSent, Protocol, Qos};

#[tokio::test]
async fn a_refused_subscription_fails_at_once_and_one_refused_later_ends_its_stream() {
    for protocol in BOTH {
        let code = if protocol == Protocol::V5 { 0x87 } else { 0x80 };
        let broker = Scripted::start(protocol).await;
        let (agent, mut link) = connected(&broker, broker.options()).await;
        let refuse = async {
            let Said::Subscribe { pkid, .. } = link.next().await else { panic!("no SUBSCRIBE") };
            link.suback(pkid, &[code]).await;
        };
        let (refused, ()) = tokio::join!(agent.subscribe("secret"), refuse);
        let text = refused.err().unwrap().to_string();
        assert!(text.contains("secret") && text.contains(&format!("{code:X}")), "{text}");
        let (subscription, _) = tokio::join!(agent.subscribe("a"), link.grant());
        let mut subscription = subscription.unwrap();
        link.reset();
        let mut link = broker.accept_new().await;
        let Said::Subscribe { pkid, .. } = link.next().await else { panic!("no SUBSCRIBE") };
        link.suback(pkid, &[code]).await;
        assert_eq!(tokio::time::timeout(SOON, subscription.next()).await.unwrap().map(|m| m.payload), None);
        assert!(matches!(subscription.error(), Some(Error::Refused { filter, .. }) if filter == "a"));
        let _sent = publish(&agent, "x");
        assert_eq!(link.next_publish().await.1, "x", "a refusal holds nothing up");
    }
}

#[tokio::test]
async fn subscription_identifiers_are_left_out_where_the_broker_has_none() {
    for (properties, expected) in [(&[][..], Some(1)), (&[41, 0][..], None)] {
        let broker = Scripted::start(Protocol::V5).await;
        let (agent, mut link) = tokio::join!(Agent::connect(broker.options()), broker.accept_with(false, properties));
        let agent = agent.unwrap();
        let subscription = tokio::spawn(async move { agent.subscribe("a").await });
        let said = link.next().await;
        assert!(matches!(said, Said::Subscribe { id, .. } if id == expected), "{said:?}");
        subscription.abort();
    }
}

#[tokio::test]
async fn a_takeover_is_fatal_and_says_so_even_under_load_and_an_ordinary_disconnect_is_not() {
    let broker = Scripted::start(Protocol::V5).await;
    let (agent, mut link) = connected(&broker, broker.options()).await;
    link.send(&packet(0xE0, &[0x8B])).await;
    drop(link);
    let link = broker.accept_new().await;
    let served = tokio::spawn(link.serve());
    let load: Vec<_> = (0..200).map(|_| publish(&agent, "x")).collect();
    for sent in load {
        assert_eq!(fate(sent).await, Fate::Acknowledged);
    }
    served.abort();
    drop(served.await);
    let mut link = broker.accept_new().await;
    let load: Vec<_> = (0..200).map(|_| publish(&agent, &"x".repeat(10_000))).collect();
    link.next_publish().await;
    link.send(&packet(0xE0, &[0x8E])).await;
    link.reset_after_sending().await;
    let reason = is_closed(&agent).await;
    assert!(reason.contains("client id"), "{reason}");
    for sent in load {
        let fate = fate(sent).await;
        assert!(matches!(fate, Fate::Unknown | Fate::NotSent(NotSent::Closed)), "{fate:?}");
    }
    assert_eq!(agent.publish("t", "x").await, Err(Error::Closed));
    assert_eq!(agent.subscribe("t").await.err(), Some(Error::Closed));
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_an_error_that_says_why() {
    for protocol in BOTH {
        let refused = if protocol == Protocol::V5 { packet(0x20, &[0, 0x87, 0]) } else { packet(0x20, &[0, 5]) };
        let broker = Scripted::start(protocol).await;
        let refuse = async {
            let mut link = broker.accept().await;
            link.next().await;
            link.send(&refused).await;
        };
        let (error, ()) = tokio::join!(Agent::connect(broker.options()), refuse);
        let text = error.err().unwrap().to_string();
        assert!(text.contains("NotAuthorized") && text.contains("127.0.0.1"), "{text}");

        let silent = Scripted::start(protocol).await;
        let mut options = silent.options();
        options.connect_timeout = Duration::from_millis(100);
        let (error, _link) = tokio::join!(Agent::connect(options), silent.accept());
        assert!(matches!(error.err(), Some(Error::Connect { .. })));
    }
}

#[tokio::test]
async fn a_close_sends_what_it_had_taken_disconnects_and_does_not_come_back() {
    for protocol in BOTH {
        let broker = Scripted::start(protocol).await;
        let mut options = broker.options();
        options.max_inflight = 2;
        let (agent, link) = connected(&broker, options).await;
        let sent: Vec<_> = (0..20).map(|number| publish(&agent, &number.to_string())).collect();
        // Every publish is with the agent once its task has been polled.
        tokio::task::yield_now().await;
        let (served, ()) = tokio::join!(link.serve(), agent.close());
        for sent in sent {
            assert_eq!(fate(sent).await, Fate::Acknowledged);
        }
        assert_eq!((served.len(), served.last()), (21, Some(&Said::Disconnect)));
        // The task that would reconnect is gone, and with it the other end of the state.
        let mut state = agent.state();
        assert!(matches!(&*state.borrow_and_update(), LinkState::Closed { .. }));
        assert!(state.changed().await.is_err());
        assert_eq!(agent.publish("t", "x").await, Err(Error::Closed));
    }
}

#[tokio::test]
async fn the_last_handle_dropped_disconnects() {
    let broker = Scripted::start(Protocol::V5).await;
    let (agent, mut link) = connected(&broker, broker.options()).await;
    drop(agent);
    assert_eq!(link.next().await, Said::Disconnect);
}

#[tokio::test]
async fn an_idle_agent_says_nothing_and_what_mqtt_cannot_carry_is_never_sent() {
    let broker = Scripted::start(Protocol::V5).await;
    let (agent, mut link) = connected(&broker, broker.options()).await;
    for bad in ["", "a/+", "#", "a\0b", "a\nb", &"x".repeat(65_536)] {
        assert!(matches!(agent.publish(bad, "x").await, Err(Error::Topic { .. })), "{bad:?}");
        assert!(matches!(agent.request(bad, "x").await, Err(Error::Topic { .. })), "{bad:?}");
    }
    for bad in ["", "a/#/b", "a+", "$share/g/a"] {
        assert!(agent.subscribe(bad).await.is_err(), "{bad:?}");
    }
    let mut properties = [(); 4].map(|()| switchboard::mqtt::Properties::default());
    properties[0].response_topic = Some("a/+".to_owned());
    properties[1].content_type = Some("x".repeat(70_000));
    properties[2].user = vec![("line".to_owned(), "feed\n".to_owned())];
    properties[3].correlation = Some(vec![0; 70_000].into());
    for bad in properties {
        assert!(agent.publish("t", "x").properties(bad.clone()).await.is_err(), "{bad:?}");
    }
    assert_eq!(link.next_within(Duration::from_millis(50)).await, None);
    let _sent = agent.publish("t", "x").qos(Qos::AtMostOnce).await.unwrap();
    assert_eq!(link.next_publish().await, (0, "x".to_owned()));
}

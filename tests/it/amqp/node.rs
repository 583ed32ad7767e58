//! What happens to the whole broker: an alarm, a crash, certificates. On nodes of the tests' own.

use super::*;
use crate::harness::mosquitto::certificates;
use crate::harness::rabbitmq::OwnNode;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use switchboard::amqp::{LinkState, TlsFiles};
use switchboard::demo::brokers::rabbitmq::RabbitMq;

async fn both(url: &str) -> (Connection, Connection, String) {
    let name = unique("amqp");
    let publishing = Connection::start(options(url, &name), "publish");
    let consuming = Connection::start(options(url, &name), "consume");
    for connection in [&publishing, &consuming] {
        connection.up(PATIENCE).await.unwrap();
    }
    (publishing, consuming, name)
}

#[tokio::test]
async fn an_alarm_stops_publishing_until_it_is_over_and_acks_go_on_meanwhile() {
    let mut own = OwnNode::start(&[]).await;
    let (publishing, connection, name) = both(&own.node().url()).await;
    let jobs = jobs(&name, QueueKind::Quorum);
    jobs.apply(&connection).await.unwrap();
    fill(&publishing, &name, 5).await;
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 10);
    let held = take(&mut deliveries, 5).await;
    let mut patient = options("", &name);
    // Shorter than the alarm: a wait that the broker explains must not count against the channel.
    patient.confirm_timeout = Duration::from_secs(1);
    let publisher = Publisher::start(publishing.clone(), patient);

    own.with(|node| node.ctl(&["set_vm_memory_high_watermark", "0.00001"])).await;
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let (publisher, name) = (publisher.clone(), name.clone());
            tokio::spawn(async move { publisher.publish(Address::queue(name), message(number), true).await })
        })
        .collect();
    let mut state = publishing.state();
    let blocked = timeout(PATIENCE, state.wait_for(|state| matches!(state, LinkState::Blocked { .. }))).await;
    assert!(blocked.is_ok_and(|blocked| blocked.is_ok()), "the alarm was not seen");
    let epoch = consuming(&consumer).await;
    held.into_iter().for_each(|delivery| delivery.receipt.ack());
    timeout(PATIENCE, consumer.pause()).await.expect("the consuming connection is not blocked");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.iter().all(tokio::task::JoinHandle::is_finished), "nothing was held up");

    own.with(|node| node.ctl(&["set_vm_memory_high_watermark", "absolute", "2GB"])).await;
    for publish in waiting {
        assert!(timeout(PATIENCE, publish).await.unwrap().unwrap().unwrap().routed);
    }
    let mut state = publishing.state();
    let up = timeout(PATIENCE, state.wait_for(|state| *state == LinkState::Up { epoch: 1 })).await;
    assert!(up.is_ok_and(|up| up.is_ok()), "the connection was given up for an alarm");
    consumer.resume();
    assert_eq!(consuming(&consumer).await, epoch);
    let mut ids = BTreeSet::new();
    while ids.len() < 100 {
        let delivery = next(&mut deliveries).await;
        assert!(!delivery.redelivered, "an ack was lost");
        assert!(ids.insert(id(&delivery)), "a publish was repeated");
        delivery.receipt.ack();
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_has_everything_that_was_confirmed() {
    let mut own = OwnNode::start(&[]).await;
    let (publishing, connection, name) = both(&own.node().url()).await;
    let jobs = jobs(&name, QueueKind::Quorum);
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 10);
    consuming(&consumer).await;
    let publisher = Publisher::start(publishing.clone(), options("", &name));
    let mut pool_options = options(&own.node().url(), &name);
    pool_options.channels = 2;
    let pool = ChannelPool::new(Connection::start(pool_options, "pool"));
    let to = || Address::queue(name.as_str());
    let before = join_all((0..300).map(|number| publisher.publish(to(), message(number), true))).await;
    assert!(before.into_iter().all(|confirm| confirm.is_ok()));
    let held = take(&mut deliveries, 10).await;
    // RabbitMQ 3.10 never serves a quorum queue again that was declared less than 0.3 s before the node was killed. Waiting until
    // the node has written it down took over three minutes here.
    tokio::time::sleep(Duration::from_secs(1)).await;

    own.with(|node| {
        node.kill();
        Ok(())
    })
    .await;
    let during = join_all((300..600).map(|number| publisher.publish(to(), message(number), true)));
    let by_pool = pool.publish_routed(to(), message(600), PATIENCE * 3);
    let (during, by_pool, ()) = tokio::join!(during, by_pool, own.with(RabbitMq::start_again));
    assert!(during.into_iter().all(|confirm| confirm.unwrap().routed));
    assert_eq!(by_pool, Ok(Routing::Routed));
    held.into_iter().for_each(|delivery| {
        assert!(!delivery.receipt.hold().is_current());
        delivery.receipt.ack();
    });
    let mut ids = BTreeSet::new();
    while ids.len() < 601 {
        let delivery = next(&mut deliveries).await;
        ids.insert(id(&delivery));
        delivery.receipt.ack();
    }
}

#[tokio::test]
async fn over_tls_the_server_is_verified_and_the_client_shows_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificates(folder.path(), true);
    let [port] = switchboard::demo::brokers::ports::free().unwrap();
    let path = |file: &std::path::Path| file.display().to_string();
    let own = OwnNode::start(&[
        &format!("listeners.ssl.1 = 127.0.0.1:{port}"),
        &format!("ssl_options.cacertfile = {}", path(&tls.ca_file)),
        &format!("ssl_options.certfile = {}", path(&tls.cert_file)),
        &format!("ssl_options.keyfile = {}", path(&tls.key_file)),
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
    ])
    .await;
    let with = |host: &str, tls: TlsFiles| {
        let url = format!("amqps://guest:guest@{host}:{port}/%2f");
        Connection::start(Options { tls, ..options(&url, "tls") }, "consume")
    };
    let files = TlsFiles {
        ca_file: Some(tls.ca_file.clone()),
        cert_file: Some(tls.cert_file.clone()),
        key_file: Some(tls.key_file.clone()),
    };
    for host in ["localhost", "127.0.0.1"] {
        let connection = with(host, files.clone());
        connection.up(PATIENCE).await.unwrap();
        let mut replies = switchboard::amqp::ReplyQueue::open(&connection, 8).await.unwrap();
        let publisher = Publisher::start(connection.clone(), options("", "tls"));
        publisher.publish(Address::queue(replies.name()), message("over TLS"), true).await.unwrap();
        assert_eq!(replies.next_within(PATIENCE).await.unwrap(), Some(message("over TLS")));
    }
    let without_ca = TlsFiles { ca_file: None, ..files.clone() };
    let without_key = TlsFiles { key_file: None, ..files.clone() };
    let anonymous = TlsFiles { cert_file: None, key_file: None, ..files.clone() };
    let missing = TlsFiles { ca_file: Some(folder.path().join("no-such-file")), ..files.clone() };
    for (host, tls, words) in [
        ("localhost", without_ca, "UnknownIssuer"),
        ("localhost.localdomain", files.clone(), "localhost.localdomain"),
        ("localhost", anonymous, "no AMQP connection"),
        ("localhost", without_key, "needs the file of its key too"),
        ("localhost", missing, "no-such-file"),
    ] {
        let connection = with(host, tls);
        let mut state = connection.state();
        let down = timeout(PATIENCE, state.wait_for(|state| matches!(state, LinkState::Down { .. }))).await;
        let told = format!("{:?}", down.unwrap().unwrap().clone());
        assert!(told.contains(words), "{told}");
    }
    drop(own);
}

//! Connections that end without our doing: nothing is lost, and nothing of the old reaches the new.

use super::*;
use crate::harness::proxy::{Direction, Proxy};
use std::collections::BTreeSet;
use switchboard::amqp::LinkState;

async fn is_up(connection: &Connection, wanted: u64) {
    let mut state = connection.state();
    let up = timeout(PATIENCE, state.wait_for(|state| *state == LinkState::Up { epoch: wanted })).await;
    assert!(up.is_ok(), "epoch {wanted} is not up, but {:?}", connection.state().borrow());
}

#[tokio::test]
async fn a_receipt_of_a_lost_connection_does_nothing_to_the_new_one() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Quorum);
    jobs.apply(&connection).await.unwrap();
    fill(&connection, &name, 3).await;
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 10);
    let old = take(&mut deliveries, 3).await;
    let hold = old[0].receipt.hold();
    assert!(hold.is_current());

    force_close(&name, "consume").await;
    is_up(&connection, 2).await;
    assert!(!hold.is_current());
    let new = take(&mut deliveries, 3).await;
    assert!(new.iter().all(|delivery| delivery.redelivered && delivery.delivery_count == Some(1)));
    // The same delivery tags again: on the new channel they would ack what is still held.
    old.into_iter().for_each(|delivery| delivery.receipt.ack());
    has(&name, 0, 3).await;
    assert_eq!(consuming(&consumer).await, 2);
    new.into_iter().for_each(|delivery| delivery.receipt.ack());
    has(&name, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_its_connection_cut_again_and_again_nothing_that_was_confirmed_is_lost() {
    let node = rabbitmq::shared().await;
    let name = unique("amqp");
    let proxies = [Proxy::to(node.port()).await, Proxy::to(node.port()).await];
    let url = |proxy: &Proxy| format!("amqp://guest:guest@{}/%2f", proxy.addr());
    let publishing = Connection::start(options(&url(&proxies[0]), &name), "publish");
    let connection = Connection::start(options(&url(&proxies[1]), &name), "consume");
    let jobs = jobs(&name, QueueKind::Quorum);
    jobs.apply(&connection).await.unwrap();
    let publisher = Publisher::start(publishing.clone(), options("", &name));
    let (_consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 50);

    const COUNT: usize = 4000;
    let publishes: Vec<_> = (0..8)
        .map(|lane| {
            let (publisher, name) = (publisher.clone(), name.clone());
            tokio::spawn(async move {
                for number in (lane..COUNT).step_by(8) {
                    let confirm = publisher.publish(Address::queue(name.as_str()), message(number), true).await;
                    assert!(confirm.unwrap().routed);
                }
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    let mut cuts = 0;
    while seen.len() < COUNT {
        let delivery = next(&mut deliveries).await;
        seen.insert(id(&delivery));
        delivery.receipt.ack();
        // Now at one end, now at the other, now in the middle of a frame.
        if seen.len() / 500 > cuts {
            cuts += 1;
            match cuts % 3 {
                0 => proxies.iter().for_each(Proxy::cut),
                1 => proxies[0].limit(Direction::Up, 700),
                _ => proxies[1].limit(Direction::Down, 700),
            }
        }
    }
    for publish in publishes {
        timeout(PATIENCE, publish).await.unwrap().unwrap();
    }
    assert!(cuts >= 7 && proxies.iter().all(|proxy| proxy.accepted() > 2), "the path was not cut: {cuts}");
}

#[tokio::test]
async fn a_broker_that_closes_the_connection_loses_no_publish() {
    let (connection, name) = connect("publish").await;
    queue(&name, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), options("", &name));
    for round in 0..3 {
        let publishes =
            (0..200).map(|n| publisher.publish(Address::queue(name.as_str()), message(round * 200 + n), true));
        let (confirms, ()) = tokio::join!(futures_util::future::join_all(publishes), force_close(&name, "publish"));
        assert!(confirms.into_iter().all(|confirm| confirm.unwrap().routed));
        is_up(&connection, round + 2).await;
    }
    let (_consumer, mut deliveries) = Consumer::start(connection, queue(&name, QueueKind::Quorum, &[]), name, 100);
    let mut ids = BTreeSet::new();
    while ids.len() < 600 {
        let delivery = next(&mut deliveries).await;
        ids.insert(id(&delivery));
        delivery.receipt.ack();
    }
}

#[tokio::test]
async fn a_path_that_goes_silent_is_given_up_after_two_heartbeats() {
    let node = rabbitmq::shared().await;
    let (name, proxy) = (unique("amqp"), Proxy::to(node.port()).await);
    let mut options = options(&format!("amqp://guest:guest@{}/%2f", proxy.addr()), &name);
    options.heartbeat = Duration::from_secs(1);
    options.connect_timeout = Duration::from_secs(2);
    let connection = Connection::start(options, "consume");
    connection.up(PATIENCE).await.unwrap();
    proxy.freeze();
    let mut state = connection.state();
    let lost = timeout(Duration::from_secs(8), state.wait_for(|state| !matches!(state, LinkState::Up { .. }))).await;
    assert!(lost.is_ok_and(|lost| lost.is_ok()), "a silent broker is still trusted");
    proxy.thaw();
    proxy.cut();
    is_up(&connection, 2).await;
}

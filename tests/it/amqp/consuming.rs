//! Taking, settling, pausing and stopping.

use super::*;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;

#[tokio::test]
async fn settled_in_any_order_every_message_is_acked_and_none_before_its_receipt_says_so() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Quorum);
    jobs.apply(&connection).await.unwrap();
    fill(&connection, &name, 2000).await;
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 100);
    let first = consuming(&consumer).await;
    let kept = next(&mut deliveries).await;
    assert_eq!(
        (id(&kept), kept.queue.as_ref(), kept.routing_key.as_str()),
        ("0".to_owned(), name.as_str(), name.as_str())
    );
    let (mut held, mut seen) = (Vec::new(), BTreeSet::new());
    while seen.len() < 1999 {
        let delivery = next(&mut deliveries).await;
        assert!(!delivery.redelivered && delivery.receipt.hold().is_current());
        seen.insert(id(&delivery));
        held.push(delivery);
        if held.len() >= 60 || seen.len() == 1999 {
            held.shuffle(&mut rand::rng());
            held.drain(..).for_each(|delivery| delivery.receipt.ack());
        }
    }
    has(&name, 0, 1).await;
    assert_eq!(consuming(&consumer).await, first, "an ack closed the channel");
    kept.receipt.ack();
    has(&name, 0, 0).await;
}

#[tokio::test]
async fn what_is_given_back_comes_again_counted_and_what_is_rejected_is_dead() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Quorum);
    jobs.apply(&connection).await.unwrap();
    fill(&connection, &name, 1).await;
    let (_consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 5);
    let delivery = next(&mut deliveries).await;
    assert_eq!((delivery.redelivered, delivery.delivery_count), (false, None));
    delivery.receipt.requeue();
    let delivery = next(&mut deliveries).await;
    assert_eq!((delivery.redelivered, delivery.delivery_count), (true, Some(1)));
    drop(delivery);
    let delivery = next(&mut deliveries).await;
    assert_eq!(
        (delivery.redelivered, delivery.delivery_count),
        (true, Some(2)),
        "a dropped receipt gives the message back"
    );
    delivery.receipt.reject();
    has(&name, 0, 0).await;
    has(&format!("{name}.dead"), 1, 0).await;
}

#[tokio::test]
async fn a_pause_hands_out_what_was_sent_takes_no_more_and_a_resume_goes_on() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Quorum);
    jobs.apply(&connection).await.unwrap();
    fill(&connection, &name, 30).await;
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 10);
    let mut before = take(&mut deliveries, 4).await;
    timeout(PATIENCE, consumer.pause()).await.unwrap();
    assert_eq!(*consumer.state().borrow(), ConsumerState::Paused);
    before.extend(take(&mut deliveries, 6).await);
    has(&name, 20, 10).await;
    let nothing = timeout(Duration::from_millis(300), deliveries.recv()).await;
    assert!(nothing.is_err(), "a paused consumer was given more");

    // Five are given back, one is acked: settling goes on during the pause.
    for (number, delivery) in before.drain(..6).enumerate() {
        if number == 0 { delivery.receipt.ack() } else { delivery.receipt.requeue() }
    }
    has(&name, 25, 4).await;
    consumer.resume();
    consuming(&consumer).await;
    let mut ids = BTreeSet::new();
    for delivery in before {
        assert!(delivery.receipt.hold().is_current(), "the pause ended a delivery");
        ids.insert(id(&delivery));
        delivery.receipt.ack();
    }
    while ids.len() < 29 {
        let delivery = next(&mut deliveries).await;
        ids.insert(id(&delivery));
        delivery.receipt.ack();
    }
    has(&name, 0, 0).await;
}

#[tokio::test]
async fn resuming_over_and_over_never_holds_more_than_twice_the_prefetch() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Quorum);
    jobs.apply(&connection).await.unwrap();
    fill(&connection, &name, 100).await;
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 10);
    let mut held = take(&mut deliveries, 10).await;
    for _ in 0..3 {
        timeout(PATIENCE, consumer.pause()).await.unwrap();
        consumer.resume();
        reaches(&consumer, "waiting for room", |state| matches!(state, ConsumerState::Waiting { .. })).await;
    }
    has(&name, 90, 10).await;
    held.pop().unwrap().receipt.ack();
    consuming(&consumer).await;
    held.extend(take(&mut deliveries, 10).await);
    has(&name, 80, 19).await;
}

#[tokio::test]
async fn a_stop_hands_out_what_was_sent_ends_the_receiver_and_waits_for_the_last_receipt() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Classic);
    jobs.apply(&connection).await.unwrap();
    fill(&connection, &name, 30).await;
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 10);
    let one = next(&mut deliveries).await;
    timeout(PATIENCE, consumer.stop()).await.unwrap();
    assert_eq!(*consumer.state().borrow(), ConsumerState::Stopped);
    let mut held = vec![one];
    while let Some(delivery) = timeout(PATIENCE, deliveries.recv()).await.unwrap() {
        held.push(delivery);
    }
    assert_eq!(held.len(), 10);
    let last = held.pop().unwrap();
    held.into_iter().for_each(|delivery| delivery.receipt.ack());
    assert!(timeout(Duration::from_millis(200), consumer.settled()).await.is_err(), "it did not wait for a receipt");
    last.receipt.ack();
    timeout(PATIENCE, consumer.settled()).await.unwrap();
    // Everything is written, so closing at once loses no ack.
    connection.close().await;
    has(&name, 20, 0).await;
}

#[tokio::test]
async fn a_consumer_whose_queue_is_deleted_declares_it_again_and_goes_on() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Classic);
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 10);
    let epoch = consuming(&consumer).await;
    ctl(&["-q", "delete_queue", &name]).await;
    found("the queue is declared again", PATIENCE, async || {
        let listed = ctl(&["-q", "list_queues", "name", "consumers"]).await;
        listed.contains(&format!("{name}\t1")).then_some(())
    })
    .await;
    assert_eq!(consuming(&consumer).await, epoch, "the connection is the same");
    fill(&connection, &name, 1).await;
    next(&mut deliveries).await.receipt.ack();
}

#[tokio::test]
async fn dropping_the_receiver_gives_everything_back() {
    let (connection, name) = connect("consume").await;
    let jobs = jobs(&name, QueueKind::Classic);
    jobs.apply(&connection).await.unwrap();
    fill(&connection, &name, 10).await;
    let (consumer, mut deliveries) = Consumer::start(connection.clone(), jobs, name.clone(), 5);
    drop(next(&mut deliveries).await);
    drop(deliveries);
    reaches(&consumer, "stopped", |state| *state == ConsumerState::Stopped).await;
    has(&name, 10, 0).await;
}

//! Confirms: who gets one, and who must not.

use super::*;
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use switchboard::amqp::PublishError;

/// Options of a publisher that never gives up.
fn patient(name: &str) -> Options {
    Options { refused_for: Duration::MAX, ..options("", name) }
}

/// Sixteen tasks on four threads publish into a queue that refuses half of it. With lapin's channel shared between tasks,
/// about one in a hundred refused messages is reported as confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_that_a_full_queue_refused_is_never_reported_as_confirmed() {
    let (connection, name) = connect("publish").await;
    let (full, open) = (format!("{name}.full"), format!("{name}.open"));
    let limited: [(&str, Value); 2] = [("x-max-length", Value::Int(100)), ("x-overflow", "reject-publish".into())];
    queue(&full, QueueKind::Classic, &limited).apply(&connection).await.unwrap();
    queue(&open, QueueKind::Classic, &[]).apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), patient(&name));
    let confirmed = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let refused = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (publisher, full, open) = (publisher.clone(), full.clone(), open.clone());
            let (confirmed, refused) = (Arc::clone(&confirmed), Arc::clone(&refused));
            tokio::spawn(async move {
                for number in 0..100 {
                    let id = format!("{task}/{number}");
                    let patience = Duration::from_millis(100);
                    let to_full = publisher.publish(Address::queue(full.as_str()), message(&id), true);
                    let to_open = publisher.publish(Address::queue(open.as_str()), message(&id), true);
                    match tokio::join!(timeout(patience, to_full), timeout(PATIENCE, to_open)) {
                        (Ok(confirm), sure) => {
                            confirm.unwrap();
                            sure.unwrap().unwrap();
                            confirmed.lock().unwrap().insert(id);
                        }
                        (Err(_), sure) => {
                            sure.expect("what the open queue took is confirmed whatever the full one does").unwrap();
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert!(refused.load(Ordering::Relaxed) > 1000, "the queue did not refuse: {refused:?}");
    let (_consumer, mut deliveries) =
        Consumer::start(connection, queue(&full, QueueKind::Classic, &limited), full.clone(), 200);
    let mut there = BTreeSet::new();
    while let Ok(Some(delivery)) = timeout(Duration::from_secs(2), deliveries.recv()).await {
        there.insert(id(&delivery));
        delivery.receipt.ack();
    }
    let confirmed = confirmed.lock().unwrap();
    assert!(confirmed.len() >= 90, "{} confirmed", confirmed.len());
    let lost: Vec<_> = confirmed.difference(&there).collect();
    assert!(lost.is_empty(), "confirmed and not there: {lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_full_queue_refused_is_sent_again_until_there_is_room() {
    let (connection, name) = connect("publish").await;
    let limited: [(&str, Value); 2] = [("x-max-length", Value::Int(20)), ("x-overflow", "reject-publish".into())];
    let topology = queue(&name, QueueKind::Classic, &limited);
    topology.apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), patient(&name));
    let publishes: Vec<_> = (0..300)
        .map(|number| {
            let (publisher, name) = (publisher.clone(), name.clone());
            tokio::spawn(async move { publisher.publish(Address::queue(name), message(number), true).await })
        })
        .collect();
    has(&name, 20, 0).await;
    let (_consumer, mut deliveries) = Consumer::start(connection, topology, name.clone(), 10);
    let mut seen = BTreeSet::new();
    while seen.len() < 300 {
        let delivery = next(&mut deliveries).await;
        assert!(seen.insert(id(&delivery)), "a refused message was stored as well");
        delivery.receipt.ack();
    }
    for publish in publishes {
        assert!(timeout(PATIENCE, publish).await.unwrap().unwrap().unwrap().routed);
    }
}

#[tokio::test]
async fn a_queue_that_stays_full_is_given_up_after_some_time_and_others_are_not_held_up() {
    let (connection, name) = connect("publish").await;
    let (full, open) = (format!("{name}.full"), format!("{name}.open"));
    let limited: [(&str, Value); 2] = [("x-max-length", Value::Int(1)), ("x-overflow", "reject-publish".into())];
    queue(&full, QueueKind::Classic, &limited).apply(&connection).await.unwrap();
    queue(&open, QueueKind::Classic, &[]).apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection, Options { refused_for: Duration::from_secs(2), ..options("", &name) });
    publisher.publish(Address::queue(full.as_str()), message(0), true).await.unwrap();
    let refused = publisher.publish(Address::queue(full.as_str()), message(1), true);
    let taken = publisher.publish(Address::queue(open), message(2), true);
    let (refused, taken) = timeout(PATIENCE, async { tokio::join!(refused, taken) }).await.unwrap();
    assert!(taken.unwrap().routed);
    let error = refused.unwrap_err();
    assert!(matches!(&error, PublishError::Refused { reason } if reason.contains("full")), "{error}");
    has(&full, 1, 0).await;
}

#[tokio::test]
async fn each_of_many_unroutable_messages_is_told_apart_from_the_rest() {
    let (connection, name) = connect("publish").await;
    queue(&name, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), options("", &name));
    let publishes = (0..2000).map(|number| {
        let to = if number % 7 == 0 { format!("{name}.nowhere") } else { name.clone() };
        publisher.publish(Address::queue(to), message(number), true)
    });
    let confirms = timeout(PATIENCE, join_all(publishes)).await.unwrap();
    for (number, confirm) in confirms.into_iter().enumerate() {
        assert_eq!(confirm.unwrap().routed, number % 7 != 0, "message {number}");
    }
    assert_eq!(publisher.unroutable(), 286);
    let quiet = publisher.publish(Address::queue(format!("{name}.nowhere")), message("x"), false).await.unwrap();
    assert!(quiet.routed, "what is not mandatory does not come back");
}

#[tokio::test]
async fn a_message_of_any_size_and_header_arrives_as_it_was_sent() {
    let (connection, name) = connect("publish").await;
    let topology = queue(&name, QueueKind::Classic, &[]);
    topology.apply(&connection).await.unwrap();
    let mut sent = message("big");
    sent.body = vec![7; 1_000_000].into();
    sent.kind = Some("switchboard.result".to_owned());
    sent.priority = Some(3);
    sent.timestamp = Some(1_700_000_000);
    for (name, value) in [
        ("bytes", Value::Bytes(vec![0xff, 0].into())),
        ("list", Value::List(vec![Value::Int(-1), Value::Float(1.5), Value::Null, Value::Bool(true)])),
        ("time", Value::Time(1_700_000_001)),
    ] {
        sent.headers.set(name, value);
    }
    let publisher = Publisher::start(connection.clone(), options("", &name));
    publisher.publish(Address::queue(name.as_str()), sent.clone(), true).await.unwrap();
    publisher.publish(Address::queue(name.as_str()), Envelope::default(), true).await.unwrap();
    let (_consumer, mut deliveries) = Consumer::start(connection, topology, name, 10);
    let found = take(&mut deliveries, 2).await;
    assert_eq!(found[0].envelope, sent);
    assert_eq!(found[1].envelope, Envelope::default());
}

#[tokio::test]
async fn a_closed_publisher_finishes_what_it_accepted_and_takes_no_more() {
    let (connection, name) = connect("publish").await;
    queue(&name, QueueKind::Classic, &[]).apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), options("", &name));
    let mut accepted: Vec<_> = (0..100)
        .map(|number| Box::pin(publisher.publish(Address::queue(name.as_str()), message(number), true)))
        .collect();
    // The first poll hands it in.
    assert!(accepted.iter_mut().all(|publish| publish.now_or_never().is_none()));
    let (confirms, ()) =
        timeout(PATIENCE, async { tokio::join!(join_all(accepted), publisher.close()) }).await.unwrap();
    assert!(confirms.into_iter().all(|confirm| confirm.is_ok()));
    let late = publisher.publish(Address::queue(name.as_str()), message("late"), true).await;
    assert_eq!(late, Err(PublishError::Closed));
}

#[tokio::test]
async fn without_a_broker_a_close_fails_what_waits_within_its_deadline() {
    let mut options = options("amqp://guest:guest@127.0.0.1:1/%2f", "nobody");
    options.close_timeout = Duration::from_millis(300);
    let connection = Connection::start(options.clone(), "publish");
    let publisher = Publisher::start(connection.clone(), options);
    let waiting = publisher.clone();
    let waits = tokio::spawn(async move { waiting.publish(Address::queue("q"), message(1), true).await });
    tokio::task::yield_now().await;
    timeout(PATIENCE, publisher.close()).await.unwrap();
    assert_eq!(timeout(PATIENCE, waits).await.unwrap().unwrap(), Err(PublishError::Closed));
    timeout(PATIENCE, connection.close()).await.unwrap();
}

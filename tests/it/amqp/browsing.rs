//! Looking through a queue: nothing is lost, nothing is moved, and what is taken is gone.

use super::*;
use lapin::Connection as Lapin;
use switchboard::amqp::{Bounds, Browser, Error, Held};

const ALL: Bounds = Bounds { messages: 10_000, bytes: usize::MAX };

async fn look(connection: &Connection, queue: &str, bounds: Bounds) -> (Browser, Vec<Held>) {
    let mut browser = Browser::open(connection, queue, bounds).await.unwrap();
    let mut held = Vec::new();
    while let Some(one) = browser.next().await.unwrap() {
        held.push(one);
    }
    (browser, held)
}

fn ids(held: &[Held]) -> Vec<&str> {
    held.iter().map(|one| one.envelope.message_id.as_deref().unwrap()).collect()
}

/// Twenty messages, and no consumer.
async fn twenty(connection: &Connection, name: &str, kind: QueueKind) -> Vec<String> {
    queue(name, kind, &[]).apply(connection).await.unwrap();
    fill(connection, name, 20).await;
    (0..20).map(|id| id.to_string()).collect()
}

#[tokio::test]
async fn looking_again_and_again_loses_and_moves_nothing() {
    let (connection, name) = connect("browse").await;
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        let name = format!("{name}-{kind:?}");
        let wanted = twenty(&connection, &name, kind).await;
        for looks in 0..25 {
            let (browser, held) = look(&connection, &name, ALL).await;
            assert_eq!(ids(&held), wanted, "{kind:?}, after {looks} looks");
            let counted = if kind == QueueKind::Quorum { looks } else { 0 };
            assert!(held.iter().all(|one| one.delivery_count == counted), "{kind:?}: {looks}, {held:?}");
            assert!(!browser.has_more() && browser.is_open());
            browser.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_taken_is_gone_and_the_rest_is_where_it_was() {
    let (connection, name) = connect("browse").await;
    let wanted = twenty(&connection, &name, QueueKind::Quorum).await;
    let (mut browser, held) = look(&connection, &name, ALL).await;
    for (index, one) in held.into_iter().enumerate() {
        if index % 3 == 0 {
            browser.take(one).await.unwrap();
        }
    }
    browser.close().await.unwrap();
    let left: Vec<&String> = wanted.iter().enumerate().filter(|(index, _)| index % 3 != 0).map(|(_, id)| id).collect();
    let (_, held) = look(&connection, &name, ALL).await;
    assert_eq!(ids(&held), left);
}

#[tokio::test]
async fn it_stops_at_its_bounds_and_at_what_was_there() {
    let (connection, name) = connect("browse").await;
    twenty(&connection, &name, QueueKind::Quorum).await;
    // One byte each, and the empty table of headers.
    let (browser, held) = look(&connection, &name, Bounds { bytes: 12, ..ALL }).await;
    assert_eq!((held.len(), browser.has_more()), (3, true));
    browser.close().await.unwrap();
    let (browser, held) = look(&connection, &name, Bounds { messages: 5, ..ALL }).await;
    assert_eq!((ids(&held), browser.has_more()), (vec!["0", "1", "2", "3", "4"], true));
    browser.close().await.unwrap();

    let mut browser = Browser::open(&connection, &name, ALL).await.unwrap();
    fill(&connection, &name, 7).await;
    let mut count = 0;
    while browser.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 20, "what came later is not looked at: a reader that also writes would never end");
    drop(browser);

    let many = format!("{name}-many");
    queue(&many, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    fill(&connection, &many, 2_000).await;
    let mut wanted: Vec<String> = Vec::new();
    for looks in 0..3 {
        let (browser, held) = look(&connection, &many, ALL).await;
        if looks == 0 {
            wanted = ids(&held).into_iter().map(str::to_owned).collect();
        }
        let moved = ids(&held).iter().zip(&wanted).position(|(id, wanted)| id != wanted);
        assert_eq!((held.len(), moved), (2_000, None), "after {looks} looks: more than are asked for at a time");
        browser.close().await.unwrap();
    }
}

#[tokio::test]
async fn whatever_was_taken_before_a_close_is_gone() {
    let (connection, name) = connect("browse").await;
    queue(&name, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    fill(&connection, &name, 3_000).await;
    // Many at once, and one of three stays: the broker gets no chance to settle them in one go.
    for round in 1..=3 {
        let (mut browser, held) = look(&connection, &name, Bounds { messages: 900, ..ALL }).await;
        for (_, one) in held.into_iter().enumerate().filter(|(index, _)| index % 3 != 0) {
            browser.take(one).await.unwrap();
        }
        browser.close().await.unwrap();
        let (browser, held) = look(&connection, &name, ALL).await;
        assert_eq!(held.len(), 3_000 - round * 600);
        browser.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_somebody_else_took_meanwhile_is_not_waited_for() {
    let (connection, name) = connect("browse").await;
    twenty(&connection, &name, QueueKind::Quorum).await;
    let mut browser = Browser::open(&connection, &name, ALL).await.unwrap();
    let (other, held) = look(&connection, &name, Bounds { messages: 15, ..ALL }).await;
    assert_eq!(held.len(), 15);
    let mut count = 0;
    while browser.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!((count, browser.has_more()), (5, false));
    drop((browser, other));
}

#[tokio::test]
async fn a_lost_connection_brings_everything_back_and_says_so() {
    let (connection, name) = connect("browse").await;
    twenty(&connection, &name, QueueKind::Quorum).await;
    let (mut browser, mut held) = look(&connection, &name, ALL).await;
    force_close(&name, "browse").await;
    found("the end is noticed", PATIENCE, async || (!browser.is_open()).then_some(())).await;
    assert!(browser.take(held.remove(0)).await.is_err());
    assert!(browser.next().await.is_err() || !browser.has_more());
    assert!(browser.close().await.is_err());
    connection.up(PATIENCE).await.unwrap();
    let all = found("everything is back", PATIENCE, async || {
        let (_, held) = look(&connection, &name, ALL).await;
        (held.len() == 20).then_some(held)
    })
    .await;
    assert!(all.iter().all(|one| one.delivery_count >= 1));
}

#[tokio::test]
async fn a_queue_that_is_not_there_or_not_ours_is_an_error_in_words() {
    let (connection, name) = connect("browse").await;
    let missing = Browser::open(&connection, &name, ALL).await.err();
    assert!(matches!(&missing, Some(Error::MissingQueue(queue)) if *queue == name), "{missing:?}");
    let runtime = async_rs::Runtime::tokio_current();
    let url = rabbitmq::shared().await.url();
    let other = Lapin::connect_with_runtime(&url, lapin::ConnectionProperties::default(), runtime).await.unwrap();
    let channel = other.create_channel().await.unwrap();
    let exclusive = lapin::options::QueueDeclareOptions { durable: true, exclusive: true, ..Default::default() };
    channel.queue_declare(name.as_str().into(), exclusive, lapin::types::FieldTable::default()).await.unwrap();
    let locked = Browser::open(&connection, &name, ALL).await.err();
    assert!(matches!(&locked, Some(Error::Queue { reason, .. }) if reason.contains("RESOURCE_LOCKED")), "{locked:?}");
}

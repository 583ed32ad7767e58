//! The one active consumer of a queue: who is given what, and what a lost one may still have published.

use super::*;
use crate::harness::eventually::eventually;
use crate::harness::proxy::Proxy;
use crate::harness::rabbitmq::OwnNode;
use switchboard::amqp::{Difference, Error, LinkState, Shard, ShardDelivery};

/// Of the connection to the broker; nothing here takes as long.
const WITHIN: Duration = Duration::from_secs(20);

async fn open(connection: &Connection, queue: &str) -> Shard {
    let spec = QueueSpec::shard(queue);
    timeout(PATIENCE, Shard::open(connection, &spec, true, 5000)).await.expect("a shard opens in time").unwrap()
}

fn to(queue: &str, ids: impl IntoIterator<Item = impl ToString>) -> Vec<(Address, Envelope)> {
    ids.into_iter().map(|id| (Address::queue(queue), message(id))).collect()
}

async fn publish(shard: &mut Shard, queue: &str, ids: impl IntoIterator<Item = impl ToString>) {
    let confirms = shard.publish(to(queue, ids), WITHIN).await.unwrap();
    assert!(confirms.iter().all(|confirm| confirm.routed));
}

async fn read(shard: &mut Shard, count: usize) -> Vec<ShardDelivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(timeout(PATIENCE, shard.next()).await.expect("a delivery comes in time").unwrap());
    }
    taken
}

fn ids(deliveries: &[ShardDelivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.envelope.message_id.as_deref().unwrap()).collect()
}

/// What is in the queue up to a message that this shard, the active one, publishes now.
async fn read_to_barrier(shard: &mut Shard, queue: &str) -> Vec<ShardDelivery> {
    publish(shard, queue, ["barrier"]).await;
    let mut taken = Vec::new();
    loop {
        let delivery = read(shard, 1).await.remove(0);
        if delivery.envelope.message_id.as_deref() == Some("barrier") && !delivery.redelivered {
            shard.ack(&[delivery.tag]).unwrap();
            return taken;
        }
        taken.push(delivery);
    }
}

#[tokio::test]
async fn one_of_two_is_given_messages_and_the_other_all_that_is_unacked_when_the_connection_of_the_first_is_gone() {
    let (first_connection, first_name) = connect("first").await;
    let (second_connection, queue) = connect("second").await;
    let mut first = open(&first_connection, &queue).await;
    let mut second = open(&second_connection, &queue).await;
    publish(&mut first, &queue, 0..6).await;
    let held = read(&mut first, 6).await;
    assert_eq!(ids(&held), ["0", "1", "2", "3", "4", "5"]);
    assert!(held.iter().all(|delivery| !delivery.redelivered));
    assert!(first.try_next().is_none() && second.try_next().is_none());
    let depth = second.depth(&queue).await.unwrap();
    assert_eq!((depth.messages, depth.consumers), (0, 1));

    // A prefix, one beyond it, one twice.
    first.ack(&[held[1].tag, held[0].tag, held[3].tag]).unwrap();
    first.ack(&[held[3].tag]).unwrap();
    has(&queue, 0, 3).await;
    publish(&mut second, &queue, 6..8).await;
    force_close(&first_name, "first").await;
    let lost = timeout(PATIENCE, async { while first.next().await.is_ok() {} });
    lost.await.expect("the first learns of its end");
    assert!(first.publish(to(&queue, ["late"]), WITHIN).await.is_err() && first.ack(&[held[2].tag]).is_err());

    let taken = read(&mut second, 5).await;
    assert_eq!(ids(&taken), ["2", "4", "5", "6", "7"]);
    assert!(taken.iter().all(|delivery| delivery.redelivered), "{taken:?}");
    // The tags of the first have the same numbers.
    second.ack(&held.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).unwrap();
    assert_eq!(ids(&read_to_barrier(&mut second, &queue).await), [""; 0]);
    has(&queue, 0, 5).await;
    second.ack(&taken.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).unwrap();
    has(&queue, 0, 0).await;
}

#[tokio::test]
async fn one_that_is_closed_or_dropped_hands_over_everything_in_order() {
    let (connection, queue) = connect("shard").await;
    let mut first = open(&connection, &queue).await;
    publish(&mut first, &queue, 0..100).await;
    read(&mut first, 40).await;
    for is_closed in [true, false] {
        let mut next = open(&connection, &queue).await;
        if is_closed {
            first.close().await;
        } else {
            drop(first);
        }
        let taken = read(&mut next, 100).await;
        assert_eq!(ids(&taken), (0..100).map(|id| id.to_string()).collect::<Vec<_>>());
        first = next;
    }
    assert_eq!((first.epoch(), first.depth(&queue).await.unwrap().consumers), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_lost_one_published_lies_before_the_first_message_of_the_next_one() {
    let (first, queue) = connect("first").await;
    let (second, _) = connect("second").await;
    let mut active = open(&first, &queue).await;
    publish(&mut active, &queue, ["held"]).await;
    read(&mut active, 1).await;
    for round in 0..6 {
        let mut next = open([&second, &first][round % 2], &queue).await;
        // Cut off earlier or later in the middle of it.
        let burst = active.publish(to(&queue, 0..3000), WITHIN);
        let _ = timeout(Duration::from_millis(1 + 7 * round as u64), burst).await;
        drop(active);
        assert_eq!(ids(&read(&mut next, 1).await), ["held"]);
        let before = read_to_barrier(&mut next, &queue).await;
        assert!(ids(&before).into_iter().eq((0..before.len()).map(|id| id.to_string())), "{:?}", ids(&before));
        assert_eq!(ids(&read_to_barrier(&mut next, &queue).await), [""; 0], "something came after the barrier");
        next.ack(&before.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).unwrap();
        has(&queue, 0, 1).await;
        active = next;
    }
}

#[tokio::test]
async fn a_message_to_a_missing_queue_is_told_as_such_and_all_others_as_routed() {
    let (connection, queue) = connect("shard").await;
    let mut shard = open(&connection, &queue).await;
    let count = 3000;
    let mut messages = to(&queue, 0..count);
    for (number, (address, _)) in messages.iter_mut().enumerate().filter(|(number, _)| number % 7 == 0) {
        address.routing_key = format!("{queue}.missing{}", number % 2);
    }
    let confirms = shard.publish(messages, WITHIN).await.unwrap();
    let wrong = confirms.iter().enumerate().filter(|(number, confirm)| confirm.routed == (number % 7 == 0));
    assert_eq!((confirms.len(), wrong.count()), (count, 0));
    let expected: Vec<String> = (0..count).filter(|number| number % 7 != 0).map(|number| number.to_string()).collect();
    assert_eq!(ids(&read_to_barrier(&mut shard, &queue).await), expected);
    match shard.depth(&format!("{queue}.missing0")).await {
        Err(Error::MissingQueue(missing)) => assert_eq!(missing, format!("{queue}.missing0")),
        other => panic!("{other:?}"),
    }
    publish(&mut shard, &queue, ["still here"]).await;
}

/// A shard on a path that is silent on its way up, with one message that it holds, and the queue's name.
async fn silenced(proxy: &Proxy) -> (Connection, Shard, String) {
    let queue = unique("amqp");
    let mut options = options(&format!("amqp://guest:guest@{}/%2f", proxy.addr()), &queue);
    options.heartbeat = Duration::from_secs(4);
    let connection = Connection::start(options, "shard");
    let mut shard = open(&connection, &queue).await;
    publish(&mut shard, &queue, ["held"]).await;
    assert_eq!(ids(&read(&mut shard, 1).await), ["held"]);
    proxy.freeze_up();
    (connection, shard, queue)
}

/// The path works again: what the shard published into the silence must not arrive.
async fn nothing_came_of_it(proxy: &Proxy, connection: &Connection, queue: &str) {
    let mut state = connection.state();
    let down = state.wait_for(|state| !matches!(state, LinkState::Up { epoch: 1 }));
    assert!(timeout(PATIENCE, down).await.is_ok(), "the connection goes on");
    // By the time that it takes the next connection, the proxy knows that the first was reset.
    eventually("the next connection is begun", PATIENCE, async || proxy.accepted() > 1).await;
    proxy.thaw();
    let mut next = open(connection, queue).await;
    assert!(next.epoch() > 1);
    let held = read(&mut next, 1).await;
    assert_eq!((ids(&held), held[0].redelivered), (vec!["held"], true));
    assert_eq!(ids(&read_to_barrier(&mut next, queue).await), [""; 0], "what was given up arrived");
}

#[tokio::test]
async fn what_was_published_into_a_silent_path_never_arrives_once_the_error_is_told() {
    let proxy = Proxy::to(rabbitmq::shared().await.port()).await;
    let (connection, mut shard, queue) = silenced(&proxy).await;
    let start = std::time::Instant::now();
    let published = shard.publish(to(&queue, 0..2000), Duration::from_millis(300)).await;
    assert!(matches!(published, Err(Error::Timeout(_))), "{published:?}");
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(shard.next().await.is_err() && shard.try_next().is_some_and(|next| next.is_err()));
    nothing_came_of_it(&proxy, &connection, &queue).await;
}

#[tokio::test]
async fn what_was_being_published_when_the_future_was_dropped_never_arrives() {
    let proxy = Proxy::to(rabbitmq::shared().await.port()).await;
    let (connection, mut shard, queue) = silenced(&proxy).await;
    assert!(timeout(Duration::from_millis(300), shard.publish(to(&queue, 0..2000), WITHIN)).await.is_err());
    drop(shard);
    nothing_came_of_it(&proxy, &connection, &queue).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_a_publish_at_once() {
    let proxy = Proxy::to(rabbitmq::shared().await.port()).await;
    let (connection, mut shard, queue) = silenced(&proxy).await;
    // Polled second: by then all is handed over.
    let cut = async { proxy.cut() };
    let (published, ()) = tokio::join!(timeout(PATIENCE, shard.publish(to(&queue, 0..10), WITHIN * 10)), cut);
    assert!(published.expect("it does not wait for its time to pass").is_err());
    nothing_came_of_it(&proxy, &connection, &queue).await;
}

#[tokio::test]
async fn a_refused_message_ends_the_shard_and_not_the_connection() {
    let (connection, queue) = connect("shard").await;
    let full = format!("{queue}.full");
    let arguments = [("x-max-length", Value::Int(1)), ("x-overflow", "reject-publish".into())];
    super::queue(&full, QueueKind::Classic, &arguments).apply(&connection).await.unwrap();
    let mut shard = open(&connection, &queue).await;
    let error = shard.publish(to(&full, 0..3), WITHIN).await.unwrap_err();
    assert!(error.to_string().contains("did not store 2 of 3"), "{error}");
    assert!(shard.next().await.is_err());
    drop(shard);
    let mut next = open(&connection, &queue).await;
    assert_eq!((read_to_barrier(&mut next, &queue).await, next.epoch()), (vec![], 1));
}

#[tokio::test]
async fn a_message_that_amqp_cannot_carry_is_refused_before_anything_is_sent() {
    let (connection, queue) = connect("shard").await;
    let mut shard = open(&connection, &queue).await;
    let messages = to(&queue, ["fits".to_owned(), "x".repeat(256)]);
    assert!(matches!(shard.publish(messages, WITHIN).await, Err(Error::Unsendable(_))));
    assert_eq!(ids(&read_to_barrier(&mut shard, &queue).await), [""; 0]);
}

#[tokio::test]
async fn a_deleted_queue_ends_the_shard_and_the_next_one_makes_it_anew() {
    let (connection, queue) = connect("shard").await;
    let mut shard = open(&connection, &queue).await;
    ctl(&["-q", "delete_queue", &queue]).await;
    let ended = timeout(PATIENCE, shard.next()).await.expect("it is told").unwrap_err();
    assert!(ended.to_string().contains(&queue), "{ended}");
    assert!(shard.publish(to(&queue, ["late"]), WITHIN).await.is_err());
    drop(shard);
    let mut next = open(&connection, &queue).await;
    assert_eq!(ids(&read_to_barrier(&mut next, &queue).await), [""; 0]);
}

#[tokio::test]
async fn a_queue_that_is_missing_or_lets_several_in_is_named() {
    let (connection, queue) = connect("shard").await;
    let spec = QueueSpec::shard(queue.as_str());
    let missing = Shard::open(&connection, &spec, false, 1).await.err();
    assert!(matches!(&missing, Some(Error::MissingQueue(name)) if *name == queue), "{missing:?}");
    super::queue(&queue, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    let told = Shard::open(&connection, &spec, true, 1).await.err().unwrap().to_string();
    assert!(told.contains("x-single-active-consumer = none where true is needed"), "{told}");
    let report =
        Topology { queues: vec![spec], declare: true, ..Topology::default() }.apply(&connection).await.unwrap();
    let (_, Difference { argument, .. }) = report.differences().next().unwrap();
    assert_eq!(argument, "x-single-active-consumer");
}

#[tokio::test]
async fn in_an_alarm_nothing_is_begun_and_what_was_begun_lies_before_the_first_message_of_the_next_one() {
    let mut own = OwnNode::start(&[]).await;
    let queue = unique("amqp");
    let connection = Connection::start(options(&own.node().url(), &queue), "shard");
    let other = Connection::start(options(&own.node().url(), &queue), "other");
    let mut shard = open(&connection, &queue).await;
    let mut patient = open(&other, &format!("{queue}.other")).await;
    own.with(|node| node.ctl(&["set_vm_memory_high_watermark", "0.00001"])).await;

    // The first publish is what makes the broker stop reading; it is still confirmed or not.
    let _ = patient.publish(to(&queue, ["last"]), Duration::from_secs(1)).await;
    let begun = shard.publish(to(&queue, 0..5000), Duration::from_millis(500)).await;
    assert!(matches!(begun, Err(Error::Timeout(_))), "{begun:?}");
    drop(shard);
    let mut next = open(&connection, &queue).await;
    assert!(next.epoch() > 1);
    let waiting = tokio::spawn(async move {
        let taken = read_to_barrier(&mut next, &queue).await;
        (next, queue, taken)
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    own.with(|node| node.ctl(&["set_vm_memory_high_watermark", "absolute", "2GB"])).await;
    let (mut next, queue, taken) = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    let before: Vec<usize> = ids(&taken).into_iter().filter_map(|id| id.parse().ok()).collect();
    assert!(before.len() < 5000 && before.iter().copied().eq(0..before.len()), "{before:?}");
    assert_eq!(ids(&read_to_barrier(&mut next, &queue).await), [""; 0], "something came after the barrier");
}

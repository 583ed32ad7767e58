//! Requesters whose queues take no results.

use crate::harness::caller::Caller;
use crate::harness::device::Behaviour;
use crate::harness::unique;
use crate::load::job;
use crate::relay::NODE;
use crate::scene::{CONCURRENCY, SOON, Scene};
use async_rs::Runtime;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_requester_whose_queue_is_full_holds_nobody_else_up() {
    let node = NODE.take().await;
    let mut scene = Scene::start("a reply queue that is full", &node).await;
    for device in 0..200 {
        scene.fleet.behave_as(&format!("d{device}"), Behaviour::Echo);
    }
    scene.replicas(3).await;
    let full = unique("full");
    let runtime = Runtime::tokio_current();
    let url = node.node().url();
    let connection = Connection::connect_with_runtime(&url, ConnectionProperties::default(), runtime).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare(full.as_str().into(), QueueDeclareOptions::default(), arguments).await.unwrap();
    let caller = Caller::connect(&url).await;
    // Twice what all replicas may have under way: if each waited for room, nobody else's job would be taken.
    let addressed = caller.properties().with_reply_to(full.as_str().into());
    let flood = (0..6 * CONCURRENCY)
        .map(|n| (job(&format!("full-{n}"), n % 200, "at_most_once").to_string().into_bytes(), addressed.clone()));
    caller.send_all(&scene.options.queue, flood).await;
    scene.fleet.wait_for(3 * CONCURRENCY, SOON).await;
    let others = (0..300)
        .map(|n| (job(&format!("j-{n}"), n % 200, "at_most_once").to_string().into_bytes(), caller.properties()));
    caller.send_all(&scene.options.queue, others).await;
    caller.wait_for(300, SOON).await;
    caller.delete(&full).await;
    let verdict = scene.finish().await;
    // What was given up before its queue was deleted is kept, and says why.
    assert!(!verdict.dead.is_empty());
    assert!(verdict.dead.iter().all(|letter| letter.reason.as_deref() == Some("unanswerable")));
    NODE.hand_on(node);
}

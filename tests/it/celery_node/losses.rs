//! A node that loses its connection, its name, its time or its messages.

use super::*;
use crate::harness::rabbitmq::OwnNode;
use switchboard::demo::brokers::RabbitMq;

#[tokio::test]
async fn a_node_whose_connection_is_cut_is_heard_and_seen_again() {
    let proxy = Proxy::to(rabbitmq::shared().await.port()).await;
    let mut asker = Asker::new().await;
    let mut events = watch(&asker.connection).await;
    let url = format!("amqp://guest:guest@{}/%2f", proxy.addr());
    let scene = start_at(&url, &format!("{}@lab", unique("node"))).await;
    asker.reach(&scene.name).await;
    event(&mut events, &scene.name, "worker-online").await;
    for _ in 0..2 {
        proxy.cut();
        event(&mut events, &scene.name, "worker-online").await;
        asker.reach(&scene.name).await;
    }
}

#[tokio::test]
async fn a_reply_that_goes_nowhere_costs_no_other_reply_for_long() {
    let Scene { name, node: _node, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let (mut body, _) = asker.request(&name, "ping", &json!({}));
    body["reply_to"] = json!({"exchange": unique("no-such-exchange"), "routing_key": "x"});
    asker.send(&body);
    asker.reach(&name).await;
    asker.ask(&name, "ping", json!({})).await;
}

#[tokio::test]
async fn a_second_node_of_the_same_name_is_heard_only_when_the_first_has_gone() {
    let mut asker = Asker::new().await;
    let first = start().await;
    asker.reach(&first.name).await;
    let mut events = watch(&asker.connection).await;
    // By this they are told apart.
    let entry = first.book.receive(&task("of-the-first"), Via::default());
    let second = start_at(&rabbitmq::shared().await.url(), &first.name).await;
    event(&mut events, &first.name, "worker-online").await;
    for _ in 0..20 {
        let reserved = asker.ask(&first.name, "reserved", json!({})).await;
        assert_eq!(reserved[0]["id"], "of-the-first", "only the first one is heard");
    }
    first.node.stop().await;
    asker.reach(&second.name).await;
    assert_eq!(asker.ask(&second.name, "reserved", json!({})).await, json!([]));
    drop(entry);
}

#[tokio::test]
async fn what_was_called_off_before_a_node_started_it_learns_from_the_others() {
    let (mut asker, first) = (Asker::new().await, start().await);
    asker.reach(&first.name).await;
    let id = unique("task");
    let revoked = asker.ask(&first.name, "revoke", json!({"task_id": id})).await;
    assert_eq!(revoked, json!({"ok": format!("tasks {{'{id}'}} flagged as revoked")}));
    let second = start().await;
    eventually("the second node knows", PATIENCE, async || second.book.is_revoked(&task(&id))).await;
}

#[tokio::test]
async fn a_node_answers_in_time_while_the_worker_has_all_hands_full() {
    let Scene { name, node: _node, book, .. } = start().await;
    let entries: Vec<_> = (0..200).map(|number| book.receive(&task(&number.to_string()), Via::default())).collect();
    entries.iter().for_each(switchboard::node::Entry::start);
    // A round over all of them takes longer than an answer may.
    let busy: Vec<_> = (0..1500)
        .map(|_| {
            tokio::spawn(async {
                loop {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_micros(100) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // Who asks has a thread of their own, as they have a process of their own elsewhere.
    let asking = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut asker = Asker::new().await;
            asker.reach(&name).await;
            let mut took = Vec::new();
            for _ in 0..20 {
                let start = Instant::now();
                assert_eq!(asker.ask(&name, "active", json!({"safe": true})).await.as_array().unwrap().len(), 200);
                took.push(start.elapsed());
            }
            took.sort();
            took
        })
    });
    let took = asking.await.unwrap();
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    // The median: on a machine that others use too, single ones may be late for other reasons.
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn a_broker_that_was_started_again_knows_the_node_and_its_exchanges_again() {
    let mut own = OwnNode::start(&[]).await;
    let url = own.node().url();
    let scene = start_at(&url, &format!("{}@lab", unique("node"))).await;
    let mut asker = Asker::at(&url).await;
    asker.reach(&scene.name).await;
    own.with(|node| {
        node.kill();
        Ok(())
    })
    .await;
    own.with(RabbitMq::start_again).await;
    // The exchanges for commands and replies were gone with it.
    let mut asker = Asker::at(&own.node().url()).await;
    asker.reach(&scene.name).await;
    let mut events = watch(&asker.connection).await;
    event(&mut events, &scene.name, "worker-heartbeat").await;
}

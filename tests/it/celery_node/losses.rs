//! A node that loses its connection, its name, its time or its messages.

use super::*;

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
async fn a_node_answers_in_time_while_its_runtime_is_full_of_work() {
    let Scene { name, node: _node, book, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let entries: Vec<_> = (0..1000).map(|number| book.receive(&task(&number.to_string()), Via::default())).collect();
    entries.iter().for_each(switchboard::node::Entry::start);
    let busy: Vec<_> = (0..50)
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
    let mut took = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(asker.ask(&name, "active", json!({"safe": true})).await.as_array().unwrap().len(), 1000);
        took.push(start.elapsed());
    }
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    took.sort();
    // The asker shares the full runtime, so this is more than what the node takes.
    assert!(took[10] < Duration::from_millis(200), "{took:?}");
}

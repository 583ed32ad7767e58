//! Every command and event in a node that nothing happens to.

use super::*;

#[tokio::test]
async fn every_captured_request_is_answered_with_its_ticket_and_shutdown_is_obeyed_in_silence() {
    let Scene { name, node, mut orders, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let worker = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(Order { what, answer }) = orders.recv().await {
            let _ = answer.send(Ok(String::new()));
            heard.push(what.clone());
            if what == Command::Shutdown {
                break;
            }
        }
        heard
    });
    let (last, requests): (Vec<_>, Vec<_>) =
        captured().into_iter().partition(|(name, _)| name == "ctl-shutdown-request");
    for (what, body) in requests {
        let wants_reply = body.get("reply_to").is_some();
        let (mut ours, ticket) = asker.request(&name, body["method"].as_str().unwrap(), &body["arguments"]);
        if !wants_reply {
            ours.as_object_mut().unwrap().remove("reply_to");
            asker.send(&ours);
            continue;
        }
        asker.send(&ours);
        let reply = asker.reply(&ticket, PATIENCE).await.unwrap_or_else(|| panic!("no reply to {what}"));
        assert_eq!(reply.keys().collect::<Vec<_>>(), [&name], "{what}");
    }
    let (ours, ticket) = asker.request(&name, "shutdown", &last[0].1["arguments"]);
    asker.send(&ours);
    let heard = timeout(PATIENCE, worker).await.unwrap().unwrap();
    assert!(
        heard.contains(&Command::CancelConsumer { queue: "extra".to_owned() }) && heard.contains(&Command::Shutdown)
    );
    // What is asked after it is answered first, so no answer to it is on its way.
    asker.ask(&name, "ping", json!({})).await;
    assert!(asker.reply(&ticket, Duration::from_millis(100)).await.is_none());
    assert!(asker.ask(&name, "revoked", json!({})).await.as_array().unwrap().len() >= 3);
    node.stop().await;
}

#[tokio::test]
async fn a_pattern_reaches_the_nodes_it_fits() {
    let Scene { name, node: _node, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let start = &name[..name.len() - "@lab".len()];
    for (pattern, matcher) in [(format!("{start}@*"), "glob"), (format!("{start}@.a"), "pcre")] {
        let (mut body, ticket) = asker.request(&name, "ping", &json!({}));
        body["destination"] = Value::Null;
        (body["pattern"], body["matcher"]) = (pattern.into(), matcher.into());
        asker.send(&body);
        assert_eq!(asker.reply(&ticket, PATIENCE).await.unwrap()[&name], json!({"ok": "pong"}));
    }
}

#[tokio::test]
async fn a_worker_that_refuses_or_does_not_answer_an_order_is_told_about() {
    let Scene { name, node: _node, mut orders, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let worker = async {
        orders.recv().await.unwrap().answer.send(Err("the queue does not exist".to_owned())).unwrap();
        let kept = orders.recv().await.unwrap();
        (kept, orders)
    };
    let asking = async {
        let refused = asker.ask(&name, "add_consumer", json!({"queue": "q"})).await;
        assert_eq!(refused, json!({"error": "the queue does not exist"}));
        let silent = asker.ask(&name, "add_consumer", json!({"queue": "q"})).await;
        assert!(silent["error"].as_str().unwrap().contains("within 0.5 s"), "{silent}");
        let queues = asker.ask(&name, "active_queues", json!({})).await;
        assert_eq!(queues.as_array().unwrap().len(), 1, "what was not done is not shown");
    };
    tokio::join!(worker, asking);
}

#[tokio::test]
async fn events_of_the_worker_are_told_always_and_those_of_tasks_on_demand() {
    let mut asker = Asker::new().await;
    let mut events = watch(&asker.connection).await;
    let Scene { name, book, node, .. } = start().await;
    let online = event(&mut events, &name, "worker-online").await;
    assert!(online["freq"] == 0.2 && online.get("utcoffset").is_none() && online["sw_ident"] == "switchboard");
    event(&mut events, &name, "worker-heartbeat").await;
    asker.reach(&name).await;
    drop(book.receive(&task("unheard"), Via::default()));
    assert_eq!(asker.ask(&name, "enable_events", json!({})).await, json!({"ok": "task events enabled"}));
    let entry = book.receive(&task("a"), Via::default());
    entry.start();
    entry.end(&End::Success(RawValue::from_string("{\"ok\":true}".to_owned()).unwrap()), Duration::from_millis(250));
    let next = timeout(PATIENCE, async {
        let mut told: Vec<Value> = Vec::new();
        while told.len() < 3 {
            let message: Value = serde_json::from_slice(&events.next().await.unwrap().body).unwrap();
            let list = message.as_array().filter(|list| list[0]["hostname"] == name.as_str());
            told.extend(list.into_iter().flatten().cloned());
        }
        told
    });
    let told = next.await.expect("events of the task");
    let kinds: Vec<_> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task-received", "task-started", "task-succeeded"], "in order, and none from before");
    assert_eq!((&told[0]["name"], &told[0]["args"]), (&json!("mqtt.request"), &json!("('dev-1',)")));
    assert_eq!((&told[2]["result"], &told[2]["runtime"]), (&json!("{'ok': True}"), &json!(0.25)));
    node.stop().await;
    let offline = event(&mut events, &name, "worker-offline").await;
    assert_eq!((&offline["active"], &offline["processed"]), (&json!(0), &json!(1)));
}

//! `celery inspect`, `celery control` and `celery status`: the worker answers as any other node, idle and under load.

use crate::celery_scene::CeleryScene;
use crate::harness::device::Behaviour;
use crate::worker_scene::SOON;
use serde_json::{Value, json};

/// Tasks at silent devices while the node is asked; as in `tests/celery/tools.py`.
const OUTSTANDING: usize = 500;

#[tokio::test]
async fn every_question_of_inspect_is_answered() {
    let mut celery = CeleryScene::start().await;
    let worker = celery.worker().await;
    let said = celery.app.run("tools.py", "idle").await;
    said.expect("ping", json!({"ok": "pong"}));
    assert!(said.found("clock")["clock"].is_u64());
    let stats = said.found("stats");
    assert_eq!((&stats["pid"], &stats["broker"]["transport"]), (&json!(worker.pid()), &json!("amqp")), "{stats}");
    assert!(stats["total"].is_object() && stats["pool"]["max-concurrency"].is_u64(), "{stats}");
    let conf = said.found("conf");
    assert!(conf["broker_url"].as_str().unwrap().contains(":********@"), "{conf}");
    assert!(said.found("report")["ok"].as_str().unwrap().contains("switchboard"));
    said.expect("registered", json!(["switchboard.bulk", "switchboard.publish", "switchboard.request"]));
    assert_eq!(said.found("active_queues")[0]["name"], celery.queue.as_str());
    said.expect("active", json!([]));
    said.expect("reserved", json!([]));
    let waits = said.found("waits_id");
    assert_eq!(said.found("scheduled")[0]["request"]["id"], *waits);
    said.expect("query_task", json!("scheduled"));
    assert!(said.found("revoked").is_array());
    assert!(said.found("hello")["clock"].is_u64());
    said.expect("told", json!(true));
    let by_pattern: Value = json!([{celery.node.as_str(): {"ok": "pong"}}]);
    said.expect("pattern", by_pattern);
}

#[tokio::test]
async fn every_command_of_control_is_carried_out_or_refused_by_name() {
    let mut celery = CeleryScene::start().await;
    celery.app = celery.app.with("SHUTDOWN", "yes");
    let mut worker = celery.worker().await;
    let said = celery.app.run("tools.py", "idle").await;
    // Monitors of other tests, on the same broker, may have switched them on before.
    assert!(said.found("enable_events")["ok"].as_str().unwrap().ends_with("enabled"));
    said.expect("heartbeat", Value::Null);
    said.expect("rate_limit", json!({"ok": "new rate limit set successfully"}));
    let with_rate = said.found("registered_with_rate").as_array().unwrap();
    assert!(with_rate.contains(&json!("switchboard.request [rate_limit=100/s]")), "{with_rate:?}");
    said.expect("rate_limit_off", json!({"ok": "rate limit disabled successfully"}));
    said.expect("rate_limit_unknown", json!({"error": "unknown task"}));
    said.expect("time_limit", json!({"ok": "time limits set successfully"}));
    for refused in
        ["autoscale", "pool_restart", "pool_grow", "pool_shrink", "memdump", "objgraph", "election", "no_such_command"]
    {
        said.expect(refused, json!(["error"]));
    }
    let other = format!("{}-other", celery.queue);
    said.expect("add_consumer", json!({"ok": format!("add consumer {other}")}));
    said.value("on_the_other_queue", json!({"ok": true, "echo": null}));
    said.expect("queues", json!([celery.queue, other]));
    said.expect("cancel_consumer", json!({"ok": format!("no longer consuming from {other}")}));
    said.expect("left_in_the_queue", json!(1));
    assert_eq!(celery.sent_to("left").len(), 0);
    // Celery's own workers do not answer it either: they end.
    said.expect("shutdown", Value::Null);
    assert_eq!(worker.wait(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn a_rate_and_a_time_limit_of_control_hold_for_every_task_of_the_name() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("tools.py", "limits").await;
    said.expect("rate", json!({"ok": "new rate limit set successfully"}));
    let mut starts: Vec<u64> = celery.scene.fleet.executed().into_iter().take(6).map(|executed| executed.at).collect();
    starts.sort_unstable();
    // Six of them, a fifth of a second apart, less what a machine's clock and network may blur.
    assert!(starts[5] - starts[0] > 800, "{starts:?}");
    said.expect("limit", json!({"ok": "time limits set successfully"}));
    said.raised("limited", "billiard.exceptions.SoftTimeLimitExceeded");
    // A task's own limit goes before; the soft one of its name still holds, and is later.
    said.raised("own_limit", "billiard.exceptions.TimeLimitExceeded");
}

#[tokio::test]
async fn a_node_with_five_hundred_tasks_under_way_answers_every_question() {
    let mut celery = CeleryScene::start().await;
    celery.scene.fleet.behave(Behaviour::Silent);
    celery.scene.fleet.behave_as("echo", Behaviour::Echo);
    let worker = celery.worker().await;
    let said = celery.app.run("tools.py", "loaded").await;
    said.expect("pings", json!(20));
    println!("inspect ping with {OUTSTANDING} tasks under way, in ms: {}", said.found("ping_ms"));
    for question in ["stats", "active_queues", "registered", "scheduled", "reserved", "revoked", "conf"] {
        said.expect(question, json!(true));
    }
    let first = said.found("first");
    assert_eq!((&first["name"], &first["hostname"]), (&json!("switchboard.request"), &json!(celery.node)), "{first}");
    assert_eq!(first["worker_pid"], worker.pid(), "{first}");
    assert!(first["args"].as_str().unwrap().starts_with("('hangs-"), "{first}");
    // All of them terminated, and the worker goes on.
    said.expect("kinds", json!(["celery.exceptions.TaskRevokedError"]));
    said.value("after", json!({"ok": true, "echo": null}));
}

#[tokio::test]
async fn celerys_own_commands_show_the_worker_as_a_node_like_any_other() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let (node, app) = (celery.node.clone(), celery.app.clone());
    let to_node = ["--timeout", "20", "--destination", &node];
    for (arguments, expected) in [
        (vec!["inspect", "ping"], "pong"),
        (vec!["inspect", "registered"], "switchboard.request"),
        (vec!["inspect", "active_queues"], &celery.queue),
        (vec!["control", "revoke", "no-such-id"], "flagged as revoked"),
        (vec!["control", "rate_limit", "switchboard.request", "10/m"], "new rate limit set successfully"),
        (vec!["status"], "OK"),
    ] {
        let all = [&arguments[..1], &to_node, &arguments[1..]].concat();
        let said = app.celery(&all).await;
        assert!(said.contains(expected) && said.contains(&node), "celery {arguments:?}: {said}");
    }
}

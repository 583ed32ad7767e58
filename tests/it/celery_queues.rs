//! Queues as an application may have declared them: with priorities, quorum, behind a topic exchange.

use crate::celery_scene::CeleryScene;
use crate::harness::eventually::eventually;
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, job};
use serde_json::json;

#[tokio::test]
async fn a_queue_with_priorities_gives_the_urgent_task_first() {
    let lines = "queue_arguments = { x-max-priority = 10 }\nprefetch = 1\n[worker]\nconcurrency = 1";
    let mut celery = CeleryScene::start().await.line(lines);
    let app = celery.app.clone();
    let sent = tokio::spawn(async move { app.run("queues.py", "priorities").await });
    eventually("every task is in the queue", SOON, async || celery.scene.caller.depth(&celery.queue).await == Some(6))
        .await;
    let _worker = celery.worker().await;
    let said = sent.await.unwrap();
    said.value("high", json!({"ok": true, "echo": "high"}));
    said.value("low_4", json!({"ok": true, "echo": "low-4"}));
    assert_eq!(celery.sent_to("d1")[0], r#""high""#);
}

#[tokio::test]
async fn a_quorum_queue_is_served() {
    let mut celery = CeleryScene::start().await.line("queue_type = \"quorum\"");
    let _worker = celery.worker().await;
    let said = celery.app.run("queues.py", "quorum").await;
    for name in ["plain", "countdown"] {
        said.value(name, json!({"ok": true, "echo": null}));
    }
}

#[tokio::test]
async fn native_delayed_delivery_goes_through_the_exchanges_that_the_worker_declares() {
    let mut celery = CeleryScene::start().await.line("queue_type = \"quorum\"\nexchange_type = \"topic\"");
    let _worker = celery.worker().await;
    let said = celery.app.run("queues.py", "delayed").await;
    said.value("plain", json!({"ok": true, "echo": "plain"}));
    said.value("countdown", json!({"ok": true, "echo": {"job": "countdown"}}));
    for (name, reason) in [("expired", "expired"), ("revoked", "revoked")] {
        assert_eq!(*said.raised(name, "celery.exceptions.TaskRevokedError"), json!([reason]), "{name}");
    }
    let not_before = said.found("not_before_ms").as_u64().unwrap();
    let executed = celery.scene.fleet.executed();
    let countdown = executed.iter().find(|executed| executed.device == "d2").unwrap();
    assert!(countdown.at >= not_before, "{} ms early", not_before - countdown.at);
    assert_eq!(celery.sent_to("never").len(), 0);
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_reported_with_the_argument_that_differs() {
    let mut celery = CeleryScene::start().await.line("queue_arguments = { x-max-priority = 10 }");
    celery.scene.caller.declare(&celery.queue, "classic").await;
    celery.furnish();
    let worker = Worker::start(&celery.scene.options);
    eventually("the worker says what differs", SOON, async || {
        let log = worker.log();
        log.contains("x-max-priority") && log.contains(&celery.queue)
    })
    .await;
    // Neither taken nor served with other arguments than those it was told.
    assert!(worker.get("/readyz").await.is_none_or(|(status, _)| status != 200));
}

#[tokio::test]
async fn a_queue_of_the_configuration_that_control_cancels_and_adds_again_is_served_and_ready_again() {
    let mut celery = CeleryScene::start().await.line("queue_arguments = { x-max-priority = 10 }");
    let worker = celery.worker().await;
    for (queue, part) in [(celery.queue.clone(), "celery"), (celery.scene.options.queue.clone(), "jobs")] {
        let app = celery.app.with("OTHER", queue.as_str());
        let [added, cancelled] =
            ["add consumer ", "no longer consuming from "].map(|said| json!({"ok": said.to_owned() + &queue}));
        // Consumed already: no second consumer, of which one would be left.
        app.run("queues.py", "added").await.expect("reply", added.clone());
        app.run("queues.py", "answered").await.expect("consumers", json!(1));
        app.run("queues.py", "cancelled").await.expect("reply", cancelled);
        eventually("the worker says what it does not take", SOON, async || {
            worker
                .get("/readyz")
                .await
                .is_some_and(|(status, body)| status == 503 && body.contains(&format!("{part}: down: stopped")))
        })
        .await;
        app.run("queues.py", "added").await.expect("reply", added);
        eventually("it is ready again", SOON, async || {
            worker.get("/readyz").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
        let said = app.run("queues.py", "answered").await;
        said.value("answer", json!({"ok": true, "echo": null}));
        said.expect("consumers", json!(1));
        let job = job(&format!("after-{part}"), "d1");
        assert_eq!(celery.scene.ask(job).await["status"], "succeeded");
    }
}

#[tokio::test]
async fn the_dead_letters_are_no_queue_to_take_tasks_from() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.with("OTHER", celery.scene.dead.as_str()).run("queues.py", "added").await;
    let error = said.found("reply")["error"].as_str().unwrap();
    assert!(error.contains("dead-letters replay") && error.contains(&celery.scene.dead), "{error}");
}

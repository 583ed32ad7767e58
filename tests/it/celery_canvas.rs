//! Groups, chains and callbacks over rpc, with steps that a Celery worker runs in Python.

use crate::celery_scene::CeleryScene;
use crate::harness::eventually::eventually;
use crate::worker_scene::SOON;
use serde_json::{Value, json};

#[tokio::test]
async fn a_group_over_a_hundred_devices_returns_their_answers_in_order() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let _python = celery.python_worker().await;
    let said = celery.app.run("canvas.py", "groups").await;
    said.expect("answers", (0..100).collect::<Vec<_>>().into());
    said.expect("mixed", json!([true, "DeviceRejected", "DeviceTimeout"]));
    said.expect("of_chains", json!([0, 1, 2]));
}

#[tokio::test]
async fn chains_pass_results_from_device_to_python_and_back() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let _python = celery.python_worker().await;
    let said = celery.app.run("canvas.py", "chains").await;
    said.value("ours_first", json!({"wrapped": {"ok": true, "echo": 1}}));
    said.value("ours_last", json!({"ok": true, "echo": {"by": "chain"}}));
    said.value("ours_twice", json!({"ok": true, "echo": 2}));
    said.value("long", json!({"wrapped": {"ok": true, "echo": 9}}));
    said.expect("parents", vec!["SUCCESS"; 5].into());
    said.value("options", json!({"ok": true, "echo": 3}));
    said.value("into_group", json!([{"wrapped": {"ok": true, "echo": 1}}, {"wrapped": {"ok": true, "echo": 1}}]));
    // Who waits for the last step hears of the failure of an earlier one.
    for name in ["failed_first", "failed_last"] {
        said.raised(name, "celery.exceptions.DeviceRejected");
    }
    said.raised("failed_in_python", "builtins.ValueError");
    assert_eq!((celery.sent_to("d7").len(), celery.sent_to("never-sent").len()), (1, 0));
}

#[tokio::test]
async fn link_and_link_error_are_sent_on_with_the_result_and_the_failed_id() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let _python = celery.python_worker().await;
    let said = celery.app.run("canvas.py", "callbacks").await;
    let echo = |value: Value| json!({"ok": true, "echo": value});
    said.value("answered", echo(json!("linked")));
    said.expect("heard_link", echo(json!("linked")));
    said.expect("heard_first", echo(Value::Null));
    said.expect("heard_g1", echo(json!(3)));
    said.expect("heard_g2", echo(json!(3)));
    said.expect("heard_wrapped", json!({"wrapped": echo(json!(4))}));
    said.raised("failed", "celery.exceptions.DeviceRejected");
    said.raised("chained", "celery.exceptions.DeviceRejected");
    said.expect("errbacks", json!([true, true]));
    said.expect("chain_errback", json!(1));
    eventually("the callback to a device of ours is sent", SOON, async || celery.sent_to("after").len() == 1).await;
    assert_eq!(celery.sent_to("after"), [r#"{"job": "after"}"#]);
}

#[tokio::test]
async fn a_chord_over_rpc_is_refused_by_the_client_itself() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("canvas.py", "chord_over_rpc").await;
    said.expect("refused", json!("NotImplementedError"));
    assert_eq!(celery.scene.fleet.executed().len(), 0);
}

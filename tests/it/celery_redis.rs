//! Results in Redis, and what only they make possible: chords, and results that other processes read.

use crate::celery_scene::CeleryScene;
use crate::harness::redis::OwnRedis;
use serde_json::json;

#[tokio::test]
async fn results_in_redis_are_read_by_any_process_and_expire_and_rpc_is_served_too() {
    let redis = OwnRedis::start().await;
    let mut celery = CeleryScene::start().await.with_redis(&redis.server().url());
    let _worker = celery.worker().await;
    let said = celery.app.run("redis_results.py", "results").await;
    said.value("value", json!({"ok": true, "echo": {"n": 1}}));
    said.value("from_another_client", json!({"ok": true, "echo": {"n": 1}}));
    for name in ["failure", "failure_from_another_client"] {
        said.raised(name, "celery.exceptions.DeviceRejected");
    }
    said.expect("expiry", json!([true, true]));
    said.expect("ignored", json!(0));
    said.value("rpc_too", json!({"ok": true, "echo": "rpc"}));
    // Read at once, and not when its time comes.
    assert_eq!(*said.raised("revoked", "celery.exceptions.TaskRevokedError"), json!(["revoked"]));
}

#[tokio::test]
async fn chords_have_our_tasks_in_the_header_as_the_body_and_after_a_chain() {
    let redis = OwnRedis::start().await;
    let mut celery = CeleryScene::start().await.with_redis(&redis.server().url());
    let _worker = celery.worker().await;
    let _python = celery.python_worker().await;
    let said = celery.app.run("redis_results.py", "chords").await;
    said.value("ours_in_the_header", json!(10));
    let summary = &said.found("ours_as_the_body")["value"];
    assert_eq!((&summary["status"], &summary["counts"]["succeeded"]), (&json!("completed"), &json!(2)), "{summary}");
    said.value("ours_everywhere", json!({"ok": true, "echo": "body"}));
    said.value("mixed_header", json!(2));
    said.value("chains_in_the_header", json!(2));
    said.value("chained_body", json!({"wrapped": 2}));
    said.value("chain_into_chord", json!(3));
    said.value("chain_into_ours", json!({"wrapped": 2}));
    said.value("body_is_a_group", json!([2, 2]));
}

#[tokio::test]
async fn a_chord_whose_header_fails_fails_with_a_chord_error_and_calls_its_errback() {
    let redis = OwnRedis::start().await;
    let mut celery = CeleryScene::start().await.with_redis(&redis.server().url());
    let _worker = celery.worker().await;
    let _python = celery.python_worker().await;
    let said = celery.app.run("redis_results.py", "failed_chords").await;
    for name in ["failed_header", "failed_chain"] {
        let args = said.raised(name, "celery.exceptions.ChordError");
        assert!(args[0].as_str().unwrap().contains("DeviceRejected"), "{args}");
    }
    said.expect("chord_error", json!(true));
}

#[tokio::test]
async fn a_chord_without_a_redis_of_ours_is_refused_before_it_runs() {
    let redis = OwnRedis::start().await;
    let mut celery = CeleryScene::start().await;
    celery.app = celery.app.with("BACKEND", redis.server().url());
    let _worker = celery.worker().await;
    let said = celery.app.run("redis_results.py", "without_ours").await;
    let failure = said.found("answer");
    assert_eq!(failure["status"], "FAILURE", "{failure}");
    assert!(failure["result"].to_string().contains("a result backend in Redis"), "{failure}");
    assert_eq!(celery.scene.fleet.executed().len(), 0);
}

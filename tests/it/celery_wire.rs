//! Every way in which a client can write a task: served, or refused in words that its `.get()` raises.

use crate::celery_scene::CeleryScene;
use serde_json::json;

#[tokio::test]
async fn msgpack_and_every_compression_are_read() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("wire.py", "serializers").await;
    said.value("msgpack", json!({"ok": true, "echo": {"speed": 2}}));
    said.value("msgpack_zstd", json!({"ok": true, "echo": [1]}));
    said.raised("msgpack_failure", "celery.exceptions.DeviceRejected");
    let raw = celery.scene.fleet.executed().into_iter().find(|executed| executed.device == "bytes").unwrap();
    assert_eq!(raw.payload[..], *b"\x00\xff");
    let compressions = said.found("compressions").as_array().unwrap();
    assert_eq!(compressions.len(), 9);
    for name in compressions.iter().filter_map(|name| name.as_str()) {
        said.value(name, json!({"ok": true, "echo": {"via": name.repeat(1000)}}));
    }
}

#[tokio::test]
async fn pickle_yaml_and_unknown_tasks_are_refused_and_their_callers_told() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("wire.py", "refused").await;
    for name in ["pickle", "pickle_compressed", "yaml"] {
        let args = said.raised(name, "kombu.exceptions.ContentDisallowed");
        assert!(args[0].as_str().unwrap().contains("application/json"), "{args}");
    }
    for (name, task) in
        [("unknown_task", "no.such.task"), ("map", "celery.map"), ("chord_unlock", "celery.chord_unlock")]
    {
        assert_eq!(said.raised(name, "celery.exceptions.NotRegistered")[0], task);
    }
    said.value("after", json!({"ok": true, "echo": null}));
    assert_eq!(celery.sent_to("refused").len(), 0);
}

#[tokio::test]
async fn protocol_1_is_served_with_its_chains() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let _python = celery.python_worker().await;
    let said = celery.app.run("wire.py", "protocol_1").await;
    said.value("plain", json!({"ok": true, "echo": {"speed": 2}}));
    said.raised("failure", "celery.exceptions.DeviceRejected");
    assert_eq!(*said.raised("expired", "celery.exceptions.TaskRevokedError"), json!(["expired"]));
    said.raised("unknown_task", "celery.exceptions.NotRegistered");
    said.value("chain", json!({"wrapped": {"ok": true, "echo": null}}));
    assert_eq!(celery.sent_to("expired").len(), 0);
}

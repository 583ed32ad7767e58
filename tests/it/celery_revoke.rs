//! Tasks that are called off: before they come, while they wait, while they run, and by their stamps.

use crate::celery_scene::CeleryScene;
use crate::harness::device::Behaviour;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_revoke_reaches_a_task_before_it_comes_while_it_waits_and_with_terminate_while_it_runs() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("revoke.py", "all_ways").await;
    said.expect("revoke_reply", json!(true));
    said.expect("revoked_ids", json!(true));
    said.expect("terminate_reply", json!([true, true]));
    said.expect("terminate_unknown", json!({"ok": "terminate: tasks unknown"}));
    for (name, reason) in
        [("before", "revoked"), ("waits", "revoked"), ("several_2", "revoked"), ("terminated", "terminated")]
    {
        assert_eq!(*said.raised(name, "celery.exceptions.TaskRevokedError"), json!([reason]), "{name}");
    }
    // Its device would have been waited for half a minute.
    said.expect("at_once", json!(true));
    // Without terminate what runs goes on.
    said.value("runs", json!({"ok": true, "echo": null}));
    assert_eq!(celery.sent_to("never").len(), 0);
}

#[tokio::test]
async fn revoke_by_stamped_headers_reaches_the_tasks_that_bear_the_stamp() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("revoke.py", "stamps").await;
    said.expect("reply", json!(true));
    for name in ["b1", "b3"] {
        assert_eq!(*said.raised(name, "celery.exceptions.TaskRevokedError"), json!(["revoked"]), "{name}");
        assert_eq!(celery.sent_to(&format!("stamped-{name}")).len(), 0);
    }
    said.value("b2", json!({"ok": true, "echo": null}));
}

#[tokio::test]
async fn a_revoke_keeps_a_task_from_its_device_that_waits_for_it_and_lets_the_one_that_is_there_go_on() {
    let mut celery = CeleryScene::start().await.set("WORKER__PER_DEVICE", "1");
    celery.scene.fleet.behave_as("slow", Behaviour::Slow(Duration::from_secs(3)));
    let _worker = celery.worker().await;
    let said = celery.app.run("revoke.py", "behind_another").await;
    said.value("first", json!({"ok": true, "echo": "first"}));
    assert_eq!(*said.raised("waits", "celery.exceptions.TaskRevokedError"), json!(["revoked"]));
    said.value("last", json!({"ok": true, "echo": "last"}));
    assert_eq!(celery.sent_to("slow"), [r#""first""#, r#""last""#]);
    said.expect("revoked", json!(true));
    said.expect("terminated", json!(true));
    assert_eq!(*said.raised("ends_early", "celery.exceptions.TaskRevokedError"), json!(["terminated"]));
}

#[tokio::test]
async fn terminate_reaches_a_bulk_that_was_handed_over_to_all_workers() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("revoke.py", "large_bulk").await;
    said.expect("nobody", json!({"ok": "terminate: tasks unknown"}));
    said.expect("terminate", json!(true));
    // As any bulk that was called off it has its summary.
    let summary = &said.found("bulk")["value"];
    assert_eq!((&summary["status"], &summary["total"]), (&json!("cancelled"), &json!(60)), "{summary}");
    // At two a second the rest would take half a minute.
    assert!(celery.sent_to("device-59").is_empty());
}

//! Tasks that wait for their time, come too late, or take too long.

use crate::celery_scene::CeleryScene;
use crate::harness::celery::Said;
use serde_json::json;

/// When this device was commanded: milliseconds since the Unix epoch.
fn commanded(celery: &CeleryScene, device: &str) -> u64 {
    let executed: Vec<_> = celery.scene.fleet.executed().into_iter().filter(|one| one.device == device).collect();
    assert_eq!(executed.len(), 1, "{device}: {executed:?}");
    executed[0].at
}

fn revoked(said: &Said, name: &str, reason: &str) {
    assert_eq!(*said.raised(name, "celery.exceptions.TaskRevokedError"), json!([reason]), "{name}");
}

#[tokio::test]
async fn a_task_past_its_expires_is_revoked_and_never_sent() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("times.py", "expires").await;
    for name in ["in_time", "in_time_at", "busy"] {
        said.value(name, json!({"ok": true, "echo": null}));
    }
    revoked(&said, "while_it_waits", "expired");
    revoked(&said, "while_the_device_is_busy", "expired");
    let executed = celery.scene.fleet.executed();
    assert!(executed.iter().all(|one| one.device != "never" && one.command != "late"), "{executed:?}");
}

#[tokio::test]
async fn countdown_and_eta_are_kept_in_every_spelling() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let said = celery.app.run("times.py", "waits").await;
    let not_before = said.found("not_before_ms").as_u64().unwrap();
    for name in ["countdown", "with_offset", "without_offset"] {
        said.value(name, json!({"ok": true, "echo": {"job": name}}));
        let at = commanded(&celery, name);
        assert!(at >= not_before, "{name} came {} ms early", not_before - at);
    }
    said.value("past", json!({"ok": true, "echo": {"job": "past"}}));
    assert!(commanded(&celery, "past") < not_before);
}

#[tokio::test]
async fn a_far_eta_waits_in_the_broker_and_its_caller_gets_the_answer() {
    let mut celery = CeleryScene::start().await.set("WORKER__HOLD", "1s");
    let _worker = celery.worker().await;
    let said = celery.app.run("times.py", "parked").await;
    said.value("parked", json!({"ok": true, "echo": {"job": "parked"}}));
    let not_before = said.found("parked_before_ms").as_u64().unwrap();
    assert!(commanded(&celery, "parked") >= not_before);
}

#[tokio::test]
async fn soft_and_hard_time_limits_end_a_task_as_celerys_own_do() {
    let mut celery = CeleryScene::start().await;
    let silent = crate::harness::device::Behaviour::Silent;
    celery.scene.fleet.behave_as("silent-too", silent);
    let _worker = celery.worker().await;
    let said = celery.app.run("times.py", "limits").await;
    assert_eq!(*said.raised("soft", "billiard.exceptions.SoftTimeLimitExceeded"), json!([]));
    assert_eq!(*said.raised("hard", "billiard.exceptions.TimeLimitExceeded"), json!([1]));
    said.value("neither", json!({"ok": true, "echo": null}));
}

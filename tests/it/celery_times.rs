//! Tasks that wait for their time, come too late, or take too long.

use crate::celery_scene::CeleryScene;
use crate::harness::celery::Said;
use crate::harness::device::Behaviour;
use crate::harness::eventually::eventually;
use crate::worker_scene::SOON;
use serde_json::json;
use std::time::Duration;

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
    celery.scene.fleet.behave_as("silent-too", Behaviour::Silent);
    let _worker = celery.worker().await;
    let said = celery.app.run("times.py", "limits").await;
    assert_eq!(*said.raised("soft", "billiard.exceptions.SoftTimeLimitExceeded"), json!([]));
    assert_eq!(*said.raised("hard", "billiard.exceptions.TimeLimitExceeded"), json!([1]));
    said.value("neither", json!({"ok": true, "echo": null}));
}

#[tokio::test]
async fn an_answer_after_the_end_of_its_task_is_counted_as_late_and_tells_nobody() {
    let mut celery = CeleryScene::start().await;
    for (device, seconds) in [("slow-2", 2), ("slow-3", 4)] {
        celery.scene.fleet.behave_as(device, Behaviour::Slow(Duration::from_secs(seconds)));
    }
    let worker = celery.worker().await;
    let said = celery.app.run("times.py", "late").await;
    said.raised("timeout", "celery.exceptions.DeviceTimeout");
    said.raised("soft", "billiard.exceptions.SoftTimeLimitExceeded");
    revoked(&said, "terminated", "terminated");
    eventually("all three are counted", SOON, async || {
        let metrics = ["switchboard_late_answers_total", "switchboard_unmatched_messages_total"];
        let [late, unmatched] = [worker.metric(metrics[0], &[]).await, worker.metric(metrics[1], &[]).await];
        assert_eq!(unmatched, 0.0);
        late == 3.0
    })
    .await;
}

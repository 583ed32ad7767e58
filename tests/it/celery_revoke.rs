//! Tasks that are called off: before they come, while they wait, while they run, and by their stamps.

use crate::celery_scene::CeleryScene;
use serde_json::json;

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

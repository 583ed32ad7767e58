//! Monitors and beat: `celery events`, Flower and a schedule, with the worker under test.

use crate::celery_scene::CeleryScene;
use crate::harness::eventually::eventually;
use crate::harness::unique;
use crate::worker_scene::SOON;
use serde_json::json;
use switchboard::demo::brokers::ports;

#[tokio::test]
async fn flower_lists_the_node_shows_its_page_and_knows_its_tasks() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let [port] = ports::free().unwrap();
    let app = celery.app.with("FLOWER", port.to_string());
    let listen = format!("--port={port}");
    let _flower = app.start(&["flower", "--address=127.0.0.1", &listen, "--inspect_timeout=10000"]).await;
    let said = app.run("tools.py", "flower").await;
    said.expect("done", json!({"name": "switchboard.request", "state": "SUCCESS", "worker": celery.node}));
    let failed = said.found("failed");
    assert_eq!((&failed["state"], &failed["worker"]), (&json!("FAILURE"), &json!(celery.node)), "{failed}");
    assert!(failed["exception"].as_str().unwrap().contains("DeviceRejected"), "{failed}");
    said.expect("page", json!([200, true, true]));
    said.expect("task_page", json!([200, true]));
    let particulars = said.found("particulars").as_array().unwrap();
    for name in ["active", "active_queues", "conf", "registered", "reserved", "revoked", "scheduled", "stats"] {
        assert!(particulars.contains(&json!(name)), "{name} in {particulars:?}");
    }
}

#[tokio::test]
async fn celery_events_dump_prints_what_happens_to_each_task() {
    let mut celery = CeleryScene::start().await;
    let mut dump = celery.app.start(&["events", "--dump"]).await;
    dump.wait_for("evdump").await;
    let _worker = celery.worker().await;
    dump.wait_for(&celery.node).await;
    let said = celery.app.run("tools.py", "events").await;
    let id = |name: &str| said.found("ids")[name].as_str().unwrap().to_owned();
    for (task, events) in [
        ("done", &["task received", "task started", "task succeeded"][..]),
        ("failed", &["task received", "task started", "task failed"]),
        ("revoked", &["task received", "task revoked"]),
    ] {
        let id = id(task);
        eventually(&format!("every event of the task that is {task} is dumped"), SOON, async || {
            let log = dump.log();
            let of_task: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
            events.iter().all(|event| of_task.iter().any(|line| line.contains(event)))
        })
        .await;
    }
}

#[tokio::test]
async fn what_beat_sends_is_done_and_its_results_do_not_pile_up() {
    let mut celery = CeleryScene::start().await;
    let _worker = celery.worker().await;
    let results = unique("beat");
    celery.scene.caller.declare(&results, "classic").await;
    let schedule = json!({"beat_schedule": {"often": {
        "task": "switchboard.request", "schedule": 0.5, "args": ["d1", "tick"], "options": {"reply_to": results},
    }}});
    let celery = celery.settings(&schedule);
    let _beat = celery.app.start(&["beat", "--max-interval", "1"]).await;
    eventually("beat's tasks are done", SOON, async || celery.sent_to("d1").len() >= 3).await;
    // A task of another's to the same device, so answered after those.
    celery.app.run("answers.py", "by_name").await;
    assert_eq!(celery.scene.caller.depth(&results).await, Some(0));
}

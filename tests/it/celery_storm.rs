//! Malformed messages among good tasks: an answer where one is due, nothing lost, and a worker that lives.

use crate::celery_scene::CeleryScene;
use crate::harness::eventually::eventually;
use crate::harness::source;
use crate::worker_scene::SOON;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the captured messages ask for, so that those which are well-formed after all are carried out.
const MAPPED: &str = r#"
[celery.tasks."mqtt.echo"]
args = ["n"]
kwargs = ["a"]
defaults = { n = 0, a = 0 }
device = "echo"
command = "echo"
payload = { n = "{n}" }
"#;
const GOOD: u64 = 1_000;
/// The messages that look wrong and are none: the task is done.
const DONE: &[&str] = &[
    "bad-body-dup-keys",
    "bad-chain-no-options",
    "bad-correlation-differs",
    "bad-embed-empty",
    "bad-embed-extra",
    "bad-embed-null",
    "bad-eta-past",
    "bad-eta-space",
    "bad-eta-z",
    "bad-headers-minimal",
    "bad-hybrid",
    "bad-id-int",
    "bad-id-null",
    "bad-lang-missing",
    "bad-ok-control",
    "bad-priority-255",
    "bad-retries-string",
    "bad-timelimit-negative",
    "bad-timelimit-null",
    "bad-v1-no-args",
    "bad-v1-no-id",
];
/// Too late: revoked.
const EXPIRED: &[&str] = &["bad-expires-naive-past", "bad-expires-past"];
/// Nobody can be answered, or wants to be: any `ignore_result` that Python takes for true.
const UNANSWERED: &[&str] = &["bad-reply-to-empty", "bad-reply-to-missing-queue", "bad-ignore-result-string"];

/// Each captured message with its correlation id.
fn vectors() -> BTreeMap<String, String> {
    let files = source::project_files().into_iter().filter(|path| path.starts_with("tests/celery/vectors/bad-"));
    let read = |path: String| {
        let vector: Value = serde_json::from_str(&source::read(&path)).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&vector["name"]), text(&vector["properties"]["correlation_id"]))
    };
    files.map(read).collect()
}

#[tokio::test]
async fn every_malformed_message_among_a_thousand_good_ones_is_answered_and_none_is_lost() {
    let vectors = vectors();
    assert!(vectors.len() > 55, "{}", vectors.len());
    let mut celery = CeleryScene::start().await.line(MAPPED);
    let worker = celery.worker().await;
    let app = celery.app.with("REPLY_TO", celery.scene.caller.reply_to());
    let said = app.run("storm.py", "storm").await;
    said.expect("good", json!(GOOD));
    said.expect("malformed", json!(vectors.len()));
    let answer = |correlation: &str| {
        let replies = celery.scene.caller.replies();
        replies.into_iter().find(|reply| reply.correlation_id.as_deref() == Some(correlation)).map(|reply| reply.body)
    };
    for (name, correlation) in &vectors {
        if UNANSWERED.contains(&name.as_str()) {
            continue;
        }
        eventually(&format!("{name} is answered"), SOON, async || answer(correlation).is_some()).await;
        let body = answer(correlation).unwrap();
        let expected = match name.as_str() {
            name if DONE.contains(&name) => "SUCCESS",
            name if EXPIRED.contains(&name) => "REVOKED",
            _ => "FAILURE",
        };
        assert_eq!(body["status"], expected, "{name}: {body}");
        let is_exception = body["result"]["exc_type"].is_string() && body["result"]["exc_message"].is_array();
        assert_eq!(is_exception, expected != "SUCCESS", "{name}: {body}");
    }
    assert_eq!(celery.scene.fleet.executed().iter().filter(|one| one.device.starts_with("good-")).count() as u64, GOOD);
    eventually("nothing waits any more", SOON, async || celery.scene.caller.depth(&celery.queue).await == Some(0))
        .await;
    assert_eq!(worker.get("/readyz").await.map(|(status, _)| status), Some(200));
}

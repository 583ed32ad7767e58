//! Bulks that are handed over to a coordinator, which each test plays by hand, and what tells their end.

use crate::harness::caller::Reply;
use crate::harness::eventually::found;
use crate::harness::worker::run_in;
use crate::worker_chunks::{Hand, record};
use crate::worker_scene::{SOON, said};
use serde_json::{Value, json};
use switchboard::bulk::Tally;
use switchboard::envelope::{Envelope, Headers};
use switchboard::outcome::Status;
use switchboard::wire::bulk::{Record, Start};

impl Hand {
    async fn handed_over(&self) -> Start {
        found("a bulk is handed over", SOON, async || {
            let records: Vec<Reply> = self.records.lock().unwrap().clone();
            records.iter().find_map(|reply| match record(reply) {
                Record::Start(start) => Some(*start),
                _ => None,
            })
        })
        .await
    }

    /// Publishes the end of a bulk of so many devices, all of which succeeded but two that were silent.
    async fn end(&self, start: &Start, total: usize) {
        let end = start.end.clone().expect("somebody waits for its end");
        let mut envelope = end.message.into_envelope();
        let counts = Status::ALL.map(|status| match status {
            Status::Succeeded => total - 2,
            Status::TimedOut => 2,
            _ => 0,
        });
        let failed = vec!["d7".into(), "d8".into()];
        Tally::of((total, counts), failed, (1_000, 43_000), (false, false)).carry(&mut envelope);
        self.publish(&end.queue, envelope).await;
    }
}

fn large(devices: usize, more: Value) -> Value {
    let devices: Vec<_> = (0..devices).map(|n| format!("d{n}")).collect();
    let mut job = json!({"id": "b", "devices": devices, "command": "open", "payload": {"job": "b"}});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

#[tokio::test]
async fn a_large_bulk_is_handed_over_when_its_coordinator_is_there_and_its_end_is_its_summary() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    hand.scene.send(&large(1001, json!({}))).await;
    let start = hand.handed_over().await;
    hand.idle(&worker).await;
    let handed: Value = serde_json::from_str(start.job.get()).unwrap();
    assert_eq!(handed["devices"].as_array().unwrap().len(), 1001);
    assert_eq!((&handed["id"], &handed["guarantee"]), (&json!("b"), &json!("at_most_once")));
    assert_eq!(start.reply_to.as_deref(), Some(hand.scene.caller.reply_to()));
    assert_eq!((&*start.id, start.correlation_id.as_deref()), ("b", Some("b")));
    assert_eq!(start.end.as_ref().unwrap().queue, hand.scene.options.queue);
    assert_eq!((hand.scene.fleet.executed().len(), hand.scene.caller.replies().len()), (0, 0));

    // Sent again it is the same bulk for its coordinator, not another one for this worker.
    hand.records.lock().unwrap().clear();
    hand.scene.send(&large(1001, json!({}))).await;
    assert_eq!(hand.handed_over().await.job.get(), start.job.get());
    hand.idle(&worker).await;

    // Its end is told whatever happened since: it was called off, and it is told once more after a crash.
    let place = ["cancel", "b", "--amqp-url", &hand.scene.options.amqp_url, "--queue", &hand.scene.options.queue];
    run_in(&hand.scene.options.environment, &[&place[..], &["--wait", "300ms"]].concat(), SOON).await;
    hand.end(&start, 1001).await;
    hand.end(&start, 1001).await;
    let summaries = hand.scene.caller.wait_for(2, SOON).await;
    hand.idle(&worker).await;
    for summary in &summaries {
        assert_eq!(
            (summary.kind.as_deref(), &summary.message_id),
            (Some("switchboard.summary"), &summaries[0].message_id)
        );
        assert_eq!((&summary.body, summary.correlation_id.as_deref()), (&summaries[0].body, Some("b")));
    }
    let summary = &summaries[0].body;
    assert_eq!((&summary["status"], &summary["total"]), (&json!("completed"), &json!(1001)), "{summary}");
    assert_eq!((&summary["counts"]["succeeded"], &summary["counts"]["timed_out"]), (&json!(999), &json!(2)));
    assert_eq!((&summary["failed"], &summary["duration_ms"]), (&json!(["d7", "d8"]), &json!(42_000.0)));
    assert_eq!(hand.scene.caller.replies().len(), 2);
}

#[tokio::test]
async fn a_bulk_that_cannot_be_carried_or_is_too_late_is_not_handed_over() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    hand.scene.send(&large(1001, json!({"id": "unknown", "profile": "nobody"}))).await;
    assert_eq!(said(&hand.scene.result("unknown").await), ("invalid", "no"));
    let late = json!({"id": "late", "expires_at": "2020-01-01T00:00:00Z", "bulk": {"results": "summary"}});
    hand.scene.send(&large(1001, late)).await;
    assert_eq!(hand.scene.result("late").await["counts"]["expired"], 1001);
    // An end that is none: nobody may send a bulk without devices.
    hand.scene.send(&json!({"id": "empty", "devices": [], "command": "open"})).await;
    assert_eq!(said(&hand.scene.result("empty").await), ("invalid", "no"));
    // As large as one worker takes, and as long.
    let slow = json!({"id": "slow", "bulk": {"rate_per_second": 1, "results": "summary"}});
    hand.scene.send(&large(11, slow)).await;
    assert_eq!(&*hand.handed_over().await.id, "slow");
    hand.scene.send(&large(1000, json!({"id": "short", "bulk": {"results": "summary"}}))).await;
    assert_eq!(hand.scene.result("short").await["counts"]["succeeded"], 1000);
    hand.idle(&worker).await;
    assert_eq!(hand.records.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_large_bulk_of_a_celery_client_ends_as_its_task() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    let devices: Vec<_> = (0..1001).map(|n| format!("d{n}")).collect();
    let follow = json!({
        "task": "switchboard.request", "args": ["after", "open", {"job": "after"}], "kwargs": {}, "immutable": true,
        "subtask_type": null, "options": {"task_id": "after", "reply_to": hand.scene.caller.reply_to(),
        "queue": hand.scene.options.queue},
    });
    let embed = json!({"callbacks": [follow], "errbacks": null, "chain": null, "chord": null});
    let mut headers = Headers::default();
    headers.set("task", "switchboard.bulk".into());
    headers.set("id", "b".into());
    let task = Envelope {
        body: json!([[devices, "open"], {}, embed]).to_string().into(),
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        correlation_id: Some("b".to_owned()),
        reply_to: Some(hand.scene.caller.reply_to().to_owned()),
        persistent: true,
        headers,
        ..Envelope::default()
    };
    hand.publish(&hand.scene.options.queue, task).await;
    let start = hand.handed_over().await;
    hand.idle(&worker).await;
    assert_eq!((start.reply_to.as_deref(), hand.scene.caller.replies().len()), (None, 0));
    hand.end(&start, 1001).await;
    let replies = hand.scene.caller.wait_for(2, SOON).await;
    let of = |id: &str| replies.iter().find(|reply| reply.body["task_id"] == id).expect("each task has its result");
    let (result, after) = (&of("b").body, &of("after").body);
    assert_eq!(result["status"], "SUCCESS", "{result}");
    let summary = &result["result"];
    assert_eq!((&summary["total"], &summary["counts"]["succeeded"]), (&json!(1001), &json!(999)), "{summary}");
    assert_eq!(after["status"], "SUCCESS", "{after}");
    assert_eq!(hand.scene.fleet.executed().len(), 1, "what follows on it");
    hand.idle(&worker).await;
}

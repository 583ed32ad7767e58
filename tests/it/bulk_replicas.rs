//! Bulks that all replicas work on: each device once, whoever dies, at one pace, until they are called off or given up.

use crate::harness::caller::Reply;
use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::{eventually, found};
use crate::harness::worker::{self, Worker};
use crate::worker_scene::{SOON, Scene, said};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// A bulk that one worker would not run alone.
fn bulk(devices: usize, more: Value) -> Value {
    let devices: Vec<_> = (0..devices).map(|n| format!("d{n}")).collect();
    let mut bulk = json!({"id": "b", "devices": devices, "command": "open", "payload": {"job": "b"}});
    if let (Some(fields), Value::Object(more)) = (bulk.as_object_mut(), more) {
        fields.extend(more);
    }
    bulk
}

async fn scene() -> Scene {
    Scene::start(Dialect::Default).await.set("BULK__SHORT", "1").set("BULK__CHUNK", "20").set("BULK__SHARDS", "2")
}

/// Two workers that are ready.
async fn two(scene: &Scene) -> [Worker; 2] {
    [scene.worker().await, scene.worker().await]
}

fn summaries(scene: &Scene) -> Vec<Reply> {
    scene.caller.replies().into_iter().filter(|reply| reply.kind.as_deref() == Some("switchboard.summary")).collect()
}

/// Waits for the summary, which adds up.
async fn summary(scene: &Scene) -> Value {
    let summary = found("the summary comes", 3 * SOON, async || summaries(scene).pop()).await.body;
    let counts: u64 = summary["counts"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(counts), summary["total"].as_u64(), "{summary}");
    summary
}

/// The best word on each device.
fn told(scene: &Scene) -> BTreeMap<String, String> {
    let mut best: BTreeMap<String, String> = BTreeMap::new();
    for reply in scene.caller.replies() {
        if reply.kind.as_deref() == Some("switchboard.result") {
            let (device, status) = (reply.body["device"].as_str().unwrap().to_owned(), said(&reply.body).0.to_owned());
            let known = best.entry(device).or_insert_with(|| status.clone());
            if known == "unknown" {
                *known = status;
            }
        }
    }
    best
}

fn executions(scene: &Scene) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for executed in scene.fleet.executed() {
        *times.entry(executed.device).or_default() += 1;
    }
    times
}

/// No device twice.
fn each_at_most_once(scene: &Scene) {
    let twice: Vec<_> = executions(scene).into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// What `switchboard bulk-status` says, as JSON.
async fn status(scene: &Scene, id: &str) -> Value {
    let output = command(scene, &["bulk-status", id, "--json"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

async fn command(scene: &Scene, arguments: &[&str]) -> std::process::Output {
    let mut all = arguments.to_vec();
    all.extend(["--amqp-url", &scene.options.amqp_url, "--queue", &scene.options.queue]);
    worker::run_in(&scene.options.environment, &all, SOON).await
}

#[tokio::test]
async fn two_replicas_share_a_bulk_and_account_for_every_device() {
    let scene = scene().await;
    let workers = two(&scene).await;
    for n in 0..20 {
        scene.fleet.behave_as(&format!("d{}", n * 17), Behaviour::Reject);
        scene.fleet.behave_as(&format!("d{}", n * 17 + 1), Behaviour::Silent);
    }
    scene.send(&bulk(1500, json!({"timeout_ms": 1000}))).await;
    let summary = summary(&scene).await;
    assert_eq!(summary["status"], "completed");
    let told = told(&scene);
    assert_eq!(told.len(), 1500);
    for status in ["succeeded", "rejected", "timed_out"] {
        let count = told.values().filter(|told| *told == status).count();
        assert_eq!(summary["counts"][status], count, "{summary}");
    }
    assert_eq!((summary["counts"]["rejected"].as_u64(), summary["counts"]["timed_out"].as_u64()), (Some(20), Some(20)));
    assert_eq!(summary["failed"].as_array().unwrap().len(), 40);
    each_at_most_once(&scene);
    assert_eq!(executions(&scene).len(), 1500);
    for worker in &workers {
        let done = worker.metric("switchboard_bulk_devices_total", &[]).await;
        assert!(done > 100.0, "each has its part: {done}");
        assert_eq!(worker.metric("switchboard_bulk_active", &[]).await, 0.0);
    }
    let known = status(&scene, "b").await;
    assert_eq!((&known["state"], &known["total"]), (&json!("completed"), &json!(1500)), "{known}");
    assert_eq!(known["counts"]["timed_out"], 20);
}

#[tokio::test]
async fn a_rate_holds_over_all_replicas() {
    let scene = scene().await;
    let _workers = two(&scene).await;
    scene.send(&bulk(300, json!({"bulk": {"rate_per_second": 100}}))).await;
    summary(&scene).await;
    let mut times: Vec<u64> = scene.fleet.executed().iter().map(|executed| executed.at).collect();
    times.sort_unstable();
    assert_eq!(times.len(), 300);
    // 300 devices at 100 a second: 3 seconds, of which the last chunk's share may be short.
    assert!(times[299] - times[0] >= 2500, "{}", times[299] - times[0]);
    // In each second the rate, what was caught up with after a pause, and a chunk of each replica.
    let most = times.iter().map(|start| times.iter().filter(|at| (*start..start + 1000).contains(at)).count()).max();
    assert!(most.is_some_and(|most| most <= 240), "{most:?}");
}

#[tokio::test]
async fn concurrency_holds_over_all_replicas() {
    let scene = scene().await;
    let _workers = two(&scene).await;
    let takes = 80;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(takes)));
    scene.send(&bulk(120, json!({"bulk": {"concurrency": 8}}))).await;
    summary(&scene).await;
    let times: Vec<u64> = scene.fleet.executed().iter().map(|executed| executed.at).collect();
    // Who began within the time that a device takes was under way together with this one; a busy machine delays answers only.
    let most = times.iter().map(|at| times.iter().filter(|other| (*at..at + takes - 20).contains(other)).count()).max();
    assert!(most.is_some_and(|most| (2..=8).contains(&most)), "{most:?}");
}

#[tokio::test]
async fn a_wide_concurrency_holds_over_all_replicas_while_one_joins() {
    let scene = scene().await.set("BULK__CHUNK", "60");
    let _workers = two(&scene).await;
    let takes = 400;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(takes)));
    scene.send(&bulk(9000, json!({"bulk": {"concurrency": 800}}))).await;
    scene.fleet.wait_for(1500, SOON).await;
    let third = scene.worker().await;
    let summary = summary(&scene).await;
    assert_eq!(summary["counts"]["succeeded"], 9000, "{summary}");
    each_at_most_once(&scene);
    assert!(third.metric("switchboard_bulk_devices_total", &[]).await > 0.0, "it has its part");
    let times: Vec<u64> = scene.fleet.executed().iter().map(|executed| executed.at).collect();
    let most = times.iter().map(|at| times.iter().filter(|other| (*at..at + takes - 50).contains(other)).count()).max();
    assert!(most.is_some_and(|most| (300..=800).contains(&most)), "{most:?}");
}

#[tokio::test]
async fn one_that_is_called_off_ends_soon_and_tells_every_device() {
    let scene = scene().await;
    let _workers = two(&scene).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(20)));
    scene.send(&bulk(2000, json!({"bulk": {"concurrency": 40}}))).await;
    scene.fleet.wait_for(600, SOON).await;
    let output = command(&scene, &["cancel", "b"]).await;
    let begun = scene.fleet.executed().len();
    assert!(output.status.success(), "{output:?}");
    let summary = summary(&scene).await;
    assert_eq!(summary["status"], "cancelled");
    let executed = executions(&scene).len();
    assert!(executed < 1800, "{executed} of 2000 were commanded all the same");
    assert!(executed <= begun + 200, "{begun} had begun when it was said, {executed} in the end");
    assert_eq!(told(&scene).len(), 2000, "each device is told");
    assert_eq!(
        summary["counts"]["succeeded"].as_u64().unwrap() + summary["counts"]["cancelled"].as_u64().unwrap(),
        2000
    );
    each_at_most_once(&scene);
    assert_eq!(status(&scene, "b").await["state"], "cancelled");
}

#[tokio::test]
async fn whoever_calls_one_off_that_rests_hears_that_it_was_there() {
    let scene = scene().await;
    let _workers = two(&scene).await;
    scene.send(&bulk(60, json!({"bulk": {"rate_per_second": 2}}))).await;
    scene.fleet.wait_for(1, SOON).await;
    assert!(command(&scene, &["bulk-pause", "b"]).await.status.success());
    eventually("nothing is out any more", SOON, async || status(&scene, "b").await["outstanding"] == 0).await;
    let output = command(&scene, &["cancel", "b", "--json"]).await;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["outcome"], &said["was_running"]), (&json!("cancelled"), &json!(true)), "{said}");
    assert_eq!(summary(&scene).await["status"], "cancelled");
}

#[tokio::test]
async fn one_of_which_too_many_fail_is_given_up_at_its_threshold() {
    let scene = scene().await;
    let _workers = two(&scene).await;
    for n in (0..2000).step_by(4) {
        scene.fleet.behave_as(&format!("d{n}"), Behaviour::Reject);
    }
    scene.send(&bulk(2000, json!({"bulk": {"abort": {"failed_percent": 20, "after": 100}}}))).await;
    let summary = summary(&scene).await;
    assert_eq!(summary["status"], "aborted", "{summary}");
    let executed = executions(&scene).len();
    assert!((100..=200).contains(&executed), "{executed}: a hundred answers, and what was under way");
    // What was at its device when the bulk was given up is told as cancelled, too, and that it may have run.
    assert!(summary["counts"]["cancelled"].as_u64() >= Some(2000 - executed as u64), "{summary}");
    let ran = executions(&scene);
    for reply in scene.caller.replies().iter().filter(|reply| reply.body["executed"] == "no") {
        assert!(!ran.contains_key(reply.body["device"].as_str().unwrap()), "{}", reply.body);
    }
    let aborted = scene.caller.replies().into_iter().filter(|reply| reply.body["error"]["code"] == "aborted").count();
    assert!(aborted > 1500, "{aborted}");
}

#[tokio::test]
async fn a_pause_holds_a_bulk_until_it_is_resumed() {
    let scene = scene().await;
    let mut workers = two(&scene).await;
    scene.send(&bulk(400, json!({"bulk": {"rate_per_second": 100}}))).await;
    scene.fleet.wait_for(50, SOON).await;
    let output = command(&scene, &["bulk-pause", "b"]).await;
    assert!(output.status.success(), "{output:?}");
    let known = found("what was out ends", SOON, async || {
        let known = status(&scene, "b").await;
        (known["outstanding"] == 0).then_some(known)
    })
    .await;
    assert_eq!(known["state"], "paused");
    let begun = scene.fleet.executed().len();
    // Also over the death of all replicas.
    workers.iter_mut().for_each(Worker::kill);
    let _workers = two(&scene).await;
    eventually("it is known again", SOON, async || status(&scene, "b").await["state"] == "paused").await;
    assert_eq!(scene.fleet.executed().len(), begun);
    assert!(command(&scene, &["bulk-resume", "b"]).await.status.success());
    let summary = summary(&scene).await;
    assert_eq!(summary["counts"]["succeeded"], 400, "{summary}");
    each_at_most_once(&scene);
}

#[tokio::test]
async fn the_death_of_every_replica_costs_no_device_and_repeats_none() {
    let scene = scene().await.set("BULK__LEASE", "2s");
    let mut workers = two(&scene).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(100)));
    scene.send(&bulk(1000, json!({"timeout_ms": 2000, "bulk": {"concurrency": 100}}))).await;
    scene.fleet.wait_for(300, SOON).await;
    workers.iter_mut().for_each(Worker::kill);
    let _workers = two(&scene).await;
    let summary = summary(&scene).await;
    each_at_most_once(&scene);
    let (told, executed) = (told(&scene), executions(&scene));
    assert_eq!(told.len(), 1000);
    let unknown = summary["counts"]["unknown"].as_u64().unwrap();
    assert!(unknown <= 100, "no more than was out: {summary}");
    assert_eq!(summary["counts"]["succeeded"].as_u64().unwrap() + unknown, 1000, "{summary}");
    for (device, status) in &told {
        assert!(status != "succeeded" || executed.contains_key(device), "{device}");
    }
}

#[tokio::test]
async fn at_least_once_every_device_is_commanded_whoever_dies() {
    let scene = scene().await.set("BULK__LEASE", "2s");
    let mut workers = two(&scene).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(100)));
    let more = json!({"timeout_ms": 2000, "guarantee": "at_least_once", "bulk": {"concurrency": 100}});
    scene.send(&bulk(600, more)).await;
    scene.fleet.wait_for(200, SOON).await;
    workers[0].kill();
    scene.fleet.wait_for(400, SOON).await;
    let [_, mut second] = workers;
    let third = scene.worker().await;
    second.kill();
    let summary = summary(&scene).await;
    assert_eq!(summary["counts"]["succeeded"], 600, "{summary}");
    assert_eq!(executions(&scene).len(), 600);
    drop(third);
}

#[tokio::test]
async fn an_orderly_replacement_of_every_replica_makes_nothing_unknown() {
    let scene = scene().await;
    let workers = two(&scene).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(50)));
    scene.send(&bulk(800, json!({"bulk": {"concurrency": 60}}))).await;
    for (index, mut worker) in workers.into_iter().enumerate() {
        scene.fleet.wait_for(200 * (index + 1), SOON).await;
        let next = scene.worker().await;
        worker.terminate();
        assert!(worker.wait(SOON).await.success(), "{}", worker.log());
        std::mem::forget(next);
    }
    let summary = summary(&scene).await;
    assert_eq!(summary["counts"]["succeeded"], 800, "{summary}");
    each_at_most_once(&scene);
}

#[tokio::test]
async fn a_bulk_that_is_submitted_again_is_the_same_bulk() {
    let scene = scene().await;
    let _workers = two(&scene).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(50)));
    let job = bulk(300, json!({"bulk": {"concurrency": 40}}));
    scene.send(&job).await;
    scene.fleet.wait_for(50, SOON).await;
    scene.send(&job).await;
    eventually("both hear the end", SOON, async || summaries(&scene).len() == 2).await;
    // After its end too.
    scene.send(&job).await;
    eventually("and so does the third", SOON, async || summaries(&scene).len() == 3).await;
    for reply in summaries(&scene) {
        assert_eq!((&reply.body["status"], &reply.body["counts"]["succeeded"]), (&json!("completed"), &json!(300)));
    }
    each_at_most_once(&scene);
    // Another one under its id is refused.
    scene.send(&bulk(301, json!({}))).await;
    found("a refusal", SOON, async || {
        scene.caller.replies().into_iter().find(|reply| reply.body["error"]["code"] == "id_reused")
    })
    .await;
    each_at_most_once(&scene);
}

#[tokio::test]
async fn more_bulks_than_there_may_be_wait_for_their_turn() {
    let scene = scene().await.set("BULK__ACTIVE", "1").set("BULK__SHARDS", "1");
    let _worker = scene.worker().await;
    for n in 0..3 {
        let devices: Vec<_> = (0..60).map(|device| format!("b{n}-{device}")).collect();
        scene
            .send(
                &json!({"id": format!("b{n}"), "devices": devices, "command": "open", "bulk": {"results": "summary"}}),
            )
            .await;
    }
    eventually("each has its summary", 2 * SOON, async || summaries(&scene).len() == 3).await;
    let ids: BTreeSet<_> = summaries(&scene).iter().map(|reply| reply.body["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(executions(&scene).len(), 180);
    each_at_most_once(&scene);
}

#[tokio::test]
async fn a_bulk_nobody_knows_is_said_to_be_none() {
    let scene = scene().await;
    let _worker = scene.worker().await;
    // On a busy machine a worker is ready long before its coordinators have read their queues; nobody answers until then.
    let output = found("a coordinator answers", SOON, async || {
        let output = command(&scene, &["bulk-status", "nobody"]).await;
        (output.status.code() != Some(2)).then_some(output)
    });
    let output = output.await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

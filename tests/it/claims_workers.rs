//! Workers that claim: one execution per id whoever is killed, paused, or asked twice; an answer to each who asked.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::eventually;
use crate::harness::rabbitmq;
use crate::harness::worker::{Options, Worker};
use crate::worker_scene::{SOON, Scene, at, job, job_with, said};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard::bulk::{TALLY, Tally};
use switchboard::envelope::Envelope;

pub(crate) async fn scene(dialect: Dialect) -> Scene {
    Scene::start(dialect).await.set("WORKER__CLAIMS", "true")
}

/// Sends jobs that do not say when they were made: the log began where no job was, so none can be older.
pub(crate) async fn send(scene: &Scene, jobs: impl IntoIterator<Item = Value>) {
    scene.send_all(jobs).await;
}

/// A worker that is ready and then killed: the log is there.
async fn log_made(scene: &Scene) {
    scene.worker().await.kill();
}

/// Puts a job into the queue as if a worker had had it and died.
async fn send_redelivered(scene: &Scene, job: &Value) {
    // Else it goes to the worker that was killed, of which the broker does not know yet, and has been delivered once more.
    let queue = &scene.options.queue;
    eventually("nobody takes from the queue", SOON, async || scene.caller.consumers(queue).await.unwrap_or(0) == 0)
        .await;
    send(scene, [job.clone()]).await;
    scene.caller.take_and_put_back(&scene.options.queue, 1).await;
}

#[tokio::test]
async fn jobs_that_are_sent_twice_to_two_workers_are_executed_once_and_everybody_is_answered() {
    let scene = scene(Dialect::Default).await.set("WORKER__CONCURRENCY", "20");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(100)));
    let (first, second) = tokio::join!(scene.worker(), scene.worker());
    let jobs: Vec<_> = (0..100).map(|n| job(&format!("j{n}"), &format!("d{n}"))).collect();
    // Side by side, so that both workers have most of them at a time.
    send(&scene, jobs.iter().flat_map(|job| [job.clone(), job.clone()])).await;
    let replies = scene.caller.wait_for(200, SOON).await;
    assert!(replies.iter().all(|reply| said(&reply.body) == ("succeeded", "yes")));
    let answers: BTreeSet<_> = replies.iter().map(|reply| reply.body.to_string()).collect();
    assert_eq!(answers.len(), 100, "each id has one answer, however often it is given");
    let workers: BTreeSet<_> = replies.iter().filter_map(|reply| reply.body["worker"].as_str()).collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
    for worker in [&first, &second] {
        scene.wait_idle(worker).await;
    }
    assert_eq!(scene.fleet.executed().len(), 100);
    scene.check(&jobs);
}

#[tokio::test]
async fn of_a_killed_workers_jobs_only_those_whose_turn_had_come_are_unknown_and_none_runs_twice() {
    let scene = scene(Dialect::Default).await.set("WORKER__CONCURRENCY", "100");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(400)));
    let mut first = scene.worker().await;
    // Ten devices of ten commands each: ten are under way, ninety wait their turn.
    let jobs: Vec<_> =
        (0..100).map(|n| job_with(&format!("j{n}"), &format!("d{}", n % 10), json!({"timeout_ms": 2_000}))).collect();
    send(&scene, jobs.clone()).await;
    scene.fleet.wait_for(25, SOON).await;
    first.kill();
    scene.fleet.behave(Behaviour::Echo);
    let second = scene.worker().await;
    for job in &jobs {
        let id = job["id"].as_str().unwrap();
        let result = scene.result(id).await;
        match said(&result) {
            ("succeeded", "yes") => {}
            // Begun, or just claimed and about to be: a worker that is killed leaves no word about which.
            ("unknown", "unknown") => {}
            _ => panic!("{result}"),
        }
    }
    scene.wait_idle(&second).await;
    let unknown = scene.caller.replies().iter().filter(|reply| reply.body["status"] == "unknown").count();
    assert!((1..=10).contains(&unknown), "{unknown} are unknown, and ten were under way");
    assert!(scene.executions().values().all(|times| *times == 1));
    scene.check(&jobs);
}

#[tokio::test]
async fn what_was_answered_is_said_again_by_a_worker_that_was_not_there() {
    let scene = scene(Dialect::Default).await;
    let mut first = scene.worker().await;
    let job = job("j1", "d");
    send(&scene, [job.clone()]).await;
    let result = scene.result("j1").await;
    assert_eq!(said(&result), ("succeeded", "yes"));
    // Else the job itself comes back, and the one that is put there besides is told apart from it by its count.
    scene.wait_idle(&first).await;
    first.kill();
    // Its ack was lost, for all that the broker shows.
    send_redelivered(&scene, &job).await;
    let second = scene.worker().await;
    let replies = scene.results("j1", 2).await;
    // And somebody sends it once more.
    send(&scene, [job.clone()]).await;
    let again = scene.results("j1", 3).await;
    for reply in replies.iter().chain(&again) {
        assert_eq!((&reply.body, &reply.message_id), (&result, &again[0].message_id));
    }
    scene.wait_idle(&second).await;
    assert_eq!(scene.fleet.executed().len(), 1);
    scene.check(&[job]);
}

#[tokio::test]
async fn a_delivered_job_that_nobody_claimed_is_run() {
    let scene = scene(Dialect::Default).await;
    log_made(&scene).await;
    send_redelivered(&scene, &job("j1", "d")).await;
    send_redelivered(&scene, &job_with("late", "d", json!({"expires_at": at(Duration::ZERO)}))).await;
    let worker = scene.worker().await;
    let run = scene.result("j1").await;
    assert_eq!((said(&run), &run["redelivered"]), (("succeeded", "yes"), &json!(true)));
    assert_eq!(said(&scene.result("late").await), ("expired", "no"));
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 1);
}

#[tokio::test]
async fn a_delivered_job_that_may_be_older_than_the_log_is_unknown() {
    let scene = scene(Dialect::Default).await;
    // The queue is there before anybody claims, with a job in it that somebody had.
    let mut without = scene.options.clone();
    without.environment.push(("SWITCHBOARD__WORKER__CLAIMS".to_owned(), "false".to_owned()));
    Worker::start_ready(&without, SOON).await.kill();
    send_redelivered(&scene, &job("j1", "d")).await;
    let worker = scene.worker().await;
    let older = scene.result("j1").await;
    assert_eq!((said(&older), &older["error"]["code"]), (("unknown", "unknown"), &json!("redelivered")));
    assert_eq!(said(&scene.ask(job("j2", "d")).await), ("succeeded", "yes"));
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 1);
}

#[tokio::test]
async fn what_was_begun_and_may_run_twice_runs_again_at_once() {
    let scene = scene(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let mut first = scene.worker().await;
    let job = job_with("j1", "d", json!({"guarantee": "at_least_once", "timeout_ms": 290_000}));
    send(&scene, [job.clone()]).await;
    scene.fleet.wait_for(1, SOON).await;
    first.kill();
    scene.fleet.behave(Behaviour::Echo);
    let second = scene.worker().await;
    assert_eq!(said(&scene.result("j1").await), ("succeeded", "yes"));
    scene.wait_idle(&second).await;
    assert_eq!(scene.fleet.executed().len(), 2);
    scene.check(std::slice::from_ref(&job));
    // The second time it was not claimed, and is known all the same.
    let third = scene.worker().await;
    drop(second);
    send(&scene, [job]).await;
    assert_eq!(said(&scene.results("j1", 2).await[1].body), ("succeeded", "yes"));
    scene.wait_idle(&third).await;
    assert_eq!(scene.fleet.executed().len(), 2);
}

#[tokio::test]
async fn a_no_is_said_again_to_the_same_job_and_tried_again_for_a_new_one() {
    let scene = scene(Dialect::Default).await;
    let mut first = scene.worker().await;
    let offline = job_with("j1", "d", json!({"profile": "json"}));
    send(&scene, [offline.clone()]).await;
    assert_eq!(said(&scene.result("j1").await), ("undeliverable", "no"));
    first.terminate();
    first.wait(SOON).await;
    let _fleet = crate::harness::device::Fleet::start(scene.mqtt.port(), Dialect::Json).await;
    send_redelivered(&scene, &offline).await;
    let second = scene.worker().await;
    assert_eq!(said(&scene.results("j1", 2).await[1].body), ("undeliverable", "no"));
    send(&scene, [offline]).await;
    assert_eq!(said(&scene.results("j1", 3).await[2].body), ("succeeded", "yes"));
    scene.wait_idle(&second).await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_makes_nothing_unknown() {
    let scene = scene(Dialect::Default).await.set("WORKER__CONCURRENCY", "100");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(50)));
    let jobs: Vec<_> =
        (0..200).map(|n| job_with(&format!("j{n}"), &format!("d{}", n % 20), json!({"timeout_ms": 60_000}))).collect();
    let mut first = scene.worker().await;
    send(&scene, jobs.clone()).await;
    scene.fleet.wait_for(20, SOON).await;
    let second = scene.worker().await;
    first.terminate();
    assert_eq!(first.wait(SOON).await.code(), Some(0), "{}", first.log());
    let replies = scene.caller.wait_for(jobs.len(), SOON).await;
    for reply in &replies {
        assert_eq!(said(&reply.body), ("succeeded", "yes"), "{}", reply.body);
    }
    scene.wait_idle(&second).await;
    assert_eq!(scene.caller.replies().len(), jobs.len());
    scene.check(&jobs);
}

#[tokio::test]
async fn without_its_log_a_worker_is_not_ready_and_sends_only_what_may_run_twice() {
    let scene = scene(Dialect::Default).await;
    let maker = scene.worker().await;
    let mut options: Options = scene.options.clone();
    options.environment.push(("SWITCHBOARD__AMQP__DECLARE".to_owned(), "false".to_owned()));
    let worker = Worker::start_ready(&options, SOON).await;
    drop(maker);
    let (node, log) = (rabbitmq::shared().await, format!("{}.claims", scene.options.queue));
    tokio::task::spawn_blocking(move || node.ctl(&["-q", "delete_queue", &log]).unwrap()).await.unwrap();
    eventually("the worker is not ready", SOON, async || {
        let said = worker.get("/readyz").await;
        said.is_some_and(|(status, body)| status == 503 && body.contains("claims: down") && body.contains("exist"))
    })
    .await;
    let brief = json!({"timeout_ms": 1_000});
    send(&scene, [job_with("once", "a", brief.clone())]).await;
    send(&scene, [job_with("often", "b", json!({"guarantee": "at_least_once"}))]).await;
    let once = scene.result("once").await;
    assert_eq!((said(&once), &once["error"]["code"]), (("expired", "no"), &json!("not_sent_in_time")));
    assert_eq!(said(&scene.result("often").await), ("succeeded", "yes"));
    let _maker = scene.worker().await;
    eventually("the worker is ready again", SOON, async || {
        worker.get("/readyz").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    send(&scene, [job("after", "a")]).await;
    assert_eq!(said(&scene.result("after").await), ("succeeded", "yes"));
    let executions = scene.executions();
    assert_eq!((executions.get("once"), executions.get("after")), (None, Some(&1)));
}

#[tokio::test]
async fn what_waits_for_the_log_lets_go_when_its_delivery_is_lost_and_runs_when_it_comes_again() {
    let (scene, proxy) = crate::worker_cuts::behind_amqp_proxy().await;
    let scene = scene.set("WORKER__CLAIMS", "true");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(500)));
    let mut worker = scene.worker().await;
    let long = json!({"timeout_ms": 290_000});
    let jobs: Vec<_> = (0..3).map(|n| job_with(&format!("j{n}"), "d", long.clone())).collect();
    send(&scene, jobs.clone()).await;
    scene.fleet.wait_for(1, SOON).await;
    proxy.refuse(true).await;
    proxy.cut();
    eventually("nothing holds the device any more", SOON, async || {
        worker.metric("switchboard_device_requests_in_flight", &[]).await == 0.0
    })
    .await;
    proxy.refuse(false).await;
    worker.wait_ready(SOON).await;
    for job in &jobs {
        assert_eq!(said(&scene.result(job["id"].as_str().unwrap()).await), ("succeeded", "yes"));
    }
    scene.wait_idle(&worker).await;
    assert_eq!(scene.fleet.executed().len(), 3);
    scene.check(&jobs);
}

#[tokio::test]
async fn a_bulk_goes_on_where_its_killed_worker_was() {
    let scene = scene(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let mut first = scene.worker().await;
    let devices: Vec<_> = (0..60).map(|n| format!("d{n}")).collect();
    let bulk = json!({
        "id": "b", "devices": devices, "command": "open", "payload": {"job": "b"}, "timeout_ms": 2_000,
        "bulk": {"concurrency": 6}
    });
    send(&scene, [bulk]).await;
    scene.caller.wait_for(12, SOON).await;
    first.kill();
    let answered: BTreeSet<String> =
        scene.caller.replies().iter().filter_map(|reply| reply.body["device"].as_str().map(str::to_owned)).collect();
    scene.fleet.behave(Behaviour::Echo);
    let second = scene.worker().await;
    let is_summary = |reply: &crate::harness::caller::Reply| reply.kind.as_deref() == Some("switchboard.summary");
    eventually("the summary comes", SOON, async || scene.caller.replies().iter().any(is_summary)).await;
    scene.wait_idle(&second).await;
    let replies = scene.caller.replies();
    let summary = &replies.iter().find(|reply| is_summary(reply)).unwrap().body;
    let counts: BTreeMap<&str, u64> = summary["counts"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(status, n)| Some((status.as_str(), n.as_u64().filter(|n| *n > 0)?)))
        .collect();
    assert_eq!((summary["total"].as_u64(), counts.values().sum::<u64>()), (Some(60), 60), "{summary}");
    let unknown = counts.get("unknown").copied().unwrap_or(0);
    assert!(unknown <= 6 && counts.get("succeeded") == Some(&(60 - unknown)), "{summary}");
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for executed in scene.fleet.executed() {
        *times.entry(executed.device).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    // What was said before is said again in the same words.
    let mut said_of: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for reply in replies.iter().filter(|reply| !is_summary(reply)) {
        said_of.entry(reply.body["device"].as_str().unwrap()).or_default().insert(reply.body.to_string());
    }
    assert_eq!(said_of.len(), 60);
    assert!(answered.iter().all(|device| said_of[device.as_str()].len() == 1), "{said_of:?}");
}

#[tokio::test]
async fn a_device_that_is_left_of_a_bulk_twice_is_commanded_twice_over_a_stop_too() {
    let scene = scene(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(200)));
    let mut first = scene.worker().await;
    let devices: Vec<_> = (0..20).map(|n| format!("d{}", n % 10)).collect();
    let bulk = json!({
        "id": "b", "devices": devices, "command": "open", "payload": {"job": "b"},
        "bulk": {"concurrency": 4, "results": "summary"}
    });
    // As a worker of an earlier version handed it on, which counted a device as often as its bulk named it.
    let mut left = Envelope::default();
    Tally::new(20, 0).carry(&mut left);
    let mut headers = FieldTable::default();
    headers.insert(TALLY.into(), AMQPValue::LongString(left.headers.text(TALLY).unwrap().into()));
    let properties = scene.caller.properties().with_headers(headers);
    scene.caller.send_with(&scene.options.queue, bulk.to_string().as_bytes(), properties).await;
    scene.fleet.wait_for(12, SOON).await;
    first.terminate();
    assert!(first.wait(SOON).await.success());
    let second = scene.worker().await;
    let summary = scene.result("b").await;
    assert_eq!(summary["counts"]["succeeded"], 20, "{summary}");
    scene.wait_idle(&second).await;
    assert_eq!(scene.fleet.executed().len(), 20);
}

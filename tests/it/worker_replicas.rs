//! Two workers on one queue: each answer finds the worker that asked, and one that stops or dies harms no job.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::eventually;
use crate::worker_scene::{SOON, Scene, job, job_with, said};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Jobs for devices of ten commands each, so that most of them wait in a lane.
fn lanes(jobs: usize) -> Vec<Value> {
    (0..jobs)
        .map(|n| job_with(&format!("j{n}"), &format!("d{}", n % (jobs / 10)), json!({"timeout_ms": 60_000})))
        .collect()
}

#[tokio::test]
async fn each_answer_reaches_the_worker_that_asked() {
    for (dialect, profile) in [(Dialect::Default, "default"), (Dialect::Json, "json")] {
        let scene = Scene::start(dialect).await.set("WORKER__CONCURRENCY", "5");
        scene.fleet.behave(Behaviour::Slow(Duration::from_millis(20)));
        let (first, second) = tokio::join!(scene.worker(), scene.worker());
        let jobs: Vec<_> =
            (0..100).map(|n| job_with(&format!("j{n}"), &format!("d{n}"), json!({"profile": profile}))).collect();
        scene.send_all(jobs.clone()).await;
        let replies = scene.caller.wait_for(jobs.len(), SOON).await;
        assert!(replies.iter().all(|reply| reply.body["status"] == "succeeded"));
        let workers: BTreeSet<_> = replies.iter().filter_map(|reply| reply.body["worker"].as_str()).collect();
        assert_eq!(workers.len(), 2, "{workers:?}");
        for worker in [&first, &second] {
            scene.wait_idle(worker).await;
            assert_eq!(worker.metric("switchboard_duplicate_answers_total", &[]).await, 0.0);
        }
        // With an inbox of its own a worker is not even sent the other one's answers.
        if dialect == Dialect::Default {
            assert_eq!(first.metric("switchboard_unmatched_messages_total", &[]).await, 0.0);
        }
        scene.check(&jobs);
    }
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_finishes_what_it_began_and_gives_the_rest_to_the_other() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__CONCURRENCY", "100");
    scene.fleet.behave(Behaviour::Slow(Duration::from_millis(50)));
    let jobs = lanes(300);
    let mut first = scene.worker().await;
    scene.send_all(jobs.clone()).await;
    scene.fleet.wait_for(20, SOON).await;
    let second = scene.worker().await;
    first.terminate();
    let status = first.wait(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", first.log());
    let replies = scene.caller.wait_for(jobs.len(), SOON).await;
    for reply in &replies {
        assert_eq!(said(&reply.body), ("succeeded", "yes"), "{}", reply.body);
        // What goes back unbegun goes back as if nobody had seen it.
        assert_eq!(reply.body["redelivered"], false, "{}", reply.body);
    }
    scene.wait_idle(&second).await;
    let workers: BTreeSet<_> = replies.iter().filter_map(|reply| reply.body["worker"].as_str()).collect();
    assert_eq!((workers.len(), scene.caller.replies().len()), (2, jobs.len()));
    assert!(scene.executions().values().all(|times| *times == 1));
    scene.check(&jobs);
    assert!(!first.log().contains("requeued"), "{}", first.log());
}

#[tokio::test]
async fn jobs_that_wait_for_their_time_go_back_when_the_worker_stops() {
    let scene = Scene::start(Dialect::Default).await;
    let mut first = scene.worker().await;
    let soon = crate::worker_scene::at(Duration::from_secs(8));
    let jobs: Vec<_> = (0..5).map(|n| job_with(&format!("j{n}"), "d", json!({"not_before": soon}))).collect();
    scene.send_all(jobs.clone()).await;
    eventually("they are held", SOON, async || first.metric("switchboard_jobs_in_flight", &[]).await == 5.0).await;
    first.terminate();
    assert!(first.wait(SOON).await.success());
    assert_eq!(scene.fleet.executed().len(), 0);
    let second = scene.worker().await;
    for reply in scene.caller.wait_for(5, SOON).await {
        assert_eq!((said(&reply.body), &reply.body["redelivered"]), (("succeeded", "yes"), &json!(false)));
    }
    scene.wait_idle(&second).await;
    scene.check(&jobs);
}

#[tokio::test]
async fn a_worker_that_is_told_twice_stops_at_once_and_says_what_it_left() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__GRACE", "10m");
    scene.fleet.behave(Behaviour::Silent);
    let mut worker = scene.worker().await;
    let fields = json!({"timeout_ms": 290_000});
    let jobs = [job_with("j1", "a", fields.clone()), job_with("j2", "b", fields)];
    scene.send_all(jobs.clone()).await;
    scene.fleet.wait_for(2, SOON).await;
    worker.terminate();
    eventually("it stops", SOON, async || {
        worker.get("/readyz").await.is_some_and(|(status, body)| status == 503 && body.contains("stopped"))
    })
    .await;
    worker.terminate();
    worker.wait(SOON).await;
    for reply in scene.caller.wait_for(2, SOON).await {
        assert_eq!(said(&reply.body), ("unknown", "unknown"));
        assert_eq!(reply.body["error"]["code"], "stopped");
    }
    assert_eq!(scene.caller.depth(&scene.options.queue).await, Some(0));
    scene.check(&jobs);
}

#[tokio::test]
async fn when_the_grace_is_over_the_worker_ends_as_if_told_twice() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__GRACE", "300ms");
    scene.fleet.behave(Behaviour::Silent);
    let mut worker = scene.worker().await;
    scene.send(&job_with("j1", "a", json!({"timeout_ms": 290_000}))).await;
    scene.fleet.wait_for(1, SOON).await;
    worker.terminate();
    assert_eq!(worker.wait(SOON).await.code(), Some(0));
    assert_eq!(scene.result("j1").await["error"]["code"], "stopped");
}

#[tokio::test]
async fn a_job_that_may_run_again_goes_back_as_begun_when_its_worker_is_stopped_at_once() {
    let scene = Scene::start(Dialect::Default).await.set("WORKER__GRACE", "300ms");
    scene.fleet.behave(Behaviour::Silent);
    let mut first = scene.worker().await;
    let job = job_with("j1", "a", json!({"guarantee": "at_least_once", "timeout_ms": 290_000}));
    scene.send(&job).await;
    scene.fleet.wait_for(1, SOON).await;
    first.terminate();
    assert_eq!(first.wait(SOON).await.code(), Some(0));
    scene.fleet.behave(Behaviour::Echo);
    let _second = scene.worker().await;
    let result = scene.result("j1").await;
    // As a fresh message nobody would know that the device may have got it, and a "no" would be a guess.
    assert_eq!((said(&result), &result["redelivered"]), (("succeeded", "yes"), &json!(true)), "{result}");
    scene.check(&[job]);
}

#[tokio::test]
async fn jobs_of_a_killed_worker_run_again_only_where_they_may() {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave(Behaviour::Silent);
    let mut first = scene.worker().await;
    let jobs: Vec<_> = (0..40)
        .map(|n| {
            let guarantee = if n % 2 == 0 { "at_most_once" } else { "at_least_once" };
            job_with(&format!("j{n}"), &format!("d{n}"), json!({"guarantee": guarantee, "timeout_ms": 60_000}))
        })
        .collect();
    scene.send_all(jobs.clone()).await;
    scene.fleet.wait_for(40, SOON).await;
    first.kill();
    scene.fleet.behave(Behaviour::Echo);
    let second = scene.worker().await;
    for (n, job) in jobs.iter().enumerate() {
        let result = scene.result(job["id"].as_str().unwrap()).await;
        let expected = if n % 2 == 0 { ("unknown", "unknown") } else { ("succeeded", "yes") };
        assert_eq!((said(&result), &result["redelivered"]), (expected, &json!(true)), "{result}");
    }
    scene.wait_idle(&second).await;
    let executions = scene.executions();
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(executions[job["id"].as_str().unwrap()], 1 + n % 2);
    }
    scene.check(&jobs);
    assert_eq!(second.metric("switchboard_redeliveries_total", &[]).await, 40.0);
    assert_eq!(scene.ask(job("after", "d")).await["status"], "succeeded");
}

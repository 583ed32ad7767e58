//! `switchboard dead-letters` against letters as they come to be: by a worker, by the broker, by a stranger.

use crate::harness::device::Dialect;
use crate::harness::eventually::{eventually, found};
use crate::harness::worker::{PROGRAM, ended, err, out, run_in};
use crate::harness::{rabbitmq, unique};
use crate::worker_scene::{SOON, Scene, job, job_with, said};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use switchboard::amqp::{Connection, Options, QueueSpec, Topology};

impl Scene {
    async fn letters(&self, arguments: &[&str]) -> Output {
        let place = ["dead-letters", "--amqp-url", &self.options.amqp_url];
        run_in(&self.options.environment, &[&place, arguments].concat(), SOON).await
    }

    /// Runs it, holds its exit code against this one, and returns its lines as JSON.
    async fn lines(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let output = self.letters(&[arguments, &["--json"]].concat()).await;
        ended(&output, code);
        out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn dead(&self, count: u32) {
        eventually(&format!("{count} dead letters"), SOON, async || self.caller.depth(&self.dead).await == Some(count))
            .await;
    }

    /// A message as a worker would have dead-lettered it.
    fn letter(&self, id: &str, body: &str, reason: &str, queue: &str) -> (Vec<u8>, BasicProperties) {
        let mut headers = FieldTable::default();
        headers.insert("x-switchboard-reason".into(), AMQPValue::LongString(reason.into()));
        headers.insert("x-switchboard-queue".into(), AMQPValue::LongString(queue.into()));
        let properties = self.caller.properties().with_message_id(id.into()).with_headers(headers);
        (body.as_bytes().to_vec(), properties)
    }
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_a_worker_gave_up_is_listed_shown_put_back_and_thrown_away() {
    let scene = Scene::start(Dialect::Default).await.set("CELERY__ENABLED", "false");
    let worker = scene.worker().await;
    let empty = scene.letters(&["list"]).await;
    ended(&empty, 0);
    assert_eq!(out(&empty), format!("no dead letters in {:?}\n", scene.dead));

    let nobody = BasicProperties::default().with_delivery_mode(2);
    let queue = &scene.options.queue;
    let wrong = job_with("wrong", "garage-7", json!({"colour": "red"})).to_string();
    scene.caller.send_with(queue, wrong.as_bytes(), nobody.clone()).await;
    scene.dead(1).await;
    scene.caller.send_with(queue, b"\xff\x1b[2J garbage", nobody.clone()).await;
    scene.dead(2).await;
    let mut task = FieldTable::default();
    task.insert("task".into(), AMQPValue::LongString("shop.open".into()));
    task.insert("id".into(), AMQPValue::LongString("task-1".into()));
    scene.caller.send_with(queue, b"[[], {}, {}]", nobody.with_headers(task).with_correlation_id("c".into())).await;
    scene.dead(3).await;

    let list = scene.letters(&["list"]).await;
    ended(&list, 0);
    let lines: Vec<&str> = out(&list).lines().collect();
    assert_eq!((lines.len(), lines[4]), (5, &*format!("3 dead letters in {:?}", scene.dead)), "{}", out(&list));
    assert!(lines[1].starts_with("wrong ") && lines[1].contains("invalid") && lines[1].contains("garage-7"));
    assert!(lines[3].starts_with("task-1 ") && lines[3].contains("unserved") && lines[3].contains("shop.open"));
    assert!(lines.iter().all(|line| line.chars().count() <= 100 && !line.contains('\u{1b}')), "{}", out(&list));

    let all = scene.lines(0, &["list"]).await;
    assert_eq!(ids(&all)[0], "wrong", "a look moves nothing");
    assert!(all[0]["detail"].as_str().unwrap().contains("colour") && all[0]["queue"] == **queue, "{}", all[0]);
    let when: jiff::Timestamp = all[0]["at"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(when).as_secs() < 600);
    let nameless = ids(&all)[1].to_owned();
    assert!(nameless.starts_with('~'), "{nameless}");
    let some = scene.lines(0, &["list", "--reason", "invalid", "--limit", "1"]).await;
    assert_eq!(ids(&some), ["wrong"]);

    let show = scene.letters(&["show", &nameless]).await;
    ended(&show, 0);
    assert!(out(&show).contains("\\xff\\x1b[2J garbage") && !out(&show).contains('\u{1b}'), "{}", out(&show));
    let [whole] = &scene.lines(0, &["show", "wrong"]).await[..] else { panic!("one letter") };
    assert_eq!(whole["body"], serde_json::from_str::<Value>(&wrong).unwrap());
    assert_eq!(whole["properties"]["persistent"], true);
    let unknown = scene.letters(&["show", "nonesuch"]).await;
    ended(&unknown, 1);
    assert!(err(&unknown).contains("\"nonesuch\""), "{}", err(&unknown));

    // It is as wrong as it was, and comes back counted.
    let back = scene.lines(1, &["replay", "wrong", "nonesuch"]).await;
    assert_eq!(
        (&back[0]["outcome"], &back[0]["queue"], &back[0]["replay"]),
        (&"replayed".into(), &json!(queue), &1.into())
    );
    assert_eq!(back[1]["summary"]["missing"], json!(["nonesuch"]));
    let again = found("it is a dead letter again", SOON, async || {
        scene.lines(0, &["list"]).await.into_iter().find(|line| line["replays"] == 1)
    })
    .await;
    assert_eq!(again["id"], "wrong");
    let copies = scene.lines(0, &["replay", "--dry-run"]).await;
    assert_eq!(copies.len(), 4);
    scene.dead(3).await;

    let thrown = scene.letters(&["discard", "wrong", &nameless]).await;
    ended(&thrown, 0);
    assert_eq!(out(&thrown), "2 thrown away\n");
    let rest = scene.lines(0, &["discard"]).await;
    assert_eq!((&rest[0]["id"], &rest[1]["summary"]["discarded"]), (&"task-1".into(), &1.into()));
    assert_eq!(scene.caller.depth(&scene.dead).await, Some(0));
    assert!(scene.fleet.executed().is_empty());
    assert!(!worker.log().contains("panick"));
}

#[tokio::test]
async fn what_the_broker_gave_up_is_poison_and_runs_again_only_by_force() {
    let scene = Scene::start(Dialect::Default).await;
    let mut worker = scene.worker().await;
    worker.terminate();
    assert!(worker.wait(SOON).await.success());
    let queue = &scene.options.queue;
    scene.send(&job("poison", "garage-7")).await;
    // The limit is 20, so the 21st return is one too many.
    for _ in 0..21 {
        scene.caller.take_and_put_back(queue, 1).await;
    }
    scene.dead(1).await;
    let [line] = &scene.lines(0, &["list", "--reason", "poison"]).await[..] else { panic!("one letter") };
    assert_eq!((&line["id"], &line["queue"], &line["count"]), (&"poison".into(), &json!(queue), &1.into()));
    assert_eq!((&line["by_broker"], line["at"].is_string()), (&true.into(), true));

    let refused = scene.letters(&["replay"]).await;
    ended(&refused, 1);
    assert!(out(&refused).contains("poison: refused: its device may have acted already"), "{}", out(&refused));
    assert!(out(&refused).ends_with("0 put back, 1 refused\n"), "{}", out(&refused));
    scene.dead(1).await;
    let forced = scene.letters(&["replay", "poison", "--force"]).await;
    ended(&forced, 0);
    assert_eq!(out(&forced), "1 put back\n");
    assert_eq!(scene.caller.depth(&scene.dead).await, Some(0));
    let _worker = scene.worker().await;
    let result = scene.result("poison").await;
    assert_eq!(said(&result), ("succeeded", "yes"), "a fresh message, not a redelivery: {result}");
}

#[tokio::test]
async fn what_has_expired_is_put_back_only_with_more_time() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let queue = &scene.options.queue;
    let late = job_with("late", "d", json!({"expires_at": "2020-01-01T00:00:00Z"})).to_string();
    let nowhere = unique("nowhere");
    let letters = [scene.letter("late", &late, "invalid", queue), scene.letter("lost", "{}", "invalid", &nowhere)];
    scene.caller.send_all(&scene.dead, letters).await;
    let [refused, failed, summary] = &scene.lines(1, &["replay"]).await[..] else { panic!("three lines") };
    assert_eq!((&refused["outcome"], &refused["code"]), (&"refused".into(), &"expired".into()));
    assert!(failed["outcome"] == "failed" && failed["message"].as_str().unwrap().contains(&nowhere), "{failed}");
    let counts = json!({"replayed": 0, "refused": 1, "failed": 1, "missing": [], "dry_run": false});
    assert_eq!(summary["summary"], counts);
    scene.dead(2).await;
    let more = scene.letters(&["replay", "late", "--expires-in", "5m"]).await;
    ended(&more, 0);
    assert_eq!(said(&scene.result("late").await), ("succeeded", "yes"));
    let own = scene.letters(&["replay", "--to", &scene.dead]).await;
    ended(&own, 64);
    let elsewhere = scene.letters(&["replay", "lost", "--to", queue]).await;
    ended(&elsewhere, 0);
    let wrong = found("it is answered", SOON, async || {
        scene.caller.replies().into_iter().find(|reply| reply.body["status"] == "invalid")
    })
    .await;
    assert_eq!(wrong.body["id"], "lost");
    scene.wait_idle(&worker).await;
}

/// Two thousand letters that came from a queue which nobody reads.
async fn two_thousand() -> (Scene, String) {
    let scene = Scene::start(Dialect::Default).await;
    let queue = unique("kept");
    for queue in [&queue, &scene.dead] {
        scene.caller.declare(queue, "quorum").await;
    }
    let letters = (0..2_000).map(|n| scene.letter(&format!("l{n}"), &job("x", "d").to_string(), "invalid", &queue));
    scene.caller.send_all(&scene.dead, letters.collect::<Vec<_>>()).await;
    (scene, queue)
}

#[tokio::test]
async fn a_replay_that_is_killed_loses_nothing_and_is_taken_up_again() {
    let (scene, queue) = two_thousand().await;
    assert_eq!(scene.lines(0, &["list"]).await.len(), 2_000);
    let mut killed = replaying(&scene, &[]);
    eventually("some are put back", SOON, async || scene.caller.depth(&queue).await >= Some(100)).await;
    killed.kill().await.unwrap();
    let back = scene.caller.depth(&queue).await.unwrap();
    assert!(back < 2_000, "it was over before it was killed");
    eventually("the broker has the rest back", SOON, async || {
        scene.caller.depth(&scene.dead).await.unwrap() + scene.caller.depth(&queue).await.unwrap() >= 2_000
    })
    .await;

    let mut interrupted = replaying(&scene, &["--rate", "100"]);
    eventually("some more are put back", SOON, async || scene.caller.depth(&queue).await > Some(back + 10)).await;
    let pid = interrupted.id().unwrap().to_string();
    let sent = tokio::process::Command::new("/bin/sh").args(["-c", "kill -s INT \"$1\"", "signal", &pid]).status();
    assert!(sent.await.unwrap().success());
    assert_eq!(tokio::time::timeout(SOON, interrupted.wait()).await.unwrap().unwrap().code(), Some(130));

    let rest = scene.letters(&["replay"]).await;
    ended(&rest, 0);
    assert_eq!(scene.caller.depth(&scene.dead).await, Some(0));
    let messages = scene.caller.take_dead_letters(&queue).await;
    let distinct: BTreeSet<_> = messages.iter().filter_map(|message| message.message_id.clone()).collect();
    // What was confirmed and not yet acknowledged when it was killed is there twice; Ctrl-C costs nothing.
    assert!(distinct.len() == 2_000 && (2_000..=2_001).contains(&messages.len()), "{}", messages.len());
    assert!(messages.iter().all(|message| message.reason.is_none()));
}

fn replaying(scene: &Scene, more: &[&str]) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["dead-letters", "--amqp-url", &scene.options.amqp_url, "replay"]).args(more);
    command.envs(scene.options.environment.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn thousands_are_thrown_away_at_once() {
    let (scene, _) = two_thousand().await;
    let some = scene.letters(&["discard", "--limit", "500"]).await;
    ended(&some, 0);
    assert_eq!(out(&some), "500 thrown away\n");
    let left = scene.lines(0, &["list"]).await;
    assert_eq!((left.len(), ids(&left)[0]), (1_500, "l500"));
    ended(&scene.letters(&["discard", "--yes"]).await, 0);
    assert_eq!(scene.caller.depth(&scene.dead).await, Some(0));
}

#[tokio::test]
async fn looking_thirty_times_loses_nothing_where_the_broker_limits_deliveries() {
    let scene = Scene::start(Dialect::Default).await;
    let options = Options { url: rabbitmq::shared().await.url(), ..Options::default() };
    // As RabbitMQ 4 has it where nothing is said: what was given out over twenty times is dropped.
    let limited = QueueSpec { delivery_limit: Some(20), ..QueueSpec::keeping(&scene.dead) };
    let topology = Topology { queues: vec![limited], declare: true, ..Topology::default() };
    topology.apply(&Connection::start(options, "test")).await.unwrap();
    let mut death = FieldTable::default();
    for (name, value) in [("reason", "delivery_limit"), ("queue", "jobs")] {
        death.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
    let poison = scene.caller.properties().with_message_id("broker".into()).with_headers(headers);
    let letters = [scene.letter("worker", "{}", "invalid", "jobs"), (b"{}".to_vec(), poison)];
    scene.caller.send_all(&scene.dead, letters).await;
    for look in 0..30 {
        let mut lines = scene.lines(0, &["list"]).await;
        lines.sort_by_key(|line| line["id"].to_string());
        let said: Vec<_> = lines.iter().map(|line| (&line["id"], &line["reason"], &line["queue"])).collect();
        let jobs = json!("jobs");
        let wanted = [(&json!("broker"), &json!("poison"), &jobs), (&json!("worker"), &json!("invalid"), &jobs)];
        assert_eq!(said, wanted, "after {look} looks");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_2_and_says_why() {
    let scene = Scene::start(Dialect::Default).await;
    let missing = scene.letters(&["list"]).await;
    ended(&missing, 2);
    assert!(err(&missing).contains("there is no queue") && err(&missing).contains(&scene.dead), "{}", err(&missing));
    let away = ["dead-letters", "replay", "--amqp-url", "amqp://me:canary@127.0.0.1:1/%2f"];
    let away = run_in(&[], &away, SOON).await;
    ended(&away, 2);
    assert!(!err(&away).contains("canary"), "{}", err(&away));
}

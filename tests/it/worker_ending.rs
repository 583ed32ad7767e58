//! What a worker shows of itself, and how it ends when it cannot go on.

use crate::harness::device::Dialect;
use crate::harness::eventually::{eventually, found};
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, job};
use rumqttc::v5::{AsyncClient, MqttOptions};
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

#[tokio::test]
async fn a_client_id_that_another_client_uses_is_said() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let id = found("its client id is in the broker's log", SOON, async || {
        let log = scene.broker_log();
        let line =
            log.lines().find(|line| line.contains("New client connected") && line.contains(" as switchboard-"))?;
        line.split(" as ").nth(1)?.split(' ').next().map(str::to_owned)
    })
    .await;
    let mut options = MqttOptions::new(&id, "127.0.0.1", scene.mqtt.port());
    options.set_keep_alive(Duration::from_secs(10));
    let (_client, mut events) = AsyncClient::new(options, 10);
    // It comes back whenever it is put out, as a second worker with the same id would. This broker closes the connection
    // of the one it puts out without the reason, by which the worker would know, and end.
    let intruder = tokio::spawn(async move {
        loop {
            if events.poll().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    eventually("the worker names the client id that somebody else uses", SOON, async || {
        let log = worker.log();
        log.lines().any(|line| line.contains("does another client use the id") && line.contains(&id))
    })
    .await;
    intruder.abort();
    eventually("alone again, it is ready", SOON, async || {
        worker.get("/readyz").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    scene.fleet.wait_subscribed().await;
    assert_eq!(scene.ask(job("j1", "d")).await["status"], "succeeded");
}

#[tokio::test]
async fn the_metrics_have_every_name_that_is_promised() {
    const PROMISED: &str = "switchboard_jobs_total switchboard_job_seconds switchboard_stage_seconds \
        switchboard_device_seconds switchboard_jobs_in_flight switchboard_device_requests_in_flight \
        switchboard_late_answers_total switchboard_unmatched_messages_total switchboard_duplicate_answers_total \
        switchboard_device_refusals_total switchboard_redeliveries_total switchboard_dead_lettered_total switchboard_mqtt_up switchboard_amqp_up \
        switchboard_mqtt_reconnects_total switchboard_amqp_reconnects_total switchboard_subscriptions \
        switchboard_subscription_users switchboard_schedule_fires_total switchboard_schedule_lag_seconds \
        switchboard_scheduler_active switchboard_bulk_devices_total switchboard_bulk_active";
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    // A new worker shows them all: an alert on a name that is not there yet would be no alert.
    let (status, fresh) = worker.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    let missing: Vec<_> =
        PROMISED.split_whitespace().filter(|name| !fresh.contains(&format!("# TYPE {name} "))).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{fresh}");
    let device = "label-device-7";
    assert_eq!(scene.ask(job("label-job-7", device)).await["status"], "succeeded");
    scene.wait_idle(&worker).await;
    let (_, text) = worker.get("/metrics").await.unwrap();
    assert!(!text.contains(device) && !text.contains("label-job-7") && !text.contains(&scene.options.queue));
    // A job that does not say when it was made: how long it was queued nobody knows, and 0 s would be a lie.
    for (stage, count) in [("queued", 0.0), ("waiting", 1.0), ("publish", 1.0), ("device", 1.0), ("reply", 1.0)] {
        assert_eq!(worker.metric("switchboard_stage_seconds_count", &[("stage", stage)]).await, count, "{stage}");
    }
    let seconds = [("mode", "request"), ("status", "succeeded")];
    assert_eq!(worker.metric("switchboard_job_seconds_count", &seconds).await, 1.0);
    for up in ["switchboard_mqtt_up", "switchboard_amqp_up"] {
        assert_eq!(worker.metric(up, &[]).await, 1.0);
    }
    let properties = scene.caller.properties().with_timestamp(jiff::Timestamp::now().as_second().unsigned_abs());
    let dated = job("dated", device).to_string();
    scene.caller.send_with(&scene.options.queue, dated.as_bytes(), properties).await;
    assert_eq!(scene.result("dated").await["status"], "succeeded");
    assert_eq!(worker.metric("switchboard_stage_seconds_count", &[("stage", "queued")]).await, 1.0);
}

/// The scheduling policy of each thread of a process, by name, and its nice value (proc(5), fields 41 and 19 of stat).
fn scheduled(pid: u32) -> Vec<(String, u32, i32)> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stat = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap());
    let of = |stat: String| {
        let (name, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        (name.split_once('(').unwrap().1.to_owned(), fields[38].parse().unwrap(), fields[16].parse().unwrap())
    };
    stat.map(of).collect()
}

#[tokio::test]
async fn its_threads_interrupt_nobody_unless_it_is_told_otherwise() {
    const SCHED_OTHER: u32 = 0;
    const SCHED_BATCH: u32 = 3;
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let (own, threads) = (scheduled(std::process::id())[0].clone(), scheduled(worker.pid()));
    assert!(threads.iter().any(|(name, ..)| name == "lapin-io-loop"), "{threads:?}");
    let expected = if own.2 == 0 { SCHED_BATCH } else { own.1 };
    for (name, policy, nice) in threads {
        assert_eq!((policy, nice), (expected, own.2), "{name}");
    }
    let told = scene.set("WORKER__SCHEDULING", "other").worker().await;
    assert!(scheduled(told.pid()).iter().all(|(_, policy, _)| *policy == SCHED_OTHER));
}

#[tokio::test]
async fn secrets_are_in_no_log() {
    let mut scene = Scene::start(Dialect::Default).await.set("LOG__LEVEL", "trace");
    scene.options.mqtt_url = scene.options.mqtt_url.replace("mqtt://", "mqtt://someone:hunter2@");
    let mut worker = scene.worker().await;
    assert_eq!(scene.ask(job("j1", "d")).await["status"], "succeeded");
    scene.mqtt.kill();
    eventually("the loss is noticed", SOON, async || worker.metric("switchboard_mqtt_up", &[]).await == 0.0).await;
    worker.terminate();
    worker.wait(SOON).await;
    assert!(!worker.log().contains("hunter2") && !worker.log().contains("guest:guest"));
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_lost_and_nothing_else_happens() {
    let scene = Scene::start(Dialect::Default).await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (_, unread) = std::io::pipe().unwrap();
    let (reader, read) = std::io::pipe().unwrap();
    let cases =
        [("full", Stdio::from(full), None), ("unread", unread.into(), None), ("left", read.into(), Some(reader))];
    for (case, log, reader) in cases {
        let mut worker = Worker::start_logging_to(&scene.options, log);
        worker.wait_ready(SOON).await;
        // Here it has been read so far.
        drop(reader);
        assert_eq!(scene.ask(job(case, "d")).await["status"], "succeeded", "{case}");
        worker.terminate();
        assert_eq!(worker.wait(SOON).await.code(), Some(0), "{case}");
    }
}

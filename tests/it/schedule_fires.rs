//! Schedules of running workers: who is commanded, how often, and what is said of it.

use crate::harness::device::Dialect;
use crate::harness::eventually::{eventually, found};
use crate::harness::worker::{self, Worker};
use crate::worker_scene::{SOON, Scene};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A scene whose workers have these schedules.
struct Clock {
    scene: Scene,
    folder: tempfile::TempDir,
}

impl Clock {
    async fn start(text: &str) -> Self {
        let mut scene = Scene::start(Dialect::Json).await.set("BULK__SHARDS", "1").set("BULK__LEASE", "5s");
        let folder = tempfile::tempdir().unwrap();
        let celery = format!("{}.celery", scene.options.queue);
        scene = scene.set("CELERY__QUEUE", &celery);
        scene.options.arguments = vec!["--config".to_owned(), path(&folder, "switchboard.toml")];
        let clock = Self { scene, folder };
        clock.set(text);
        clock
    }

    /// For workers that are started from now on.
    fn set(&self, text: &str) {
        let text = text.replace("{replies}", self.scene.caller.reply_to()).replace("{folder}", &path(&self.folder, ""));
        std::fs::write(path(&self.folder, "switchboard.toml"), text).unwrap();
    }

    /// How often each fire commanded each device.
    fn commanded(&self) -> BTreeMap<String, Vec<String>> {
        let mut fires: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for executed in self.scene.fleet.executed() {
            fires.entry(executed.job.unwrap_or_default()).or_default().push(executed.device);
        }
        fires
    }

    async fn command(&self, arguments: &[&str]) -> std::process::Output {
        let file = path(&self.folder, "switchboard.toml");
        let mut all = arguments.to_vec();
        all.extend(["--config", &file, "--amqp-url", &self.scene.options.amqp_url]);
        let mut environment = self.scene.options.environment.clone();
        environment.push(("SWITCHBOARD__AMQP__QUEUE".to_owned(), self.scene.options.queue.clone()));
        worker::run_in(&environment, &all, SOON).await
    }
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn instants(fires: &BTreeMap<String, Vec<String>>) -> BTreeSet<i64> {
    let instant = |id: &String| id.rsplit_once('@').unwrap().1.parse::<jiff::Timestamp>().unwrap().as_second();
    fires.keys().map(instant).collect()
}

#[tokio::test]
async fn each_instant_fires_once_over_replicas_also_when_they_are_replaced() {
    let every = "[[schedules]]\nname = 'tick'\nevery = '1s'\nreply_to = '{replies}'\n\
                 job = { devices = ['a', 'b'], command = 'poll', profile = 'json' }\n";
    let clock = Clock::start(every).await;
    let mut workers = vec![clock.scene.worker().await, clock.scene.worker().await];
    clock.scene.fleet.wait_for(6, SOON).await;
    for _ in 0..2 {
        let next = clock.scene.worker().await;
        let mut old = workers.remove(0);
        old.terminate();
        assert!(old.wait(SOON).await.success(), "{}", old.log());
        workers.push(next);
        let count = clock.scene.fleet.executed().len();
        clock.scene.fleet.wait_for(count + 4, SOON).await;
    }
    let mut fires = clock.commanded();
    // The last one may be on its way.
    fires.pop_last();
    let seconds = instants(&fires);
    let (first, last) = (*seconds.first().unwrap(), *seconds.last().unwrap());
    assert_eq!(seconds.len() as i64, last - first + 1, "none is missing: {seconds:?}");
    for (id, devices) in fires {
        assert_eq!(BTreeSet::from_iter(devices.iter().map(String::as_str)), BTreeSet::from(["a", "b"]), "{id}");
        assert_eq!(devices.len(), 2, "{id} twice: {devices:?}");
    }
    let summary = found("a summary", SOON, async || {
        clock.scene.caller.replies().into_iter().find(|reply| reply.kind.as_deref() == Some("switchboard.summary"))
    })
    .await;
    assert_eq!((&summary.body["status"], &summary.body["counts"]["succeeded"]), (&json!("completed"), &json!(2)));
    let mut holders = 0.0;
    for worker in &workers {
        holders += worker.metric("switchboard_scheduler_active", &[]).await;
    }
    assert_eq!(holders, 1.0, "one of them fires");
}

#[tokio::test]
async fn a_file_of_devices_is_read_at_each_fire_and_a_missing_one_costs_that_fire() {
    let text = "[[schedules]]\nname = 'tick'\nevery = '1s'\n\
                job = { devices_file = '{folder}/devices', command = 'poll', profile = 'json' }\n";
    let clock = Clock::start("").await;
    std::fs::write(path(&clock.folder, "devices"), "one\n").unwrap();
    clock.set(text);
    let worker = clock.scene.worker().await;
    let commanded = async |device: &str| {
        eventually(&format!("{device} is commanded"), SOON, async || {
            clock.scene.fleet.executed().iter().any(|executed| executed.device == device)
        })
        .await;
    };
    commanded("one").await;
    std::fs::write(path(&clock.folder, "devices"), "two\n{\"device\": \"three\", \"payload\": 3}\n").unwrap();
    commanded("three").await;
    std::fs::remove_file(path(&clock.folder, "devices")).unwrap();
    eventually("a fire lapses", SOON, async || {
        worker.metric("switchboard_schedule_lapses_total", &[("reason", "devices")]).await > 0.0
    })
    .await;
    std::fs::write(path(&clock.folder, "devices"), "four\n").unwrap();
    commanded("four").await;
    assert!(worker.metric("switchboard_schedule_fires_total", &[]).await >= 3.0);
    assert!(worker.log().contains("its devices are not known"), "{}", worker.log());
}

#[tokio::test]
async fn devices_that_say_that_they_are_there_are_found_at_each_fire() {
    let text = "[[schedules]]\nname = 'tick'\ncron = '0 0 1 1 *'\nreply_to = '{replies}'\n\
                job = { devices_online = true, command = 'poll', profile = 'json' }\n";
    let clock = Clock::start(text).await;
    let fleet = &clock.scene.fleet;
    for n in 0..300 {
        let word = if n % 3 == 0 { "offline" } else { "online" };
        fleet.publish(&format!("devices/d{n}/status"), word, true).await;
    }
    let _worker = clock.scene.worker().await;
    let fire = async || {
        let output = clock.command(&["schedule", "run", "tick", "--json"]).await;
        assert!(output.status.success(), "{output:?}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let id = said["id"].as_str().unwrap().to_owned();
        found("its summary", SOON, async || {
            let replies = clock.scene.caller.replies();
            replies
                .into_iter()
                .find(|reply| reply.kind.as_deref() == Some("switchboard.summary") && reply.body["id"] == id)
        })
        .await
        .body
    };
    let summary = fire().await;
    assert_eq!((&summary["total"], &summary["counts"]["succeeded"]), (&json!(200), &json!(200)), "{summary}");
    // They come and go.
    fleet.publish("devices/d1/status", "offline", true).await;
    fleet.publish("devices/new/status", "online", true).await;
    fleet.publish("devices/new2/status", "online", true).await;
    assert_eq!(fire().await["total"], 201);
}

#[tokio::test]
async fn one_that_still_runs_is_not_run_beside_itself_and_a_change_takes_effect_on_restart() {
    let slow = "[[schedules]]\nname = 'slow'\nevery = '1s'\noverlap = 'skip'\n\
                job = { devices = ['a', 'b', 'c', 'd', 'e', 'f'], command = 'poll', profile = 'json', bulk = { rate_per_second = 1 } }\n";
    let clock = Clock::start(slow).await;
    let mut worker = clock.scene.worker().await;
    eventually("fires lapse", SOON, async || {
        worker.metric("switchboard_schedule_lapses_total", &[("reason", "overlap")]).await >= 2.0
    })
    .await;
    assert_eq!(worker.metric("switchboard_schedule_fires_total", &[]).await, 1.0);
    worker.terminate();
    assert!(worker.wait(SOON).await.success(), "{}", worker.log());
    clock.set(
        "[[schedules]]\nname = 'fast'\nevery = '1s'\njob = { device = 'g', command = 'poll', profile = 'json' }\n",
    );
    let worker: Worker = clock.scene.worker().await;
    eventually("the new one fires", SOON, async || worker.metric("switchboard_schedule_fires_total", &[]).await >= 2.0)
        .await;
    // What the old one had begun is carried out.
    eventually("the old fire ends", SOON, async || {
        clock.commanded().iter().any(|(id, devices)| id.starts_with("slow@") && devices.len() == 6)
    })
    .await;
    for (id, devices) in clock.commanded() {
        let distinct: BTreeSet<_> = devices.iter().collect();
        assert_eq!(distinct.len(), devices.len(), "{id}: {devices:?}");
    }
}

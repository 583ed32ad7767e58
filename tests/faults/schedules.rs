//! Schedules whose holder dies every few seconds: each instant fires, once.

use crate::harness::caller::Caller;
use crate::harness::device::{Dialect, Fleet};
use crate::harness::eventually::eventually;
use crate::relay::NODE;
use crate::scene::{SOON, Scene};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

#[tokio::test]
#[ignore = "long: make faults"]
async fn every_second_fires_once_although_the_holder_is_killed_every_three() {
    const SECONDS: u64 = 90;
    let node = NODE.take().await;
    let mut scene = Scene::start("kill -9 of the holder of a schedule every 3 s", &node).await;
    scene.set("BULK__SHARDS", "1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switchboard.toml");
    let (caller, devices) =
        (Caller::connect(&node.node().url()).await, Fleet::start(scene.mqtt.port(), Dialect::Json).await);
    // A fire that is late fires all the same: what is looked at is that each does, once.
    let text = format!(
        "[[schedules]]\nname = 'tick'\nevery = '1s'\ngrace = '60s'\noverlap = 'allow'\nreply_to = '{}'\n\
         job = {{ device = 'clock', command = 'tick', profile = 'json', timeout_ms = 2000 }}\n",
        caller.reply_to()
    );
    std::fs::write(&file, text).unwrap();
    scene.options.arguments = vec!["--config".to_owned(), file.to_str().unwrap().to_owned()];
    scene.set("CELERY__QUEUE", &format!("{}.celery", scene.options.queue));
    scene.set("BULK__LEASE", "2s");
    scene.replicas(3).await;
    devices.wait_for(1, SOON).await;
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < Duration::from_secs(SECONDS) {
        let mut holder = None;
        for (index, replica) in scene.replicas.iter().enumerate() {
            if replica.get("/metrics").await.is_some_and(|(_, text)| text.contains("switchboard_scheduler_active 1")) {
                holder = Some(index);
            }
        }
        if let Some(holder) = holder {
            scene.kill_and_replace(holder);
            kills += 1;
        }
        sleep_until(began + Duration::from_secs(3 * (kills as u64 + 1))).await;
    }
    // The instants up to here, each with its end: what nobody reported is told of after its time.
    let until = jiff::Timestamp::now().as_second() - 1;
    let ended = || -> BTreeSet<i64> {
        let summaries =
            caller.replies().into_iter().filter(|reply| reply.kind.as_deref() == Some("switchboard.summary"));
        summaries.map(|reply| instant(reply.body["id"].as_str().unwrap())).collect()
    };
    let missing = || {
        let ended = ended();
        let first = ended.first().copied().unwrap_or(until);
        (first..=until).filter(|second| !ended.contains(second)).collect::<Vec<i64>>()
    };
    let _ = timeout(2 * SOON, eventually("every instant has its end", 3 * SOON, async || missing().is_empty())).await;
    let mut fires: BTreeMap<String, usize> = BTreeMap::new();
    for executed in devices.executed() {
        *fires.entry(executed.job.unwrap()).or_default() += 1;
    }
    let twice: Vec<_> = fires.iter().filter(|(_, times)| **times > 1).collect();
    let ended = ended();
    eprintln!(
        "{}: {} instants, {} commands, {kills} kills, {} missing, {} twice, {} s",
        scene.name,
        ended.len(),
        fires.len(),
        missing().len(),
        twice.len(),
        scene.started.elapsed().as_secs()
    );
    assert!(kills >= 20, "{kills}");
    assert!(ended.len() as u64 >= SECONDS, "{}", ended.len());
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(missing(), Vec::<i64>::new());
    // What a worker was killed with is told as unknown; of the rest each has been at the device.
    assert!(fires.len() + kills >= ended.len(), "{} of {}", fires.len(), ended.len());
    NODE.hand_on(node);
}

fn instant(id: &str) -> i64 {
    let at = id.rsplit_once('@').unwrap().1;
    at.parse::<jiff::Timestamp>().unwrap().as_second()
}

//! Bulks over all replicas while coordinators and workers die, alone and all at once.

use crate::harness::caller::Caller;
use crate::harness::device::Behaviour;
use crate::harness::eventually::{eventually, found};
use crate::relay::NODE;
use crate::scene::{DEVICES, SOON, Scene};
use rand::RngExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const TARGETS: usize = 4_000;
const CHUNK: usize = 20;
/// Devices that are out at one time.
const OUT: usize = 120;

/// Devices a second, so that it lasts longer than all kills.
const RATE: usize = 100;

fn bulk(id: &str, guarantee: &str) -> Value {
    let devices: Vec<_> = (0..TARGETS).map(|n| format!("d{n}")).collect();
    json!({
        "id": id, "devices": devices, "command": "open", "payload": {"job": id}, "timeout_ms": 1500,
        "guarantee": guarantee, "bulk": {"concurrency": OUT, "rate_per_second": RATE},
    })
}

async fn scene(name: &'static str, node: &crate::harness::rabbitmq::OwnNode) -> (Scene, Caller) {
    let mut scene = Scene::start(name, node).await;
    for (key, value) in [("SHORT", "1"), ("CHUNK", &CHUNK.to_string()), ("SHARDS", "2"), ("LEASE", "2s")] {
        scene.set(&format!("BULK__{key}"), value);
    }
    // Slow enough that kills find something under way.
    for device in DEVICES..TARGETS {
        scene.fleet.behave_as(&format!("d{device}"), Behaviour::Slow(Duration::from_millis(200 + device as u64 % 300)));
    }
    let caller = Caller::connect(&node.node().url()).await;
    (scene, caller)
}

/// Waits for the summary, and holds it, what devices did and what was told against what must be.
async fn judge(scene: &mut Scene, caller: &Caller, id: &str, guarantee: &str) -> Value {
    let summary = found("the summary comes", 4 * SOON, async || {
        let replies = caller.replies().into_iter().rev();
        let mut summaries = replies.filter(|reply| reply.kind.as_deref() == Some("switchboard.summary"));
        summaries.find(|reply| reply.body["id"] == id)
    })
    .await
    .body;
    let counts: BTreeMap<&str, u64> = summary["counts"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(status, count)| Some((status.as_str(), count.as_u64().filter(|count| *count > 0)?)))
        .collect();
    let mut times: HashMap<String, usize> = HashMap::new();
    for executed in scene.fleet.executed() {
        *times.entry(executed.device).or_default() += 1;
    }
    let repeated = times.values().filter(|times| **times > 1).count();
    let told: BTreeMap<String, bool> = caller
        .replies()
        .into_iter()
        .filter(|reply| reply.body["id"] == id && reply.kind.as_deref() == Some("switchboard.result"))
        .map(|reply| (reply.body["device"].as_str().unwrap().to_owned(), reply.body["executed"] == "no"))
        .collect();
    eprintln!(
        "{}: {guarantee}: {counts:?}; {} devices commanded, {repeated} more than once, {} told, {} s",
        scene.name,
        times.len(),
        told.len(),
        scene.started.elapsed().as_secs()
    );
    assert_eq!(counts.values().sum::<u64>(), TARGETS as u64, "every device is accounted for: {summary}");
    assert_eq!(told.len(), TARGETS, "every device is told of");
    for (device, is_no) in &told {
        assert!(!is_no || !times.contains_key(device), "{device} was commanded, and a result says that it was not");
    }
    match guarantee {
        "at_most_once" => assert_eq!(repeated, 0, "a device was commanded twice"),
        _ => assert_eq!(times.len(), TARGETS, "a device was never commanded"),
    }
    summary
}

async fn through_kills(guarantee: &'static str) {
    const KILLS: usize = 30;
    let node = NODE.take().await;
    let (mut scene, caller) = scene("kill -9 of a replica among bulks", &node).await;
    scene.replicas(3).await;
    caller.send(&scene.options.queue, &bulk("b", guarantee)).await;
    let mut next = Instant::now();
    for round in 0..KILLS {
        // Some devices later, so that every step is hit sooner or later.
        let more = scene.dice.random_range(0..RATE);
        let before = scene.fleet.executed().len();
        let moves = async || scene.fleet.executed().len() > (before + more).min(TARGETS - 1);
        // After a kill or two all that is out may be nobody's until its time is over: that is to be hit as well.
        let _ = tokio::time::timeout(Duration::from_secs(2), eventually("it goes on", SOON, moves)).await;
        let has_ended = caller.replies().iter().any(|reply| reply.kind.as_deref() == Some("switchboard.summary"));
        assert!(!has_ended, "it ended before the kill {round} of {KILLS}");
        let victim = scene.dice.random_range(0..3);
        scene.kill_and_replace(victim);
        if round % 3 == 2 {
            scene.all_ready().await;
        }
        next += Duration::from_secs(1);
        sleep_until(next).await;
    }
    let summary = judge(&mut scene, &caller, "b", guarantee).await;
    let unknown = summary["counts"]["unknown"].as_u64().unwrap();
    // What was out when a kill came, of which a worker has its share and a coordinator's last chunks are all.
    assert!(unknown <= (KILLS * OUT) as u64, "{summary}");
    NODE.hand_on(node);
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_bulk_through_thirty_kills_commands_no_device_twice_and_loses_none() {
    through_kills("at_most_once").await;
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_bulk_that_may_run_twice_reaches_every_device_through_thirty_kills() {
    through_kills("at_least_once").await;
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn a_bulk_whose_replicas_all_die_goes_on_when_they_are_back() {
    let node = NODE.take().await;
    let (mut scene, caller) = scene("kill -9 of all replicas among a bulk", &node).await;
    scene.replicas(2).await;
    caller.send(&scene.options.queue, &bulk("b", "at_most_once")).await;
    scene.fleet.wait_for(1000, SOON).await;
    for replica in &mut scene.replicas {
        replica.kill();
    }
    let begun = scene.fleet.executed().len();
    scene.replicas.clear();
    scene.numbers.clear();
    // Longer than any lease: what was out is nobody's by now.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(scene.fleet.executed().len() <= begun + OUT, "nobody is there, and devices are commanded");
    scene.replicas(2).await;
    let summary = judge(&mut scene, &caller, "b", "at_most_once").await;
    assert!(summary["counts"]["unknown"].as_u64().unwrap() <= OUT as u64, "{summary}");
    NODE.hand_on(node);
}

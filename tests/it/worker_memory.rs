//! A worker with small limits under everything that could fill it: it stays below the bound that its configuration states.

use crate::harness::device::{Behaviour, Dialect};
use crate::harness::unique;
use crate::harness::worker::Worker;
use crate::worker_scene::{SOON, Scene, job_with};
use lapin::BasicProperties;
use serde_json::{Value, json};
use switchboard::config::{Inputs, load};

/// Payloads and answers, just below what is allowed.
const PAYLOAD: usize = 60_000;
const ANSWER: usize = 30_000;
/// The jobs and devices of each part of one round.
const MANY: usize = 1_500;

/// Every limit that costs memory, small.
const LIMITS: &[(&str, &str)] = &[
    ("WORKER__CONCURRENCY", "60"),
    ("WORKER__MAX_PAYLOAD_BYTES", "65536"),
    ("WORKER__LATE_IDS", "200"),
    ("WORKER__RECENT_IDS", "500"),
    ("WORKER__RECENT_REPLY_BYTES", "1048576"),
    ("WORKER__BREAKER_DEVICES", "500"),
    ("WORKER__MAX_DEVICES", "5000"),
    ("WORKER__BULK_DEVICES", "5000"),
    ("WORKER__BULK_CONCURRENCY", "30"),
    ("BULK__SHORT", "2000"),
    ("BULK__PREFETCH", "1"),
    ("BULK__PLAN_BYTES", "1048576"),
    ("MQTT__MAX_INFLIGHT", "60"),
    ("MQTT__MAX_ANSWER_BYTES", "32768"),
];

/// The bound of a configuration that is set like this.
fn bound(environment: &[(String, String)]) -> u64 {
    let inputs = Inputs { environment: environment.to_vec(), ..Inputs::default() };
    load(&inputs).unwrap().memory().bytes()
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Jobs whose results go where nobody reads.
async fn send(scene: &Scene, unread: &str, jobs: impl IntoIterator<Item = Value>) {
    let properties = BasicProperties::default().with_content_type("application/json".into());
    let properties = properties.with_reply_to(unread.into());
    let messages = jobs.into_iter().map(|job| (job.to_string().into_bytes(), properties.clone()));
    scene.caller.send_all(&scene.options.queue, messages).await;
}

/// Everything at once that could fill a worker; returns when it has nothing to do any more.
async fn flood(scene: &Scene, worker: &Worker, unread: &str, round: usize) {
    let large = json!({"filler": "x".repeat(PAYLOAD)});
    let answer = "y".repeat(ANSWER);
    let seen = scene.fleet.executed().len();
    // Large commands to devices that keep silent, each job twice.
    let silent = (0..MANY).flat_map(|n| {
        let id = format!("silent-{round}-{n}");
        let job = job_with(&id, &id, json!({"payload": large, "timeout_ms": 50}));
        [job.clone(), job]
    });
    send(scene, unread, silent).await;
    scene.fleet.wait_for(seen + MANY, SOON).await;
    let asked: Vec<String> = scene.fleet.executed()[seen..].iter().map(|executed| executed.topic.clone()).collect();
    // Large answers to all of them: most are too late even to be late.
    for topic in &asked {
        scene.fleet.publish(&topic.replace("commands/open", "responses"), answer.clone(), false).await;
    }
    // Words that nobody asked for: from devices that do not exist, on the answers' topics, and too large.
    let inbox = asked[0].split('/').nth(4).unwrap();
    for n in 0..MANY {
        scene.fleet.publish(&format!("devices/nobody-{round}-{n}/status"), "offline", false).await;
        let topic = format!("devices/nobody-{round}-{n}/responses/{inbox}/{n}");
        scene.fleet.publish(&topic, vec![0xff; if n % 10 == 0 { 2 * ANSWER } else { 1000 }], false).await;
    }
    // Commands that are answered at length, and bulks to thousands.
    let spoken = (0..MANY).map(|n| {
        let id = format!("huge-{round}-{n}");
        job_with(&id, &id, json!({"timeout_ms": 60_000}))
    });
    send(scene, unread, spoken).await;
    let bulks = (0..3).map(|n| {
        let devices: Vec<String> = (0..2_000).map(|d| format!("huge-bulk-{d}")).collect();
        json!({"id": format!("bulk-{round}-{n}"), "devices": devices, "command": "open",
               "bulk": {"concurrency": 100_000, "results": "summary"}})
    });
    send(scene, unread, bulks).await;
    scene.wait_idle(worker).await;
}

/// With the prefetch at 5000 the same flood takes the worker 40 MiB beyond this bound, and with what is remembered of finished
/// jobs unbounded 13 MiB; as it is, less than half of it is used.
#[tokio::test]
async fn a_flooded_worker_stays_below_the_bound_of_its_configuration() {
    let mut scene = Scene::start(Dialect::Default).await;
    for (key, value) in LIMITS {
        scene = scene.set(key, value);
    }
    let bound = bound(&scene.options.environment);
    let unread = unique("unread");
    scene.caller.declare(&unread, "classic").await;
    scene.fleet.behave(Behaviour::Silent);
    let worker = scene.worker().await;
    let (mut peaks, mut rests) = (Vec::new(), Vec::new());
    for round in 0..2 {
        for n in 0..MANY {
            scene.fleet.behave_as(&format!("huge-{round}-{n}"), Behaviour::Huge(ANSWER));
        }
        for n in 0..2_000 {
            scene.fleet.behave_as(&format!("huge-bulk-{n}"), Behaviour::Huge(2_000));
        }
        flood(&scene, &worker, &unread, round).await;
        peaks.push(worker.memory("VmHWM"));
        rests.push(worker.memory("VmRSS"));
    }
    let unread_results = scene.caller.depth(&unread).await;
    scene.caller.delete(&unread).await;
    assert!(unread_results.is_some_and(|depth| depth as usize > 4 * MANY), "{unread_results:?}");
    for name in ["switchboard_late_answers_total", "switchboard_unmatched_messages_total"] {
        assert!(worker.metric(name, &[]).await > 0.0, "{name}");
    }
    assert!(peaks[1] < bound, "{} MiB at most, and the bound is {} MiB", mib(peaks[1]), mib(bound));
    // The same again finds everything full that fills up.
    let grown = [peaks[1] - peaks[0], rests[1].saturating_sub(rests[0])];
    assert!(
        grown.iter().all(|grown| *grown < bound / 8),
        "the second flood: {} and {} MiB more",
        mib(grown[0]),
        mib(grown[1])
    );
}

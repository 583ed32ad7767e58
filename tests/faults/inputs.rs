//! Ten thousand messages that are no jobs, or hardly, among a thousand that are.

use crate::footprint::Footprint;
use crate::harness::caller::Caller;
use crate::harness::device::Behaviour;
use crate::harness::eventually::eventually;
use crate::load::job;
use crate::relay::NODE;
use crate::scene::{SOON, Scene};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use std::collections::BTreeSet;

const BAD: usize = 10_000;
const GOOD: usize = 1_000;
/// How large a few of them are.
const LARGE: usize = 5 * 1024 * 1024;

/// A job with something wrong in it, as often as not: whatever a broken producer may make of one.
fn bad(number: usize, dice: &mut StdRng) -> Vec<u8> {
    let whole = json!({
        "id": format!("bad-{number}"), "device": "d1", "command": "open", "payload": {"a": [1, 2.5, null, "x"]},
        "mode": "request", "profile": "default", "timeout_ms": 4_000, "guarantee": "at_least_once",
    });
    let mut bytes = whole.to_string().into_bytes();
    match dice.random_range(0..8) {
        0 => (0..dice.random_range(0..200)).map(|_| dice.random()).collect(),
        1 => {
            bytes.truncate(dice.random_range(0..bytes.len()));
            bytes
        }
        2 => {
            let twice = format!(r#"{{"id":"bad-{number}","device":"d1","device":"d2","command":"open"}}"#);
            twice.into_bytes()
        }
        3 => {
            let number = ["1e999", "-0", "123456789012345678901234567890", "NaN", "0x10", "1.5", "-1"];
            let number = number[dice.random_range(0..number.len())];
            whole.to_string().replace("4000", number).into_bytes()
        }
        4 => {
            let depth = dice.random_range(1..20_000);
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"device":"d1","command":"open","payload":{open}{close}}}"#).into_bytes()
        }
        5 => {
            let field =
                ["id", "device", "command", "mode", "profile", "timeout_ms", "guarantee"][dice.random_range(0..7)];
            let wrong = [json!(null), json!([]), json!({}), json!(true), json!(-7), json!("\u{0}"), json!("#/+")];
            let mut whole = whole;
            whole[field] = wrong[dice.random_range(0..7)].clone();
            whole.to_string().into_bytes()
        }
        6 if number.is_multiple_of(400) => vec![b'['; LARGE],
        _ => {
            for _ in 0..dice.random_range(1..6) {
                let at = dice.random_range(0..bytes.len());
                match dice.random_range(0..3) {
                    0 => bytes[at] = dice.random(),
                    1 => bytes.insert(at, dice.random()),
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        }
    }
}

#[tokio::test]
#[ignore = "long: make faults"]
async fn ten_thousand_wrong_messages_are_each_answered_and_a_thousand_jobs_among_them_are_done() {
    let node = NODE.take().await;
    let mut scene = Scene::start("ten thousand wrong messages", &node).await;
    for device in 0..20 {
        scene.fleet.behave_as(&format!("d{device}"), Behaviour::Echo);
    }
    scene.replicas(3).await;
    let reconnects = scene.metric("switchboard_amqp_reconnects_total", &[]).await;
    let caller = Caller::connect(&node.node().url()).await;
    let mut messages = Vec::new();
    for number in 0..BAD {
        let correlated = caller.properties().with_correlation_id(format!("bad-{number}").into());
        messages.push((bad(number, &mut scene.dice), correlated));
        if number % (BAD / GOOD) == 0 {
            let good = job(&format!("good-{number}"), number % 20, "at_most_once");
            messages.push((good.to_string().into_bytes(), caller.properties()));
        }
    }
    for part in messages.chunks(500) {
        caller.send_all(&scene.options.queue, part.to_vec()).await;
    }
    let mut answered = BTreeSet::new();
    eventually("every message is answered", 3 * SOON, async || {
        answered = caller.replies().into_iter().filter_map(|reply| reply.correlation_id).collect();
        answered.len() >= BAD + GOOD
    })
    .await;
    let replies = caller.replies();
    let good: Vec<_> =
        replies.iter().filter(|it| it.body["id"].as_str().is_some_and(|id| id.starts_with("good-"))).collect();
    assert!(good.len() == GOOD && good.iter().all(|reply| reply.body["status"] == "succeeded"));
    let invalid = replies.iter().filter(|reply| reply.body["status"] == "invalid").count();
    assert!(invalid > BAD / 3, "only {invalid} were wrong");
    eprintln!("  {invalid} of {BAD} were invalid; {}", Footprint::of(&scene.replicas[0]));
    assert_eq!(scene.metric("switchboard_mqtt_reconnects_total", &[]).await, 0.0);
    assert_eq!(scene.metric("switchboard_amqp_reconnects_total", &[]).await, reconnects);
    scene.rest().await;
    // Each worker saw messages of megabytes, and keeps none.
    for worker in &scene.replicas {
        assert!(Footprint::of(worker).kilobytes < 400 * 1024, "{}", Footprint::of(worker));
    }
    let verdict = scene.finish().await;
    verdict.nothing_is_dead();
    NODE.hand_on(node);
}

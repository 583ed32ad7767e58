//! Hundreds of wrong messages among good jobs: each is answered or dead-lettered for what it is, and harms no other.

use crate::harness::caller::{Caller, Reply};
use crate::harness::device::Dialect;
use crate::harness::eventually::eventually;
use crate::worker_scene::{SOON, Scene, job, said};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A message that is no job, and a word that its rejection must have.
struct Wrong {
    body: Vec<u8>,
    properties: BasicProperties,
    names: &'static str,
}

struct Collection {
    json: BasicProperties,
    wrong: Vec<Wrong>,
}

impl Collection {
    fn add(&mut self, names: &'static str, body: impl Into<Vec<u8>>) {
        self.wrong.push(Wrong { body: body.into(), properties: self.json.clone(), names });
    }

    fn with(&mut self, names: &'static str, properties: BasicProperties, body: &Value) {
        self.wrong.push(Wrong { body: body.to_string().into_bytes(), properties, names });
    }

    /// A good job with one field of another value.
    fn field(&mut self, names: &'static str, name: &str, value: Value) {
        let mut job = json!({"device": "d", "command": "c"});
        job[name] = value;
        self.add(names, job.to_string());
    }

    /// A bulk with these options.
    fn bulk(&mut self, names: &'static str, options: Value) {
        self.add(names, json!({"devices": ["d"], "command": "c", "bulk": options}).to_string());
    }
}

fn bodies(c: &mut Collection) {
    for text in ["", " ", "{", "}", "[]", "{}{}", "null", "true", "1", "\"x\"", "{]", "{'a':1}", "NaN", "{\"device\":}"]
    {
        c.add("body", text);
    }
    let whole = job("cut", "d").to_string();
    for length in (1..whole.len()).step_by(3) {
        c.add("body", &whole.as_bytes()[..length]);
    }
    for byte in [0x80, 0xC0, 0xF5, 0xFE, 0xFF] {
        for at in [0, 2, whole.len() / 2, whole.len()] {
            let mut bytes = whole.clone().into_bytes();
            bytes.insert(at, byte);
            c.add("body", bytes);
        }
    }
    c.add("body", b"\xef\xbb\xbf{}".to_vec());
    c.add("body", whole.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    c.add("body", "[".repeat(200_000));
    c.add("body", "{\"a\":".repeat(100_000));
    c.add("body", "x".repeat(1_000_000));
    c.add("body", vec![0; 10_000]);
    c.add("body", r#"{"device": "d", "device": "d", "command": "c"}"#);
    for name in ["colour", "Device", "device ", "\u{0}", "", "timeout", "__proto__", "reply_to", "args", "kwargs"] {
        c.field("body", name, json!(1));
    }
}

fn fields(c: &mut Collection) {
    let wrong =
        || [json!(null), json!(true), json!(7), json!(1.5), json!([]), json!({}), json!(["x"]), json!({"a": 1})];
    for name in ["id", "device", "command", "mode", "profile", "guarantee", "expires_at", "not_before"] {
        for value in wrong() {
            c.field(name, name, value);
        }
    }
    for value in [json!(0), json!(-1), json!(1.5), json!("5s"), json!(1e300), json!(u64::MAX), json!([]), json!(null)] {
        c.field("timeout_ms", "timeout_ms", value);
    }
    for text in ["", "tomorrow", "2026-13-01T00:00:00Z", "2026-11-22", "2026-11-22T10:00:00", "1795341605", "Z"] {
        c.field("expires_at", "expires_at", json!(text));
        c.field("not_before", "not_before", json!(text));
    }
    for (name, value) in [("mode", "ask"), ("guarantee", "exactly_once"), ("profile", ""), ("profile", "nonesuch")] {
        c.field(name, name, json!(value));
    }
    for id in [String::new(), "x".repeat(256), "x".repeat(100_000), "a\u{0}b".into(), "a\nb".into(), "\u{85}".into()] {
        c.field("id", "id", json!(id));
    }
    let both = json!({"device": "d", "command": "c", "not_before": "2030-01-01T00:00:00Z", "expires_at": "2029-01-01T00:00:00Z"});
    c.add("not_before", both.to_string());
    for (missing, names) in [(json!({"command": "c"}), "device"), (json!({"device": "d"}), "command")] {
        c.add(names, missing.to_string());
    }
    c.field("payload", "payload", json!("x".repeat(262_145)));
    c.field("payload", "payload", json!({"$base64": "?"}));
    c.field("payload", "payload", json!({"$base64": 1}));
    c.field("payload", "payload", json!({"$base64": "A".repeat(400_000)}));
    for depth in [101, 1000, 50_000] {
        let deep = format!(r#"{{"device":"d","command":"c","payload":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        c.add("payload", deep);
    }
    c.add("payload", r#"{"device":"d","command":"c","payload":1e999}"#);
    c.add("payload", r#"{"device":"d","command":"c","payload":"\ud800"}"#);
}

fn names_that_no_topic_can_carry(c: &mut Collection) {
    let control = ["\u{0}", "\u{1}", "\u{7f}", "\u{9f}", "\n"];
    let names =
        ["", "+", "#", "/", "a/b", "a+", "#a", "a/+/b", "a/#", "//", "/a", "a/", "$SYS", "$share/g/a", "\u{ffff}"];
    for name in names.into_iter().chain(control) {
        c.field("device", "device", json!(name));
        c.field("command", "command", json!(name));
        c.field("device", "device", json!(format!("{name}/x")));
        if !control.contains(&name) && name != "\u{ffff}" && !name.is_empty() && !name.starts_with('$') {
            c.field("command", "command", json!(format!("x{name}")));
        }
    }
    for length in [257, 70_000] {
        c.field("device", "device", json!("d".repeat(length)));
        c.field("command", "command", json!("c".repeat(length)));
    }
}

fn bulks(c: &mut Collection) {
    for value in [json!([]), json!({}), json!("d"), json!(1), json!([1]), json!(["a", null]), json!([["a"]])] {
        c.add("devices", json!({"devices": value, "command": "c"}).to_string());
    }
    for value in
        [json!([]), json!([1]), json!(["a"]), json!([{}]), json!([{"device": 1}]), json!([{"device": "a", "x": 1}])]
    {
        c.add("targets", json!({"targets": value, "command": "c"}).to_string());
    }
    c.add("devices", json!({"device": "d", "devices": ["d"], "command": "c"}).to_string());
    c.add("targets", json!({"devices": ["d"], "targets": [{"device": "d"}], "command": "c"}).to_string());
    c.add("bulk", json!({"device": "d", "command": "c", "bulk": {}}).to_string());
    for rate in [json!(0), json!(-1), json!("fast"), json!(null), json!([])] {
        c.bulk("bulk.rate_per_second", json!({"rate_per_second": rate}));
    }
    for number in [json!(0), json!(-1), json!(1.5), json!("many"), json!(u64::MAX)] {
        c.bulk("bulk.concurrency", json!({"concurrency": number}));
        c.bulk("bulk.abort.after", json!({"abort": {"failed_percent": 20, "after": number}}));
    }
    for percent in [json!(0), json!(101), json!(-1), json!("20%"), json!(null)] {
        c.bulk("bulk.abort.failed_percent", json!({"abort": {"failed_percent": percent, "after": 1}}));
    }
    for options in [
        json!(null),
        json!(1),
        json!([]),
        json!({"rate": 1}),
        json!({"results": 1}),
        json!({"abort": 1}),
        json!({"results": "all"}),
    ] {
        c.bulk("bulk", options);
    }
    let many: Vec<String> = (0..100_001).map(|number| number.to_string()).collect();
    c.add("devices", json!({"devices": many, "command": "c"}).to_string());
}

fn properties(c: &mut Collection) {
    let good = json!({"device": "d", "command": "c"});
    let types = [
        "text/plain",
        "application/xml",
        "application/x-python-serialize",
        "json",
        "\u{0}",
        "application/json; charset=latin1",
    ];
    for content_type in types {
        c.with("content_type", c.json.clone().with_content_type(content_type.into()), &good);
    }
    for encoding in ["gzip", "binary", "utf-16", "deflate"] {
        c.with("content_encoding", c.json.clone().with_content_encoding(encoding.into()), &good);
    }
    c.with("message_id", c.json.clone().with_message_id("a\nb".into()), &good);
}

fn collect(caller: &Caller) -> Vec<Wrong> {
    let mut c = Collection { json: caller.properties(), wrong: Vec::new() };
    bodies(&mut c);
    fields(&mut c);
    names_that_no_topic_can_carry(&mut c);
    bulks(&mut c);
    properties(&mut c);
    c.wrong
}

#[tokio::test]
async fn hundreds_of_wrong_messages_are_refused_by_name_and_harm_no_job_among_them() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let wrong = collect(&scene.caller);
    assert!(wrong.len() >= 300, "{}", wrong.len());
    let mut messages = Vec::new();
    let mut jobs = Vec::new();
    for (index, wrong) in wrong.iter().enumerate() {
        // Told apart by their correlation, since their ids cannot be relied on; every fourth has nobody to be told.
        let correlated = wrong.properties.clone().with_correlation_id(index.to_string().into());
        let addressed = if index % 4 == 3 { correlated.with_reply_to("".into()) } else { correlated };
        messages.push((wrong.body.clone(), addressed));
        if index % 3 == 0 {
            let good = job(&format!("good-{index}"), &format!("d{}", index % 20));
            messages.push((good.to_string().into_bytes(), scene.caller.properties()));
            jobs.push(good);
        }
    }
    let dead = wrong.len() / 4;
    let told = wrong.len() - dead;
    scene.caller.send_all(&scene.options.queue, messages).await;
    for job in &jobs {
        assert_eq!(said(&scene.result(job["id"].as_str().unwrap()).await), ("succeeded", "yes"));
    }
    let replies = scene.caller.wait_for(jobs.len() + told, SOON).await;
    eventually("the dead letters are there", SOON, async || scene.caller.depth(&scene.dead).await == Some(dead as u32))
        .await;
    scene.wait_idle(&worker).await;
    for (index, wrong) in wrong.iter().enumerate().filter(|(index, _)| index % 4 != 3) {
        let body = String::from_utf8_lossy(&wrong.body[..wrong.body.len().min(200)]);
        let of_it: Vec<_> =
            replies.iter().filter(|reply| reply.correlation_id == Some(index.to_string())).map(|r| &r.body).collect();
        assert_eq!(of_it.len(), 1, "{body}: {of_it:?}");
        assert_eq!(said(of_it[0]), ("invalid", "no"), "{body}: {}", of_it[0]);
        let message = of_it[0]["error"]["message"].as_str().unwrap();
        assert!(message.contains(wrong.names), "{body}: {message}");
        assert!(message.len() < 1000, "{} bytes about {body}", message.len());
    }
    let letters = scene.caller.take_dead_letters(&scene.dead).await;
    assert!(letters.iter().all(|letter| letter.reason.as_deref() == Some("invalid")));
    assert_eq!(scene.caller.replies().len(), jobs.len() + told);
    for metric in ["switchboard_mqtt_reconnects_total", "switchboard_amqp_reconnects_total"] {
        assert_eq!(worker.metric(metric, &[]).await, 0.0, "{metric}");
    }
    assert!(!worker.log().contains("panick"));
    assert_eq!(worker.get("/readyz").await.map(|(status, _)| status), Some(200));
    assert_eq!(scene.executions().len(), jobs.len());
}

#[tokio::test]
async fn wrong_jobs_without_an_id_are_told_apart() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let nameless = json!({"device": "d", "command": "open", "colour": 1}).to_string();
    for correlation in [Some("req2"), Some("req3"), None] {
        let properties = match correlation {
            Some(id) => scene.caller.properties().with_correlation_id(id.into()),
            None => scene.caller.properties(),
        };
        scene.caller.send_with(&scene.options.queue, nameless.as_bytes(), properties).await;
    }
    let properties = scene.caller.properties().with_message_id("m".into());
    scene.caller.send_with(&scene.options.queue, nameless.as_bytes(), properties).await;
    scene.send(&json!({"id": "own", "device": "d", "command": "open", "colour": 1})).await;
    let replies = scene.caller.wait_for(5, SOON).await;
    let id = |reply: &Reply| reply.body["id"].as_str().unwrap_or_default().to_owned();
    let ids: BTreeSet<_> = replies.iter().map(id).collect();
    let message_ids: BTreeSet<_> = replies.iter().map(|reply| reply.message_id.clone()).collect();
    assert_eq!((ids.len(), message_ids.len()), (5, 5), "{ids:?} {message_ids:?}");
    // Whoever gave no correlation gets the id as one, made or not.
    let mut correlations: Vec<_> = replies
        .iter()
        .map(|reply| match reply.correlation_id.clone().unwrap_or_default() {
            correlation if correlation == id(reply) && correlation.len() == 26 => "made".to_owned(),
            correlation => correlation,
        })
        .collect();
    correlations.sort();
    assert_eq!(correlations, ["m", "made", "own", "req2", "req3"]);
    scene.wait_idle(&worker).await;
}

#[tokio::test]
async fn strange_properties_and_addresses_close_no_connection() {
    let scene = Scene::start(Dialect::Default).await;
    let worker = scene.worker().await;
    let mut nested = FieldTable::default();
    for depth in 0..30 {
        let mut outer = FieldTable::default();
        outer.insert(format!("level-{depth}").into(), AMQPValue::FieldTable(nested));
        nested = outer;
    }
    let mut wide = FieldTable::default();
    wide.insert("long".into(), AMQPValue::LongString("x".repeat(60_000).into()));
    wide.insert("traceparent".into(), AMQPValue::LongString("\u{0}not-a-trace".into()));
    wide.insert("x-switchboard-tally".into(), AMQPValue::LongString("{\"total\":-1}".into()));
    wide.insert("x-delivery-count".into(), AMQPValue::LongString("many".into()));
    let properties = || scene.caller.properties();
    let strange = [
        properties().with_headers(nested),
        properties().with_headers(wide),
        properties().with_correlation_id("c".repeat(255).into()),
        properties().with_message_id("m".repeat(255).into()),
        properties().with_timestamp(u64::MAX),
        properties().with_timestamp(0),
        properties().with_priority(255),
        properties().with_type("k".repeat(255).into()),
        properties().with_delivery_mode(1),
    ];
    let mut jobs = Vec::new();
    for (index, properties) in strange.into_iter().enumerate() {
        let job = job(&format!("strange-{index}"), "d");
        scene.caller.send_with(&scene.options.queue, job.to_string().as_bytes(), properties).await;
        jobs.push(job);
    }
    // Addresses at which no result can arrive.
    for (index, address) in
        ["no-such-queue", "amq.rabbitmq.reply-to.nonsense", "amq.gen-nobody", "é\u{1}"].iter().enumerate()
    {
        let job = job(&format!("nowhere-{index}"), "d");
        let properties = properties().with_reply_to((*address).into());
        scene.caller.send_with(&scene.options.queue, job.to_string().as_bytes(), properties).await;
    }
    for job in &jobs {
        let result = scene.result(job["id"].as_str().unwrap()).await;
        assert_eq!(said(&result), ("succeeded", "yes"), "{result}");
        assert!(result["timing_ms"]["queued"].as_f64().is_some_and(|ms| ms >= 0.0), "{result}");
    }
    let last = scene.ask(job("last", "d")).await;
    assert_eq!(last["status"], "succeeded");
    scene.fleet.wait_for(jobs.len() + 5, SOON).await;
    scene.wait_idle(&worker).await;
    assert_eq!(worker.metric("switchboard_amqp_reconnects_total", &[]).await, 0.0);
    assert_eq!(worker.metric("switchboard_replies_unroutable_total", &[]).await, 3.0);
    assert!(!worker.log().contains("panick"));
}

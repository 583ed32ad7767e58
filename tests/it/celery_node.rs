//! The worker as a Celery node on a real RabbitMQ, asked by the very messages that Celery's programs sent.

use crate::harness::eventually::eventually;
use crate::harness::proxy::Proxy;
use crate::harness::{rabbitmq, source, unique};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchboard::amqp::{Address, Connection, Loose, Mailbox, MailboxSpec, Options as Amqp, Routes, SharedExchange};
use switchboard::envelope::{Envelope, Headers, Value as Header};
use switchboard::node::{Book, Command, Node, Options, Order, Via};
use switchboard::wire::celery::info::Queue;
use switchboard::wire::celery::{Embed, End, Head, Task};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const PIDBOX: SharedExchange = SharedExchange { name: "celery.pidbox", routes: Routes::Fanout, durable: false };
const REPLIES: SharedExchange = SharedExchange { name: "reply.celery.pidbox", routes: Routes::Direct, durable: false };
const EVENTS: SharedExchange = SharedExchange { name: "celeryev", routes: Routes::Topic, durable: true };

async fn connect(url: &str) -> Connection {
    let (backoff_min, backoff_max) = (Duration::from_millis(20), Duration::from_millis(500));
    let options =
        Amqp { url: url.to_owned(), connection_name: unique("node"), backoff_min, backoff_max, ..Amqp::default() };
    let connection = Connection::start(options, "celery");
    connection.up(PATIENCE).await.unwrap();
    connection
}

/// What asks nodes, as `celery inspect` does: a queue of its own on the exchange for replies.
struct Asker {
    key: String,
    out: Loose,
    replies: Mailbox,
    connection: Connection,
}

impl Asker {
    async fn new() -> Self {
        let connection = connect(&rabbitmq::shared().await.url()).await;
        let key = unique("asker");
        let spec = MailboxSpec {
            queue: format!("{key}.reply"),
            exchange: REPLIES,
            routing_key: key.clone(),
            arguments: Headers::default(),
        };
        let replies = Mailbox::open(&connection, &spec, 64).await.unwrap();
        let out = Loose::start(connection.clone(), vec![PIDBOX], 64);
        Self { key, out, replies, connection }
    }

    /// Publishes a request to all nodes.
    fn send(&self, body: &Value) {
        let mut headers = Headers::default();
        headers.set("clock", Header::Int(1));
        let envelope = Envelope {
            body: body.to_string().into(),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            headers,
            ..Envelope::default()
        };
        assert!(self.out.send(Address { exchange: PIDBOX.name.to_owned(), routing_key: String::new() }, envelope));
    }

    fn request(&self, node: &str, method: &str, arguments: &Value) -> (Value, String) {
        let ticket = unique("ticket");
        let reply_to = json!({"exchange": REPLIES.name, "routing_key": self.key});
        let body = json!({
            "method": method, "arguments": arguments, "destination": [node], "pattern": null, "matcher": null,
            "ticket": ticket, "reply_to": reply_to,
        });
        (body, ticket)
    }

    /// The reply with that ticket, if it comes in time.
    async fn reply(&mut self, ticket: &str, within: Duration) -> Option<BTreeMap<String, Value>> {
        let start = Instant::now();
        loop {
            let left = within.checked_sub(start.elapsed())?;
            let envelope = timeout(left, self.replies.next()).await.ok()?.unwrap();
            if envelope.headers.text("ticket") == Some(ticket) {
                assert!(!envelope.persistent && matches!(envelope.headers.get("clock"), Some(Header::Int(_))));
                return Some(serde_json::from_slice(&envelope.body).unwrap());
            }
        }
    }

    async fn try_ask(&mut self, node: &str, method: &str, arguments: Value, within: Duration) -> Option<Value> {
        let (body, ticket) = self.request(node, method, &arguments);
        self.send(&body);
        let mut reply = self.reply(&ticket, within).await?;
        assert_eq!(reply.len(), 1);
        reply.remove(node)
    }

    async fn ask(&mut self, node: &str, method: &str, arguments: Value) -> Value {
        let answer = self.try_ask(node, method, arguments, PATIENCE).await;
        answer.unwrap_or_else(|| panic!("{node} does not answer {method}"))
    }

    /// Asks until the node answers at all.
    async fn reach(&mut self, node: &str) {
        let start = Instant::now();
        while self.try_ask(node, "ping", json!({}), Duration::from_millis(300)).await.is_none() {
            assert!(start.elapsed() < PATIENCE, "{node} is not heard");
        }
    }
}

/// Everything that the node tells.
async fn watch(connection: &Connection) -> Mailbox {
    let spec = MailboxSpec {
        queue: unique("watcher"),
        exchange: EVENTS,
        routing_key: "#".to_owned(),
        arguments: Headers::default(),
    };
    Mailbox::open(connection, &spec, 64).await.unwrap()
}

/// The next event of that kind from that node, and how it was published.
async fn event(events: &mut Mailbox, node: &str, kind: &str) -> Value {
    let next = async {
        loop {
            let envelope = events.next().await.unwrap();
            if envelope.headers.text("hostname") != Some(node) {
                continue;
            }
            let told: Value = serde_json::from_slice(&envelope.body).unwrap();
            let list = told.as_array().cloned().unwrap_or_else(|| vec![told]);
            if let Some(found) = list.into_iter().find(|event| event["type"] == kind) {
                return found;
            }
        }
    };
    timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("{node} does not tell {kind}"))
}

struct Scene {
    name: String,
    book: Book,
    node: Node,
    orders: mpsc::Receiver<Order>,
}

async fn start_at(url: &str, name: &str) -> Scene {
    let (book, (sender, orders)) = (Book::new(["mqtt.request"]), mpsc::channel(4));
    let options = Options {
        queues: vec![Queue::direct("commands")],
        heartbeat: Duration::from_millis(200),
        patience: Duration::from_millis(500),
        ..Options::new(name)
    };
    let node = Node::start(connect(url).await, options, book.clone(), sender);
    Scene { name: name.to_owned(), book, node, orders }
}

async fn start() -> Scene {
    start_at(&rabbitmq::shared().await.url(), &format!("{}@lab", unique("node"))).await
}

fn task(id: &str) -> Arc<Task> {
    Arc::new(Task {
        head: Head { id: id.into(), name: "mqtt.request".into(), ..Head::default() },
        shadow: None,
        args: Vec::new(),
        kwargs: Vec::new(),
        embed: Embed::default(),
        eta: None,
        expires: None,
        retries: 0,
        soft_limit: None,
        hard_limit: None,
        args_repr: "('dev-1',)".to_owned(),
        kwargs_repr: "{}".to_owned(),
        stamps: Vec::new(),
        extra: Headers::default(),
    })
}

/// The bodies of all captured requests, each with what it is called.
fn captured() -> Vec<(String, Value)> {
    let files = source::project_files().into_iter().filter(|path| path.contains("vectors/ctl-"));
    let requests = files.filter(|path| path.ends_with("-request.json"));
    let read = |path: String| {
        let vector: Value = serde_json::from_str(&source::read(&path)).unwrap();
        (
            vector["name"].as_str().unwrap().to_owned(),
            serde_json::from_str(vector["body_text"].as_str().unwrap()).unwrap(),
        )
    };
    let found: Vec<_> = requests.map(read).collect();
    assert!(found.len() > 25, "only {} captured requests", found.len());
    found
}

#[tokio::test]
async fn every_captured_request_is_answered_with_its_ticket_and_shutdown_is_obeyed_in_silence() {
    let Scene { name, node, mut orders, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let worker = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(Order { what, answer }) = orders.recv().await {
            let _ = answer.send(Ok(String::new()));
            heard.push(what.clone());
            if what == Command::Shutdown {
                break;
            }
        }
        heard
    });
    let (last, requests): (Vec<_>, Vec<_>) =
        captured().into_iter().partition(|(name, _)| name == "ctl-shutdown-request");
    for (what, body) in requests {
        let wants_reply = body.get("reply_to").is_some();
        let (mut ours, ticket) = asker.request(&name, body["method"].as_str().unwrap(), &body["arguments"]);
        if !wants_reply {
            ours.as_object_mut().unwrap().remove("reply_to");
            asker.send(&ours);
            continue;
        }
        asker.send(&ours);
        let reply = asker.reply(&ticket, PATIENCE).await.unwrap_or_else(|| panic!("no reply to {what}"));
        assert_eq!(reply.keys().collect::<Vec<_>>(), [&name], "{what}");
    }
    let (ours, ticket) = asker.request(&name, "shutdown", &last[0].1["arguments"]);
    asker.send(&ours);
    let heard = timeout(PATIENCE, worker).await.unwrap().unwrap();
    assert!(
        heard.contains(&Command::CancelConsumer { queue: "extra".to_owned() }) && heard.contains(&Command::Shutdown)
    );
    // What is asked after it is answered first, so no answer to it is on its way.
    asker.ask(&name, "ping", json!({})).await;
    assert!(asker.reply(&ticket, Duration::from_millis(100)).await.is_none());
    assert!(asker.ask(&name, "revoked", json!({})).await.as_array().unwrap().len() >= 3);
    node.stop().await;
}

#[tokio::test]
async fn a_pattern_reaches_the_nodes_it_fits() {
    let Scene { name, node: _node, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let start = &name[..name.len() - "@lab".len()];
    for (pattern, matcher) in [(format!("{start}@*"), "glob"), (format!("{start}@.a"), "pcre")] {
        let (mut body, ticket) = asker.request(&name, "ping", &json!({}));
        body["destination"] = Value::Null;
        (body["pattern"], body["matcher"]) = (pattern.into(), matcher.into());
        asker.send(&body);
        assert_eq!(asker.reply(&ticket, PATIENCE).await.unwrap()[&name], json!({"ok": "pong"}));
    }
}

#[tokio::test]
async fn a_worker_that_refuses_or_does_not_answer_an_order_is_told_about() {
    let Scene { name, node: _node, mut orders, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let worker = async {
        orders.recv().await.unwrap().answer.send(Err("the queue does not exist".to_owned())).unwrap();
        let kept = orders.recv().await.unwrap();
        (kept, orders)
    };
    let asking = async {
        let refused = asker.ask(&name, "add_consumer", json!({"queue": "q"})).await;
        assert_eq!(refused, json!({"error": "the queue does not exist"}));
        let silent = asker.ask(&name, "add_consumer", json!({"queue": "q"})).await;
        assert!(silent["error"].as_str().unwrap().contains("within 0.5 s"), "{silent}");
        let queues = asker.ask(&name, "active_queues", json!({})).await;
        assert_eq!(queues.as_array().unwrap().len(), 1, "what was not done is not shown");
    };
    tokio::join!(worker, asking);
}

#[tokio::test]
async fn events_of_the_worker_are_told_always_and_those_of_tasks_on_demand() {
    let mut asker = Asker::new().await;
    let mut events = watch(&asker.connection).await;
    let Scene { name, book, node, .. } = start().await;
    let online = event(&mut events, &name, "worker-online").await;
    assert!(online["freq"] == 0.2 && online.get("utcoffset").is_none() && online["sw_ident"] == "switchboard");
    event(&mut events, &name, "worker-heartbeat").await;
    asker.reach(&name).await;
    drop(book.receive(&task("unheard"), Via::default()));
    assert_eq!(asker.ask(&name, "enable_events", json!({})).await, json!({"ok": "task events enabled"}));
    let entry = book.receive(&task("a"), Via::default());
    entry.start();
    entry.end(&End::Success(RawValue::from_string("{\"ok\":true}".to_owned()).unwrap()), Duration::from_millis(250));
    let next = timeout(PATIENCE, async {
        loop {
            let told: Value = serde_json::from_slice(&events.next().await.unwrap().body).unwrap();
            if let Some(list) = told.as_array().filter(|list| list[0]["hostname"] == name.as_str()) {
                return list.clone();
            }
        }
    });
    let told = next.await.expect("events of the task");
    let kinds: Vec<_> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task-received", "task-started", "task-succeeded"], "together, and none from before");
    assert_eq!((&told[0]["name"], &told[0]["args"]), (&json!("mqtt.request"), &json!("('dev-1',)")));
    assert_eq!((&told[2]["result"], &told[2]["runtime"]), (&json!("{'ok': True}"), &json!(0.25)));
    node.stop().await;
    let offline = event(&mut events, &name, "worker-offline").await;
    assert_eq!((&offline["active"], &offline["processed"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn a_node_whose_connection_is_cut_is_heard_and_seen_again() {
    let proxy = Proxy::to(rabbitmq::shared().await.port()).await;
    let mut asker = Asker::new().await;
    let mut events = watch(&asker.connection).await;
    let url = format!("amqp://guest:guest@{}/%2f", proxy.addr());
    let scene = start_at(&url, &format!("{}@lab", unique("node"))).await;
    asker.reach(&scene.name).await;
    event(&mut events, &scene.name, "worker-online").await;
    for _ in 0..2 {
        proxy.cut();
        event(&mut events, &scene.name, "worker-online").await;
        asker.reach(&scene.name).await;
    }
}

#[tokio::test]
async fn a_reply_that_goes_nowhere_costs_no_other_reply_for_long() {
    let Scene { name, node: _node, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let (mut body, _) = asker.request(&name, "ping", &json!({}));
    body["reply_to"] = json!({"exchange": unique("no-such-exchange"), "routing_key": "x"});
    asker.send(&body);
    asker.reach(&name).await;
    asker.ask(&name, "ping", json!({})).await;
}

#[tokio::test]
async fn a_second_node_of_the_same_name_is_heard_only_when_the_first_has_gone() {
    let mut asker = Asker::new().await;
    let first = start().await;
    asker.reach(&first.name).await;
    let mut events = watch(&asker.connection).await;
    // By this they are told apart.
    let entry = first.book.receive(&task("of-the-first"), Via::default());
    let second = start_at(&rabbitmq::shared().await.url(), &first.name).await;
    event(&mut events, &first.name, "worker-online").await;
    for _ in 0..20 {
        let reserved = asker.ask(&first.name, "reserved", json!({})).await;
        assert_eq!(reserved[0]["id"], "of-the-first", "only the first one is heard");
    }
    first.node.stop().await;
    asker.reach(&second.name).await;
    assert_eq!(asker.ask(&second.name, "reserved", json!({})).await, json!([]));
    drop(entry);
}

#[tokio::test]
async fn what_was_called_off_before_a_node_started_it_learns_from_the_others() {
    let (mut asker, first) = (Asker::new().await, start().await);
    asker.reach(&first.name).await;
    let id = unique("task");
    let revoked = asker.ask(&first.name, "revoke", json!({"task_id": id})).await;
    assert_eq!(revoked, json!({"ok": format!("tasks {{'{id}'}} flagged as revoked")}));
    let second = start().await;
    eventually("the second node knows", PATIENCE, async || second.book.is_revoked(&task(&id))).await;
}

#[tokio::test]
async fn a_node_answers_in_time_while_its_runtime_is_full_of_work() {
    let Scene { name, node: _node, book, .. } = start().await;
    let mut asker = Asker::new().await;
    asker.reach(&name).await;
    let entries: Vec<_> = (0..1000).map(|number| book.receive(&task(&number.to_string()), Via::default())).collect();
    entries.iter().for_each(switchboard::node::Entry::start);
    let busy: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn(async {
                loop {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_micros(100) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut took = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(asker.ask(&name, "active", json!({"safe": true})).await.as_array().unwrap().len(), 1000);
        took.push(start.elapsed());
    }
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    took.sort();
    // The asker shares the full runtime, so this is more than what the node takes.
    assert!(took[10] < Duration::from_millis(200), "{took:?}");
}

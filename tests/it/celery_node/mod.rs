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
use switchboard::wire::celery::{End, Head, Task};
use tokio::sync::mpsc;
use tokio::time::timeout;

mod commands;
mod losses;

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
        Self::at(&rabbitmq::shared().await.url()).await
    }

    async fn at(url: &str) -> Self {
        let connection = connect(url).await;
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
        args_repr: "('dev-1',)".to_owned(),
        kwargs_repr: "{}".to_owned(),
        ..Task::default()
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

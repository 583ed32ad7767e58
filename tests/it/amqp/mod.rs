//! The AMQP half against a real RabbitMQ.

use crate::harness::{eventually::found, rabbitmq, unique};
use std::time::Duration;
use switchboard::amqp::{
    Address, ChannelPool, Connection, Consumer, ConsumerState, Delivery, Options, Publisher, QueueKind, QueueSpec,
    Routing, Topology,
};
use switchboard::envelope::{Envelope, Value};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

mod binding;
mod browsing;
mod connecting;
mod consuming;
mod hostile;
mod ladder;
mod loss;
mod node;
mod publishing;
mod refusals;
mod replies;
mod settling;
mod shard;
mod streams;
mod topology;

/// Long enough for a loaded machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Options with this URL, and quick to try again.
fn options(url: &str, name: &str) -> Options {
    Options {
        url: url.to_owned(),
        connection_name: name.to_owned(),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(500),
        ..Options::default()
    }
}

/// A connection to the shared node that is up, and its unique name.
async fn connect(role: &'static str) -> (Connection, String) {
    let name = unique("amqp");
    let connection = Connection::start(options(&rabbitmq::shared().await.url(), &name), role);
    connection.up(PATIENCE).await.unwrap();
    (connection, name)
}

async fn ctl(arguments: &[&str]) -> String {
    let node = rabbitmq::shared().await;
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = move || node.ctl(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    spawn_blocking(run).await.unwrap()
}

/// Has the broker close the connection of that name and role, as an operator would.
async fn force_close(name: &str, role: &str) {
    let wanted = format!("{name} {role}");
    let connection = found("the connection is listed", PATIENCE, async || {
        let listed = ctl(&["-q", "list_connections", "pid", "client_properties"]).await;
        listed.lines().find(|line| line.contains(&wanted)).map(|line| line.split('\t').next().unwrap().to_owned())
    });
    ctl(&["-q", "close_connection", &connection.await, "closed by a test"]).await;
}

fn jobs(name: &str, kind: QueueKind) -> Topology {
    let dead = format!("{name}.dead");
    Topology {
        queues: vec![QueueSpec::keeping(dead.as_str()), QueueSpec::jobs(name, kind, dead)],
        declare: true,
        ..Topology::default()
    }
}

/// A queue as the test wants it, without dead letters.
fn queue(name: &str, kind: QueueKind, arguments: &[(&str, Value)]) -> Topology {
    let mut spec = QueueSpec { dead_letter_queue: None, delivery_limit: None, ..QueueSpec::jobs(name, kind, "") };
    for (name, value) in arguments {
        spec.arguments.set(*name, value.clone());
    }
    Topology { queues: vec![spec], declare: true, ..Topology::default() }
}

fn message(id: impl ToString) -> Envelope {
    let id = id.to_string();
    Envelope { body: id.clone().into(), message_id: Some(id), persistent: true, ..Envelope::default() }
}

fn id(delivery: &Delivery) -> String {
    delivery.envelope.message_id.clone().unwrap()
}

/// Puts messages with the ids `0..count` into a queue that exists.
async fn fill(connection: &Connection, queue: &str, count: usize) {
    let publisher = Publisher::start(connection.clone(), Options::default());
    let publishes = (0..count).map(|id| publisher.publish(Address::queue(queue), message(id), true));
    for confirm in timeout(PATIENCE, futures_util::future::join_all(publishes)).await.unwrap() {
        assert!(confirm.unwrap().routed);
    }
}

async fn next(deliveries: &mut mpsc::Receiver<Delivery>) -> Delivery {
    timeout(PATIENCE, deliveries.recv()).await.expect("a delivery comes in time").expect("the consumer goes on")
}

async fn take(deliveries: &mut mpsc::Receiver<Delivery>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(deliveries).await);
    }
    taken
}

async fn reaches(consumer: &Consumer, what: &str, wanted: impl FnMut(&ConsumerState) -> bool) -> ConsumerState {
    let mut state = consumer.state();
    let reached = timeout(PATIENCE, state.wait_for(wanted)).await;
    reached
        .unwrap_or_else(|_| panic!("the consumer is not {what}, but {:?}", consumer.state().borrow()))
        .unwrap()
        .clone()
}

async fn consuming(consumer: &Consumer) -> u64 {
    match reaches(consumer, "consuming", |state| matches!(state, ConsumerState::Consuming { .. })).await {
        ConsumerState::Consuming { epoch } => epoch,
        other => panic!("{other:?}"),
    }
}

/// Ready and unacked messages, as the broker counts them.
async fn depth(queue: &str) -> (u64, u64) {
    let listed = ctl(&["-q", "list_queues", "name", "messages_ready", "messages_unacknowledged"]).await;
    let line = listed.lines().find(|line| line.split('\t').next() == Some(queue)).expect("the queue is listed");
    let mut counts = line.split('\t').skip(1).map(|count| count.parse().unwrap());
    (counts.next().unwrap(), counts.next().unwrap())
}

/// Waits until the broker counts so many; it counts with a delay.
async fn has(queue: &str, ready: u64, unacked: u64) {
    let what = format!("{queue} has {ready} ready and {unacked} unacked messages");
    found(&what, PATIENCE, async || (depth(queue).await == (ready, unacked)).then_some(())).await;
}

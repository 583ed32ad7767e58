//! Jobs of mixed kinds, and a producer that goes on publishing while its broker comes and goes.

use async_rs::Runtime;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, interval, sleep, timeout};

/// How long a broker that was killed may take until it serves again.
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// How long a connection may take to be made before the next broker is tried.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a confirm may take before its message counts as not confirmed.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How often the producer publishes.
const EVERY: Duration = Duration::from_millis(200);

/// A job to be published, and how long it may wait from then on.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) job: Value,
    pub(crate) life: Duration,
}

/// A job that was published, and whether the broker confirmed it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) job: Value,
    pub(crate) confirmed: bool,
}

/// Jobs for random devices: half at most once and half at least once, some with little time.
pub(crate) fn mixture(dice: &mut StdRng, name: &str, count: usize, devices: usize) -> Vec<Plan> {
    let plan = |n: usize| {
        let guarantee = if n.is_multiple_of(2) { "at_most_once" } else { "at_least_once" };
        let life = if dice.random_bool(0.05) { 500..2_000 } else { 60_000..120_000 };
        let life = Duration::from_millis(dice.random_range(life));
        Plan { job: job(&format!("{name}-{n}"), dice.random_range(0..devices), guarantee), life }
    };
    (0..count).map(plan).collect()
}

/// A job for the device of this number; its payload carries its id, so that the device's log knows it.
pub(crate) fn job(id: &str, device: usize, guarantee: &str) -> Value {
    json!({
        "id": id, "device": format!("d{device}"), "command": "open", "payload": {"job": id},
        "guarantee": guarantee, "timeout_ms": 4_000,
    })
}

/// An instant so far from now, as a job has it.
pub(crate) fn at(from_now: Duration) -> String {
    (jiff::Timestamp::now() + from_now).to_string()
}

/// Publishes with confirms, to whichever broker is there.
pub(crate) struct Producer {
    urls: Vec<String>,
    queue: String,
    reply_to: String,
    link: Option<(Connection, Channel)>,
    /// Which broker took the last connection.
    served: Option<String>,
}

impl Producer {
    pub(crate) fn new(urls: &[String], queue: &str, reply_to: &str) -> Self {
        Self { urls: urls.to_vec(), queue: queue.to_owned(), reply_to: reply_to.to_owned(), link: None, served: None }
    }

    /// Publishes all of it, evenly over this time, and says of each job whether it was confirmed. Nothing is published
    /// twice: a repetition would be another job for whoever does not remember the first.
    pub(crate) async fn pour(&mut self, plans: Vec<Plan>, over: Duration) -> Vec<Sent> {
        let steps = (over.as_millis() / EVERY.as_millis()).max(1) as usize;
        let mut ticks = interval(EVERY);
        let mut sent = Vec::new();
        for part in plans.chunks(plans.len().div_ceil(steps).max(1)) {
            ticks.tick().await;
            sent.extend(self.publish(part).await);
        }
        sent
    }

    async fn publish(&mut self, plans: &[Plan]) -> Vec<Sent> {
        let json = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let properties = json.with_reply_to(self.reply_to.as_str().into());
        let mandatory = BasicPublishOptions { mandatory: true, ..Default::default() };
        let channel = self.channel().await;
        let mut published = Vec::new();
        for Plan { job, life } in plans {
            let mut job = job.clone();
            if job["expires_at"].is_null() {
                job["expires_at"] = at(*life).into();
            }
            let body = job.to_string();
            let publish = channel.basic_publish(
                "".into(),
                self.queue.as_str().into(),
                mandatory,
                body.as_bytes(),
                properties.clone(),
            );
            published.push((job, timeout(CONFIRM_WITHIN, publish).await));
        }
        let mut sent = Vec::new();
        for (job, published) in published {
            let confirmed = match published {
                Ok(Ok(confirm)) => timeout(CONFIRM_WITHIN, confirm).await,
                _ => Ok(Ok(Confirmation::NotRequested)),
            };
            let confirmed = matches!(confirmed, Ok(Ok(Confirmation::Ack(None))));
            sent.push(Sent { job, confirmed });
        }
        if sent.iter().any(|sent| !sent.confirmed) {
            self.link = None;
        }
        sent
    }

    /// Declares a durable queue of the safe kind.
    pub(crate) async fn declare(&mut self, queue: &str) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let channel = self.channel().await;
        channel.queue_declare(queue.into(), durable, arguments).await.expect("a queue can be declared");
    }

    /// The URL of a broker that serves.
    pub(crate) async fn serving(&mut self) -> String {
        self.link = None;
        self.channel().await;
        self.served.clone().expect("a broker took the connection")
    }

    /// The channel, on a new connection where the old one is gone: to the first broker that takes it.
    async fn channel(&mut self) -> Channel {
        if let Some((connection, channel)) = &self.link
            && connection.status().connected()
            && channel.status().connected()
        {
            return channel.clone();
        }
        let deadline = Instant::now() + BACK_WITHIN;
        loop {
            for url in &self.urls {
                if let Some((connection, channel)) = connect(url).await {
                    self.served = Some(url.clone());
                    self.link = Some((connection, channel.clone()));
                    return channel;
                }
            }
            assert!(Instant::now() < deadline, "no broker took a connection within {BACK_WITHIN:?}");
            sleep(AGAIN_AFTER).await;
        }
    }
}

async fn connect(url: &str) -> Option<(Connection, Channel)> {
    let connect = async {
        let runtime = Runtime::tokio_current();
        let connection = Connection::connect_with_runtime(url, ConnectionProperties::default(), runtime).await.ok()?;
        let channel = connection.create_channel().await.ok()?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
        Some((connection, channel))
    };
    timeout(CONNECT_WITHIN, connect).await.ok().flatten()
}

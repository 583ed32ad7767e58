//! What every scene stands on: brokers, devices of mixed conduct, replicas under load, and a clean end.

use crate::harness::caller::Caller;
use crate::harness::device::{Behaviour, Dialect, Executed, Fleet};
use crate::harness::eventually::eventually;
use crate::harness::rabbitmq::OwnNode;
use crate::harness::worker::{Options, Worker};
use crate::harness::{mosquitto, unique};
use crate::load::{Plan, Producer, Sent, mixture};
use crate::seed::dice;
use crate::verdict::Verdict;
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use switchboard::demo::brokers::Mosquitto;
use switchboard::demo::brokers::mosquitto::Options as MqttOptions;
use tokio::task::JoinHandle;

/// Far longer than anything takes on a machine that is not at its knees.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// How long a run may take to come to rest: the longest life of a job and its last command.
const REST_WITHIN: Duration = Duration::from_secs(240);
/// How many devices there are, `d0` and so on.
pub(crate) const DEVICES: usize = 400;
/// What one replica may have under way: what its death can touch.
pub(crate) const CONCURRENCY: usize = 40;

/// One run: its brokers and devices, its replicas, and what was sent.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) started: Instant,
    pub(crate) mqtt: Mosquitto,
    pub(crate) fleet: Fleet,
    pub(crate) options: Options,
    pub(crate) replicas: Vec<Worker>,
    /// The number of each replica, in order of start: what its client id begins with, after an `r`.
    pub(crate) numbers: Vec<usize>,
    pub(crate) dice: StdRng,
    pub(crate) sent: Vec<Sent>,
    /// How long the way from a worker's socket to a device's log may take.
    pub(crate) transit: Duration,
    /// How many commands may end as `unknown`; any number, where it is not set.
    pub(crate) unknown_at_most: Option<usize>,
    /// The queues of results and of dead letters.
    pub(crate) replies: String,
    pub(crate) dead: String,
    pub(crate) urls: Vec<String>,
    spawned: usize,
}

impl Scene {
    /// On these AMQP brokers, any of which will do; workers connect to the first unless told otherwise.
    pub(crate) async fn on(name: &'static str, urls: &[String]) -> Self {
        let started = Instant::now();
        // Who subscribed to what tells whose inbox an answer goes to.
        let lines = vec!["log_type subscribe".to_owned()];
        let mqtt = mosquitto::start_with(MqttOptions { lines, ..MqttOptions::default() });
        let fleet = Fleet::start(mqtt.port(), Dialect::Default).await;
        let mut dice = dice(name);
        for device in 0..DEVICES {
            fleet.behave_as(&format!("d{device}"), conduct(&mut dice));
        }
        let (replies, dead) = (unique("replies"), unique("dead"));
        let options = Options {
            amqp_url: urls[0].clone(),
            mqtt_url: mqtt.url(),
            queue: unique("commands"),
            ..Options::default()
        };
        let mut scene = Self {
            name,
            started,
            mqtt,
            fleet,
            options,
            replicas: Vec::new(),
            numbers: Vec::new(),
            dice,
            sent: Vec::new(),
            transit: Duration::from_secs(2),
            unknown_at_most: None,
            replies,
            dead: dead.clone(),
            urls: urls.to_vec(),
            spawned: 0,
        };
        scene.set("AMQP__DEAD_LETTER_QUEUE", &dead);
        scene.set("WORKER__CONCURRENCY", &CONCURRENCY.to_string());
        scene.producer().declare(&scene.replies).await;
        scene
    }

    /// On this node.
    pub(crate) async fn start(name: &'static str, node: &OwnNode) -> Self {
        Self::on(name, &[node.node().url()]).await
    }

    /// Sets a key of the configuration for every worker that is started from now on: `WORKER__LATE_GRACE`.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let name = format!("SWITCHBOARD__{key}");
        self.options.environment.retain(|(set, _)| *set != name);
        self.options.environment.push((name, value.to_owned()));
    }

    pub(crate) fn is_set(&self, key: &str, value: &str) -> bool {
        let name = format!("SWITCHBOARD__{key}");
        self.options.environment.iter().any(|(set, to)| *set == name && to == value)
    }

    /// One more replica, without waiting for anything.
    pub(crate) fn add(&mut self) {
        let worker = self.spawn();
        self.replicas.push(worker);
        self.numbers.push(self.spawned - 1);
    }

    fn spawn(&mut self) -> Worker {
        self.set("MQTT__CLIENT_ID_PREFIX", &format!("r{}", self.spawned));
        self.spawned += 1;
        Worker::start(&self.options)
    }

    /// Starts so many replicas and waits until each is ready.
    pub(crate) async fn replicas(&mut self, count: usize) {
        for _ in 0..count {
            self.add();
        }
        self.all_ready().await;
    }

    /// Waits until every replica is ready.
    pub(crate) async fn all_ready(&mut self) {
        join_all(self.replicas.iter_mut().map(|worker| worker.wait_ready(SOON))).await;
    }

    /// SIGKILL of a replica, and a new one in its place.
    pub(crate) fn kill_and_replace(&mut self, index: usize) {
        self.replicas[index].kill();
        assert!(!self.replicas[index].log().contains("panick"), "{}", self.replicas[index].log());
        self.replicas[index] = self.spawn();
        self.numbers[index] = self.spawned - 1;
    }

    /// SIGTERM of a replica, which has to end well, and a new one in its place.
    pub(crate) async fn stop_and_replace(&mut self, index: usize) {
        self.replicas[index].terminate();
        let status = self.replicas[index].wait(SOON).await;
        assert!(status.success(), "{status}: {}", self.replicas[index].log());
        self.replicas[index] = self.spawn();
        self.numbers[index] = self.spawned - 1;
    }

    /// Somebody who publishes to the command queue.
    pub(crate) fn producer(&self) -> Producer {
        Producer::new(&self.urls, &self.options.queue, &self.replies)
    }

    /// Jobs of every kind for any of the devices.
    pub(crate) fn plans(&mut self, name: &str, count: usize) -> Vec<Plan> {
        mixture(&mut self.dice, name, count, DEVICES)
    }

    /// The same, with less time at a device than there is between two kills: a device that is silent for long would have its
    /// job lose worker after worker, and what lost eight of them is rightly given up.
    pub(crate) fn short_plans(&mut self, name: &str, count: usize) -> Vec<Plan> {
        let mut plans = self.plans(name, count);
        plans.iter_mut().for_each(|plan| plan.job["timeout_ms"] = 1_500.into());
        plans
    }

    /// Publishes them at once and waits for the confirms.
    pub(crate) async fn send(&mut self, plans: Vec<Plan>) {
        let sent = self.producer().pour(plans, Duration::ZERO).await;
        self.sent.extend(sent);
    }

    /// Publishes them evenly over this time, beside whatever else happens; [`Self::poured`] takes the end.
    pub(crate) fn pour(&self, plans: Vec<Plan>, over: Duration) -> JoinHandle<Vec<Sent>> {
        let mut producer = self.producer();
        tokio::spawn(async move { producer.pour(plans, over).await })
    }

    /// Waits until all of it is published.
    pub(crate) async fn poured(&mut self, pouring: JoinHandle<Vec<Sent>>) {
        self.sent.extend(pouring.await.expect("the producer does not panic"));
    }

    /// Has the node write down which quorum queues there are, as it does by itself every few minutes: killed before that,
    /// RabbitMQ 3.10 comes back with empty queues of those names, whatever it confirmed.
    pub(crate) async fn written_down(&self, node: &mut OwnNode) {
        node.with(|node| node.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."])).await;
    }

    /// Waits until the command queue is empty and no replica has anything under way.
    pub(crate) async fn rest(&self) {
        let caller = Caller::connect(&self.producer().serving().await).await;
        eventually("the run comes to rest", REST_WITHIN, async || {
            for worker in &self.replicas {
                if worker.get("/healthz").await.is_none()
                    || worker.metric("switchboard_jobs_in_flight", &[]).await > 0.0
                {
                    return false;
                }
            }
            caller.depth(&self.options.queue).await == Some(0)
        })
        .await;
    }

    /// The sum of a metric over all replicas.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let each = self.replicas.iter().map(|worker| worker.metric(name, labels));
        join_all(each).await.into_iter().sum()
    }

    /// Which replica, by its number in order of start, owns each inbox that answers went to.
    pub(crate) fn inboxes(&self) -> HashMap<String, usize> {
        let log = std::fs::read_to_string(self.mqtt.folder().join("mosquitto.log")).unwrap_or_default();
        let owner = |line: &str| {
            let inbox = line.split_once("devices/+/responses/")?.1.split('/').next()?;
            let client = line.split_whitespace().find_map(|word| word.strip_prefix('r'))?;
            Some((inbox.to_owned(), client.split_once('-')?.0.parse().ok()?))
        };
        log.lines().filter_map(owner).collect()
    }

    /// Lets the run come to rest, stops every replica in an orderly way, and holds what happened against what must be.
    ///
    /// # Panics
    /// With everything that is not as it must be.
    pub(crate) async fn finish(mut self) -> Verdict {
        self.rest().await;
        for worker in &mut self.replicas {
            worker.terminate();
        }
        for worker in &mut self.replicas {
            let status = worker.wait(SOON).await;
            assert!(status.success(), "{status}: {}", worker.log());
            assert!(!worker.log().contains("panick"), "{}", worker.log());
        }
        let caller = Caller::connect(&self.producer().serving().await).await;
        let verdict = Verdict::collect(&self, &caller).await;
        for queue in [&self.options.queue, &self.replies, &self.dead] {
            caller.delete(queue).await;
        }
        verdict
    }
}

/// What one device does: most answer, at a pace of their own.
fn conduct(dice: &mut StdRng) -> Behaviour {
    match dice.random_range(0..100) {
        0 => Behaviour::Silent,
        1..4 => Behaviour::Reject,
        4..7 => Behaviour::Duplicate(2),
        7..40 => Behaviour::Echo,
        _ => Behaviour::Slow(Duration::from_millis(dice.random_range(5..600))),
    }
}

/// The inbox that the answer to a command goes to.
pub(crate) fn inbox(executed: &Executed) -> &str {
    executed.topic.split('/').nth(4).unwrap_or_default()
}

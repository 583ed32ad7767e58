//! What the counted worker works for: private brokers, devices that answer at once, and a requester with a closed loop.

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchboard::amqp::{self, Address, Confirm, Connection, PublishError, Publisher, ReplyQueue};
use switchboard::demo::brokers::{Mosquitto, RabbitMq, mosquitto, rabbitmq};
use switchboard::envelope::Envelope;
use switchboard::job::{Job, Targets};
use switchboard::mqtt::{self, Agent};
use switchboard::profile::{Profile, builtin};
use switchboard::simulator::{self, Behaviour, Counts, Fleet};
use switchboard::wire::native;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "switchboard.commands";
/// Enough that no two commands under way are for the same device.
const DEVICES: usize = 1_000;
const UP_WITHIN: Duration = Duration::from_secs(15);
/// A worker that starts under callgrind on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest wait for the next result, and for each device.
const RESULT_WITHIN: Duration = Duration::from_secs(60);
/// How many results are held.
const RESULTS: u16 = 500;

/// Brokers and requester.
pub(crate) struct Scene {
    mosquitto: Mosquitto,
    rabbitmq: RabbitMq,
    sending: Connection,
    receiving: Connection,
    publisher: Publisher,
    results: ReplyQueue,
    /// Ids count over all loads: one that comes twice would be answered from memory.
    next: u64,
}

/// Devices that answer at once, in this process.
pub(crate) struct Devices {
    agent: Agent,
    stop: CancellationToken,
    task: JoinHandle<Counts>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
}

impl Scene {
    /// Starts the brokers and connects the requester.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let starting = spawn_blocking(|| {
            let mosquitto = Mosquitto::start(mosquitto::Options::default())?;
            RabbitMq::start(rabbitmq::Options::default()).map(|rabbitmq| (mosquitto, rabbitmq))
        });
        let (mosquitto, rabbitmq) = starting.await??;
        let settings = amqp::Options {
            url: rabbitmq.url(),
            connection_name: "switchboard instructions".to_owned(),
            ..amqp::Options::default()
        };
        let [sending, receiving] = ["produce", "collect"].map(|name| Connection::start(settings.clone(), name));
        tokio::try_join!(sending.up(UP_WITHIN), receiving.up(UP_WITHIN))?;
        let results = ReplyQueue::open(&receiving, RESULTS).await?;
        let publisher = Publisher::start(sending.clone(), settings);
        Ok(Self { mosquitto, rabbitmq, sending, receiving, publisher, results, next: 0 })
    }

    /// Where RabbitMQ and the MQTT broker are.
    pub(crate) fn urls(&self) -> [String; 2] {
        [self.rabbitmq.url(), self.mosquitto.url()]
    }

    /// Connects devices of the profile `default` that are commanded and answer with this QoS.
    pub(crate) async fn devices(&self, qos: u8) -> anyhow::Result<Devices> {
        let profiles = builtin();
        let (name, mut table) = profiles.into_iter().find(|(name, _)| name == "default").context("no such profile")?;
        table.insert("qos".to_owned(), i64::from(qos).into());
        let Ok(profile) = Profile::compile(&name, &table) else { bail!("the profile {name:?} does not compile") };
        let agent = Agent::connect(mqtt::Options::new(&self.mosquitto.url())?).await?;
        let behaviour = Behaviour { fastest: Duration::ZERO, slowest: Duration::ZERO, ..Behaviour::default() };
        let options = simulator::Options { devices: DEVICES, behaviour, ..Default::default() };
        let fleet = Fleet::start(agent.clone(), Arc::new(profile), options).await?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(fleet.run(stop.clone()));
        Ok(Devices { agent, stop, task })
    }

    /// Sends so many jobs, each as soon as one of those under way has its result, and waits for all results.
    ///
    /// # Errors
    ///
    /// A result is another than success, or does not come.
    pub(crate) async fn load(&mut self, jobs: usize, outstanding: usize) -> anyhow::Result<()> {
        let (mut sent, mut answered) = (0, 0);
        let mut publishing = FuturesUnordered::new();
        // The first worker declares the queue, so the first job has to wait for it.
        let began = Instant::now();
        while !self.publish().await?.routed {
            if began.elapsed() > STARTS_WITHIN {
                bail!("no worker declared the queue {QUEUE} within {STARTS_WITHIN:?}");
            }
            sleep(LOOK_EVERY).await;
        }
        sent += 1;
        while answered < jobs {
            while sent < jobs && sent - answered < outstanding {
                publishing.push(self.publish());
                sent += 1;
            }
            tokio::select! {
                Some(confirmed) = publishing.next() => drop(confirmed?),
                result = self.results.next_within(RESULT_WITHIN) => {
                    let result = result?.with_context(|| format!("result {answered} of {jobs} did not come"))?;
                    let Answer { status } = serde_json::from_slice(&result.body)?;
                    if status != "succeeded" {
                        bail!("a job ended otherwise: {}", String::from_utf8_lossy(&result.body));
                    }
                    answered += 1;
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self) -> impl Future<Output = Result<Confirm, PublishError>> + use<> {
        let number = self.next;
        self.next += 1;
        let device = Targets::One(format!("dev-{}", number as usize % DEVICES).into());
        let job = Job {
            payload: json!({"level": number % 100}).into(),
            timeout: Some(RESULT_WITHIN),
            ..Job::new(format!("count-{number:08}"), device, "set")
        };
        let job = Envelope { reply_to: Some(self.results.name().to_owned()), ..native::encode(&job) };
        let publisher = self.publisher.clone();
        async move { publisher.publish(Address::queue(QUEUE), job, true).await }
    }

    /// Disconnects the requester; the brokers end with this.
    pub(crate) async fn stop(self) {
        self.publisher.close().await;
        tokio::join!(self.sending.close(), self.receiving.close());
    }
}

impl Devices {
    /// They leave.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the devices panicked")?;
        self.agent.close().await;
        Ok(())
    }
}

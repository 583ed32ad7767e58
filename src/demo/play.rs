//! The demonstration from the first broker to the last line.

use super::brokers::{Mosquitto, RabbitMq, mosquitto, rabbitmq};
use super::ledger::Ledger;
use super::script::{Kind, Script};
use super::stage::{Desk, Devices, PREFIX, broker, publish};
use super::table;
use super::workers::Workers;
use crate::amqp::{Consumer, Delivery, Publisher, QueueSpec, ReplyQueue, Topology};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::simulator::Behaviour;
use futures_util::future::try_join_all;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// The bulk is one that all workers share, in chunks; and meanwhile some devices are polled at set times.
const CONFIGURATION: &str = "\
[bulk]
short = 50
chunk = 10

[[schedules]]
name = \"poll\"
every = \"2s\"
job = { devices = [\"dev-1\", \"dev-2\", \"dev-3\"], command = \"poll\", timeout_ms = 1500 }
";
const DEAD: &str = "switchboard.dead";
/// How often jobs are published.
const TICK: Duration = Duration::from_millis(50);
/// How often the collector looks up from an empty reply queue.
const LOOK: Duration = Duration::from_millis(200);
/// Everything must have come this long after the last job was published.
const COMPLETE_WITHIN: Duration = Duration::from_secs(60);
/// How much longer than its time a late answer may take to become a result.
const MARGIN: Duration = Duration::from_millis(500);

/// What is shown.
#[derive(Clone, Debug)]
pub struct Options {
    /// Jobs for single devices.
    pub jobs: usize,
    /// Jobs a second.
    pub per_second: usize,
    /// Simulated devices.
    pub devices: usize,
    /// Devices that are commanded and not there.
    pub absent: usize,
    /// Worker processes.
    pub workers: usize,
    /// How long a device may take to answer.
    pub timeout: Duration,
    /// How the devices behave.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: 3000,
            per_second: 300,
            devices: 100,
            absent: 5,
            workers: 2,
            timeout: Duration::from_millis(1500),
            behaviour: Behaviour {
                fastest: Duration::from_millis(5),
                slowest: Duration::from_millis(80),
                silent: 0.01,
                reject: 0.03,
                duplicate: 0.02,
                late: 0.01,
                late_after: Duration::from_secs(2),
            },
        }
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The table.
    pub report: String,
    /// Whether every job is accounted for, each as it should be.
    pub right: bool,
}

/// Runs the demonstration; `program` is the `switchboard` whose workers are shown, `say` hears of each step.
///
/// Dropping the future ends everything that it started, except that a broker which is just starting ends with the process.
///
/// # Errors
///
/// A broker or a worker does not start, or is lost on the way.
pub async fn run(program: &Path, options: &Options, say: impl Fn(&str)) -> anyhow::Result<Outcome> {
    let script = Script {
        jobs: options.jobs,
        devices: options.devices,
        absent: options.absent,
        prefix: PREFIX.to_owned(),
        timeout: options.timeout,
    };
    say("starting a private mosquitto");
    let mosquitto = broker(|| Mosquitto::start(mosquitto::Options::default())).await?;
    say("starting a private RabbitMQ, which takes some ten seconds");
    let rabbitmq = broker(|| RabbitMq::start(rabbitmq::Options::default())).await?;
    say(&format!("starting {} workers and {} devices", options.workers, options.devices));
    let urls = [&*rabbitmq.url(), &*mosquitto.url()];
    let mut workers = Workers::start(program, options.workers, urls, CONFIGURATION, &[])?;
    let devices = Devices::start(&mosquitto.url(), options.devices, &options.behaviour).await?;
    workers.ready().await?;
    say(&format!("the workers are ready: {}", workers.addresses().collect::<Vec<_>>().join(", ")));
    let played = play(&rabbitmq.url(), options, &script, &say).await;
    let ledger = match played {
        Ok(ledger) if ledger.is_right() => ledger,
        Ok(ledger) => {
            say(&workers.logs());
            ledger
        }
        Err(error) => return Err(error.context(workers.logs())),
    };
    // One worker fires them; all of them carry them out.
    let fires = workers.metric("switchboard_schedule_fires_total").await? as usize;
    say("stopping everything");
    workers.stop().await?;
    let counts = devices.stop().await?;
    let report = table::report(&ledger, &counts, fires);
    Ok(Outcome { report, right: ledger.is_right() && fires > 0 })
}

/// Sends everything and books what comes back.
async fn play(url: &str, options: &Options, script: &Script, say: &impl Fn(&str)) -> anyhow::Result<Ledger> {
    let mut desk = Desk::open(url).await?;
    let topology = Topology { queues: vec![QueueSpec::keeping(DEAD)], declare: false, ..Topology::default() };
    let (consumer, mut dead) = Consumer::start(desk.receiving.clone(), topology, DEAD.to_owned(), 100);
    let reply_to = desk.replies.name().to_owned();
    say(&format!(
        "sending {} jobs, {} a second, and one bulk for all workers between them",
        script.jobs, options.per_second
    ));
    let mut ledger = Ledger::new(script);
    let tail = options.behaviour.late_after.saturating_sub(options.timeout) + options.behaviour.slowest + MARGIN;
    tokio::try_join!(
        produce(&desk.publisher, script, options.per_second, &reply_to),
        collect(&mut desk.replies, &mut dead, &mut ledger, sending_time(options) + COMPLETE_WITHIN, tail, say),
    )?;
    consumer.stop().await;
    desk.close().await;
    Ok(ledger)
}

fn sending_time(options: &Options) -> Duration {
    Duration::from_secs_f64(options.jobs as f64 / options.per_second.max(1) as f64)
}

/// Publishes every job at its time, the bulk in the middle.
async fn produce(publisher: &Publisher, script: &Script, per_second: usize, reply_to: &str) -> anyhow::Result<()> {
    let per_tick = (per_second * TICK.as_millis() as usize / 1000).max(1);
    let numbers: Vec<usize> = (0..script.jobs).collect();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let middle = numbers.len() / per_tick / 2;
    for (index, numbers) in numbers.chunks(per_tick).enumerate() {
        ticks.tick().await;
        let now = Now::read().unix_ms;
        let jobs = numbers.iter().map(|number| {
            let wants_reply = script.kind(*number) != Kind::Unreadable;
            Envelope { reply_to: wants_reply.then(|| reply_to.to_owned()), ..script.job(*number, now) }
        });
        let bulk = (index == middle).then(|| Envelope { reply_to: Some(reply_to.to_owned()), ..script.bulk(now) });
        try_join_all(jobs.chain(bulk).map(|job| publish(publisher, job))).await?;
    }
    Ok(())
}

/// Books replies and dead letters until nothing is missing, and then for `tail`, in which late answers come.
async fn collect(
    replies: &mut ReplyQueue,
    dead: &mut mpsc::Receiver<Delivery>,
    ledger: &mut Ledger,
    within: Duration,
    tail: Duration,
    say: &impl Fn(&str),
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut complete, mut said) = (None, begun);
    loop {
        tokio::select! {
            reply = replies.next_within(LOOK) => {
                if let Some(reply) = reply? {
                    ledger.reply(&reply);
                }
            }
            Some(letter) = dead.recv() => {
                ledger.dead_letter(&letter.envelope);
                letter.receipt.ack();
            }
        }
        if complete.is_none() && ledger.missing() == 0 {
            say("every result is here; waiting for answers that come late");
            complete = Some(Instant::now());
        }
        if complete.is_some_and(|complete: Instant| complete.elapsed() > tail) || begun.elapsed() > within {
            return Ok(());
        }
        if complete.is_none() && said.elapsed() > Duration::from_secs(2) {
            said = Instant::now();
            say(&format!("{} results are still to come", ledger.missing()));
        }
    }
}

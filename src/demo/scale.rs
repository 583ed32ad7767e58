//! The demonstration of replicas: the same backlog for one worker, for two, for four, and how long each took.

use super::brokers::{Mosquitto, RabbitMq, mosquitto, rabbitmq};
use super::ledger::Ledger;
use super::play::Outcome;
use super::rounds::{self, Round};
use super::script::Script;
use super::stage::{Desk, Devices, PREFIX, broker, publish};
use super::workers::Workers;
use crate::config::duration;
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::job::Targets;
use crate::simulator::Behaviour;
use crate::wire::native;
use futures_util::future::try_join_all;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many jobs are published at a time.
const BATCH: usize = 500;
/// How often the collector looks up from an empty reply queue.
const LOOK: Duration = Duration::from_millis(200);
/// How much longer than the devices need a round may take: a machine that has other things to do is slow, not wrong.
const SLOWER: f64 = 4.0;
const BESIDES: Duration = Duration::from_secs(60);
/// How often it is said what is still to come.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// What is shown.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many workers there are in each round; the first number is what the others are compared with.
    pub replicas: Vec<usize>,
    /// Jobs of each round.
    pub jobs: usize,
    /// Commands that each worker has under way at a time. Small, so that the wait for devices is what limits a worker, as
    /// it does in the field; on one machine all workers, brokers and devices share the processors.
    pub concurrency: usize,
    /// Simulated devices: enough that no two jobs under way are for the same one.
    pub devices: usize,
    /// How long a device may take to answer.
    pub timeout: Duration,
    /// How the devices behave.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: vec![1, 2, 4],
            jobs: 4000,
            concurrency: 50,
            devices: 1000,
            timeout: Duration::from_secs(10),
            behaviour: Behaviour {
                fastest: Duration::from_millis(200),
                slowest: Duration::from_millis(500),
                ..Behaviour::default()
            },
        }
    }
}

impl Options {
    /// Jobs a second at most with so many workers: what is under way, by how long it takes on average.
    fn ceiling(&self, replicas: usize) -> f64 {
        let latency = (self.behaviour.fastest + self.behaviour.slowest).as_secs_f64() / 2.0;
        (replicas * self.concurrency) as f64 / latency.max(1e-3)
    }
}

/// Runs every round; `program` is the `switchboard` whose workers are shown, `say` hears of each step.
///
/// Dropping the future ends everything that it started, except that a broker which is just starting ends with the process.
///
/// # Errors
///
/// A broker or a worker does not start, or is lost on the way.
pub async fn run(program: &Path, options: &Options, say: impl Fn(&str)) -> anyhow::Result<Outcome> {
    say("starting a private mosquitto");
    let mosquitto = broker(|| Mosquitto::start(mosquitto::Options::default())).await?;
    say("starting a private RabbitMQ, which takes some ten seconds");
    let rabbitmq = broker(|| RabbitMq::start(rabbitmq::Options::default())).await?;
    let devices = Devices::start(&mosquitto.url(), options.devices, &options.behaviour).await?;
    let mut desk = Desk::open(&rabbitmq.url()).await?;
    let mut rounds = Vec::with_capacity(options.replicas.len());
    for replicas in options.replicas.iter().copied() {
        say(&format!("starting {replicas} of the workers"));
        let concurrency = options.concurrency.to_string();
        let more = ["--concurrency", concurrency.as_str()];
        let mut workers = Workers::start(program, replicas, [&rabbitmq.url(), &mosquitto.url()], "", &more)?;
        workers.ready().await?;
        say(&format!("sending {} jobs", options.jobs));
        let round = match round(&mut desk, options, replicas, &say).await {
            Ok(round) => round,
            Err(error) => return Err(error.context(workers.logs())),
        };
        say(&format!("done in {:.1} s", round.took.as_secs_f64()));
        let right = round.ledger.is_right();
        rounds.push(round);
        if !right {
            // What is left of this backlog would be in the way of the next.
            say(&workers.logs());
            break;
        }
        workers.stop().await?;
    }
    desk.close().await;
    devices.stop().await?;
    let (table, right) = rounds::report(&rounds);
    let Options { jobs, concurrency, behaviour, .. } = options;
    let [fastest, slowest] = [behaviour.fastest, behaviour.slowest].map(duration::format);
    let head = format!(
        "{jobs} jobs in each round, {concurrency} at a time in each replica, devices that take {fastest} to {slowest}"
    );
    Ok(Outcome { report: format!("{head}\n\n{table}"), right })
}

/// Sends the whole backlog and books what comes back, until nothing is missing or it took far too long.
async fn round(desk: &mut Desk, options: &Options, replicas: usize, say: &impl Fn(&str)) -> anyhow::Result<Round> {
    let ceiling = options.ceiling(replicas);
    let within = BESIDES + Duration::from_secs_f64(SLOWER * options.jobs as f64 / ceiling);
    // Ids of this round: with those of another one its jobs would be repetitions.
    let id = |number: usize| format!("scale-{replicas}-{number:05}");
    let mut ledger = Ledger::of_requests((0..options.jobs).map(id));
    let reply_to = desk.replies.name().to_owned();
    let begun = Instant::now();
    let sending = async {
        let numbers: Vec<usize> = (0..options.jobs).collect();
        for numbers in numbers.chunks(BATCH) {
            let jobs = numbers.iter().map(|number| job(options, id(*number), *number, &reply_to));
            try_join_all(jobs.map(|job| publish(&desk.publisher, job))).await?;
        }
        Ok(())
    };
    let collecting = async {
        let mut said = begun;
        while ledger.missing() > 0 && begun.elapsed() < within {
            if let Some(reply) = desk.replies.next_within(LOOK).await? {
                ledger.reply(&reply);
            }
            if said.elapsed() > SAY_EVERY {
                said = Instant::now();
                say(&format!("{} results are still to come", ledger.missing()));
            }
        }
        Ok::<_, anyhow::Error>(begun.elapsed())
    };
    let ((), took) = tokio::try_join!(sending, collecting)?;
    Ok(Round { replicas, took, ceiling, ledger })
}

fn job(options: &Options, id: String, number: usize, reply_to: &str) -> Envelope {
    let Options { jobs, devices, timeout, .. } = *options;
    let script = Script { jobs, devices, absent: 0, prefix: PREFIX.to_owned(), timeout };
    let device = script.device(number % devices.max(1));
    let job = script.plain(id, Targets::One(device.into()), json!({"speed": number % 10}).into(), Now::read().unix_ms);
    Envelope { reply_to: Some(reply_to.to_owned()), ..native::encode(&job) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_devices_allow_is_the_window_by_their_time() {
        let options = Options::default();
        assert!((options.ceiling(1) - 50.0 / 0.35).abs() < 1e-9);
        assert!((options.ceiling(4) / options.ceiling(1) - 4.0).abs() < 1e-9);
        // Otherwise commands to one device would wait for each other.
        assert!(options.devices >= 2 * options.concurrency * options.replicas.iter().max().unwrap());
    }
}

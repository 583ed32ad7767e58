//! `switchboard call`: a command straight over MQTT, without a queue.

use super::request::Request;
use super::settings::Settings;
use super::{INTERRUPTED, report, runtime, say, signals, verdict};
use crate::app;
use crate::commander::{self, Commander};
use crate::config::Config;
use crate::job::{Job, Mode};
use crate::mqtt::Agent;
use crate::outcome::{Outcome, Status};
use crate::wire::native::{self, Origin, Timing};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Options of `call`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is asked of the device.
    #[command(flatten)]
    pub request: Request,
    /// Print the result in one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Commands the device and prints its answer.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let config = settings.load(Vec::new())?;
    let asked = args.request.job(None, None)?;
    // By the way a job takes through the queue, so that both are read and refused in the same words.
    let limits = native::Limits {
        max_payload_bytes: config.worker.max_payload_bytes,
        max_devices: 1,
        no_devices: false,
        repeats: false,
    };
    let job = native::decode(&native::encode(&asked), &limits);
    runtime()?.block_on(async {
        let (outcome, total) = match job {
            Err(wrong) => (Outcome::not_sent(Status::Invalid, wrong.failure), Duration::ZERO),
            Ok(job) => tokio::select! {
                biased;
                () = signals::interrupt() => {
                    say("interrupted; the device may have got the command");
                    return Ok(INTERRUPTED.into());
                }
                called = call(&config, job, &args) => called?,
            },
        };
        let origin = Origin {
            id: asked.id.clone(),
            command: asked.command.clone(),
            correlation_id: String::new(),
            worker: "switchboard call".into(),
            redelivered: false,
        };
        let timing = Timing { queued: Duration::ZERO, waiting: outcome.waiting, device: outcome.device, total };
        let result = native::result(&origin, &args.request.device, &outcome, &timing);
        Ok(verdict(report::result(&result.body, args.json)?))
    })
}

async fn call(config: &Config, job: Job, args: &Args) -> anyhow::Result<(Outcome, Duration)> {
    let agent = Agent::connect(app::mqtt_options(&config.mqtt)?).await?;
    let profiles = config.profiles.values().cloned();
    // One command has nothing to learn from what a whole fleet says of itself.
    let options = commander::Options { presence: false, ..app::commander_options(config) };
    let commander = Commander::new(agent.clone(), profiles, options);
    let started = Instant::now();
    let mut command =
        commander.command(args.request.device.as_str(), job.command, job.payload).id(job.id).profile(job.profile);
    if job.mode == Mode::Publish {
        command = command.one_way();
    }
    if let Some(timeout) = job.timeout {
        command = command.timeout(timeout);
    }
    let outcome = command.await;
    let total = started.elapsed();
    agent.close().await;
    Ok((outcome, total))
}

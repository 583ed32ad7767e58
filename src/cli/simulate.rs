//! `switchboard simulate`: a fleet of devices that are not there.

use super::settings::Settings;
use super::{BAD_USAGE, print, runtime, say, signals, values};
use crate::app;
use crate::mqtt::Agent;
use crate::shutdown::Shutdown;
use crate::simulator::{Behaviour, Error, Fleet, Options};
use crate::telemetry::logging;
use anyhow::bail;
use std::process::ExitCode;
use std::time::Duration;

/// How many devices a fleet may have: their ids are counted, not kept, but a mistyped number should not look like success.
const MAX_DEVICES: usize = 10_000_000;

/// Options of `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many devices. Up to 1000 of them subscribe each for itself and publish a retained `online` on their status
    /// topic, `offline` at the end; more share one subscription and say nothing of themselves
    #[arg(long, value_name = "N", default_value = "100", value_parser = values::number)]
    pub devices: usize,
    /// What their ids begin with; the rest is a number from 0
    #[arg(long, default_value = "dev-")]
    pub prefix: String,
    /// How long each takes to answer
    #[arg(long, value_name = "20ms..200ms", default_value = "20ms..200ms", value_parser = values::range)]
    pub latency: values::Range,
    /// The share of commands that get no answer
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub silent: f64,
    /// The share of commands that are answered with an error
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub reject: f64,
    /// The share of commands that are answered twice
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub duplicate: f64,
    /// The share of commands that are answered when nobody waits any more
    #[arg(long, value_name = "1%", default_value = "0%", value_parser = values::share)]
    pub late: f64,
    /// How much later a late answer comes; by default 2 s more than a worker waits by default
    #[arg(long, value_name = "12s", default_value = "12s", value_parser = values::time)]
    pub late_after: Duration,
    /// The device profile
    #[arg(long, default_value = "default")]
    pub profile: String,
}

/// Plays the fleet until it is told to stop.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let config = settings.load(Vec::new())?;
    logging::install(&logging::Options { format: config.log.format, level: config.log.level.clone() })?;
    let wrong = |what: String| {
        // The same words as for an option that does not exist.
        say(what);
        Ok(BAD_USAGE.into())
    };
    let Some(profile) = config.profiles.get(&*args.profile).cloned() else {
        let known: Vec<&str> = config.profiles.keys().map(AsRef::as_ref).collect();
        return wrong(format!(
            "--profile: no profile is called {:?}; right is one of {}",
            args.profile,
            known.join(", ")
        ));
    };
    if args.devices > MAX_DEVICES {
        return wrong(format!("--devices: {} are too many; right is {MAX_DEVICES} at most", args.devices));
    }
    let behaviour = behaviour(&args);
    if let Err(problem) = behaviour.check() {
        return wrong(problem);
    }
    let options = Options { devices: args.devices, prefix: args.prefix.clone(), behaviour, ..Options::default() };
    runtime()?.block_on(async {
        let shutdown = Shutdown::new();
        tokio::spawn(signals::obey(shutdown.clone()));
        let stop = shutdown.soft();
        let mqtt = app::mqtt_options(&config.mqtt)?;
        let broker = mqtt.broker();
        let starting = async {
            let agent = Agent::connect(mqtt).await?;
            Ok::<_, Error>((agent.clone(), Fleet::start(agent, profile, options.clone()).await?))
        };
        let Some(started) = stop.run_until_cancelled(starting).await else { return Ok(ExitCode::SUCCESS) };
        let (agent, fleet) = started?;
        print(format_args!(
            "{} devices, {prefix}0 to {prefix}{}, answer on {broker} by the profile {}; Ctrl-C ends it",
            options.devices,
            options.devices - 1,
            args.profile,
            prefix = options.prefix,
        ));
        let counts = fleet.run(stop.clone()).await;
        agent.close().await;
        print(counts);
        if !stop.is_cancelled() {
            bail!("the broker let the fleet hear no more");
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn behaviour(args: &Args) -> Behaviour {
    Behaviour {
        fastest: args.latency.from,
        slowest: args.latency.to,
        silent: args.silent,
        reject: args.reject,
        duplicate: args.duplicate,
        late: args.late,
        late_after: args.late_after,
    }
}

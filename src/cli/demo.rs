//! `switchboard demo`: everything at work, in under a minute; or the same backlog for more and more replicas.

use super::settings::Settings;
use super::{BadUsage, FAILED, print, runtime, signals, values};
use crate::demo::{self, Outcome, scale};
use crate::shutdown::Shutdown;
use crate::telemetry::logging;
use anyhow::Context;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// What there is to do after the demonstration.
const NEXT: &str = "\
To go on, with brokers of your own on this machine, each in a terminal:
  switchboard worker                          metrics: http://127.0.0.1:9464/metrics
  switchboard simulate --reject 1%            devices dev-0 to dev-99
  switchboard send dev-7 open '{\"speed\": 2}'
README.md says what else there is.";

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what more workers bring instead: the same backlog for each of these numbers of workers, one after the other,
    /// with slow devices. Fails if the second number brings less than half of what it adds
    #[arg(long, value_name = "1,2,4", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=32))]
    pub scale: Vec<u16>,
    /// How many jobs each backlog has; 4000 where not set
    #[arg(long, value_name = "N", requires = "scale", value_parser = values::number)]
    pub jobs: Option<usize>,
}

/// Runs the demonstration, which ends by itself. No setting counts: it brings its own brokers.
pub fn run(_settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    if !args.scale.is_sorted_by(|one, next| one < next) {
        return Err(BadUsage(format!("--scale {:?}: right are numbers that rise, such as 1,2,4", args.scale)).into());
    }
    logging::install(&logging::Options { format: logging::Format::Text, level: "error".to_owned() })?;
    let program = std::env::current_exe().context("cannot find the program itself, to run its workers")?;
    let runtime = runtime()?;
    let begun = Instant::now();
    let say = |what: &str| {
        // Progress is for the eye; the table alone is the output.
        let _ = writeln!(std::io::stderr(), "[{:4.1} s] {what}", begun.elapsed().as_secs_f64());
    };
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::new();
        tokio::spawn(signals::obey(shutdown.clone()));
        shutdown.soft().run_until_cancelled(show(&program, &args, say)).await
    });
    // A broker that is just starting is not waited for: it ends with this process.
    runtime.shutdown_background();
    let Some(outcome) = outcome else {
        say("stopped");
        return Ok(FAILED.into());
    };
    let outcome = outcome?;
    print(format_args!("\n{}", outcome.report.trim_end()));
    if !outcome.right {
        return Ok(FAILED.into());
    }
    if args.scale.is_empty() {
        print(format_args!("\n{NEXT}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(program: &Path, args: &Args, say: impl Fn(&str)) -> anyhow::Result<Outcome> {
    if args.scale.is_empty() {
        return demo::run(program, &demo::Options::default(), say).await;
    }
    let default = scale::Options::default();
    let replicas = args.scale.iter().copied().map(usize::from).collect();
    let jobs = args.jobs.unwrap_or(default.jobs);
    scale::run(program, &scale::Options { replicas, jobs, ..default }, say).await
}

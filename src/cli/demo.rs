//! `switchboard demo`: everything at work, in under a minute.

use super::settings::Settings;
use super::{FAILED, print, runtime, signals};
use crate::demo::{self, Options};
use crate::shutdown::Shutdown;
use crate::telemetry::logging;
use anyhow::Context;
use std::io::Write;
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
pub struct Args {}

/// Runs the demonstration, which ends by itself. No setting counts: it brings its own brokers.
pub fn run(_settings: &Settings, _args: Args) -> anyhow::Result<ExitCode> {
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
        shutdown.soft().run_until_cancelled(demo::run(&program, &Options::default(), say)).await
    });
    // A broker that is just starting is not waited for: it ends with this process.
    runtime.shutdown_background();
    let Some(outcome) = outcome else {
        say("stopped");
        return Ok(FAILED.into());
    };
    let outcome = outcome?;
    print(format_args!("\n{}", outcome.report));
    if !outcome.right {
        return Ok(FAILED.into());
    }
    print(NEXT);
    Ok(ExitCode::SUCCESS)
}

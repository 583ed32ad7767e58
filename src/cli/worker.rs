//! `switchboard worker`: the main job.

use super::settings::{Settings, Work};
use super::{runtime, scheduling, signals};
use crate::app;
use crate::shutdown::Shutdown;
use crate::telemetry::{Exporter, logging};
use std::process::ExitCode;

/// Options of `worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How it works.
    #[command(flatten)]
    pub work: Work,
}

/// Runs a worker until it is told to stop.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let config = settings.load(args.work.flags())?;
    logging::install(&logging::Options { format: config.log.format, level: config.log.level.clone() })?;
    // Before anything takes a metric's handle: handles taken earlier count nowhere.
    let exporter = Exporter::install()?;
    // Before the other threads are started: they are scheduled as this one is.
    scheduling::adopt(config.worker.scheduling);
    runtime()?.block_on(async {
        let shutdown = Shutdown::new();
        tokio::spawn(signals::obey(shutdown.clone()));
        app::run_worker(&config, exporter, shutdown).await
    })?;
    Ok(ExitCode::SUCCESS)
}

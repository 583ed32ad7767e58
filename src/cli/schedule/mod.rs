//! `switchboard schedule`: what is set, when each schedule fires next, and one fire by hand.

pub mod list;
pub mod next;
pub mod run;
mod table;

use super::settings::{Queue, Settings};
use crate::config::duration;
use crate::schedule::{Calendar, Schedule};
use std::process::ExitCode;
use std::time::Duration;

/// What to do with the schedules.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, each with its times, its command, its devices and its next fire
    List(List),
    /// When each fires next
    Next(Next),
    /// Fire one now
    Run(Run),
}

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// One line of JSON each
    #[arg(long)]
    pub json: bool,
}

/// Options of `next`.
#[derive(Debug, clap::Args)]
pub struct Next {
    /// One schedule; all of them without
    pub name: Option<String>,
    /// How many fires of each; 5 of one schedule, 1 of all where it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: Option<u32>,
    /// One line of JSON each
    #[arg(long)]
    pub json: bool,
}

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The schedule's name
    pub name: String,
    /// The queue of jobs
    #[command(flatten)]
    pub queue: Queue,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Does it. What only looks reaches no broker.
///
/// # Errors
///
/// The configuration is wrong, or has no such schedule.
pub fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => list::run(&settings.load(Vec::new())?, &args),
        Command::Next(args) => next::run(&settings.load(Vec::new())?, &args),
        Command::Run(args) => run::run(settings, &args),
    }
}

/// When it fires, as the configuration has it.
fn when(schedule: &Schedule) -> String {
    match &schedule.calendar {
        Calendar::Cron(_) => schedule.calendar.pattern().unwrap_or_default().to_owned(),
        Calendar::Every(ms) => format!("every {}", duration::format(Duration::from_millis(*ms))),
    }
}

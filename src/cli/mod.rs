//! The command line: every command with its options, and what each way to end leaves as exit code.

pub mod bulk;
pub mod bulk_status;
pub mod call;
pub mod cancel;
pub mod check;
pub mod collected;
pub mod completions;
pub mod coordinator;
pub mod dead_letters;
pub mod demo;
pub mod findings;
pub mod output;
pub mod pace;
pub mod patience;
pub mod payload;
pub mod progress;
pub mod question;
pub mod report;
pub mod request;
pub mod requester;
pub mod round_trip;
pub mod schedule;
mod scheduling;
pub mod schema;
pub mod send;
pub mod settings;
pub mod signals;
pub mod simulate;
pub mod standing;
pub mod targets;
pub mod values;
pub mod watch;
pub mod worker;

use crate::config;
use crate::wire::bulk::What;
use clap::{Parser, Subcommand};
pub use output::{print, say};
use settings::Settings;
use std::ffi::OsString;
use std::process::ExitCode;

/// At least one device did not succeed; or a command that is all about finding out has found something wrong.
pub const FAILED: u8 = 1;
/// It could not run.
pub const COULD_NOT_RUN: u8 = 2;
/// Ctrl-C, as a shell counts it: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;
/// The command line or the configuration is wrong (`EX_USAGE` of sysexits).
pub const BAD_USAGE: u8 = 64;

/// Sends commands to devices over MQTT from a task queue, and brings the answers back.
#[derive(Debug, Parser)]
#[command(
    name = "switchboard",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take jobs, command devices, publish results, until SIGTERM or SIGINT (finish what runs) or a second one (stop now)
    Worker(worker::Args),
    /// Enqueue one job and print its result
    Send(send::Args),
    /// Enqueue one job for many devices
    Bulk(bulk::Args),
    /// Ask how a bulk stands that is run by many workers
    BulkStatus(bulk_status::Args),
    /// Hold a bulk: what is under way ends, and nothing more begins until it is resumed
    BulkPause(bulk_status::Bulk),
    /// Let a held bulk go on
    BulkResume(bulk_status::Bulk),
    /// Command a device straight over MQTT, without a queue
    Call(call::Args),
    /// Simulate a fleet of devices on the MQTT broker
    Simulate(simulate::Args),
    /// Show it all at work: private brokers, a fleet, two workers, a stream of jobs
    Demo(demo::Args),
    /// Check the configuration, both brokers and the way of an answer
    Check(check::Args),
    /// Cancel a queued, delayed or running job
    Cancel(cancel::Args),
    /// Look at the schedules, or fire one now
    #[command(subcommand)]
    Schedule(schedule::Command),
    /// Look at what could not be processed, put it back or throw it away
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Print a JSON Schema
    Schema(schema::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
}

/// The command line names something that is wrong, as only reading it could tell.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);

/// Reads the command line, does what it says, and gives the exit code. Errors are printed on standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return BAD_USAGE.into();
            }
            // Help and version come as errors too, but belong on standard output.
            output::written(printed);
            return output::code(ExitCode::SUCCESS);
        }
    };
    match dispatch(cli) {
        Ok(code) => output::code(code),
        Err(error) => {
            say(format_args!("{error:#}"));
            let bad_usage = error.is::<config::Invalid>() || error.is::<BadUsage>();
            if bad_usage { BAD_USAGE.into() } else { COULD_NOT_RUN.into() }
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let settings = &cli.settings;
    match cli.command {
        Command::Worker(args) => worker::run(settings, args),
        Command::Send(args) => send::run(settings, args),
        Command::Bulk(args) => bulk::run(settings, args),
        Command::BulkStatus(args) => bulk_status::run(settings, args),
        Command::BulkPause(args) => bulk_status::change(settings, args, What::Pause),
        Command::BulkResume(args) => bulk_status::change(settings, args, What::Resume),
        Command::Call(args) => call::run(settings, args),
        Command::Simulate(args) => simulate::run(settings, args),
        Command::Demo(args) => demo::run(settings, args),
        Command::Check(args) => check::run(settings, args),
        Command::Cancel(args) => cancel::run(settings, args),
        Command::Schedule(command) => schedule::run(settings, command),
        Command::DeadLetters(command) => dead_letters::run(settings, command),
        Command::Schema(args) => Ok(schema::run(args)),
        Command::Completions(args) => Ok(completions::run(args)),
    }
}

/// The exit code of a command whose devices have answered.
pub fn verdict(succeeded: bool) -> ExitCode {
    if succeeded { ExitCode::SUCCESS } else { FAILED.into() }
}

/// The runtime of every command: one thread, and the AMQP client's own for its socket. The work per command is too
/// small to be worth moving between cores.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests;

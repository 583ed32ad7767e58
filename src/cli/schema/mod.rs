//! `switchboard schema`: the JSON Schemas of a job, a result and the configuration.

use super::print;
use crate::config;
use clap::ValueEnum;
use std::process::ExitCode;

const JOB: &str = include_str!("job.json");
const RESULT: &str = include_str!("result.json");

/// What has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// A job, as it is enqueued
    Job,
    /// A result, as it is published; the summary of a bulk job is in its $defs
    Result,
    /// The configuration file
    Config,
}

/// Options of `schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what
    pub of: Subject,
}

/// Prints the schema.
pub fn run(args: Args) -> ExitCode {
    match args.of {
        Subject::Job => print(JOB.trim_end()),
        Subject::Result => print(RESULT.trim_end()),
        Subject::Config => print(format_args!("{:#}", config::schema())),
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod validator;

//! `switchboard completions`: what a shell needs to complete the command line.

use super::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;
use std::process::ExitCode;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: Args) -> ExitCode {
    // Into memory first: the generator panics where standard output is a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "switchboard", &mut script);
    let _ = std::io::stdout().write_all(&script);
    ExitCode::SUCCESS
}

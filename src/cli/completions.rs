//! `switchboard completions`: what a shell needs to complete the command line.

use super::{Cli, output};
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
    // Into memory first: the generator panics where standard output cannot be written.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "switchboard", &mut script);
    let mut out = std::io::stdout();
    output::written(out.write_all(&script).and_then(|()| out.flush()));
    ExitCode::SUCCESS
}

//! The program's door: hand over to the command line, leave with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchboard::cli::run(std::env::args_os())
}

//! What commands write, results on standard output and all else on standard error, and what follows where nobody can read it.

use super::COULD_NOT_RUN;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something was not written.
static IS_LOST: AtomicBool = AtomicBool::new(false);
/// Something was not written although somebody may want it.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line on standard output. What cannot be printed is said once, and the exit code will be that of a failure; a reader
/// that has gone away, as `head` does, is no error.
pub fn print(line: impl Display) {
    written(writeln!(io::stdout(), "{line}"));
}

/// Takes note of what came of writing to standard output.
pub fn written(result: io::Result<()>) {
    let Err(error) = result else { return };
    IS_LOST.store(true, Ordering::Relaxed);
    // The command goes on: what it has begun, such as putting back dead letters, is not left half done.
    if error.kind() != ErrorKind::BrokenPipe && !HAS_FAILED.swap(true, Ordering::Relaxed) {
        say(format_args!("standard output cannot be written: {error}"));
    }
}

/// Whether something could not be printed: for who goes on only to print more.
pub fn is_lost() -> bool {
    IS_LOST.load(Ordering::Relaxed)
}

/// The exit code of a command that ends with this one: nobody was told of a success that could not be printed.
pub fn code(code: ExitCode) -> ExitCode {
    if HAS_FAILED.load(Ordering::Relaxed) { COULD_NOT_RUN.into() } else { code }
}

/// Prints a line on standard error: what a person should know and a program that reads the results should not meet.
pub fn say(line: impl Display) {
    // There is no other place where this could be told.
    let _ = writeln!(io::stderr(), "switchboard: {line}");
}

//! What a check has found, line by line, as it is found.

use super::{FAILED, print};
use std::fmt::Display;
use std::process::ExitCode;

/// Prints findings and remembers whether one of them is a failure.
#[derive(Debug, Default)]
pub struct Findings {
    failures: usize,
}

impl Findings {
    /// As it should be.
    pub fn ok(&self, what: impl Display) {
        print(format_args!("ok       {what}"));
    }

    /// It works, and could be better.
    pub fn warning(&self, what: impl Display) {
        print(format_args!("warning  {what}"));
    }

    /// A worker would not work.
    pub fn failed(&mut self, what: impl Display) {
        self.failures += 1;
        print(format_args!("FAILED   {what}"));
    }

    /// The exit code of the whole check.
    pub fn code(&self) -> ExitCode {
        if self.failures == 0 { ExitCode::SUCCESS } else { FAILED.into() }
    }
}

//! Private, throw-away brokers: own folder, own ports on 127.0.0.1, nothing shared with a broker that the machine may run.
//!
//! Everything here blocks; asynchronous callers go through `spawn_blocking`. A broker ends when its value is dropped, and
//! also when the process that holds the value is killed: [`leash`] says how.

mod child;
pub mod daemon;
pub mod leash;
pub mod mosquitto;
pub mod ports;
pub mod rabbitmq;
pub mod redis;

pub use self::redis::Redis;
pub use leash::Leash;
pub use mosquitto::Mosquitto;
pub use rabbitmq::RabbitMq;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why a private broker could not be started or commanded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not installed where it is looked for.
    #[error("{} is not there: install the Debian package {package} (apt-get install {package}), or name the program in {variable}", program.display())]
    Missing {
        /// What was to be run.
        program: PathBuf,
        /// The Debian package that has it.
        package: &'static str,
        /// The environment variable that names another path.
        variable: &'static str,
    },
    /// It ended by itself, most often because a port was taken or its configuration is wrong.
    #[error("{name} ended by itself while it started ({status}); the end of what it wrote:\n{log}")]
    Ended {
        /// The program's name.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It runs, but does not serve.
    #[error("{name} was not ready after {within:?}; the end of what it wrote:\n{log}")]
    NotReady {
        /// The program's name.
        name: &'static str,
        /// How long it was waited for.
        within: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// `rabbitmqctl` did not do what it was asked.
    #[error("rabbitmqctl {command} failed:\n{output}")]
    Ctl {
        /// Its arguments.
        command: String,
        /// What it wrote.
        output: String,
    },
    /// No port could be had.
    #[error("no free port between {} and {} on 127.0.0.1", range.0, range.1)]
    NoPort {
        /// First and last port that were tried.
        range: (u16, u16),
    },
    /// The operating system refused.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was attempted.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }

    /// Whether somebody else took one of the ports between choosing and using it: worth another try with other ports.
    fn is_port_clash(&self) -> bool {
        let Self::Ended { log, .. } = self else { return false };
        ["eaddrinuse", "already in use", "in use by another node", "already a epmd"]
            .iter()
            .any(|sign| log.contains(sign))
    }
}

/// How many times a start is tried again when a port was taken in between.
const PORT_CLASHES: usize = 4;

/// Starts something on ports of its own choice, again with others when one was taken in between.
fn with_free_ports<T>(start: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..PORT_CLASHES {
        match start() {
            Err(error) if error.is_port_clash() => {}
            settled => return settled,
        }
    }
    start()
}

/// A program that the environment may place elsewhere.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    usual: &'static str,
    package: &'static str,
    variable: &'static str,
}

impl Program {
    fn path(&self) -> PathBuf {
        std::env::var_os(self.variable).map_or_else(|| PathBuf::from(self.usual), PathBuf::from)
    }

    fn missing(&self, program: &Path) -> Error {
        Error::Missing { program: program.to_owned(), package: self.package, variable: self.variable }
    }
}

/// The last lines of a file; empty where it cannot be read.
pub(super) fn tail(file: &Path) -> String {
    const LINES: usize = 25;
    let text = std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

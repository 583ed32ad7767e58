//! What a worker takes of the machine: memory, files, threads.

use crate::harness::worker::Worker;
use std::fmt;
use std::path::PathBuf;

/// What a process takes of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    /// Resident memory.
    pub(crate) kilobytes: usize,
    /// Open files and sockets.
    pub(crate) files: usize,
    pub(crate) threads: usize,
}

impl Footprint {
    /// What a worker takes now.
    ///
    /// # Panics
    /// It is gone.
    pub(crate) fn of(worker: &Worker) -> Self {
        let process = PathBuf::from(format!("/proc/{}", worker.pid()));
        let status = std::fs::read_to_string(process.join("status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let files = std::fs::read_dir(process.join("fd")).unwrap().count();
        Self { kilobytes: number("VmRSS:"), files, threads: number("Threads:") }
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MB, {} files, {} threads", self.kilobytes / 1024, self.files, self.threads)
    }
}

//! What breaks at which step of a run.

use crate::amqp::memory::{Pass, Steps};
use crate::shutdown::Shutdown;
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The program is gone, as by `kill -9`.
    Kill,
    /// The connection that the step belongs to breaks.
    Cut,
    /// The step happens, and then both of its connections break.
    CutAll,
    /// The program is asked to stop, as by SIGTERM.
    Stop,
}

/// One fault at one step.
pub(super) struct Plan {
    fault: Fault,
    /// Counted from 1; 0 is never.
    at: usize,
    shutdown: Shutdown,
    pub(super) killed: CancellationToken,
    taken: Mutex<Vec<&'static str>>,
}

impl Plan {
    pub(super) fn new(fault: Fault, at: usize, shutdown: Shutdown) -> Self {
        Self { fault, at, shutdown, killed: CancellationToken::new(), taken: Mutex::default() }
    }

    /// The steps that came up to the fault, and after it.
    pub(super) fn taken(&self) -> Vec<&'static str> {
        self.taken.lock().unwrap().clone()
    }
}

impl Steps for Plan {
    fn step(&self, name: &'static str) -> Pass {
        let mut taken = self.taken.lock().unwrap();
        if self.killed.is_cancelled() {
            return Pass::Dead;
        }
        taken.push(name);
        if taken.len() != self.at {
            return Pass::Go;
        }
        match self.fault {
            Fault::Kill => {
                self.killed.cancel();
                Pass::Dead
            }
            Fault::Cut => Pass::Cut,
            Fault::CutAll => Pass::CutAll,
            Fault::Stop => {
                self.shutdown.begin();
                Pass::Go
            }
        }
    }
}

//! One task under way as the book has it: what does not change, and a few cells that do without a lock.

use crate::wire::celery::Task;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// Received, and waiting for its turn.
pub(super) const RESERVED: u8 = 0;
/// Waiting for its time.
pub(super) const SCHEDULED: u8 = 1;
/// Running.
pub(super) const ACTIVE: u8 = 2;

/// How a task came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// The message's priority.
    pub priority: Option<u8>,
    /// Whether its message is acknowledged already.
    pub acknowledged: bool,
}

/// That a task is to be ended even while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminate {
    /// The number of the signal that Celery would send; only told, since nothing here is a process.
    pub(super) signum: i32,
}

/// A task, since it came and until it is settled.
pub(super) struct Record {
    pub(super) task: Arc<Task>,
    pub(super) via: Via,
    /// Its name's place in the register.
    pub(super) named: Option<usize>,
    state: AtomicU8,
    /// When it was begun, as the bits of seconds since the Unix epoch; 0 before.
    begun: AtomicU64,
    acknowledged: AtomicBool,
    signum: AtomicI32,
    // Made when the first asks for them: of most tasks nobody asks for both.
    terminated: OnceLock<CancellationToken>,
    called_off: OnceLock<CancellationToken>,
}

impl Record {
    pub(super) fn new(task: Arc<Task>, via: Via, named: Option<usize>) -> Self {
        let acknowledged = AtomicBool::new(via.acknowledged);
        Self {
            task,
            via,
            named,
            state: AtomicU8::new(RESERVED),
            begun: AtomicU64::new(0),
            acknowledged,
            signum: AtomicI32::new(0),
            terminated: OnceLock::new(),
            called_off: OnceLock::new(),
        }
    }

    pub(super) fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// From one state into another, where it is in that one: a task that runs waits no more.
    pub(super) fn turn(&self, from: u8, to: u8) {
        // Refused is what is wanted: it is in another state.
        let _ = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// It runs; false if it did already.
    pub(super) fn start(&self) -> bool {
        self.state.swap(ACTIVE, Ordering::AcqRel) != ACTIVE
    }

    pub(super) fn begin(&self, at: f64) {
        self.begun.store(at.to_bits(), Ordering::Release);
    }

    /// When it was begun: seconds since the Unix epoch.
    pub(super) fn begun(&self) -> Option<f64> {
        Some(f64::from_bits(self.begun.load(Ordering::Acquire))).filter(|at| *at > 0.0)
    }

    pub(super) fn acknowledge(&self) {
        self.acknowledged.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The signal it was ended by, if it was.
    pub(super) fn signum(&self) -> Option<i32> {
        Some(self.signum.load(Ordering::Acquire)).filter(|number| *number != 0)
    }

    pub(super) fn terminated(&self) -> &CancellationToken {
        self.terminated.get_or_init(CancellationToken::new)
    }

    pub(super) fn called_off(&self) -> &CancellationToken {
        self.called_off.get_or_init(CancellationToken::new)
    }

    /// It is called off: with `terminate` whatever it does, else only as far as it has not begun.
    pub(super) fn call_off(&self, terminate: Option<Terminate>) {
        if let Some(Terminate { signum }) = terminate {
            self.signum.store(signum, Ordering::Release);
            self.terminated().cancel();
        }
        self.called_off().cancel();
    }
}

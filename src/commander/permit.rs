//! What a command needs to pass the point of no return.

use std::pin::Pin;
use std::time::{Duration, Instant};

/// Whether a command may still cross the point of no return; asked by the task that writes to the socket, last thing.
pub(crate) trait Permit: Send + Sync {
    /// Must not block: it runs in the task that serves everybody.
    fn granted(&self) -> bool;

    /// The same, asked at that point itself: after a `true` the command may be on its way.
    fn pass(&self) -> bool {
        self.granted()
    }

    /// What has to be obtained before the first attempt is handed over, when nothing else is to be waited for any more; `None`
    /// where there is nothing. False ends the command as [`NotStarted::Denied`](super::NotStarted::Denied).
    fn obtain(&self, _bounds: Bounds) -> Option<Pin<Box<dyn Future<Output = bool> + Send + '_>>> {
        None
    }
}

/// The times that bound a command which is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// When it is too late to send it.
    pub(crate) not_after: Instant,
    /// How long it is waited for after that, at the most.
    pub(crate) answer_within: Duration,
}

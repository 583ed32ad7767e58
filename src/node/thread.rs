//! The thread on which a node lives: the worker's own may have a thousand tasks to poll before it comes to a question.

use std::sync::mpsc;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Starts one that runs until it is told to end; then what is left on it is dropped. Where there can be no more threads it is the
/// current runtime: a node that answers late is better than none.
///
/// # Panics
/// There is no thread to be had, and no runtime around.
pub(super) fn start(end: CancellationToken) -> Handle {
    let (there, handle) = mpsc::sync_channel(1);
    let life = move || {
        let runtime = match Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::warn!(%error, "the Celery node has no runtime of its own"),
        };
        // Nobody waits for it only if the one who started us is gone.
        let _ = there.send(runtime.handle().clone());
        runtime.block_on(end.cancelled());
    };
    let started = std::thread::Builder::new().name("celery-node".to_owned()).spawn(life);
    if let Err(error) = started {
        tracing::warn!(%error, "the Celery node has no thread of its own");
    }
    handle.recv().unwrap_or_else(|_| Handle::current())
}

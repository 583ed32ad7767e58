//! RabbitMQ for tests: one node that all share, which none may harm, and nodes of one's own for faults.

use super::eventually::eventually;
use std::sync::OnceLock;
use std::time::Duration;
use switchboard::demo::brokers::rabbitmq::Options;
use switchboard::demo::brokers::{Error, RabbitMq};
use tokio::task::spawn_blocking;

const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

// Never dropped: the leash of the node sees to its end when this process is gone.
static SHARED: OnceLock<Result<RabbitMq, String>> = OnceLock::new();

/// The node of this test binary, started by the first who asks. Queue names come from [`unique`](super::unique).
///
/// # Panics
/// RabbitMQ is not installed or does not start.
pub(crate) async fn shared() -> &'static RabbitMq {
    let started =
        spawn_blocking(|| SHARED.get_or_init(|| RabbitMq::start(Options::default()).map_err(|e| e.to_string())));
    match started.await.expect("starting a broker does not panic") {
        Ok(node) => node,
        Err(error) => panic!("{error}"),
    }
}

/// A node of one test's own, to be killed, frozen and started again.
pub(crate) struct OwnNode(Option<RabbitMq>);

impl OwnNode {
    /// Starts one, with more lines of configuration: it takes ten seconds, so few tests should.
    pub(crate) async fn start(lines: &[&str]) -> Self {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Self::start_with(Options { lines, ..Options::default() }).await
    }

    /// Starts one of a special kind.
    pub(crate) async fn start_with(options: Options) -> Self {
        let started = spawn_blocking(|| RabbitMq::start(options)).await;
        Self(Some(started.expect("starting a broker does not panic").unwrap_or_else(|error| panic!("{error}"))))
    }

    /// The node itself.
    pub(crate) fn node(&self) -> &RabbitMq {
        self.0.as_ref().expect("it is only away while `with` runs")
    }

    /// Waits until a quorum queue survives a kill of the node.
    ///
    /// RabbitMQ 3.10 keeps the queue's name in a table that it writes down some seconds after the declaration. Killed before
    /// that, it comes back with an empty queue of that name, whatever it confirmed.
    pub(crate) async fn wait_written_down(&self, queue: &str) {
        let folder = self.node().folder().join("mnesia/switchboard@localhost/quorum/switchboard@localhost");
        let name = format!("%2F_{queue}");
        eventually("RabbitMQ writes down the queue", WRITTEN_WITHIN, async || {
            let table = std::fs::read(folder.join("names.dets")).unwrap_or_default();
            table.windows(name.len()).any(|part| part == name.as_bytes())
        })
        .await;
    }

    /// Does something that blocks with the node, off the runtime's threads: `own.with(RabbitMq::start_again).await`.
    ///
    /// # Panics
    /// It fails.
    pub(crate) async fn with<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut RabbitMq) -> Result<T, Error> + Send + 'static,
    ) -> T {
        let mut node = self.0.take().expect("it is only away while `with` runs");
        let acted = spawn_blocking(move || (act(&mut node), node)).await;
        let (result, node) = acted.expect("what is done with a broker does not panic");
        self.0 = Some(node);
        result.unwrap_or_else(|error| panic!("{error}"))
    }
}

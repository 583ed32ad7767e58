//! Settings of an AMQP connection and of what works on it, with their defaults.

use crate::tls::TlsFiles;
use std::fmt;
use std::time::Duration;

/// How to reach the broker and how patiently.
#[derive(Clone)]
pub struct Options {
    /// `amqp://` or `amqps://`, with user, password and virtual host; several with `;` between them are tried in turn. Read
    /// as kombu does. Never shown by `Debug`.
    pub url: String,
    /// Certificates, for `amqps://`.
    pub tls: TlsFiles,
    /// What RabbitMQ shows as the connection's name; the role is appended.
    pub connection_name: String,
    /// Name look-up, TCP, TLS and AMQP handshake together, for each node.
    pub connect_timeout: Duration,
    /// Asked of the broker; the lower of the two values counts, and a peer is dead after twice that.
    pub heartbeat: Duration,
    /// The upper bound of the first wait after a loss; it doubles with each failure.
    pub backoff_min: Duration,
    /// The upper bound of any wait after a loss.
    pub backoff_max: Duration,
    /// How long an orderly close may take before the socket is cut.
    pub close_timeout: Duration,
    /// How long a publish may go without its confirm before its channel is replaced and it is sent again.
    pub confirm_timeout: Duration,
    /// How long the broker may refuse to store a message before a [`Publisher`](super::Publisher) gives it up: a queue that is
    /// full, or without its leader. Messages to one that refused for so long are given up after two refusals, for a minute.
    pub refused_for: Duration,
    /// Messages that wait for the publishing task, and messages that wait to be sent again.
    pub publish_queue: usize,
    /// How many publishes, or settlements, are handed to the connection at a time.
    pub batch: usize,
    /// Channels that a [`ChannelPool`](super::ChannelPool) opens at most. A publisher has one: a batch on one channel costs
    /// one wake-up, the same batch on several costs several.
    pub channels: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned(),
            tls: TlsFiles::default(),
            connection_name: "switchboard".to_owned(),
            connect_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            close_timeout: Duration::from_secs(3),
            confirm_timeout: Duration::from_secs(30),
            refused_for: Duration::from_secs(30),
            publish_queue: 4096,
            batch: 64,
            channels: 4,
        }
    }
}

impl Options {
    /// How long it may take until every node was tried.
    pub fn round(&self) -> Duration {
        let nodes = self.url.split(';').count();
        self.connect_timeout.saturating_mul(u32::try_from(nodes).unwrap_or(u32::MAX))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("connection_name", &self.connection_name).finish_non_exhaustive()
    }
}

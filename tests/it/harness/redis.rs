//! Redis for tests: a server for each test, and a client that sees what a Python client would.

use redis::aio::MultiplexedConnection;
use std::time::Duration;
use switchboard::demo::brokers::redis::Options;
use switchboard::demo::brokers::{Error, Redis};
use tokio::task::spawn_blocking;

/// A server of one test's own, to be killed, frozen and started again. It ends with the value.
pub(crate) struct OwnRedis(Option<Redis>);

impl OwnRedis {
    /// Starts one that takes anybody and writes nothing down.
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts one of a special kind.
    ///
    /// # Panics
    /// Redis is not installed (Debian package redis-server) or does not start so.
    pub(crate) async fn start_with(options: Options) -> Self {
        let started = spawn_blocking(|| Redis::start(options)).await;
        Self(Some(started.expect("starting a server does not panic").unwrap_or_else(|error| panic!("{error}"))))
    }

    /// The server itself.
    pub(crate) fn server(&self) -> &Redis {
        self.0.as_ref().expect("it is only away while `with` runs")
    }

    /// Does something that blocks with the server, off the runtime's threads: `own.with(Redis::start_again).await`.
    ///
    /// # Panics
    /// It fails.
    pub(crate) async fn with(&mut self, act: impl FnOnce(&mut Redis) -> Result<(), Error> + Send + 'static) {
        let mut server = self.0.take().expect("it is only away while `with` runs");
        let acted = spawn_blocking(move || (act(&mut server), server)).await;
        let (result, server) = acted.expect("what is done with a server does not panic");
        self.0 = Some(server);
        result.unwrap_or_else(|error| panic!("{error}"));
    }

    /// A client beside the one under test.
    pub(crate) async fn client(&self) -> Client {
        let client = redis::Client::open(self.server().url()).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        Client(client.get_multiplexed_async_connection_with_config(&config).await.unwrap())
    }
}

/// A plain client.
#[derive(Clone)]
pub(crate) struct Client(MultiplexedConnection);

impl Client {
    /// Runs one command, given as its words, and reads the answer.
    ///
    /// # Panics
    /// Redis refuses it, or the answer is of another type.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.0.clone()).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The text under a key, if there is one.
    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        self.run(&["GET", key]).await
    }
}

//! Celery's Redis result backend: results stored as Python reads them, and the counters of chords.
//!
//! Keys, values and channels are those of Celery 5.7, so that Python clients wait for our results and Python workers count
//! on the same chords. What it promises:
//! - Each operation is tried again over reconnects until its deadline; what was stored twice is as if it was stored once.
//! - A stored SUCCESS stays.
//! - Of all parts of a chord exactly one is told that it is the last, and one that dies over it is told again.
//! - No secret of the URL is in an error, a log line or a `Debug` text.

mod address;
mod chord;
mod link;
mod options;
mod script;

pub use chord::{Counted, Part};
pub use options::Options;

use link::Link;
use script::{Call, Scripts};
use std::fmt;
use std::sync::Arc;

/// What went wrong on the way to Redis, or at it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be used.
    #[error(
        "the URL of the result backend {0}; redis://USER:PASSWORD@HOST:PORT/DATABASE is right, or rediss://… over TLS"
    )]
    Url(String),
    /// A certificate or key file cannot be used.
    #[error("TLS to Redis: {0}")]
    Tls(String),
    /// Redis did not take user and password; trying again does not help.
    #[error("Redis at {address} refused the login: {reason}")]
    Login {
        /// Host and port.
        address: String,
        /// Its words.
        reason: String,
    },
    /// Redis refused the operation for a reason that does not go away by itself: a missing permission, a key of another type.
    #[error("Redis at {address} refused {doing}: {reason}")]
    Refused {
        /// Host and port.
        address: String,
        /// The operation.
        doing: &'static str,
        /// Its words.
        reason: String,
    },
    /// The operation was not done within its deadline. It may have been done all the same, its answer lost.
    #[error("{doing} was not done by Redis at {address} within {seconds} s: {last}")]
    TimedOut {
        /// Host and port.
        address: String,
        /// The operation.
        doing: &'static str,
        /// The deadline.
        seconds: f64,
        /// What stood in its way last.
        last: String,
    },
}

/// A client of the result backend. Clones share one connection, which is made when it is first needed and again after a loss.
#[derive(Clone)]
pub struct Backend {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    /// The prefix as it stands in keys.
    prefix: String,
    /// What the claims of this process begin with.
    claims: String,
    link: Link,
    scripts: Scripts,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Backend {
    /// Checks the options, and reaches nobody: a Redis that is away does not stop the start.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn connect(options: Options) -> Result<Self, Error> {
        let address = address::parse(&options.url)?;
        let shared = Shared {
            prefix: options::key_prefix(&options.key_prefix),
            claims: format!("{}{:016x}:", chord::OURS, rand::random::<u64>()),
            link: Link::new(address, options.deadline),
            scripts: Scripts::default(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.shared.link.address()
    }

    /// Stores a result and publishes it on the channel of its key, unless a SUCCESS is stored already. To repeat it is harmless.
    ///
    /// `state` is Celery's name of the state, `body` the whole envelope as JSON. Kept for [`Options::expires`], a FAILURE for
    /// [`Options::failure_expires`]. Dropping the future leaves open whether it is stored.
    ///
    /// # Errors
    /// All but [`Error::Url`].
    pub async fn store(&self, id: &str, state: &str, body: &[u8]) -> Result<(), Error> {
        self.store_over(id, state, body, "any").await
    }

    /// Stores a REVOKED result, as a worker does that is told of the revocation: only where nothing is stored, or a state
    /// from before the task's start (PENDING, RECEIVED, RETRY, REJECTED). Else as [`store`](Self::store).
    ///
    /// # Errors
    /// All but [`Error::Url`].
    pub async fn store_revoked(&self, id: &str, body: &[u8]) -> Result<(), Error> {
        self.store_over(id, "REVOKED", body, "unstarted").await
    }

    async fn store_over(&self, id: &str, state: &str, body: &[u8], over: &str) -> Result<(), Error> {
        let seconds = options::seconds(self.shared.options.kept(state));
        let mut call = self.shared.scripts.store.prepare_invoke();
        call.key(self.task_key(id)).arg(body).arg(seconds).arg(over);
        let _stored: i64 = self.run("storing a result", &call).await?;
        Ok(())
    }

    /// Asks Redis for a sign of life, login included.
    ///
    /// # Errors
    /// All but [`Error::Url`].
    pub async fn ping(&self) -> Result<(), Error> {
        let _pong: redis::Value = self.run("a ping", &redis::cmd("PING")).await?;
        Ok(())
    }

    fn task_key(&self, id: &str) -> String {
        format!("{}celery-task-meta-{id}", self.shared.prefix)
    }

    /// `end` is empty or a dot and a letter.
    fn group_key(&self, group: &str, end: &str) -> String {
        format!("{}celery-taskset-meta-{group}{end}", self.shared.prefix)
    }

    async fn run<T: redis::FromRedisValue + Send>(&self, doing: &'static str, call: &impl Call) -> Result<T, Error> {
        self.shared.link.run(doing, self.shared.options.deadline, call).await
    }
}

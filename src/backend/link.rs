//! The one connection to Redis that all operations share: made when it is needed, dropped when it fails, made again.

use super::Error;
use super::address::Address;
use super::script::Call;
use crate::tls;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

/// What commands are sent on. Clones share one socket.
pub(super) type Connection = MultiplexedConnection;

/// Between a failure and the next connect: at first, and at most.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The shortest time after which a connection without an answer counts as dead.
const SILENT: Duration = Duration::from_secs(1);

pub(super) struct Link {
    address: Arc<Address>,
    /// Host and port.
    shown: String,
    /// For one connect, and for one answer.
    patience: Duration,
    slot: Mutex<Slot>,
}

/// The connect that is under way or done; whoever needs it polls the same future.
#[derive(Default)]
struct Slot {
    dial: Option<Shared<BoxFuture<'static, Result<Connection, Failure>>>>,
    /// Counts the connects, so that one failure is told of one connection once.
    number: u64,
    failures: u32,
}

/// Why a try failed.
#[derive(Clone, Debug)]
enum Failure {
    /// Trying again may help.
    Passing(String),
    /// It does not.
    Final(Error),
}

impl Link {
    /// `deadline` is that of the operations: a third of it is what one try may take, so that each can be tried again.
    pub(super) fn new(address: Address, deadline: Duration) -> Self {
        let shown = match address.host.contains(':') {
            true => format!("[{}]:{}", address.host, address.port),
            false => format!("{}:{}", address.host, address.port),
        };
        Self { address: Arc::new(address), shown, patience: (deadline / 3).max(SILENT), slot: Mutex::default() }
    }

    pub(super) fn address(&self) -> &str {
        &self.shown
    }

    /// Sends it, again over reconnects until the deadline, and returns the answer.
    pub(super) async fn run<T: FromRedisValue + Send>(
        &self,
        doing: &'static str,
        deadline: Duration,
        call: &impl Call,
    ) -> Result<T, Error> {
        let until = Instant::now() + deadline;
        let mut last = "no answer".to_owned();
        loop {
            let failure = match timeout_at(until, self.try_once(doing, call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let address = self.shown.clone();
                    return Err(Error::TimedOut { address, doing, seconds: deadline.as_secs_f64(), last });
                }
            };
            match failure {
                Failure::Final(error) => return Err(error),
                Failure::Passing(reason) => last = reason,
            }
        }
    }

    async fn try_once<T: FromRedisValue + Send>(&self, doing: &'static str, call: &impl Call) -> Result<T, Failure> {
        let (dial, number) = self.dial();
        let mut connection = match dial.await {
            Ok(connection) => connection,
            Err(failure) => {
                self.forget(number, &failure);
                return Err(failure);
            }
        };
        let failure = match timeout(self.patience, call.send(&mut connection)).await {
            Ok(Ok(answer)) => {
                self.worked(number);
                return Ok(answer);
            }
            Ok(Err(error)) => self.failure(doing, &error),
            Err(_) => Failure::Passing(format!("no answer within {} s", self.patience.as_secs_f64())),
        };
        // A refusal came over a connection that works.
        if matches!(failure, Failure::Passing(_)) {
            self.forget(number, &failure);
        }
        Err(failure)
    }

    /// The connect of now, begun by the first who asks.
    fn dial(&self) -> (Shared<BoxFuture<'static, Result<Connection, Failure>>>, u64) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let Slot { dial, number, failures } = &mut *slot;
        let dial = dial.get_or_insert_with(|| {
            *number += 1;
            let wait = wait(*failures, rand::random());
            dial_after(wait, self.address.clone(), self.shown.clone(), self.patience).boxed().shared()
        });
        (dial.clone(), *number)
    }

    fn worked(&self, number: u64) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.number == number {
            slot.failures = 0;
        }
    }

    /// Drops the connection of that number, if it is still the one in use.
    fn forget(&self, number: u64, failure: &Failure) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.number != number || slot.dial.is_none() {
            return;
        }
        slot.dial = None;
        slot.failures = slot.failures.saturating_add(1);
        // Once for a row of failures; what each operation makes of it is in its error.
        if slot.failures == 1 {
            let reason = match failure {
                Failure::Passing(reason) => reason.clone(),
                Failure::Final(error) => error.to_string(),
            };
            warn!(address = self.shown, reason, "no connection to Redis; trying again");
        }
    }

    fn failure(&self, doing: &'static str, error: &RedisError) -> Failure {
        let address = self.shown.clone();
        // What an open door says, too, to those who did not log in.
        let login = error.code() == Some("NOAUTH");
        classify(error, |reason| match login {
            true => Error::Login { address, reason },
            false => Error::Refused { address, doing, reason },
        })
    }
}

/// Nothing the first time; then up to twice as long with each failure, jittered.
fn wait(failures: u32, jitter: f64) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => (WAITS.0 * 2_u32.saturating_pow(failures - 1)).min(WAITS.1).mul_f64(0.5 + jitter / 2.0),
    }
}

async fn dial_after(
    wait: Duration,
    address: Arc<Address>,
    shown: String,
    patience: Duration,
) -> Result<Connection, Failure> {
    sleep(wait).await;
    match timeout(patience, open(&address, &shown)).await {
        Ok(Ok(connection)) => {
            info!(address = shown, "connected to Redis");
            Ok(connection)
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Passing(format!("no connection within {} s", patience.as_secs_f64()))),
    }
}

async fn open(address: &Address, shown: &str) -> Result<Connection, Failure> {
    let passing = |error: io::Error| Failure::Passing(error.to_string());
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(passing)?;
    tcp.set_nodelay(true).map_err(passing)?;
    // No time limit of the client's own, which would be half a second: the operations have theirs.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let login = &address.login;
    let opened = match &address.tls {
        None => MultiplexedConnection::new_with_config(login, tcp, config).await.map(|(connection, driver)| {
            tokio::spawn(driver);
            connection
        }),
        Some(files) => {
            let stream = tls::encrypt(tcp, &address.host, files).await.map_err(|error| match error.kind() {
                // A file, which does not get better by waiting; a handshake may.
                io::ErrorKind::InvalidInput => Failure::Final(Error::Tls(error.to_string())),
                _ => passing(error),
            })?;
            MultiplexedConnection::new_with_config(login, stream, config).await.map(|(connection, driver)| {
                tokio::spawn(driver);
                connection
            })
        }
    };
    opened.map_err(|error| {
        classify(&error, |reason| {
            // The client keeps the server's own words to itself.
            let wrong = error.kind() == ErrorKind::AuthenticationFailed;
            let reason = if wrong { "the user name or the password is wrong".to_owned() } else { reason };
            Error::Login { address: shown.to_owned(), reason }
        })
    })
}

/// Whether another try may help. What Redis says while it starts, changes its master, or is full for now, goes away.
fn classify(error: &RedisError, refused: impl FnOnce(String) -> Error) -> Failure {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    let passes = match error.kind() {
        ErrorKind::Io => true,
        ErrorKind::Server(kind) => matches!(kind, BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain),
        ErrorKind::Extension => matches!(error.code(), Some("OOM" | "MISCONF" | "BUSY" | "NOREPLICAS")),
        _ => false,
    };
    match passes {
        true => Failure::Passing(error.to_string()),
        false => Failure::Final(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connect_waits_for_nothing_and_later_ones_ever_longer_up_to_a_bound() {
        assert_eq!(wait(0, 1.0), Duration::ZERO);
        assert_eq!((wait(1, 1.0), wait(2, 1.0)), (Duration::from_millis(50), Duration::from_millis(100)));
        assert_eq!((wait(1, 0.0), wait(u32::MAX, 1.0)), (Duration::from_millis(25), WAITS.1));
    }
}

//! One supervised AMQP connection: connected under a deadline, watched, and rebuilt after every loss with a new epoch.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::dial::{Cut, Dialled, Route, dial};
use super::{Error, Options};

/// Where a connection is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Being made.
    Connecting,
    /// Usable; `epoch` counts the connections made so far.
    Up {
        /// Number of this connection, from 1.
        epoch: u64,
    },
    /// The broker has an alarm and reads nothing from us: publishes and acks wait.
    Blocked {
        /// Number of this connection, from 1.
        epoch: u64,
        /// The broker's words.
        reason: String,
    },
    /// Lost or not reached; tried again after a while.
    Down {
        /// What happened.
        reason: String,
    },
    /// Closed by this program, for good.
    Closed,
}

/// A handle to one supervised connection; cheap to clone. When the last handle is gone, the connection closes.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    _alive: Arc<DropGuard>,
}

struct Shared {
    options: Options,
    role: &'static str,
    state: watch::Sender<LinkState>,
    link: watch::Sender<Option<Link>>,
    closing: CancellationToken,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.shared.role)
            .field("state", &*self.shared.state.borrow())
            .finish()
    }
}

impl Connection {
    /// Starts connecting and goes on for as long as a handle lives. `role` tells the program's connections apart, in its logs
    /// and in RabbitMQ's list. Needs a Tokio runtime; never fails: the state tells.
    pub fn start(options: Options, role: &'static str) -> Self {
        let closing = CancellationToken::new();
        let shared = Arc::new(Shared {
            options,
            role,
            state: watch::Sender::new(LinkState::Connecting),
            link: watch::Sender::new(None),
            closing: closing.clone(),
        });
        tokio::spawn(supervise(shared.clone()));
        Self { shared, _alive: Arc::new(closing.drop_guard()) }
    }

    /// The state, and each change of it.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// Closes the connection and waits until it is gone, at most `close_timeout` and a moment. What is still unconfirmed or
    /// unsettled then is the broker's to give out again; stop consumers and close publishers first.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let mut state = self.shared.state.subscribe();
        // The sender lives in `shared`, so this cannot fail.
        let _ = state.wait_for(|state| *state == LinkState::Closed).await;
    }

    /// Waits until it is up, or blocked, at most `within`.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::NotConnected`] with the last known reason.
    pub async fn up(&self, within: Duration) -> Result<(), Error> {
        match timeout(within, self.link()).await {
            Ok(found) => found.map(|_| ()),
            Err(_) => Err(Error::NotConnected(match &*self.shared.state.borrow() {
                LinkState::Down { reason } => reason.clone(),
                _ => format!("still connecting after {} s", within.as_secs_f64()),
            })),
        }
    }

    /// The node that it is connected to now, and which ones were tried before that.
    pub fn route(&self) -> Option<Route> {
        self.link_now().map(|link| (*link.route).clone())
    }

    pub(super) fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Waits for a live connection. Cancel safe.
    pub(super) async fn link(&self) -> Result<Link, Error> {
        let mut link = self.shared.link.subscribe();
        tokio::select! {
            biased;
            () = self.shared.closing.cancelled() => Err(Error::Closed),
            // One that was given up stays there until the supervisor has seen it.
            found = link.wait_for(|link| link.as_ref().is_some_and(|link| !link.pulse.lost.is_cancelled())) => found.ok().and_then(|link| link.clone()).ok_or(Error::Closed),
        }
    }

    /// The live connection, if there is one now.
    pub(super) fn link_now(&self) -> Option<Link> {
        self.shared.link.borrow().clone()
    }
}

/// One incarnation of the connection.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) epoch: u64,
    pub(super) connection: Arc<lapin::Connection>,
    pub(super) pulse: Arc<Pulse>,
    route: Arc<Route>,
    cut: Arc<Cut>,
}

impl Link {
    /// Opens a channel within `deadline`. A broker that does not answer even that is as good as gone: the connection is given
    /// up, unless an alarm explains it, since then nothing is even written.
    pub(super) async fn channel(&self, deadline: Duration) -> Result<lapin::Channel, Error> {
        let opened = self.answer("channel.open", deadline, self.connection.create_channel()).await;
        if matches!(opened, Err(Error::Timeout(_))) && !self.blocked() {
            self.pulse.give_up("the broker did not answer channel.open in time");
        }
        opened
    }

    /// Waits for the broker's answer to an operation on a channel, at most `deadline`. Without an answer only the channel is
    /// of no more use: a queue that is sick must not cost the consumers of the others their connection.
    pub(super) async fn answer<T>(
        &self,
        what: &'static str,
        deadline: Duration,
        operation: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        tokio::select! {
            () = self.pulse.lost() => Err(Error::NotConnected("it was lost".to_owned())),
            answered = timeout(deadline, operation) => Ok(answered.map_err(|_| Error::Timeout(what))??),
        }
    }

    /// Ends this incarnation before it returns: what lapin holds, or the system, is not written any more. Of what has left this
    /// machine the broker may still read some, before it learns of the end.
    pub(super) fn sever(&self, reason: &str) {
        self.pulse.give_up(reason);
        self.cut.sever();
    }

    /// Whether the broker reads nothing from us now.
    pub(super) fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }
}

/// Whether an incarnation is alive; readable without a lock, on the way to the point of no return.
pub(super) struct Pulse {
    alive: AtomicBool,
    /// Milliseconds from `start` to the supervisor's last beat.
    beat: AtomicU64,
    start: Instant,
    limit: Duration,
    reason: OnceLock<String>,
    lost: CancellationToken,
}

impl Pulse {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            alive: AtomicBool::new(true),
            beat: AtomicU64::new(0),
            start: Instant::now(),
            limit,
            reason: OnceLock::new(),
            lost: CancellationToken::new(),
        }
    }

    /// False once the connection is lost, and false when the supervisor has not run for a heartbeat: a process that was
    /// stopped that long (SIGSTOP, a frozen machine) wakes up before it can learn that its jobs were given to others.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire) && self.since_beat() <= self.limit
    }

    fn since_beat(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Acquire)))
    }

    /// Records that the supervisor runs; false if it had not for too long, and then nothing may be trusted any more.
    fn beats(&self) -> bool {
        let in_time = self.since_beat() <= self.limit;
        if in_time {
            self.beat.store(self.start.elapsed().as_millis() as u64, Ordering::Release);
        }
        in_time
    }

    /// Declares the incarnation dead; the first reason counts.
    pub(super) fn give_up(&self, reason: &str) {
        self.alive.store(false, Ordering::Release);
        let _ = self.reason.set(reason.to_owned());
        self.lost.cancel();
    }

    /// Completes when the incarnation is dead.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

async fn supervise(shared: Arc<Shared>) {
    // Whichever node of several it was the last time is the first to be asked: a dead one costs its deadline only once.
    let (mut epoch, mut failures, mut first) = (0, 0, 0);
    while !shared.closing.is_cancelled() {
        shared.state.send_replace(LinkState::Connecting);
        let dialled = tokio::select! {
            () = shared.closing.cancelled() => break,
            dialled = dial(&shared.options, shared.role, first) => dialled,
        };
        let since = Instant::now();
        let reason = match dialled {
            Ok(dialled) => {
                (epoch, first) = (epoch + 1, dialled.place);
                for reason in &dialled.route.failures {
                    warn!(role = shared.role, reason, "an AMQP broker of the list was passed over");
                }
                info!(role = shared.role, epoch, node = dialled.route.node, "AMQP connected");
                live(&shared, epoch, dialled).await
            }
            Err(error) => error.to_string(),
        };
        if shared.closing.is_cancelled() {
            break;
        }
        // A broker that accepts and hangs up at once must not be asked five times a second for ever.
        failures = if since.elapsed() > shared.options.backoff_max { 1 } else { failures + 1 };
        let wait = backoff(failures, shared.options.backoff_min, shared.options.backoff_max, rand::random());
        warn!(role = shared.role, %reason, wait_ms = wait.as_millis() as u64, "AMQP connection down");
        shared.state.send_replace(LinkState::Down { reason });
        tokio::select! {
            () = shared.closing.cancelled() => {}
            () = sleep(wait) => {}
        }
    }
    shared.state.send_replace(LinkState::Closed);
}

/// Publishes one incarnation, watches it to its end and says why it ended.
async fn live(shared: &Shared, epoch: u64, dialled: Dialled) -> String {
    let Dialled { connection, cut, route, .. } = dialled;
    let heartbeat = Duration::from_secs(connection.configuration().heartbeat().into());
    let limit = if heartbeat.is_zero() { shared.options.heartbeat } else { heartbeat };
    let pulse = Arc::new(Pulse::new(limit));
    let link = Link { epoch, connection: Arc::new(connection), pulse, route: Arc::new(route), cut: Arc::new(cut) };
    let events = link.connection.events_listener();
    if link.blocked() {
        shared.state.send_replace(LinkState::Blocked { epoch, reason: "the broker has an alarm".to_owned() });
    } else {
        shared.state.send_replace(LinkState::Up { epoch });
    }
    shared.link.send_replace(Some(link.clone()));

    tokio::select! {
        reason = watch_events(shared, &link, events) => link.pulse.give_up(&reason),
        () = link.pulse.lost() => {}
        () = shared.closing.cancelled() => {
            let closing = timeout(shared.options.close_timeout, link.connection.close(200, "closing".into())).await;
            if closing.is_err() {
                warn!(role = shared.role, "AMQP connection cut: the broker did not answer the close in time");
            }
            link.pulse.give_up("closed");
        }
    }
    shared.link.send_replace(None);
    link.cut.cut();
    link.pulse.reason.get().cloned().unwrap_or_default()
}

async fn watch_events(shared: &Shared, link: &Link, events: impl Stream<Item = lapin::Event>) -> String {
    let mut events = std::pin::pin!(events.fuse());
    let mut tick = interval(link.pulse.limit / 4);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut error = None;
        tokio::select! {
            event = events.next() => match event {
                Some(lapin::Event::ConnectionBlocked(reason)) => {
                    warn!(role = shared.role, %reason, "the broker blocks this connection");
                    shared.state.send_replace(LinkState::Blocked { epoch: link.epoch, reason });
                }
                Some(lapin::Event::ConnectionUnblocked) => {
                    info!(role = shared.role, "the broker unblocked this connection");
                    shared.state.send_replace(LinkState::Up { epoch: link.epoch });
                }
                // A channel's error arrives here too; the connection's status tells them apart.
                Some(lapin::Event::Error(found)) => error = Some(found.to_string()),
                Some(_) => {}
                None => return "lapin's events ended".to_owned(),
            },
            _ = tick.tick() => {
                if !link.pulse.beats() {
                    return format!("this process did not run for over {} s", link.pulse.limit.as_secs());
                }
            }
        }
        if !link.connection.status().connected() {
            return error.unwrap_or_else(|| "it ended without an error".to_owned());
        }
    }
}

/// The wait before the next try after `failures` in a row: full jitter under a doubling bound. `random` is in `0.0..1.0`.
pub(super) fn backoff(failures: u32, min: Duration, max: Duration, random: f64) -> Duration {
    let bound = min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_is_spread_over_the_whole_of_it() {
        let (min, max) = (Duration::from_millis(200), Duration::from_secs(30));
        assert_eq!(backoff(1, min, max, 1.0), min);
        assert_eq!(backoff(4, min, max, 1.0), Duration::from_millis(1600));
        assert_eq!(backoff(4, min, max, 0.25), Duration::from_millis(400));
        assert_eq!(backoff(u32::MAX, min, max, 1.0), max);
        assert_eq!(backoff(9, min, max, 0.0), Duration::ZERO);
    }

    #[test]
    fn a_supervisor_that_did_not_run_for_a_heartbeat_ends_the_incarnation() {
        let mut pulse = Pulse::new(Duration::from_secs(10));
        assert!(pulse.is_alive() && pulse.beats());
        pulse.start -= Duration::from_secs(11);
        assert!(!pulse.is_alive());
        assert!(!pulse.beats(), "a late beat must not bring it back");
        assert!(!pulse.is_alive());
    }

    #[test]
    fn an_incarnation_given_up_stays_so_and_keeps_its_first_reason() {
        let pulse = Pulse::new(Duration::from_secs(10));
        pulse.give_up("first");
        pulse.give_up("second");
        assert!(!pulse.is_alive());
        assert_eq!(pulse.reason.get().map(String::as_str), Some("first"));
    }
}

//! The one task that owns the connection: it carries between socket, session and handles, and decides nothing.

use super::LinkState;
use super::link::Link;
use super::options::Options;
use super::packet::{Accepted, Incoming};
use super::port::Port;
use super::session::{Limits, Op, Session};
use super::transport;
use crate::metrics::metrics;
use std::future::{Future, pending};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) struct Driver {
    options: Options,
    session: Session,
    ops: mpsc::Receiver<Op>,
    port: Arc<Port>,
    state: watch::Sender<LinkState>,
    /// Cancelled when the agent is to close.
    closing: CancellationToken,
    epoch: u64,
}

/// Why a connection ended.
enum End {
    /// The network or the broker ended it; another follows.
    Lost(String),
    /// Another client has our id: reconnecting would evict it in turn, for ever.
    TakenOver(String),
    /// The agent was closed, or every handle is gone.
    Closed,
}

/// How many operations are taken from the handles before the socket gets a turn.
const BATCH: usize = 256;
/// DISCONNECT: session taken over (MQTT 5.0, section 3.14.2.1).
const SESSION_TAKEN_OVER: u8 = 0x8E;
/// A broker of MQTT 3.1.1, and mosquitto 2.0 on MQTT 5 too, does not say that it closes a connection because another client
/// came with the same id. The two then evict each other, ever more slowly; this many times in a row look like it.
const SUSPICIOUS: u32 = 3;
/// How long a broker has to take the DISCONNECT and close; it notices the closed socket all the same.
const FAREWELL: Duration = Duration::from_millis(500);

impl Driver {
    pub(crate) fn new(
        options: Options,
        ops: mpsc::Receiver<Op>,
        port: Arc<Port>,
        state: watch::Sender<LinkState>,
        closing: CancellationToken,
    ) -> Self {
        let limits = Limits {
            keep_alive: options.keep_alive,
            ack_timeout: options.ack_timeout,
            linger: options.linger,
            queue: options.queue,
            max_inflight: options.max_inflight,
            filters_per_subscribe: options.filters_per_subscribe,
            subscribe_qos: options.subscribe_qos,
            kept_session: !options.session_expiry.is_zero(),
        };
        Self { session: Session::new(limits), options, ops, port, state, closing, epoch: 0 }
    }

    /// Runs until the agent is closed; never panics on what the network or the broker does.
    pub(crate) async fn run(mut self) {
        let mut pause = self.options.backoff_min;
        // Connections in a row that the broker accepted and that ended soon after.
        let mut short_lived = 0u32;
        let reason = loop {
            let end = match self.connect().await {
                Err(end) => end,
                Ok((link, accepted)) => {
                    let up_since = Instant::now();
                    let end = self.serve(link, accepted).await;
                    short_lived = short_lived.saturating_add(1);
                    if up_since.elapsed() >= self.options.backoff_max {
                        (pause, short_lived) = (self.options.backoff_min, 0);
                    }
                    end
                }
            };
            match end {
                End::Closed => break "the agent was closed".to_owned(),
                End::TakenOver(reason) => {
                    tracing::error!(
                        client_id = self.options.client_id,
                        "another client took our client id over: {reason}"
                    );
                    break format!("another client uses the client id {:?}: {reason}", self.options.client_id);
                }
                End::Lost(mut reason) => {
                    if short_lived >= SUSPICIOUS {
                        let id = &self.options.client_id;
                        reason += &format!(
                            "; lost soon after it was made, {short_lived} times in a row: does another client use the id {id:?}?"
                        );
                    }
                    tracing::warn!(broker = self.options.broker(), "MQTT connection lost: {reason}");
                    metrics().mqtt_up(false);
                    self.state.send_replace(LinkState::Down { reason });
                }
            }
            // Jitter, so that replicas do not come back together.
            let wait = pause.mul_f64(rand::random_range(0.5..1.0));
            pause = (pause * 2).min(self.options.backoff_max);
            if self.idle(sleep(wait)).await.is_none() {
                break "the agent was closed".to_owned();
            }
        };
        metrics().mqtt_up(false);
        self.ops.close();
        // To the end, including what a handle is about to put in: every publish hears what became of it.
        while let Some(op) = self.ops.recv().await {
            self.session.on_op(op);
        }
        self.session.close();
        self.port.report(0, 0);
        self.state.send_replace(LinkState::Closed { reason });
    }

    /// Serves the handles without a connection while `work` runs; `None` if the agent was closed first.
    async fn idle<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut batch = Vec::new();
        loop {
            // Handles that always have something to say must starve neither the clock nor those who leave.
            let now = Instant::now();
            self.release();
            if self.session.next_deadline().is_some_and(|at| at <= now) {
                self.session.on_tick(now);
            }
            let room = self.room();
            let deadline = self.session.next_deadline();
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.closing.cancelled() => return None,
                n = self.ops.recv_many(&mut batch, room), if room > 0 => {
                    if n == 0 {
                        return None;
                    }
                    batch.drain(..).for_each(|op| self.session.on_op(op));
                }
                // These only wake the loop: its head does the work.
                () = self.port.released() => {}
                () = sleep_maybe(deadline) => {}
            }
        }
    }

    fn room(&self) -> usize {
        self.session.room().min(BATCH)
    }

    fn release(&mut self) {
        let now = Instant::now();
        for reader in self.port.take_released() {
            self.session.on_release(reader, now);
        }
    }

    /// Opens the connection and waits for the CONNACK, under one deadline, serving the handles meanwhile.
    async fn connect(&mut self) -> Result<(Link, Accepted), End> {
        let options = self.options.clone();
        let resume = self.epoch > 0 && !options.session_expiry.is_zero();
        let handshake = async move {
            let mut link = Link::new(transport::open(&options).await?, &options);
            link.connect(&options, resume);
            loop {
                link.turn().await?;
                match link.decode()? {
                    None => {}
                    Some(Incoming::Accepted(accepted)) => return Ok((link, accepted)),
                    Some(Incoming::Rejected { reason, .. }) => {
                        return Err(io::Error::other(format!("the broker refused: {reason}")));
                    }
                    Some(_) => return Err(io::Error::other("the broker sent something else before its CONNACK")),
                }
            }
        };
        let limit = self.options.connect_timeout;
        match self.idle(timeout(limit, handshake)).await {
            None => Err(End::Closed),
            Some(Err(_)) => Err(End::Lost(format!("no CONNACK within {limit:?}"))),
            Some(Ok(Err(error))) => Err(End::Lost(error.to_string())),
            Some(Ok(Ok(connected))) => Ok(connected),
        }
    }

    /// Runs one connection to its end; afterwards the session knows what became of everything on it.
    async fn serve(&mut self, mut link: Link, accepted: Accepted) -> End {
        self.epoch += 1;
        if self.epoch > 1 {
            metrics().mqtt_reconnected();
        }
        self.session.on_up(accepted, Instant::now());
        let end = self.exchange(&mut link).await;
        self.session.on_down(link.written());
        end
    }

    async fn exchange(&mut self, link: &mut Link) -> End {
        let mut batch = Vec::with_capacity(BATCH);
        let mut timer = pin!(Timer::default());
        let mut announced = false;
        let mut drained_by: Option<Instant> = None;
        let mut all_taken = false;
        // Packets may have come together with the CONNACK.
        if let Err(end) = self.take_packets(link) {
            return end;
        }
        loop {
            let now = Instant::now();
            // A socket that always has something to read must starve neither the clock nor those who leave.
            self.release();
            if self.session.next_deadline().is_some_and(|at| at <= now)
                && let Some(stall) = self.session.on_tick(now)
            {
                return End::Lost(stall.to_string());
            }
            if drained_by.is_none() && self.closing.is_cancelled() {
                // What was handed over before is still taken.
                self.ops.close();
                drained_by = Some(now + self.options.close_timeout);
            }
            self.session.fill(now, link);
            if !announced && self.session.is_up() {
                announced = true;
                metrics().mqtt_up(true);
                tracing::info!(broker = self.options.broker(), epoch = self.epoch, "MQTT connection is up");
                self.state.send_replace(LinkState::Up { epoch: self.epoch });
            }
            let (filters, users) = self.session.subscription_counts();
            self.port.report(filters, users);
            if drained_by.is_some_and(|by| by <= now || (all_taken && self.session.is_drained())) {
                link.disconnect();
                let said = async {
                    while link.turn().await.is_ok() {
                        link.discard_input();
                    }
                };
                // Over when the broker closes its end; then everything was said.
                drop(timeout(FAREWELL, said).await);
                return End::Closed;
            }
            let room = self.room();
            let deadline = crate::deadline::earlier(self.session.next_deadline(), drained_by);
            timer.as_mut().set(deadline);
            tokio::select! {
                biased;
                turn = link.turn() => match turn {
                    Err(error) => return End::Lost(error.to_string()),
                    Ok(turn) => {
                        if turn.wrote > 0 {
                            self.session.on_written(link.written(), now);
                        }
                        if turn.read > 0
                            && let Err(end) = self.take_packets(link)
                        {
                            return end;
                        }
                        // Handles are served every turn too, or a flood of messages would starve them.
                        while batch.len() < room && let Ok(op) = self.ops.try_recv() {
                            batch.push(op);
                        }
                        batch.drain(..).for_each(|op| self.session.on_op(op));
                    }
                },
                n = self.ops.recv_many(&mut batch, room), if room > 0 && !all_taken => {
                    if n == 0 {
                        all_taken = true;
                        drained_by.get_or_insert(now + self.options.close_timeout);
                    }
                    batch.drain(..).for_each(|op| self.session.on_op(op));
                }
                // These only wake the loop: its head does the work.
                () = self.port.released() => {}
                () = self.closing.cancelled(), if drained_by.is_none() => {}
                () = timer.as_mut() => {}
            }
        }
    }

    /// Takes what has come whole.
    fn take_packets(&mut self, link: &mut Link) -> Result<(), End> {
        let now = Instant::now();
        loop {
            match link.decode() {
                Ok(None) => return Ok(()),
                Ok(Some(Incoming::Disconnect { code: SESSION_TAKEN_OVER, reason })) => {
                    return Err(End::TakenOver(reason));
                }
                Ok(Some(Incoming::Disconnect { reason, .. })) => {
                    return Err(End::Lost(format!("the broker disconnected us: {reason}")));
                }
                Ok(Some(packet)) => self.session.on_packet(packet, now),
                Err(error) => return Err(End::Lost(error.to_string())),
            }
        }
    }
}

async fn sleep_maybe(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// A sleep that is moved only when its deadline comes nearer, or has passed: moving it costs more than an early wake-up.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    wanted: Option<Instant>,
}

impl Timer {
    fn set(mut self: Pin<&mut Self>, deadline: Option<Instant>) {
        self.wanted = deadline;
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else { return };
        match &mut self.sleep {
            None => self.sleep = Some(Box::pin(sleep_until(deadline))),
            Some(sleep) if deadline < sleep.deadline() || sleep.is_elapsed() => sleep.as_mut().reset(deadline),
            Some(_) => {}
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        let Some(wanted) = self.wanted else { return std::task::Poll::Pending };
        let Some(sleep) = &mut self.sleep else { return std::task::Poll::Pending };
        loop {
            std::task::ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= tokio::time::Instant::from_std(wanted) {
                return std::task::Poll::Ready(());
            }
            sleep.as_mut().reset(wanted.into());
        }
    }
}

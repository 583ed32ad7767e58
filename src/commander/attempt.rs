//! One command from its place in the lane to its outcome: as many attempts as its guarantee allows.

use super::command::Command;
use super::exchange::{End, LateHandler, Open};
use super::lanes::{Slot, Turn};
use super::refusal::Refusal;
use super::sending::{Prepared, Sending, Unready, Unsent, prepare};
use super::verdict::{Circumstances, Verdict, cancelled, expired, link_lost, verdict};
use super::{Attempt, Begun, Dialect, Inner, NotStarted, Options, invalid};
use crate::deadline::{Now, earlier};
use crate::job::{Guarantee, Mode};
use crate::metrics::{Stage, metrics};
use crate::mqtt::Properties;
use crate::outcome::{Failure, Outcome};
use crate::topic::TopicName;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// The times that bound one command.
pub(super) struct Times {
    /// `expires_at`, where it has one.
    pub(super) expires: Option<Instant>,
    /// How long the device may take to answer.
    pub(super) timeout: Duration,
    /// Progress included.
    pub(super) most: Duration,
}

impl Times {
    /// Those of a command; `None` once it has expired.
    fn of(command: &Command, options: &Options) -> Option<Self> {
        let expires = match command.expires_at {
            None => None,
            Some(at) => {
                let now = Now::read();
                Some((!now.is_past(at)).then(|| now.instant_of(at))?)
            }
        };
        let timeout = command.timeout.unwrap_or(options.default_timeout).min(options.max_timeout);
        Some(Self { expires, timeout, most: options.max_timeout })
    }
}

/// What is the same for every attempt at a command.
pub(super) struct Way<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) dialect: &'a Dialect,
    pub(super) command: &'a Command,
    pub(super) times: Times,
    /// When it took its place in the lane.
    pub(super) began: Instant,
    pub(super) stop: &'a CancellationToken,
}

/// Thousands of these are under way at one time, and wait for their devices: what is kept meanwhile is in the place that `begun` has.
pub(super) async fn run(
    inner: &Arc<Inner>,
    begun: Box<Begun>,
    late: &(impl Fn() -> Option<LateHandler> + Sync),
) -> Result<Outcome, NotStarted> {
    let command = &begun.command;
    let dialect = match inner.dialect(&command.profile) {
        Ok(dialect) => dialect,
        Err(failure) => return Ok(invalid(failure)),
    };
    let Some(times) = Times::of(command, &inner.options) else { return Ok(expired(true, command.sent_before)) };
    let way = Way { inner, dialect, command, times, began: begun.began, stop: &begun.stop };
    let slot = match begun.turn {
        Err(refusal) => return Ok(way.refused(refusal)),
        Ok(Turn::Now(slot)) if !is_called_off(command) => slot,
        Ok(turn) => {
            match Box::pin(unless_called_off(command, slot(turn, way.times.expires, way.stop))).await.transpose()? {
                None => return Ok(way.unsent(cancelled(command.sent_before))),
                Some(Some(slot)) => slot,
                Some(None) => return Ok(way.unsent(expired(true, command.sent_before))),
            }
        }
    };
    // Asked when its turn has come: those before it in the lane may have told by now that the device is silent.
    let passage = match inner.breakers.pass(&command.device, command.sent_before) {
        Ok(passage) => passage,
        Err(refusal) => return Ok(way.refused(refusal)),
    };
    let _in_flight = InFlight::count();
    let outcome = way.attempts(begun.first, late).await;
    // Before the next in the lane asks.
    passage.end(outcome.as_ref().ok());
    drop(slot);
    outcome
}

/// What is cancelled when the command is called off before it is sent.
fn recall(command: &Command) -> Option<&CancellationToken> {
    command.recall.as_ref().or(command.cancel.as_ref())
}

fn is_called_off(command: &Command) -> bool {
    recall(command).is_some_and(CancellationToken::is_cancelled)
}

/// Whether what was sent is not waited for either.
fn is_given_up(command: &Command) -> bool {
    command.cancel.as_ref().is_some_and(CancellationToken::is_cancelled)
}

/// Completes when one of these is cancelled; never, where there is none. Cancel safe.
async fn cancelled_by(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Does something unless the command is called off first; `None` then. What is done at once never asks to be woken for that.
pub(super) async fn unless_called_off<T>(command: &Command, doing: impl Future<Output = T>) -> Option<T> {
    if is_called_off(command) {
        return None;
    }
    tokio::select! {
        biased;
        done = doing => Some(done),
        () = cancelled_by(recall(command)) => None,
    }
}

/// One device request under way, in the gauge until dropped: a dropped future is no longer under way either.
struct InFlight;

impl InFlight {
    fn count() -> Self {
        metrics().device_request_started();
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics().device_request_ended();
    }
}

/// The device's turn; `None` if the command expires first.
async fn slot(turn: Turn, expires: Option<Instant>, stop: &CancellationToken) -> Result<Option<Slot>, NotStarted> {
    let turn = match turn {
        Turn::Now(slot) => return Ok(Some(slot)),
        Turn::Later(turn) => turn,
    };
    let in_time = async {
        match expires {
            None => turn.await.ok(),
            Some(at) => timeout_at(at.into(), turn).await.ok()?.ok(),
        }
    };
    tokio::select! {
        biased;
        slot = in_time => Ok(slot),
        () = stop.cancelled() => Err(NotStarted::Closed),
    }
}

impl Way<'_> {
    /// The outcome of a command that was not sent here.
    fn unsent(&self, outcome: Outcome) -> Outcome {
        Outcome { waiting: self.began.elapsed(), ..outcome }
    }

    fn refused(&self, refusal: Refusal) -> Outcome {
        metrics().device_refused(refusal.reason());
        self.unsent(refusal.outcome(self.command.sent_before))
    }

    /// The outcome of a command that its requester called off before this attempt was sent.
    fn called_off(&self, attempt: u32, sent_before: bool) -> Outcome {
        self.unsent(Outcome { attempt: attempt - 1, ..cancelled(sent_before) })
    }

    fn is_expired(&self) -> bool {
        self.times.expires.is_some_and(|at| at <= Instant::now())
    }

    /// Its turn has come. Before the point of no return it may wait for the connection until then; the device's time begins after it.
    fn not_after(&self) -> Option<Instant> {
        let start = Instant::now();
        metrics().stage(Stage::Waiting, start - self.began);
        earlier(self.times.expires, start.checked_add(self.times.timeout))
    }

    fn guarantee(&self) -> Guarantee {
        let of_profile = self.dialect.profile.guarantee();
        self.command.guarantee.or(of_profile).unwrap_or(self.inner.options.default_guarantee)
    }

    async fn attempts(
        &self,
        first: Box<Attempt>,
        late: &(impl Fn() -> Option<LateHandler> + Sync),
    ) -> Result<Outcome, NotStarted> {
        let not_after = self.not_after();
        let guarantee = self.guarantee();
        let mut sent_before = self.command.sent_before;
        let mut first = Some(first);
        for attempt in 1.. {
            // Soon over, and on the heap: what waits for an answer would keep the place for it.
            let sending = Box::pin(Sending { way: self, first: first.take(), guarantee, not_after }.run());
            let (mut open, submitted) = match sending.await {
                Ok(sent) => sent,
                Err(Unsent::CalledOff) => return Ok(self.called_off(attempt, sent_before)),
                Err(Unsent::NotStarted(why)) => return Err(why),
                Err(Unsent::Unready(_)) if sent_before => return Ok(Outcome { attempt: attempt - 1, ..link_lost() }),
                Err(Unsent::NotObtained | Unsent::Unready(Unready::Late)) => {
                    return Ok(self.unsent(expired(self.is_expired(), sent_before)));
                }
                Err(Unsent::Unready(Unready::Outcome(outcome))) => return Ok(*outcome),
                Err(Unsent::Unready(Unready::Closed)) => return Err(NotStarted::Closed),
            };
            let mut ended = tokio::select! {
                biased;
                end = open.end(&self.times, Instant::now() + self.times.timeout) => Some(end),
                () = cancelled_by(recall(self.command)) => None,
            };
            if ended.is_none() && open.withdraw() {
                return Ok(self.called_off(attempt, sent_before));
            }
            if ended.is_none() && !is_given_up(self.command) {
                // Seldom, and on the heap: every command would keep the place for it.
                ended = Box::pin(self.goes_on(&mut open)).await;
            }
            let is_called_off = ended.is_none();
            let end = ended.flatten();
            let facts = open.facts();
            let known = Circumstances { guarantee, facts, expired: self.is_expired(), sent_before };
            let answered_at = match &end {
                Some(End::Answered { at, .. }) => *at,
                _ => Instant::now(),
            };
            let handed = facts.handed.unwrap_or(answered_at);
            let device = answered_at.saturating_duration_since(handed);
            let timed = |outcome: Outcome| Outcome {
                attempt,
                waiting: handed.saturating_duration_since(self.began),
                device,
                ..outcome
            };
            if facts.handed.is_some() {
                metrics().stage(Stage::Publish, handed.saturating_duration_since(submitted));
            }
            let verdict_now = match is_called_off {
                true => Verdict::GivenUp(cancelled(true)),
                false => verdict(end, known),
            };
            match verdict_now {
                Verdict::Settled(outcome) => {
                    if outcome.response.is_some() {
                        metrics().stage(Stage::Device, device);
                        self.dialect.seconds.record(device.as_secs_f64());
                    }
                    return Ok(timed(outcome));
                }
                Verdict::GivenUp(outcome) => {
                    if self.command.mode == Mode::Request
                        && let Some(handler) = late()
                    {
                        let grace = self.dialect.profile.late_grace().unwrap_or(self.inner.options.late_grace);
                        // The answer that came in this very instant is simply the answer.
                        if let Some(end) = open.leave(grace, attempt, handler)
                            && let Verdict::Settled(outcome) = verdict(Some(end), known)
                        {
                            return Ok(timed(outcome));
                        }
                    }
                    return Ok(timed(outcome));
                }
                Verdict::Again => sent_before = true,
                Verdict::NotStarted(why) => return Err(why),
            }
        }
        Ok(link_lost())
    }

    /// The end of an attempt that was recalled too late; `None` if it is given up after all.
    async fn goes_on(&self, open: &mut Open) -> Option<Option<End>> {
        tokio::select! {
            biased;
            // How long it waited already is known from when it was handed over.
            end = open.end(&self.times, Instant::now()) => Some(end),
            () = cancelled_by(self.command.cancel.as_ref()) => None,
        }
    }
}

/// The device in whose name the answer path is proved; access rules may have to let the worker speak for it.
const PROBE: &str = "switchboard-worker";

/// A message to our own inbox must come back to us.
pub(super) async fn prove(inner: &Arc<Inner>, profile: &str, within: Duration) -> Result<Option<Duration>, Failure> {
    let dialect = inner.dialect(profile)?;
    if dialect.profile.standing_filter(&inner.inbox).is_none() {
        return Ok(None);
    }
    let failed = |message: String| Failure::new("answer_path", message);
    let mut command = Command::new(PROBE.into(), "check".into(), crate::job::Payload::Empty);
    command.profile = profile.into();
    let until = Instant::now().checked_add(within);
    let prepared = prepare(inner, dialect, &command, None, Guarantee::AtMostOnce, until).await;
    let Prepared { attempt, exchange } = prepared.map_err(|unready| match unready {
        Unready::Outcome(outcome) => outcome.failure.unwrap_or_else(|| failed("it cannot be rendered".to_owned())),
        Unready::Late => failed(format!("no subscription within {within:?}")),
        Unready::Closed => failed("the MQTT agent is closed".to_owned()),
    })?;
    let Attempt { key, rendered } = *attempt;
    let Some(answer) = rendered.answer else { return Err(failed("this profile has no answers".to_owned())) };
    let mut open = inner.exchanges.open(key, exchange);
    let started = Instant::now();
    let properties = Properties { correlation: rendered.correlation, ..Properties::default() };
    let sent = inner.agent.publish(answer.topic.as_str(), "").properties(properties).within(within);
    let fate = sent.await.map_err(|error| failed(error.to_string()))?;
    match open.end(&Times { expires: None, timeout: within, most: within }, started + within).await {
        Some(_) => Ok(Some(started.elapsed())),
        None => Err(failed(path_broken(&answer.topic, &fate))),
    }
}

fn path_broken(topic: &TopicName, fate: &crate::mqtt::Fate) -> String {
    format!(
        "a message to {topic} did not come back (its publish: {fate:?}); check that the broker lets this client write and read there: \
         some brokers grant a subscription that their access rules then silence"
    )
}

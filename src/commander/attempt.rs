//! One command from its place in the lane to its outcome: as many attempts as its guarantee allows.

use super::command::Command;
use super::exchange::LateHandler;
use super::lanes::{Slot, Turn};
use super::refusal::Refusal;
use super::sending::{Prepared, Sending, Unready, Unsent, prepare};
use super::verdict::{Circumstances, Verdict, cancelled, expired, link_lost, verdict};
use super::{Attempt, Begun, Dialect, Inner, NotStarted, invalid};
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

pub(super) async fn run(
    inner: &Arc<Inner>,
    begun: Box<Begun>,
    late: impl FnOnce() -> Option<LateHandler>,
) -> Result<Outcome, NotStarted> {
    let Begun { command, first, turn, stop, began } = *begun;
    let dialect = match inner.dialect(&command.profile) {
        Ok(dialect) => dialect,
        Err(failure) => return Ok(invalid(failure)),
    };
    let now = Now::read();
    let timeout = command.timeout.unwrap_or(inner.options.default_timeout).min(inner.options.max_timeout);
    let times =
        Times { expires: command.expires_at.map(|at| now.instant_of(at)), timeout, most: inner.options.max_timeout };
    if command.expires_at.is_some_and(|at| now.is_past(at)) {
        return Ok(expired(true, command.sent_before));
    }
    let refused = |refusal: Refusal| {
        metrics().device_refused(refusal.reason());
        Outcome { waiting: began.elapsed(), ..refusal.outcome(command.sent_before) }
    };
    let turn = match turn {
        Ok(turn) => turn,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let slot = match unless_called_off(&command, slot(turn, times.expires, &stop)).await.transpose()? {
        None => return Ok(Outcome { waiting: began.elapsed(), ..cancelled(command.sent_before) }),
        Some(Some(slot)) => slot,
        Some(None) => return Ok(Outcome { waiting: began.elapsed(), ..expired(true, command.sent_before) }),
    };
    // Asked when its turn has come: those before it in the lane may have told by now that the device is silent.
    let passage = match inner.breakers.pass(&command.device, command.sent_before) {
        Ok(passage) => passage,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let _in_flight = InFlight::count();
    let outcome = attempts(inner, dialect, (&command, first), &times, (began, &stop), late).await;
    // Before the next in the lane asks.
    passage.end(outcome.as_ref().ok());
    drop(slot);
    outcome
}

/// Completes when the command's requester calls it off. Cancel safe.
pub(super) async fn called_off(command: &Command) {
    match &command.cancel {
        Some(cancel) => cancel.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Does something unless the command is called off first; `None` then. What is done at once never asks to be woken for that.
pub(super) async fn unless_called_off<T>(command: &Command, doing: impl Future<Output = T>) -> Option<T> {
    if command.cancel.as_ref().is_some_and(CancellationToken::is_cancelled) {
        return None;
    }
    tokio::select! {
        biased;
        done = doing => Some(done),
        () = called_off(command) => None,
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

async fn attempts(
    inner: &Arc<Inner>,
    dialect: &Dialect,
    (command, first): (&Command, Box<Attempt>),
    times: &Times,
    (began, stop): (Instant, &CancellationToken),
    late: impl FnOnce() -> Option<LateHandler>,
) -> Result<Outcome, NotStarted> {
    let start = Instant::now();
    metrics().stage(Stage::Waiting, start - began);
    let guarantee = command.guarantee.or(dialect.profile.guarantee()).unwrap_or(inner.options.default_guarantee);
    // Before the point of no return it may wait for the connection this long; the device's time begins after it.
    let not_after = earlier(times.expires, start.checked_add(times.timeout));
    let mut sent_before = command.sent_before;
    let mut first = Some(first);
    for attempt in 1.. {
        let is_expired = || times.expires.is_some_and(|at| at <= Instant::now());
        let called_off_unsent = || Outcome { attempt: attempt - 1, waiting: began.elapsed(), ..cancelled(sent_before) };
        // Soon over, and on the heap: what waits for an answer would keep the place for it.
        let sending = Sending { inner, dialect, command, first: first.take(), times, guarantee, not_after, stop };
        let (mut open, submitted) = match Box::pin(sending.run()).await {
            Ok(sent) => sent,
            Err(Unsent::CalledOff) => return Ok(called_off_unsent()),
            Err(Unsent::NotStarted(why)) => return Err(why),
            Err(Unsent::Unready(_)) if sent_before => return Ok(Outcome { attempt: attempt - 1, ..link_lost() }),
            Err(Unsent::NotObtained | Unsent::Unready(Unready::Late)) => {
                return Ok(Outcome { waiting: began.elapsed(), ..expired(is_expired(), sent_before) });
            }
            Err(Unsent::Unready(Unready::Outcome(outcome))) => return Ok(*outcome),
            Err(Unsent::Unready(Unready::Closed)) => return Err(NotStarted::Closed),
        };
        let ended = tokio::select! {
            biased;
            end = open.end(times.timeout, times.most) => Some(end),
            () = called_off(command) => None,
        };
        if ended.is_none() && open.withdraw() {
            return Ok(called_off_unsent());
        }
        let is_called_off = ended.is_none();
        let end = ended.flatten();
        let facts = open.facts();
        let known = Circumstances { guarantee, facts, expired: is_expired(), sent_before };
        let answered_at = match &end {
            Some(super::exchange::End::Answered { at, .. }) => *at,
            _ => Instant::now(),
        };
        let handed = facts.handed.unwrap_or(answered_at);
        let device = answered_at.saturating_duration_since(handed);
        let timed =
            |outcome: Outcome| Outcome { attempt, waiting: handed.saturating_duration_since(began), device, ..outcome };
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
                    dialect.seconds.record(device.as_secs_f64());
                }
                return Ok(timed(outcome));
            }
            Verdict::GivenUp(outcome) => {
                if command.mode == Mode::Request
                    && let Some(handler) = late()
                {
                    let grace = dialect.profile.late_grace().unwrap_or(inner.options.late_grace);
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
    let Prepared { key, exchange, rendered } = prepared.map_err(|unready| match unready {
        Unready::Outcome(outcome) => outcome.failure.unwrap_or_else(|| failed("it cannot be rendered".to_owned())),
        Unready::Late => failed(format!("no subscription within {within:?}")),
        Unready::Closed => failed("the MQTT agent is closed".to_owned()),
    })?;
    let Some(answer) = rendered.answer else { return Err(failed("this profile has no answers".to_owned())) };
    let mut open = inner.exchanges.open(key, exchange);
    let started = Instant::now();
    let properties = Properties { correlation: rendered.correlation, ..Properties::default() };
    let sent = inner.agent.publish(answer.topic.as_str(), "").properties(properties).within(within);
    let fate = sent.await.map_err(|error| failed(error.to_string()))?;
    match open.end(within, within).await {
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

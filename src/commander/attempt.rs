//! One command from its place in the lane to its outcome: as many attempts as its guarantee allows.

use super::command::Command;
use super::exchange::{Exchange, LateHandler};
use super::lanes::{Slot, Turn};
use super::permit::Bounds;
use super::refusal::Refusal;
use super::verdict::{Circumstances, Verdict, cancelled, expired, link_lost, verdict};
use super::{Begun, Dialect, Inner, NotStarted, exchange_for, invalid};
use crate::deadline::{Now, earlier};
use crate::job::{Guarantee, Mode};
use crate::metrics::{Stage, metrics};
use crate::mqtt::{Class, Error, LinkState, Notify, Properties, Publication, Qos, Watcher};
use crate::outcome::{Failure, Outcome, Status};
use crate::profile::{AnswerTo, Rendered};
use crate::topic::TopicName;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// The times that bound one command.
struct Times {
    /// `expires_at`, where it has one.
    expires: Option<Instant>,
    /// How long the device may take to answer.
    timeout: Duration,
    /// Progress included.
    most: Duration,
}

pub(super) async fn run(
    inner: &Arc<Inner>,
    begun: Begun,
    late: impl FnOnce() -> Option<LateHandler>,
) -> Result<Outcome, NotStarted> {
    let Begun { command, turn, stop, began } = begun;
    let dialect = match inner.dialect(&command.profile) {
        Ok(dialect) => dialect,
        Err(failure) => return Ok(invalid(failure)),
    };
    let now = Now::read();
    let timeout = command.timeout.unwrap_or(inner.options.default_timeout).min(inner.options.max_timeout);
    let times =
        Times { expires: command.expires_at.map(|at| now.instant_of(at)), timeout, most: inner.options.max_timeout };
    if command.expires_at.is_some_and(|at| now.is_past(at)) {
        return Ok(expired(true));
    }
    let refused = |refusal: Refusal| {
        metrics().device_refused(refusal.reason());
        Outcome { waiting: began.elapsed(), ..refusal.outcome(command.sent_before) }
    };
    let turn = match turn {
        Ok(turn) => turn,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let turn = tokio::select! {
        biased;
        () = called_off(&command) => {
            return Ok(Outcome { waiting: began.elapsed(), ..cancelled(command.sent_before) });
        }
        slot = slot(turn, times.expires, &stop) => slot?,
    };
    let slot = match turn {
        Some(slot) => slot,
        None => return Ok(Outcome { waiting: began.elapsed(), ..expired(true) }),
    };
    // Asked when its turn has come: those before it in the lane may have told by now that the device is silent.
    let passage = match inner.breakers.pass(&command.device, command.sent_before) {
        Ok(passage) => passage,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let _in_flight = InFlight::count();
    let outcome = attempts(inner, dialect, &command, &times, (began, &stop), late).await;
    // Before the next in the lane asks.
    passage.end(outcome.as_ref().ok());
    drop(slot);
    outcome
}

/// Completes when the command's requester calls it off. Cancel safe.
async fn called_off(command: &Command) {
    match &command.cancel {
        Some(cancel) => cancel.cancelled().await,
        None => std::future::pending().await,
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
    command: &Command,
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
    for attempt in 1.. {
        let is_expired = || times.expires.is_some_and(|at| at <= Instant::now());
        let called_off_unsent = || Outcome { attempt: attempt - 1, waiting: began.elapsed(), ..cancelled(sent_before) };
        let prepared = tokio::select! {
            biased;
            () = called_off(command) => return Ok(called_off_unsent()),
            prepared = prepare(inner, dialect, command, guarantee, not_after) => prepared,
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(_) if sent_before => return Ok(Outcome { attempt: attempt - 1, ..link_lost() }),
            Err(Unready::Late) => return Ok(Outcome { waiting: began.elapsed(), ..expired(is_expired()) }),
            Err(Unready::Outcome(outcome)) => return Ok(*outcome),
            Err(Unready::Closed) => return Err(NotStarted::Closed),
        };
        if attempt == 1 && !obtained(inner, command, times, not_after, stop).await? {
            return Ok(Outcome { waiting: began.elapsed(), ..expired(is_expired()) });
        }
        let Prepared { key, exchange, rendered } = prepared;
        let mut open = inner.exchanges.open(key, exchange);
        let submitted = Instant::now();
        let publication = publication(inner, command, rendered, key, times, not_after);
        let submitting = tokio::select! {
            biased;
            // Nothing was handed over, and what is dropped here is not.
            () = called_off(command) => return Ok(called_off_unsent()),
            submitting = submit(inner, publication, not_after) => submitting,
        };
        match submitting {
            Ok(()) => {}
            Err(_) if sent_before => return Ok(Outcome { attempt: attempt - 1, ..link_lost() }),
            Err(Error::Closed) => return Err(NotStarted::Closed),
            Err(_) => return Ok(Outcome { waiting: began.elapsed(), ..expired(is_expired()) }),
        }
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

/// Obtains what the permit asks for, as late as can be: when the command would be sent at once. False if it is too late then.
async fn obtained(
    inner: &Arc<Inner>,
    command: &Command,
    times: &Times,
    not_after: Option<Instant>,
    stop: &CancellationToken,
) -> Result<bool, NotStarted> {
    let Some(permit) = &command.permit else { return Ok(true) };
    let not_after = not_after.unwrap_or_else(|| Instant::now() + times.most);
    let bounds = Bounds { not_after, answer_within: times.timeout };
    let Some(obtaining) = permit.obtain(bounds) else { return Ok(true) };
    let mut link = inner.agent.state();
    let obtaining = async {
        let link = link.wait_for(|state| state.is_up() || matches!(state, LinkState::Closed { .. }));
        match timeout_at(not_after.into(), link).await {
            Err(_) => return Ok(false),
            Ok(Ok(state)) if state.is_up() => {}
            Ok(_) => return Err(NotStarted::Closed),
        }
        if obtaining.await { Ok(true) } else { Err(NotStarted::Denied) }
    };
    tokio::select! {
        biased;
        obtained = obtaining => obtained,
        () = stop.cancelled() => Err(NotStarted::Closed),
    }
}

struct Prepared {
    key: u128,
    exchange: Exchange,
    rendered: Rendered,
}

enum Unready {
    /// Not in time.
    Late,
    Outcome(Box<Outcome>),
    Closed,
}

/// Renders an attempt, and has the filters of its answer granted.
async fn prepare(
    inner: &Arc<Inner>,
    dialect: &Dialect,
    command: &Command,
    guarantee: Guarantee,
    not_after: Option<Instant>,
) -> Result<Prepared, Unready> {
    let key = inner.next_attempt(&dialect.profile);
    let outcome = |outcome: Outcome| Unready::Outcome(Box::new(outcome));
    let rendered = dialect.profile.render(&inner.call(command, key));
    let rendered = rendered.map_err(|problem| outcome(invalid(Failure::new("invalid", problem.message))))?;
    let awaited = rendered.answer.as_ref().filter(|_| command.mode == Mode::Request);
    let mut exchange = exchange_for(command, guarantee, awaited.is_some());
    let Some(answer) = awaited else { return Ok(Prepared { key, exchange, rendered }) };
    if dialect.profile.one_at_a_time() {
        exchange.topics =
            std::iter::once(&answer.topic).chain(answer.others.iter().map(|(topic, _)| topic)).cloned().collect();
    }
    let granted = granted(inner, dialect, answer);
    let granted = match not_after {
        None => granted.await,
        Some(at) => timeout_at(at.into(), granted).await.map_err(|_| Unready::Late)?,
    };
    exchange.subscriptions = granted.map_err(|error| match error {
        Error::Closed => Unready::Closed,
        error => {
            outcome(Outcome::not_sent(Status::Undeliverable, Failure::new("subscription_refused", error.to_string())))
        }
    })?;
    Ok(Prepared { key, exchange, rendered })
}

/// Has every filter granted on which the answer may come. A standing one is held by the dialect, not by the command.
async fn granted(
    inner: &Arc<Inner>,
    dialect: &Dialect,
    answer: &AnswerTo,
) -> Result<Vec<Arc<dyn Any + Send + Sync>>, Error> {
    if inner.standing(dialect).await?.is_some() {
        return Ok(Vec::new());
    }
    let mut held: Vec<Arc<dyn Any + Send + Sync>> = Vec::with_capacity(1 + answer.others.len());
    for filter in std::iter::once(&answer.filter).chain(answer.others.iter().map(|(_, filter)| filter)) {
        held.push(inner.filters.granted(&inner.agent, &dialect.profile, filter).await?);
    }
    Ok(held)
}

/// Hands a publish over for sending; while there is no room for it, only as long as it may still be sent.
async fn submit(inner: &Arc<Inner>, publication: Publication, not_after: Option<Instant>) -> Result<(), Error> {
    let submitted = inner.agent.submit(publication);
    match not_after {
        None => submitted.await,
        Some(at) => timeout_at(at.into(), submitted).await.unwrap_or(Err(Error::Timeout(Duration::ZERO))),
    }
}

fn publication(
    inner: &Arc<Inner>,
    command: &Command,
    rendered: Rendered,
    key: u128,
    times: &Times,
    not_after: Option<Instant>,
) -> Publication {
    let expires = rendered.expiry.then(|| earlier(times.expires, Instant::now().checked_add(times.timeout))).flatten();
    let properties = Properties {
        response_topic: rendered.answer.filter(|answer| answer.in_request).map(|answer| answer.topic.to_string()),
        correlation: rendered.correlation,
        content_type: rendered.content_type,
        user: rendered.user_properties,
    };
    Publication {
        topic: rendered.topic,
        payload: rendered.payload,
        qos: Qos::from(rendered.qos),
        retain: rendered.retain,
        properties: (properties != Properties::default()).then(|| Box::new(properties)),
        expires,
        not_after,
        class: if command.bulk { Class::Bulk } else { Class::Interactive },
        notify: Notify::Watcher(inner.exchanges.clone() as Arc<dyn Watcher>, key),
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
    let prepared = prepare(inner, dialect, &command, Guarantee::AtMostOnce, until).await;
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

//! The way of one attempt to the wait for its answer: rendered, the answer's filters granted, its permit obtained, handed over.

use super::attempt::{Times, Way, unless_called_off};
use super::command::Command;
use super::exchange::{Exchange, Open};
use super::permit::Bounds;
use super::{Attempt, Dialect, Inner, NotStarted, exchange_for, invalid};
use crate::deadline::earlier;
use crate::job::{Guarantee, Mode};
use crate::mqtt::{Class, Error, LinkState, Notify, Properties, Publication, Qos, Watcher};
use crate::outcome::{Failure, Outcome, Status};
use crate::profile::AnswerTo;
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// An attempt to be sent.
pub(super) struct Sending<'a> {
    pub(super) way: &'a Way<'a>,
    /// The command's first attempt, which obtains its permit; else another one is made.
    pub(super) first: Option<Box<Attempt>>,
    pub(super) guarantee: Guarantee,
    /// Until when it may be handed over.
    pub(super) not_after: Option<Instant>,
}

/// Why there is nothing to wait for.
pub(super) enum Unsent {
    CalledOff,
    /// The permit, in time.
    NotObtained,
    NotStarted(NotStarted),
    Unready(Unready),
}

impl Sending<'_> {
    /// Hands the attempt over for sending; returns it in the table, and when that was.
    pub(super) async fn run(self) -> Result<(Open, Instant), Unsent> {
        let Self { way: Way { inner, dialect, command, times, stop, .. }, first, guarantee, not_after } = self;
        let is_first = first.is_some();
        let preparing = prepare(inner, dialect, command, first, guarantee, not_after);
        let prepared = unless_called_off(command, preparing).await.ok_or(Unsent::CalledOff)?;
        let Prepared { attempt, exchange } = prepared.map_err(Unsent::Unready)?;
        if is_first
            && let Some(obtaining) = obtaining(command, times, not_after)
            && !obtained(inner, obtaining, stop).await.map_err(Unsent::NotStarted)?
        {
            return Err(Unsent::NotObtained);
        }
        let open = inner.exchanges.open(attempt.key, exchange);
        let submitted = Instant::now();
        let publication = publication(inner, command, *attempt, times, not_after);
        let submitting = submit(inner, publication, not_after);
        // Nothing was handed over, and what is dropped here is not.
        match unless_called_off(command, submitting).await.ok_or(Unsent::CalledOff)? {
            Ok(()) => Ok((open, submitted)),
            Err(Error::Closed) => Err(Unsent::Unready(Unready::Closed)),
            Err(_) => Err(Unsent::Unready(Unready::Late)),
        }
    }
}

/// What the permit has to obtain before the command is sent, and until when.
struct Obtaining<'c> {
    obtains: Pin<Box<dyn Future<Output = bool> + Send + 'c>>,
    not_after: Instant,
}

fn obtaining<'c>(command: &'c Command, times: &Times, not_after: Option<Instant>) -> Option<Obtaining<'c>> {
    let not_after = not_after.unwrap_or_else(|| Instant::now() + times.most);
    let obtains = command.permit.as_ref()?.obtain(Bounds { not_after, answer_within: times.timeout })?;
    Some(Obtaining { obtains, not_after })
}

/// Obtains it as late as can be: when the command would be sent at once. False if it is too late then.
async fn obtained(
    inner: &Arc<Inner>,
    Obtaining { obtains, not_after }: Obtaining<'_>,
    stop: &CancellationToken,
) -> Result<bool, NotStarted> {
    let mut link = inner.agent.state();
    let obtaining = async {
        let link = link.wait_for(|state| state.is_up() || matches!(state, LinkState::Closed { .. }));
        match timeout_at(not_after.into(), link).await {
            Err(_) => return Ok(false),
            Ok(Ok(state)) if state.is_up() => {}
            Ok(_) => return Err(NotStarted::Closed),
        }
        if obtains.await { Ok(true) } else { Err(NotStarted::Denied) }
    };
    tokio::select! {
        biased;
        obtained = obtaining => obtained,
        () = stop.cancelled() => Err(NotStarted::Closed),
    }
}

/// An attempt that may be sent: its answer would be heard.
pub(super) struct Prepared {
    /// Where it was made, until it is published: it is handed on often, and large.
    pub(super) attempt: Box<Attempt>,
    pub(super) exchange: Exchange,
}

/// Why an attempt was not handed over.
pub(super) enum Unready {
    /// Not in time.
    Late,
    Outcome(Box<Outcome>),
    Closed,
}

/// Renders an attempt, unless it is the first, and has the filters of its answer granted.
pub(super) async fn prepare(
    inner: &Arc<Inner>,
    dialect: &Dialect,
    command: &Command,
    first: Option<Box<Attempt>>,
    guarantee: Guarantee,
    not_after: Option<Instant>,
) -> Result<Prepared, Unready> {
    let outcome = |outcome: Outcome| Unready::Outcome(Box::new(outcome));
    let attempt = match first {
        Some(first) => Ok(first),
        None => inner.attempt(&dialect.profile, command).map(Box::new),
    };
    let attempt = attempt.map_err(|problem| outcome(invalid(Failure::new("invalid", problem.message))))?;
    let awaited = attempt.rendered.answer.as_ref().filter(|_| command.mode == Mode::Request);
    let mut exchange = exchange_for(command, guarantee, awaited.is_some());
    let Some(answer) = awaited else { return Ok(Prepared { attempt, exchange }) };
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
    Ok(Prepared { attempt, exchange })
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
    Attempt { key, rendered }: Attempt,
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

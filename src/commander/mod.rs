//! Commands to devices through their profiles: in order per device, matched, timed, and honest about what became of them.
//!
//! A [`Commander`] stands on one [`Agent`]. It renders a command as its profile says, makes sure that the answer's filter
//! is granted before the request leaves, follows the request past the point of no return, and reads the answer. It never
//! fails: whatever happens is an [`Outcome`], except that a command may be taken back before it was sent ([`NotStarted`]).

mod acknowledgements;
mod answers;
mod attempt;
mod breaker;
mod breakers;
mod command;
mod exchange;
mod lanes;
mod permit;
mod presence;
mod refusal;
mod sending;
mod verdict;

pub(crate) use acknowledgements::Took;
pub use command::{Command, CommandFuture, Many};
pub use exchange::LateHandler;
pub(crate) use permit::{Bounds, Permit};

use crate::job::{Guarantee, Payload};
use crate::metrics::metrics;
use crate::mqtt::Agent;
use crate::outcome::{Executed, Failure, Outcome, Status};
use crate::profile::{Call, Invalid, Profile, Rendered};
use crate::table::Table;
use answers::{AnswerFilters, Answers};
use breaker::Rules;
use breakers::Breakers;
use exchange::{Exchange, Exchanges};
use lanes::{Lanes, Turn};
use presence::PresenceWatch;
use refusal::Refusal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How a commander behaves where neither a command nor a profile says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Commands to one device at one time.
    pub per_device: usize,
    /// Commands that may wait for one device; one more is refused as `device_busy`. The commands of a bulk, or of
    /// [`Commander::command_many`], are not counted and not refused: their own concurrency bounds them.
    pub per_device_queue: usize,
    /// How long to wait for an answer.
    pub default_timeout: Duration,
    /// The longest that any command may wait for its answer, progress included.
    pub max_timeout: Duration,
    /// What a lost connection may cost.
    pub default_guarantee: Guarantee,
    /// How long after a command was given up its answer is still reported.
    pub late_grace: Duration,
    /// How many given-up commands are remembered for that.
    pub max_late: usize,
    /// After so many commands in a row that got no answer or found nobody subscribed, within ten minutes, further ones to
    /// that device are refused as `device_offline`; 0 never refuses any.
    pub breaker_failures: u32,
    /// How long they are refused until one is let through to try; twice as long after each that fails, up to ten minutes.
    /// Whatever is heard of the device ends it.
    pub breaker_pause: Duration,
    /// How many devices with failures are remembered.
    pub max_troubled: usize,
    /// Whether devices are believed that say on their status topic that they are not there.
    pub presence: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            per_device: 1,
            per_device_queue: 100,
            default_timeout: Duration::from_secs(10),
            max_timeout: Duration::from_secs(300),
            default_guarantee: Guarantee::AtMostOnce,
            late_grace: Duration::from_secs(60),
            max_late: 50_000,
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(30),
            max_troubled: 100_000,
            presence: true,
        }
    }
}

/// Commands devices through one MQTT connection. Cheap to clone.
#[derive(Clone)]
pub struct Commander {
    inner: Arc<Inner>,
}

struct Inner {
    agent: Agent,
    options: Options,
    dialects: Table<Arc<str>, Dialect>,
    /// Unguessable, and of this run of this process alone: no other replica sees our answers.
    inbox: Arc<str>,
    lanes: Lanes,
    breakers: Arc<Breakers>,
    exchanges: Arc<Exchanges>,
    filters: AnswerFilters,
    last_attempt: AtomicU64,
}

struct Dialect {
    profile: Arc<Profile>,
    /// The filter that serves every command of this profile, kept subscribed from its first use on.
    standing: Mutex<Option<Arc<Answers>>>,
    /// What its devices say about being there, heard from its first use on.
    presence: OnceLock<Option<PresenceWatch>>,
    seconds: crate::metrics::Histogram,
}

/// A command that was taken back before it was sent: nothing happened, and it may be run by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// Whoever asked for it may no longer run it.
    Revoked,
    /// The MQTT agent was closed, or the worker stops.
    Closed,
    /// What it needed besides was not obtained; whoever was asked for it knows why.
    Denied,
}

/// A command that was checked and has its place in the device's lane.
pub(crate) struct Begun {
    command: Command,
    /// Rendered to see whether it can be.
    first: Box<Attempt>,
    turn: Result<Turn, Refusal>,
    stop: CancellationToken,
    began: Instant,
}

impl Begun {
    /// Has a token that calls it off as long as it was not sent, and does nothing to it after that.
    pub(crate) fn recall(&mut self) -> CancellationToken {
        let make = || self.command.cancel.as_ref().map_or_else(CancellationToken::new, CancellationToken::child_token);
        self.command.recall.get_or_insert_with(make).clone()
    }
}

/// An attempt at a command, as it is published.
struct Attempt {
    /// Its number, which its answer names.
    key: u128,
    rendered: Rendered,
}

impl Commander {
    /// A commander over an agent, with the profiles that commands may name.
    pub fn new(agent: Agent, profiles: impl IntoIterator<Item = Arc<Profile>>, options: Options) -> Self {
        let inbox: Arc<str> = format!("{:032x}", rand::random::<u128>()).into();
        let exchanges = Arc::new(Exchanges::new(options.max_late));
        let rules = Rules { failures: options.breaker_failures, pause: options.breaker_pause };
        let breakers = Arc::new(Breakers::new(rules, options.max_troubled));
        let filters = AnswerFilters::new(inbox.clone(), exchanges.clone(), breakers.clone());
        let dialect = |profile: Arc<Profile>| {
            let seconds = metrics().device_histogram(profile.name());
            (
                Arc::from(profile.name()),
                Dialect { profile, standing: Mutex::default(), presence: OnceLock::new(), seconds },
            )
        };
        let dialects = profiles.into_iter().map(dialect).collect();
        let (lanes, last_attempt) = (Lanes::default(), AtomicU64::new(0));
        let inner = Inner { agent, options, dialects, inbox, lanes, breakers, exchanges, filters, last_attempt };
        Self { inner: Arc::new(inner) }
    }

    /// A commander with the built-in profiles, everything at its default.
    pub fn with_builtin_profiles(agent: Agent) -> Self {
        let compile = |(name, table): (String, toml::Table)| Profile::compile(&name, &table).ok().map(Arc::new);
        Self::new(agent, crate::profile::builtin().into_iter().filter_map(compile), Options::default())
    }

    /// A command to one device, to be refined and awaited:
    /// `commander.command("lamp", "on", json!({"level": 3})).timeout(second).await`.
    pub fn command(
        &self,
        device: impl Into<Arc<str>>,
        command: impl Into<Arc<str>>,
        payload: impl Into<Payload>,
    ) -> CommandFuture {
        CommandFuture::new(self.clone(), Command::new(device.into(), command.into(), payload.into()))
    }

    /// The same command to many devices, a bounded number at a time; a stream of device and outcome, as they come.
    pub fn command_many<D: Into<Arc<str>>>(
        &self,
        devices: impl IntoIterator<Item = D>,
        command: impl Into<Arc<str>>,
        payload: impl Into<Payload>,
    ) -> Many {
        let devices = devices.into_iter().map(Into::into).collect();
        Many::new(self.clone(), devices, Command::new("".into(), command.into(), payload.into()))
    }

    /// How long the broker took to acknowledge commands since this was asked last; `None` where it acknowledged none.
    pub(crate) fn acknowledged_within(&self) -> Option<Took> {
        self.inner.exchanges.acknowledgements.look()
    }

    /// Subscribes to the answers of a profile that has one filter for all, so that its first command need not wait. The
    /// others are subscribed when they are first used.
    pub async fn subscribe_standing(&self, profile: &str) -> Result<(), crate::mqtt::Error> {
        if let Some(dialect) = self.inner.dialects.get(profile) {
            self.inner.standing(dialect).await?;
            self.inner.watch_presence(dialect);
        }
        Ok(())
    }

    /// What a lost connection may cost a job of this profile: what the job says, else the profile, else the configuration.
    pub(crate) fn guarantee(&self, profile: &str, asked: Option<Guarantee>) -> Guarantee {
        let of_profile = || self.inner.dialects.get(profile).and_then(|dialect| dialect.profile.guarantee());
        asked.or_else(of_profile).unwrap_or(self.inner.options.default_guarantee)
    }

    /// Checks a command against its profile, and takes its place in the device's lane: in the order of the calls. Once
    /// `stop` is cancelled, it does not begin any more.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right.
    pub(crate) fn begin(&self, command: Command, stop: CancellationToken) -> Result<Box<Begun>, Failure> {
        let inner = &self.inner;
        let (dialect, first) = inner.check(&command).map_err(|(_, failure)| failure)?;
        let profile = &dialect.profile;
        let width = if profile.one_at_a_time() {
            1
        } else {
            profile.in_flight_per_device().unwrap_or(inner.options.per_device)
        };
        inner.watch_presence(dialect);
        let turn = inner.place(&command, width);
        Ok(Box::new(Begun { command, first: Box::new(first), turn, stop, began: Instant::now() }))
    }

    /// What keeps a command from being carried to any device, as far as it shows with this one; `None` where only the device's
    /// name is wrong, which says nothing about others.
    pub(crate) fn refusal(&self, command: &Command) -> Option<Failure> {
        let (field, failure) = self.inner.check(command).err()?;
        (field != "device").then_some(failure)
    }

    /// What keeps a command from being carried to its own device.
    pub(crate) fn misfit(&self, command: &Command) -> Option<Failure> {
        self.inner.check(command).err().map(|(_, failure)| failure)
    }

    /// Runs a command whose place was taken. `late` is called if it is given up while an answer may still come.
    ///
    /// Cancel-safe: dropping the future takes back what was not sent, and stops waiting for what was.
    pub(crate) async fn finish(
        &self,
        begun: Box<Begun>,
        late: &(impl Fn() -> Option<LateHandler> + Sync),
    ) -> Result<Outcome, NotStarted> {
        let permit = begun.command.permit.clone();
        let outcome = attempt::run(&self.inner, begun, late).await?;
        // "No" would be a promise about somebody else: whoever has the job now may be sending it.
        if outcome.executed == Executed::No && permit.is_some_and(|permit| !permit.granted()) {
            return Err(NotStarted::Revoked);
        }
        Ok(outcome)
    }

    /// Proves the answer path of a profile: a message to our own inbox must come back. Returns how long it took.
    ///
    /// `None` where the profile has a filter per device, so that there is nothing to prove before one is commanded. A broker
    /// can grant a subscription and never deliver on it, which looks like silent devices.
    pub async fn prove(&self, profile: &str, within: Duration) -> Result<Option<Duration>, Failure> {
        attempt::prove(&self.inner, profile, within).await
    }

    /// The names of its profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.inner.dialects.keys().map(|name| &**name)
    }

    /// The agent that it stands on.
    pub fn agent(&self) -> &Agent {
        &self.inner.agent
    }
}

impl Inner {
    fn dialect(&self, name: &str) -> Result<&Dialect, Failure> {
        self.dialects.get(name).ok_or_else(|| {
            let mut known: Vec<&str> = self.dialects.keys().map(|name| &**name).collect();
            known.sort_unstable();
            let name: String = name.chars().take(64).collect();
            Failure::new("invalid", format!("profile: there is none named {name:?}; there are {}", known.join(", ")))
        })
    }

    /// The dialect of a command and its first attempt, if that can carry it; else the field that is wrong, and what would be
    /// right.
    fn check(&self, command: &Command) -> Result<(&Dialect, Attempt), (&'static str, Failure)> {
        let dialect = self.dialect(&command.profile).map_err(|failure| ("profile", failure))?;
        let profile = &dialect.profile;
        let attempt = self.attempt(profile, command).map_err(|invalid| {
            let failure = Failure::new("invalid", format!("{}: {}", invalid.field, invalid.message));
            (invalid.field, failure)
        })?;
        if profile.needs_mqtt5() && self.agent.protocol() == crate::mqtt::Protocol::V311 {
            let message = format!("profile: {:?} needs MQTT 5, and mqtt.protocol is 3.1.1", profile.name());
            return Err(("profile", Failure::new("invalid", message)));
        }
        Ok((dialect, attempt))
    }

    /// One more attempt at a command, not sent yet.
    fn attempt(&self, profile: &Profile, command: &Command) -> Result<Attempt, Invalid> {
        let key = self.next_attempt(profile);
        let rendered = profile.render(&self.call(command, key))?;
        Ok(Attempt { key, rendered })
    }

    /// Makes sure that the words of the profile's devices are heard; nothing waits for it.
    fn watch_presence(&self, dialect: &Dialect) {
        if self.options.presence && self.breakers.are_on() {
            dialect.presence.get_or_init(|| PresenceWatch::start(&self.agent, &dialect.profile, &self.breakers));
        }
    }

    /// A place in the device's lane, unless the device is known to be silent or too many wait for it.
    fn place(&self, command: &Command, width: usize) -> Result<Turn, Refusal> {
        if !command.sent_before
            && let Some(refusal) = self.breakers.refusal(&command.device)
        {
            return Err(refusal);
        }
        let most = self.options.per_device_queue;
        let bound = (!command.bulk).then_some(most);
        self.lanes.enter(&command.device, width, bound).ok_or(Refusal::Busy { most })
    }

    fn call<'a>(&'a self, command: &'a Command, attempt: u128) -> Call<'a> {
        Call {
            device: &command.device,
            command: &command.command,
            payload: &command.payload,
            inbox: &self.inbox,
            attempt,
            job_id: &command.id,
            expires_at: command.expires_at,
        }
    }

    /// A number for an attempt, never used before by this commander.
    fn next_attempt(&self, profile: &Profile) -> u128 {
        match profile.attempt_bits() {
            128.. => rand::random(),
            bits => u128::from(self.last_attempt.fetch_add(1, Ordering::Relaxed) + 1) & ((1 << bits) - 1),
        }
    }

    /// The profile's one filter for all commands, granted; `None` where it has a filter per device.
    async fn standing(&self, dialect: &Dialect) -> Result<Option<Arc<Answers>>, crate::mqtt::Error> {
        let Some(filter) = dialect.profile.standing_filter(&self.inbox) else { return Ok(None) };
        let known = dialect.standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(answers) = known.filter(|answers| answers.is_live()) {
            return Ok(Some(answers));
        }
        let answers = self.filters.granted(&self.agent, &dialect.profile, &filter).await?;
        *dialect.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(answers.clone());
        Ok(Some(answers))
    }
}

/// A command that its profile cannot carry.
pub(crate) fn invalid(failure: Failure) -> Outcome {
    Outcome::not_sent(Status::Invalid, failure)
}

/// What an exchange needs of a command.
fn exchange_for(command: &Command, guarantee: Guarantee, awaits_answer: bool) -> Exchange {
    Exchange {
        device: command.device.clone(),
        awaits_answer,
        topics: Vec::new(),
        ends_with_link: guarantee == Guarantee::AtLeastOnce,
        permit: command.permit.clone(),
        subscriptions: Vec::new(),
    }
}

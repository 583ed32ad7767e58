//! A command as its caller writes it, and the futures that run one or many.

use super::{Commander, NotStarted, Permit, invalid};
use crate::job::{Guarantee, Mode, Payload};
use crate::outcome::{Failure, Outcome, Status};
use futures_util::stream::{self, Stream, StreamExt};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One command to one device.
#[derive(Clone)]
pub struct Command {
    /// The command id: the idempotency key, told to the device where its profile can carry it.
    pub id: Arc<str>,
    /// The device's id.
    pub device: Arc<str>,
    /// The command's name.
    pub command: Arc<str>,
    /// What goes with it.
    pub payload: Payload,
    /// The device's profile.
    pub profile: Arc<str>,
    /// Whether an answer is awaited.
    pub mode: Mode,
    /// How long the device may take to answer; the commander's default where absent.
    pub timeout: Option<Duration>,
    /// Never sent after this: milliseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// What a lost connection may cost; the profile's or commander's default where absent.
    pub guarantee: Option<Guarantee>,
    /// Somebody else may have sent it before: then nothing that happens here proves that the device did not get it.
    pub(crate) sent_before: bool,
    /// One of many: lets others pass.
    pub(crate) bulk: bool,
    /// Asked at the point of no return.
    pub(crate) permit: Option<Arc<dyn Permit>>,
    /// Called off by its requester once this is cancelled: what was not sent is not, what was is not waited for.
    pub(crate) cancel: Option<CancellationToken>,
    /// Not to be sent any more once this is cancelled; what was goes on. A child of `cancel`, so that one wait hears both.
    pub(crate) recall: Option<CancellationToken>,
}

impl Command {
    /// A request with everything at its default and an id of its own.
    pub fn new(device: Arc<str>, command: Arc<str>, payload: Payload) -> Self {
        Self::with_id(ulid::Ulid::generate().to_string().into(), device, command, payload)
    }

    /// The same with the id of whoever asks for it.
    pub(crate) fn with_id(id: Arc<str>, device: Arc<str>, command: Arc<str>, payload: Payload) -> Self {
        Self {
            id,
            device,
            command,
            payload,
            profile: "default".into(),
            mode: Mode::Request,
            timeout: None,
            expires_at: None,
            guarantee: None,
            sent_before: false,
            bulk: false,
            permit: None,
            cancel: None,
            recall: None,
        }
    }
}

macro_rules! refinements {
    () => {
        /// The device's profile; `default` unless said otherwise.
        pub fn profile(mut self, profile: impl Into<Arc<str>>) -> Self {
            self.command.profile = profile.into();
            self
        }

        /// How long the device may take to answer.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.command.timeout = Some(timeout);
            self
        }

        /// Awaits no answer: done when the broker took it.
        pub fn one_way(mut self) -> Self {
            self.command.mode = Mode::Publish;
            self
        }

        /// What a lost connection may cost.
        pub fn guarantee(mut self, guarantee: Guarantee) -> Self {
            self.command.guarantee = Some(guarantee);
            self
        }
    };
}

/// A command that is not sent until awaited; it gives an [`Outcome`], whatever happens.
#[must_use = "nothing is sent until it is awaited"]
pub struct CommandFuture {
    commander: Commander,
    command: Command,
}

impl CommandFuture {
    pub(super) fn new(commander: Commander, command: Command) -> Self {
        Self { commander, command }
    }

    refinements!();

    /// The command id, instead of one made for it.
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.command.id = id.into();
        self
    }
}

impl IntoFuture for CommandFuture {
    type Output = Outcome;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.commander.begin(self.command, CancellationToken::new()) {
                Ok(begun) => self.commander.finish(begun, &|| None).await.unwrap_or_else(closed),
                Err(failure) => invalid(failure),
            }
        })
    }
}

fn closed(_: NotStarted) -> Outcome {
    Outcome::not_sent(Status::Undeliverable, Failure::new("closed", "the MQTT agent is closed"))
}

/// One command to many devices; becomes a stream of device and outcome with [`Many::start`].
#[must_use = "nothing is sent until its stream is read"]
pub struct Many {
    commander: Commander,
    devices: Vec<Arc<str>>,
    command: Command,
    concurrency: usize,
}

/// Devices commanded at one time where nobody says: what a broker with default limits takes without dropping answers.
const DEFAULT_CONCURRENCY: usize = 1000;

impl Many {
    pub(super) fn new(commander: Commander, devices: Vec<Arc<str>>, mut command: Command) -> Self {
        command.bulk = true;
        Self { commander, devices, command, concurrency: DEFAULT_CONCURRENCY }
    }

    refinements!();

    /// How many devices are commanded at one time; 1,000 unless said otherwise.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }

    /// The outcomes, as they come. Dropping the stream takes back what was not sent.
    pub fn start(self) -> impl Stream<Item = (Arc<str>, Outcome)> + Send {
        let Self { commander, devices, command, concurrency } = self;
        let one = move |device: Arc<str>| {
            let command = Command { device: device.clone(), ..command.clone() };
            let outcome = CommandFuture::new(commander.clone(), command).into_future();
            async move { (device, outcome.await) }
        };
        stream::iter(devices).map(one).buffer_unordered(concurrency)
    }
}

//! The handle that users hold: cheap to clone, it asks and the driver does.

use super::driver::Driver;
use super::error::Error;
use super::inbox::Inbox;
use super::options::Options;
use super::port::{Place, Port};
use super::publication::Publication;
use super::publish::Publish;
use super::reader::{Reader, ReaderKind, Shared, Sink};
use super::request::Request;
use super::session::Op;
use super::subscription::{SinkSubscription, Subscription};
use super::{LinkState, Protocol};
use crate::topic::{InvalidTopic, TopicFilter, TopicName};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// A handle on one MQTT connection. Cheap to clone; the connection closes when the last clone is gone, or on
/// [`Agent::close`], and with it every subscription ends.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<AgentShared>,
}

struct AgentShared {
    ops: mpsc::Sender<Op>,
    port: Arc<Port>,
    state: watch::Receiver<LinkState>,
    closing: CancellationToken,
    protocol: Protocol,
    reader_queue: usize,
    inbox: OnceCell<Inbox>,
}

impl Agent {
    /// Connects, and returns once publishes flow; an error if the first attempt fails or takes longer than
    /// `connect_timeout`. Later losses are handled inside. Must be called within a tokio runtime.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let (broker, limit) = (options.broker(), options.connect_timeout);
        let agent = Self::start(options);
        let mut state = agent.state();
        let settled =
            tokio::time::timeout(limit, state.wait_for(|state| !matches!(state, LinkState::Connecting))).await;
        let reason = match settled {
            Ok(Ok(state)) => match &*state {
                LinkState::Down { reason } | LinkState::Closed { reason } => reason.clone(),
                LinkState::Up { .. } | LinkState::Connecting => return Ok(agent.clone()),
            },
            Ok(Err(_)) => "the agent ended".to_owned(),
            Err(_) => format!("no answer within {limit:?}"),
        };
        agent.shared.closing.cancel();
        Err(Error::Connect { broker, reason })
    }

    /// The same without waiting for the connection. Must be called within a tokio runtime.
    pub fn start(options: Options) -> Self {
        let options = options.bounded();
        let (ops, taken) = mpsc::channel(options.queue);
        let (say, state) = watch::channel(LinkState::Connecting);
        let port = Arc::new(Port::default());
        let closing = CancellationToken::new();
        let (protocol, reader_queue) = (options.protocol, options.reader_queue);
        tokio::spawn(Driver::new(options, taken, port.clone(), say, closing.clone()).run());
        Self {
            shared: Arc::new(AgentShared { ops, port, state, closing, protocol, reader_queue, inbox: OnceCell::new() }),
        }
    }

    /// A publish, to be refined and awaited: `agent.publish("a/b", "x").qos(Qos::AtMostOnce).await`.
    pub fn publish(&self, topic: impl AsRef<str>, payload: impl Into<Bytes>) -> Publish {
        Publish::new(self.clone(), name(topic.as_ref()), payload.into())
    }

    /// A request, to be refined and awaited: `agent.request("lamp/set", "on").reply_on("lamp/state").within(second).await`.
    pub fn request(&self, topic: impl AsRef<str>, payload: impl Into<Bytes>) -> Request {
        Request::new(self.clone(), name(topic.as_ref()), payload.into())
    }

    /// Subscribes; returns once the broker has granted it. The stream exists before the SUBSCRIBE leaves, so nothing is
    /// missed. Waits as long as there is no connection. Dropping the future takes the wish back.
    ///
    /// What the broker had kept comes, marked [`Message::retain`](super::Message::retain), to whoever subscribes to the filter
    /// first; it comes again after a reconnect to which no session was kept (always on MQTT 3.1.1).
    pub async fn subscribe(&self, filter: impl AsRef<str>) -> Result<Subscription, Error> {
        let (messages, stream) = mpsc::channel(self.shared.reader_queue);
        let shared = Arc::new(Shared::default());
        let to = ReaderKind::Stream { messages, shared: shared.clone() };
        let place = self.join(filter_of(filter.as_ref())?, to).await?;
        Ok(Subscription::new(stream, shared, place))
    }

    /// Subscribes something that takes messages in the driver's own task.
    pub(crate) async fn subscribe_sink(
        &self,
        filter: TopicFilter,
        sink: Arc<dyn Sink>,
    ) -> Result<SinkSubscription, Error> {
        Ok(SinkSubscription { _place: self.join(filter, ReaderKind::Sink(sink)).await? })
    }

    async fn join(&self, filter: TopicFilter, to: ReaderKind) -> Result<Place, Error> {
        let port = &self.shared.port;
        // Made before the wish goes out, so that dropping this future at any point gives the place back.
        let place = Place { port: port.clone(), reader: port.next_reader() };
        let (granted, answer) = oneshot::channel();
        let op = Op::Subscribe { filter, reader: Reader { id: place.reader, to }, granted };
        self.shared.ops.send(op).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)??;
        Ok(place)
    }

    /// Hands a publish to the driver; waits while its queue is full.
    pub(crate) async fn submit(&self, publication: Publication) -> Result<(), Error> {
        self.shared.ops.send(Op::Publish(publication)).await.map_err(|_| Error::Closed)
    }

    /// The state of the connection, now and as it changes.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.shared.state.clone()
    }

    /// The version of MQTT that it speaks.
    pub fn protocol(&self) -> Protocol {
        self.shared.protocol
    }

    /// The agent's own place for answers, subscribed on first use.
    pub(crate) async fn inbox(&self) -> Result<&Inbox, Error> {
        self.shared.inbox.get_or_try_init(|| Inbox::open(self)).await
    }

    /// Takes nothing more, sends what was taken and waits for its acknowledgements, up to [`Options::close_timeout`] and only
    /// if there is a connection; then disconnects. Returns when every publish and every subscription has heard its end.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let mut state = self.state();
        // An error means that the driver is gone, which is what was waited for.
        drop(state.wait_for(|state| matches!(state, LinkState::Closed { .. })).await);
    }
}

fn name(topic: &str) -> Result<TopicName, Error> {
    TopicName::new(topic).map_err(|problem| invalid(topic, problem))
}

/// A shared subscription splits messages among its members, so answers would go to whoever did not ask.
pub(crate) fn filter_of(filter: &str) -> Result<TopicFilter, Error> {
    if filter.starts_with("$share/") {
        return Err(Error::Refused {
            filter: filter.to_owned(),
            reason: "shared subscriptions are not served here".to_owned(),
        });
    }
    TopicFilter::new(filter).map_err(|problem| invalid(filter, problem))
}

pub(crate) fn invalid(topic: &str, problem: InvalidTopic) -> Error {
    Error::Topic { topic: topic.chars().take(200).collect(), problem }
}

//! A producer as an outside program would be: it publishes jobs with confirms and collects every result it gets.

use super::eventually::found;
use async_rs::Runtime;
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the broker may take for anything that is not a result.
const BROKER_WITHIN: Duration = Duration::from_secs(30);

/// A message that came to the reply queue.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) body: Value,
    pub(crate) correlation_id: Option<String>,
    pub(crate) message_id: Option<String>,
    /// The property `type`.
    pub(crate) kind: Option<String>,
    pub(crate) content_type: Option<String>,
    /// Whether it outlives a restart of the broker.
    pub(crate) persistent: bool,
}

/// A message that was taken out of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) body: Value,
    pub(crate) properties: BasicProperties,
}

impl Taken {
    /// The queue that wants the answer.
    ///
    /// # Panics
    /// It has none.
    pub(crate) fn reply_to(&self) -> String {
        self.properties.reply_to().as_ref().expect("somebody waits for an answer").to_string()
    }
}

/// A message in the dead-letter queue.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter {
    pub(crate) body: Vec<u8>,
    pub(crate) message_id: Option<String>,
    /// The header `x-switchboard-reason`.
    pub(crate) reason: Option<String>,
}

/// A connection with an exclusive reply queue.
pub(crate) struct Caller {
    connection: Connection,
    channel: Channel,
    reply_to: String,
    replies: Arc<Mutex<Vec<Reply>>>,
}

async fn in_time<T>(what: &str, act: impl Future<Output = lapin::Result<T>>) -> T {
    let done = tokio::time::timeout(BROKER_WITHIN, act).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {BROKER_WITHIN:?}")).unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// Takes everything out of a queue.
async fn collect(channel: &Channel, queue: &str) -> Arc<Mutex<Vec<Reply>>> {
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let consume = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    let mut consumer = in_time("consume a queue", consume).await;
    let replies = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&replies);
    tokio::spawn(async move {
        while let Some(Ok(delivery)) = consumer.next().await {
            let body = serde_json::from_slice(&delivery.data);
            let body = body.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&delivery.data).into_owned()));
            let properties = &delivery.properties;
            collected.lock().unwrap().push(Reply {
                body,
                correlation_id: properties.correlation_id().as_ref().map(ToString::to_string),
                message_id: properties.message_id().as_ref().map(ToString::to_string),
                kind: properties.kind().as_ref().map(ToString::to_string),
                content_type: properties.content_type().as_ref().map(ToString::to_string),
                persistent: *properties.delivery_mode() == Some(2),
            });
        }
    });
    replies
}

impl Caller {
    /// Connects and declares the reply queue.
    pub(crate) async fn connect(url: &str) -> Self {
        let runtime = Runtime::tokio_current();
        let connect = Connection::connect_with_runtime(url, ConnectionProperties::default(), runtime);
        let connection = in_time("connect", connect).await;
        let channel = in_time("open a channel", connection.create_channel()).await;
        in_time("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await;
        let exclusive = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let declare = channel.queue_declare(super::unique("answers").as_str().into(), exclusive, FieldTable::default());
        let reply_to = in_time("declare the reply queue", declare).await.name().to_string();
        let replies = collect(&channel, &reply_to).await;
        Self { connection, channel, reply_to, replies }
    }

    /// Every message that comes to this queue from now on, taken out of it.
    pub(crate) async fn collect(&self, queue: &str) -> Arc<Mutex<Vec<Reply>>> {
        collect(&self.channel, queue).await
    }

    /// The name of its reply queue.
    pub(crate) fn reply_to(&self) -> &str {
        &self.reply_to
    }
    /// The properties of a job whose results come here: persistent JSON with `reply_to`.
    pub(crate) fn properties(&self) -> BasicProperties {
        let json = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        json.with_reply_to(self.reply_to.as_str().into())
    }

    /// Publishes a job and waits for the broker's confirm.
    pub(crate) async fn send(&self, queue: &str, job: &Value) {
        self.send_with(queue, job.to_string().as_bytes(), self.properties()).await;
    }

    /// Publishes any bytes with any properties and waits for the broker's confirm.
    ///
    /// # Panics
    /// The queue does not exist, or the broker does not take the message.
    pub(crate) async fn send_with(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        self.send_all(queue, [(body.to_vec(), properties)]).await;
    }

    /// Publishes many messages at once and waits until each is confirmed.
    ///
    /// # Panics
    /// The queue does not exist, or the broker does not take one of them.
    pub(crate) async fn send_all(&self, queue: &str, messages: impl IntoIterator<Item = (Vec<u8>, BasicProperties)>) {
        let mandatory = BasicPublishOptions { mandatory: true, ..Default::default() };
        let mut confirms = Vec::new();
        for (body, properties) in messages {
            let publish = self.channel.basic_publish("".into(), queue.into(), mandatory, &body, properties);
            confirms.push(in_time("publish", publish).await);
        }
        for confirm in confirms {
            let confirmation = in_time("a confirm", confirm).await;
            assert!(matches!(confirmation, Confirmation::Ack(None)), "{queue:?} does not take it: {confirmation:?}");
        }
    }

    /// Every message that came to the reply queue so far, each copy of it.
    pub(crate) fn replies(&self) -> Vec<Reply> {
        self.replies.lock().unwrap().clone()
    }

    /// Waits until this many replies came, and returns all there are.
    pub(crate) async fn wait_for(&self, count: usize, within: Duration) -> Vec<Reply> {
        found(&format!("{count} replies come"), within, async || {
            let replies = self.replies.lock().unwrap();
            (replies.len() >= count).then(|| replies.clone())
        })
        .await
    }

    /// Declares a durable queue of this type (`quorum`, `classic`), for tests in which no worker did.
    pub(crate) async fn declare(&self, queue: &str, kind: &str) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        in_time("declare a queue", self.channel.queue_declare(queue.into(), durable, arguments)).await;
    }

    /// Takes so many messages and puts them back, so that the broker marks them as delivered before.
    pub(crate) async fn take_and_put_back(&self, queue: &str, count: usize) {
        let channel = in_time("open a channel", self.connection.create_channel()).await;
        let mut taken = Vec::new();
        for _ in 0..count {
            let message = found("a message is there", BROKER_WITHIN, async || {
                in_time("get a message", channel.basic_get(queue.into(), BasicGetOptions { no_ack: false })).await
            });
            taken.push(message.await);
        }
        for message in taken {
            let requeue = BasicNackOptions { requeue: true, ..Default::default() };
            in_time("put it back", message.delivery.nack(requeue)).await;
        }
        in_time("close a channel", channel.close(200, "done".into())).await;
    }

    /// Deletes a queue with all that is in it.
    pub(crate) async fn delete(&self, queue: &str) {
        in_time("delete a queue", self.channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await;
    }

    /// How many messages wait in a queue; `None` if there is no such queue.
    pub(crate) async fn depth(&self, queue: &str) -> Option<u32> {
        self.look(queue).await.map(|queue| queue.message_count())
    }

    /// How many take messages from a queue; `None` where there is none.
    pub(crate) async fn consumers(&self, queue: &str) -> Option<u32> {
        self.look(queue).await.map(|queue| queue.consumer_count())
    }

    async fn look(&self, queue: &str) -> Option<lapin::Queue> {
        // On a channel of its own: the broker closes the channel on which a missing queue is asked for.
        let channel = in_time("open a channel", self.connection.create_channel()).await;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let declared =
            tokio::time::timeout(BROKER_WITHIN, channel.queue_declare(queue.into(), passive, FieldTable::default()));
        let found = declared.await.expect("the broker answers").ok();
        if found.is_some() {
            in_time("close a channel", channel.close(200, "done".into())).await;
        }
        found
    }

    /// Waits for a message in a queue, takes it and acks it, as whoever serves the queue does.
    ///
    /// # Panics
    /// There is no such queue, or none comes in time.
    pub(crate) async fn take(&self, queue: &str, within: Duration) -> Taken {
        let channel = in_time("open a channel", self.connection.create_channel()).await;
        let what = format!("a message is in {queue}");
        let message = found(&what, within, async || {
            in_time("get a message", channel.basic_get(queue.into(), BasicGetOptions { no_ack: true })).await
        });
        let delivery = message.await.delivery;
        in_time("close a channel", channel.close(200, "done".into())).await;
        let body = serde_json::from_slice(&delivery.data).expect("what is sent here is JSON");
        Taken { body, properties: delivery.properties }
    }

    /// Takes everything out of a dead-letter queue.
    pub(crate) async fn take_dead_letters(&self, queue: &str) -> Vec<DeadLetter> {
        let channel = in_time("open a channel", self.connection.create_channel()).await;
        let mut letters = Vec::new();
        loop {
            let get = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true });
            let Some(message) = in_time("get a message", get).await else { break };
            let properties = &message.delivery.properties;
            let headers = properties.headers().as_ref().map(FieldTable::inner);
            let reason = match headers.and_then(|headers| headers.get("x-switchboard-reason")) {
                Some(AMQPValue::LongString(reason)) => Some(reason.to_string()),
                _ => None,
            };
            letters.push(DeadLetter {
                body: message.delivery.data.clone(),
                message_id: properties.message_id().as_ref().map(ToString::to_string),
                reason,
            });
        }
        in_time("close a channel", channel.close(200, "done".into())).await;
        letters
    }
}

//! The fleet at work: one task that hears every command and sends every answer when its time has come.

use super::Options;
use super::answer;
use super::behaviour::Conduct;
use super::counts::Counts;
use super::due::DueQueue;
use crate::mqtt::{
    self, Agent, Class, Fate, Message, Notify, Progress, Properties, Publication, Qos, Sink, SinkSubscription, Watcher,
};
use crate::profile::{DeviceSide, Presence, Profile};
use crate::topic::TopicName;
use bytes::Bytes;
use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

/// An answer that could not be handed to a connected socket within this is of no use to anybody.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// A leaving device says so within this or not at all.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How many messages are heard at a time before answers that are due get their turn.
const BATCH: usize = 256;

/// Why a fleet cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The behaviour contradicts itself.
    #[error("{0}")]
    Behaviour(String),
    /// The profile cannot be played.
    #[error("no device of the profile {name:?} can be simulated: {reason}")]
    Profile {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The connection or a subscription failed.
    #[error(transparent)]
    Mqtt(#[from] mqtt::Error),
}

/// A fleet whose devices are subscribed.
pub struct Fleet {
    agent: Agent,
    side: DeviceSide,
    options: Options,
    heard: mpsc::Receiver<Message>,
    tally: Arc<Tally>,
    _subscriptions: Vec<SinkSubscription>,
}

/// An answer that waits for its time.
struct Answer {
    topic: TopicName,
    payload: Bytes,
    qos: Qos,
    properties: Option<Box<Properties>>,
    conduct: Conduct,
}

/// Takes messages in the connection's task, and counts what cannot be counted elsewhere.
struct Tally {
    messages: mpsc::Sender<Message>,
    overflow: AtomicU64,
    unsent: AtomicU64,
    ended: CancellationToken,
}

impl Sink for Tally {
    fn message(&self, message: &Message) {
        if self.messages.try_send(message.clone()).is_err() {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ended(&self, error: &mqtt::Error) {
        tracing::error!("the fleet hears no more: {error}");
        self.ended.cancel();
    }
}

impl Watcher for Tally {
    fn progress(&self, _key: u128, progress: Progress) {
        if let Progress::Done(Fate::Refused(_) | Fate::NotSent(_) | Fate::Unknown) = progress {
            self.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wants(&self, _key: u128) -> bool {
        true
    }
}

impl Fleet {
    /// Subscribes every device, and says that they are there where they are few enough and the profile has a word for it.
    /// Waits as long as there is no connection.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn start(agent: Agent, profile: Arc<Profile>, options: Options) -> Result<Self, Error> {
        let refused = |reason| Error::Profile { name: profile.name().to_owned(), reason };
        options.behaviour.check().map_err(Error::Behaviour)?;
        answer::check(&profile).map_err(refused)?;
        let side = DeviceSide::new(profile.clone()).map_err(refused)?;
        let (messages, heard) = mpsc::channel(options.inbox.max(1));
        let tally = Arc::new(Tally {
            messages,
            overflow: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            ended: CancellationToken::new(),
        });
        let filters = match options.devices <= options.apart {
            true => devices(&options).map(|device| side.filter(Some(&device))).collect::<Result<Vec<_>, _>>(),
            false => side.filter(None).map(|filter| vec![filter]),
        };
        let mut filters = filters.map_err(|invalid| refused(invalid.message))?;
        // The same for every device where the topic does not show it.
        filters.dedup();
        let sink: Arc<dyn Sink> = tally.clone();
        let subscribing = filters.into_iter().map(|filter| agent.subscribe_sink(filter, sink.clone()));
        let subscriptions = try_join_all(subscribing).await?;
        let fleet = Self { agent, side, options, heard, tally, _subscriptions: subscriptions };
        fleet.say(true).await;
        Ok(fleet)
    }

    /// Answers until stopped, or until the broker lets it hear no more, and counts. What is not answered by then stays so.
    pub async fn run(mut self, stop: CancellationToken) -> Counts {
        let (mut counts, mut dice) = (Counts::default(), StdRng::seed_from_u64(self.options.seed));
        let mut due = DueQueue::new(self.options.pending);
        let mut batch = Vec::with_capacity(BATCH);
        let ended = self.tally.ended.clone();
        loop {
            let next = due.next_at();
            let timer = async {
                match next {
                    Some(at) => sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = ended.cancelled() => break,
                _ = self.heard.recv_many(&mut batch, BATCH) => {}
                () = timer => {}
            }
            let now = Instant::now();
            for message in batch.drain(..) {
                self.hear(&message, now, &mut dice, &mut due, &mut counts);
            }
            while let Some(answer) = due.take(now) {
                // A broker that takes nothing must not keep the fleet from leaving.
                if stop.run_until_cancelled(self.send(answer, &mut counts)).await.is_none() {
                    counts.unfinished += 1;
                    break;
                }
            }
        }
        counts.unfinished += due.len() as u64 + self.heard.len() as u64;
        counts.commands += self.heard.len() as u64;
        self.say(false).await;
        let overflow = self.tally.overflow.load(Ordering::Relaxed);
        counts.commands += overflow;
        counts.lost += overflow;
        counts.unsent = self.tally.unsent.load(Ordering::Relaxed);
        counts
    }

    fn hear(
        &self,
        message: &Message,
        now: Instant,
        dice: &mut StdRng,
        due: &mut DueQueue<Answer>,
        counts: &mut Counts,
    ) {
        let response_topic = message.properties.as_ref().and_then(|properties| properties.response_topic.as_deref());
        let heard = self.side.hear(message.topic(), &message.payload, response_topic, message.correlation());
        let Some(heard) = heard.filter(|heard| is_ours(&heard.device, &self.options)) else {
            counts.ignored += 1;
            return;
        };
        counts.commands += 1;
        let decision = self.options.behaviour.decide(dice.random(), dice.random());
        let Some(reply) = &heard.reply else {
            counts.one_way += 1;
            return;
        };
        if decision.conduct == Conduct::Silent {
            counts.silent += 1;
            return;
        }
        let text = answer::text(&heard, reply, decision.conduct != Conduct::Reject);
        let properties = reply
            .correlation
            .clone()
            .map(|correlation| Box::new(Properties { correlation: Some(correlation), ..Properties::default() }));
        let answer = Answer {
            topic: reply.topic.clone(),
            payload: text.into(),
            qos: message.qos,
            properties,
            conduct: decision.conduct,
        };
        if !due.put(now + decision.after, answer) {
            counts.lost += 1;
        }
    }

    async fn send(&self, answer: Answer, counts: &mut Counts) {
        let (times, count) = match answer.conduct {
            Conduct::Answer | Conduct::Silent => (1, &mut counts.answered),
            Conduct::Reject => (1, &mut counts.rejected),
            Conduct::Duplicate => (2, &mut counts.duplicated),
            Conduct::Late => (1, &mut counts.late),
        };
        for _ in 0..times {
            let publication = Publication {
                topic: answer.topic.clone(),
                payload: answer.payload.clone(),
                qos: answer.qos,
                retain: false,
                properties: answer.properties.clone(),
                expires: None,
                not_after: Some(Instant::now() + SEND_WITHIN),
                class: Class::Interactive,
                notify: Notify::Watcher(self.tally.clone(), 0),
            };
            if self.agent.submit(publication).await.is_err() {
                self.tally.unsent.fetch_add(1, Ordering::Relaxed);
            }
        }
        *count += 1;
    }

    /// Tells the world, retained, that the devices are there or leave.
    async fn say(&self, online: bool) {
        let Some(presence) = self.side.profile().presence().filter(|_| self.options.devices <= self.options.apart)
        else {
            return;
        };
        let told = devices(&self.options).filter_map(|device| self.tell(presence, &device, online));
        for fate in futures_util::future::join_all(told).await {
            if !matches!(fate, Ok(Fate::Acknowledged | Fate::NoSubscribers)) {
                tracing::warn!("not every device could say whether it is there: {fate:?}");
                return;
            }
        }
    }

    fn tell(
        &self,
        presence: &Presence,
        device: &str,
        online: bool,
    ) -> Option<impl Future<Output = Result<Fate, mqtt::Error>> + use<>> {
        let topic = presence.topic(device).ok()?;
        let publish = self.agent.publish(topic.as_str(), presence.word(online).to_owned()).retain();
        Some(publish.within(LEAVE_WITHIN).into_future())
    }
}

fn devices(options: &Options) -> impl Iterator<Item = String> {
    let prefix = options.prefix.clone();
    (0..options.devices).map(move |number| format!("{prefix}{number}"))
}

/// Whether the id is the prefix and a number below the count, written as this program writes it.
fn is_ours(device: &str, options: &Options) -> bool {
    let Some(number) = device.strip_prefix(&options.prefix) else { return false };
    let canonical = number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    canonical && number.parse::<usize>().is_ok_and(|number| number < options.devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_answers_for_its_own_devices_only() {
        let options = Options { devices: 10, prefix: "dev-".to_owned(), ..Options::default() };
        let all: Vec<String> = devices(&options).collect();
        assert_eq!((all.len(), all[9].as_str()), (10, "dev-9"));
        assert!(all.iter().all(|device| is_ours(device, &options)));
        for other in ["dev-10", "dev-", "dev-01", "dev-+1", "dev-x", "other-1", "1", "", "dev-99999999999999999999999"]
        {
            assert!(!is_ours(other, &options), "{other}");
        }
    }
}

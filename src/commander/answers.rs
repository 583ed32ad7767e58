//! The subscriptions on which answers come: one per filter however many commands wait on it, and who reads it.

use super::breakers::Breakers;
use super::exchange::Exchanges;
use crate::mqtt::{Agent, Error, Message, Sink, SinkSubscription};
use crate::profile::Profile;
use crate::topic::TopicFilter;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OnceCell;

/// One answer filter; unsubscribed (after the agent's linger) when the last command that waits on it is gone.
pub(crate) struct Answers {
    reader: Arc<AnswerReader>,
    subscription: OnceCell<SinkSubscription>,
}

struct AnswerReader {
    profile: Arc<Profile>,
    inbox: Arc<str>,
    exchanges: Arc<Exchanges>,
    breakers: Arc<Breakers>,
    /// Set when the broker refused the filter on a later connection.
    ended: AtomicBool,
}

impl Sink for AnswerReader {
    fn message(&self, message: &Message) {
        // Whatever it is that the device says, and to which command: it is there. What was kept for it says nothing.
        if !message.retain
            && !self.breakers.are_all_quiet()
            && let Some(device) = self.profile.speaker(&self.inbox, message.topic(), &message.payload)
        {
            self.breakers.spoke(device);
        }
        self.exchanges.on_message(&self.profile, &self.inbox, message);
    }

    fn ended(&self, error: &Error) {
        if *error != Error::Closed {
            tracing::warn!(profile = self.profile.name(), "no more answers: {error}");
        }
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// The answer filters in use.
pub(crate) struct AnswerFilters {
    inbox: Arc<str>,
    exchanges: Arc<Exchanges>,
    breakers: Arc<Breakers>,
    filters: Mutex<Filters>,
}

/// By profile and filter; an entry lives as long as a command uses it.
type Filters = HashMap<(Arc<str>, TopicFilter), Weak<Answers>>;

/// Entries whose last user is gone are looked for when the map has grown by this many.
const SWEEP: usize = 256;

impl AnswerFilters {
    pub(crate) fn new(inbox: Arc<str>, exchanges: Arc<Exchanges>, breakers: Arc<Breakers>) -> Self {
        Self { inbox, exchanges, breakers, filters: Mutex::default() }
    }

    /// The filter, granted by the broker. Cancel-safe; waits as long as there is no connection.
    pub(crate) async fn granted(
        &self,
        agent: &Agent,
        profile: &Arc<Profile>,
        filter: &TopicFilter,
    ) -> Result<Arc<Answers>, Error> {
        let answers = self.entry(profile, filter);
        if answers.subscription.get().is_none() {
            answers
                .subscription
                .get_or_try_init(|| agent.subscribe_sink(filter.clone(), answers.reader.clone()))
                .await?;
        }
        Ok(answers)
    }

    fn entry(&self, profile: &Arc<Profile>, filter: &TopicFilter) -> Arc<Answers> {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::from(profile.name()), filter.clone());
        let known = filters.get(&key).and_then(Weak::upgrade);
        if let Some(answers) = known.filter(|answers| !answers.reader.ended.load(Ordering::Relaxed)) {
            return answers;
        }
        if filters.len() % SWEEP == SWEEP - 1 {
            filters.retain(|_, answers| answers.strong_count() > 0);
        }
        let ended = AtomicBool::new(false);
        let reader = AnswerReader {
            profile: profile.clone(),
            inbox: self.inbox.clone(),
            exchanges: self.exchanges.clone(),
            breakers: self.breakers.clone(),
            ended,
        };
        let answers = Arc::new(Answers { reader: Arc::new(reader), subscription: OnceCell::new() });
        filters.insert(key, Arc::downgrade(&answers));
        answers
    }
}

impl Answers {
    /// Whether the broker still sends what matches.
    pub(crate) fn is_live(&self) -> bool {
        self.subscription.get().is_some() && !self.reader.ended.load(Ordering::Relaxed)
    }
}

//! What devices say themselves about being there: one standing subscription per profile in use, made beside its commands.

use super::breakers::Breakers;
use crate::mqtt::{Agent, Error, Message, Sink, SinkSubscription};
use crate::profile::Profile;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The subscription to the status topics of a profile's devices; given up on drop, granted or not.
pub(crate) struct PresenceWatch {
    _subscription: Arc<OnceLock<SinkSubscription>>,
    /// Ends the wait for the broker's grant, which holds the agent.
    _stop: DropGuard,
}

struct Words {
    profile: Arc<Profile>,
    breakers: Arc<Breakers>,
}

impl PresenceWatch {
    /// Subscribes in a task of its own, so that no command waits for it. `None` where the profile has no status topic, or
    /// none that one filter covers: devices are commanded without it then.
    pub(crate) fn start(agent: &Agent, profile: &Arc<Profile>, breakers: &Arc<Breakers>) -> Option<Self> {
        let filter = profile.presence()?.filter()?;
        let words = Arc::new(Words { profile: profile.clone(), breakers: breakers.clone() });
        let subscription = Arc::new(OnceLock::new());
        let (stop, kept, agent) = (CancellationToken::new(), subscription.clone(), agent.clone());
        let subscribed = stop.clone().run_until_cancelled_owned(async move {
            // A refusal is heard by the words themselves, now or on a later connection.
            if let Ok(subscription) = agent.subscribe_sink(filter, words).await {
                // Set once: there is one task.
                drop(kept.set(subscription));
            }
        });
        tokio::spawn(subscribed);
        Some(Self { _subscription: subscription, _stop: stop.drop_guard() })
    }
}

impl Sink for Words {
    /// Retained words count: they are what the broker keeps for whoever comes later. A stale one costs a pause at most.
    fn message(&self, message: &Message) {
        let Some(presence) = self.profile.presence() else { return };
        let Some(device) = presence.device(message.topic()) else { return };
        match presence.is_online(&message.payload) {
            Some(true) => self.breakers.spoke(device),
            Some(false) => self.breakers.offline(device),
            None => {}
        }
    }

    fn ended(&self, error: &Error) {
        if *error != Error::Closed {
            tracing::warn!(
                profile = self.profile.name(),
                "devices are commanded without heeding what they say on their status topics: {error}; \
                 a permission to read there is right, or worker.presence = false"
            );
        }
    }
}

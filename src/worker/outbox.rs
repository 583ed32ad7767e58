//! Everything that a worker publishes: results, late results, dead letters, and jobs that go back.

use super::{Options, quarantine};
use crate::amqp::{self, Address, ChannelPool, Confirm, Delivery, PublishError, Publisher, Routing};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::metrics::metrics;
use crate::wire::dead_letter::{self, Cause};
use crate::wire::native;
use futures_util::FutureExt;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Clone)]
pub(crate) struct Outbox {
    publisher: Publisher,
    channels: ChannelPool,
    dead_letter_queue: Arc<str>,
    late: mpsc::Sender<(Arc<str>, Envelope)>,
    /// How long a dead letter or a returned job may take before it is left to the broker's own means.
    within: Duration,
    /// The queues to which the broker lets jobs come back when their time has come.
    ladders: Arc<Mutex<HashSet<String>>>,
}

impl Outbox {
    pub(crate) fn start(publisher: Publisher, channels: ChannelPool, options: &Options) -> Self {
        let (late, mut waiting) = mpsc::channel::<(Arc<str>, Envelope)>(options.late_queue.max(1));
        let (dead_letter_queue, within) = (options.dead_letter_queue.clone(), options.confirm_timeout);
        let outbox = Self { publisher, channels, dead_letter_queue, late, within, ladders: Arc::default() };
        let publisher = outbox.publisher.clone();
        tokio::spawn(async move {
            while let Some((reply_to, envelope)) = waiting.recv().await {
                if let Err(error) = reply(&publisher, &reply_to, envelope).await {
                    tracing::warn!("a late result could not be published: {error}");
                }
            }
        });
        outbox
    }

    /// Publishes a result and waits for the broker's confirm; says whether there was a queue for it. One that is gone is
    /// counted, no error: whoever asked is gone too. An error is final: no try here would help.
    pub(crate) fn reply(
        &self,
        reply_to: &str,
        envelope: Envelope,
    ) -> impl Future<Output = Result<bool, PublishError>> + Send + use<'_> {
        reply(&self.publisher, reply_to, envelope)
    }

    /// Publishes a task that follows on another; says whether a queue took it.
    pub(crate) async fn send_on(&self, to: Address, envelope: Envelope) -> Result<bool, PublishError> {
        Ok(self.publisher.publish(to, envelope, true).await?.routed)
    }

    /// How many take from a queue now, of which whoever asks is one; `None` where nobody says so in time. RabbitMQ says that there are
    /// none where the queue's leader does not tell it within 250 ms.
    pub(crate) async fn consumers(&self, queue: &str) -> Option<u32> {
        let counted = tokio::time::timeout(self.within, self.channels.depth(queue)).await.ok()?;
        counted.ok().map(|depth| depth.consumers).filter(|consumers| *consumers > 0)
    }

    /// Queues a result that nobody waits for here; drops it where too many wait.
    pub(crate) fn reply_late(&self, reply_to: Arc<str>, envelope: Envelope) {
        if self.late.try_send((reply_to, envelope)).is_err() {
            tracing::warn!("a late result was dropped: too many wait to be published");
        }
    }

    /// Puts a copy of a delivery among the dead letters, with the reason, and acks; where that is impossible the broker's
    /// own dead-lettering gets it.
    pub(crate) async fn dead_letter(&self, delivery: Delivery, reason: &'static str, detail: &str) {
        let cause = Cause {
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            queue: Some(quarantine::home(&delivery.queue).to_owned()),
            at: Some(Now::read().unix_ms),
            ..Cause::default()
        };
        let envelope = dead_letter::marked(&delivery.envelope, &cause);
        metrics().dead_lettered(reason);
        match self.channels.publish_routed(Address::queue(&*self.dead_letter_queue), envelope, self.within).await {
            Ok(Routing::Routed) => delivery.receipt.ack(),
            Ok(Routing::Unroutable) => {
                tracing::error!(
                    queue = &*self.dead_letter_queue,
                    reason,
                    "the dead-letter queue is gone; the broker's own dead-lettering gets the message"
                );
                delivery.receipt.reject();
            }
            Err(error) => {
                tracing::error!(reason, "a dead letter could not be published: {error}");
                delivery.receipt.reject();
            }
        }
    }

    /// Puts a fresh copy of a delivery back into its queue and acks: nobody began it, and a requeue would say otherwise. Where it is
    /// not known whether the copy is there, the delivery is requeued: then only the copy is fresh, and of two fresh ones both would
    /// be run.
    pub(crate) async fn give_back(&self, delivery: Delivery) {
        if !delivery.receipt.hold().is_current() {
            return;
        }
        // A copy of what was delivered before must not look as if it never was.
        if delivery.redelivered {
            return delivery.receipt.requeue();
        }
        let to = Address::queue(&*delivery.queue);
        let sent = tokio::time::timeout(self.within, self.publisher.publish_once(to, copied(&delivery.envelope))).await;
        match sent {
            Ok(Ok(confirm)) if confirm.routed => delivery.receipt.ack(),
            _ => {
                tracing::warn!(
                    queue = &*delivery.queue,
                    "a job could not be given back as a fresh message; it is requeued"
                );
                delivery.receipt.requeue();
            }
        }
    }

    /// Puts a copy of a delivery into the queue of those kept apart, and acks; where that is gone it is a dead letter.
    pub(crate) async fn keep_apart(&self, delivery: Delivery) {
        tracing::warn!(
            job_id = delivery.envelope.message_id,
            queue = &*delivery.queue,
            "a job lost its workers several times; from now on it is run by itself"
        );
        let to = quarantine::queue(&delivery.queue);
        self.recount(delivery, to).await;
    }

    /// Puts a copy of a delivery back into its queue with its count, and acks.
    pub(crate) async fn count(&self, delivery: Delivery) {
        let to = delivery.queue.to_string();
        self.recount(delivery, to).await;
    }

    async fn recount(&self, delivery: Delivery, to: String) {
        let deliveries = quarantine::carried(&delivery.envelope) + delivery.delivery_count.unwrap_or(1);
        let copy = quarantine::counted(&copied(&delivery.envelope), deliveries);
        match self.channels.publish_routed(Address::queue(&*to), copy, self.within).await {
            Ok(Routing::Routed) => delivery.receipt.ack(),
            Ok(Routing::Unroutable) => self.dead_letter(delivery, "poison", &format!("the queue {to} is gone")).await,
            Err(error) => {
                tracing::error!(to, "a job that lost its workers could not be put there: {error}");
                delivery.receipt.requeue();
            }
        }
    }

    /// Puts a copy of a delivery where it waits for its time, and acks; where that is impossible it is a dead letter.
    pub(crate) async fn park(&self, delivery: Delivery, not_before: u64) {
        let wait = Duration::from_millis(not_before.saturating_sub(Now::read().unix_ms));
        let queue = quarantine::home(&delivery.queue);
        let parked = match self.ensure_ladder(queue).await {
            Err(error) => Err(error.to_string()),
            Ok(()) => {
                let copy = native::parked_again(&copied(&delivery.envelope));
                match self.channels.publish_routed(amqp::delayed(queue, wait), copy, self.within).await {
                    Ok(Routing::Routed) => Ok(()),
                    Ok(Routing::Unroutable) => Err("the broker's delay queues are gone".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        match parked {
            Ok(()) => delivery.receipt.ack(),
            Err(reason) => self.dead_letter(delivery, "undelayable", &reason).await,
        }
    }

    /// Once is enough for the life of the process: who deletes the ladder under a running worker gets dead letters.
    async fn ensure_ladder(&self, queue: &str) -> Result<(), amqp::Error> {
        let known = self.ladders().contains(queue);
        if !known {
            self.channels.ensure_ladder(queue).await?;
            self.ladders().insert(queue.to_owned());
        }
        Ok(())
    }

    fn ladders(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ladders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes anything to a queue, once, and says whether it is there for sure.
    pub(crate) async fn enqueue(&self, queue: &str, envelope: Envelope) -> bool {
        let sent =
            tokio::time::timeout(self.within, self.publisher.publish_once(Address::queue(queue), envelope)).await;
        matches!(sent, Ok(Ok(confirm)) if confirm.routed)
    }
}

/// A copy to be published by us: the broker refuses one under somebody else's login.
fn copied(envelope: &Envelope) -> Envelope {
    Envelope { user_id: None, ..envelope.clone() }
}

fn reply<'p>(
    publisher: &'p Publisher,
    reply_to: &str,
    envelope: Envelope,
) -> impl Future<Output = Result<bool, PublishError>> + Send + use<'p> {
    publisher.publish(Address::queue(reply_to), envelope, is_mandatory(reply_to)).map(|sent| sent.map(routed))
}

/// The broker returns every mandatory message to a direct reply-to, delivered or not.
fn is_mandatory(reply_to: &str) -> bool {
    !reply_to.starts_with("amq.rabbitmq.reply-to")
}

/// Whether there was a queue for a result; counted where there was none.
fn routed(confirm: Confirm) -> bool {
    if !confirm.routed {
        metrics().reply_unroutable();
    }
    confirm.routed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_under_no_login_but_ours() {
        let original =
            Envelope { user_id: Some("shop".to_owned()), message_id: Some("m".to_owned()), ..Envelope::default() };
        assert_eq!(copied(&original), Envelope { user_id: None, ..original });
    }
}

//! When a worker leaves jobs to others: while it cannot command devices, or cannot publish what they answer.

use super::Shared;
use crate::amqp::{Consumer, LinkState as AmqpState};
use crate::mqtt::LinkState as MqttState;
use std::convert::Infallible;
use tokio::time::{Instant, sleep_until};

/// What keeps a worker from finishing any job, if anything.
fn obstacle(mqtt: &MqttState, publishing: &AmqpState) -> Option<&'static str> {
    match (mqtt.is_up(), publishing) {
        (false, _) => Some("the MQTT connection is away"),
        (_, AmqpState::Blocked { .. }) => Some("the AMQP broker takes no results: it has an alarm"),
        (_, AmqpState::Up { .. }) => None,
        _ => Some("the AMQP connection for results is away"),
    }
}

/// Pauses a consumer while there is an obstacle that lasts longer than the worker's patience. Never returns.
pub(super) async fn watch(shared: &Shared, consumer: &Consumer) -> Infallible {
    let (mut mqtt, mut publishing) = (shared.commander.agent().state(), shared.publishing.clone());
    // A connection that comes and goes on its way back must not begin the patience anew.
    let mut since = None;
    let mut paused = false;
    loop {
        let found = obstacle(&mqtt.borrow_and_update(), &publishing.borrow_and_update());
        match found {
            Some(_) => since = since.or(Some(Instant::now())),
            None => {
                since = None;
                if std::mem::take(&mut paused) {
                    tracing::info!("taking jobs again");
                    consumer.resume();
                }
            }
        }
        let out_of_patience = async {
            match since.filter(|_| !paused) {
                Some(since) => sleep_until(since + shared.options.patience).await,
                None => std::future::pending().await,
            }
        };
        let is_closed = tokio::select! {
            changed = mqtt.changed() => changed.is_err(),
            changed = publishing.changed() => changed.is_err(),
            () = out_of_patience => {
                tracing::warn!("jobs are left to other workers: {}", found.unwrap_or_default());
                paused = true;
                consumer.pause().await;
                false
            }
        };
        if is_closed {
            // For good: the program is about to stop.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_taken_only_where_they_can_be_finished() {
        let up = MqttState::Up { epoch: 1 };
        let away = MqttState::Down { reason: "x".into() };
        let fine = AmqpState::Up { epoch: 1 };
        assert_eq!(obstacle(&up, &fine), None);
        assert!(obstacle(&away, &fine).is_some());
        assert!(obstacle(&up, &AmqpState::Blocked { epoch: 1, reason: "memory".into() }).unwrap().contains("alarm"));
        for amqp in [AmqpState::Connecting, AmqpState::Down { reason: "x".into() }, AmqpState::Closed] {
            assert!(obstacle(&up, &amqp).is_some());
        }
    }
}

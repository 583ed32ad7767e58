//! How long a message of QoS 1 takes to the MQTT broker and back, and whether the broker delays what it sends.

use crate::job::Payload;
use crate::mqtt::{Agent, Fate};
use crate::profile::{Call, Profile};
use anyhow::{Context, bail};
use std::time::{Duration, Instant};

/// How often it is measured. Linux acknowledges the first packets of a connection at once and delays only later ones, so
/// that a few rounds would not show the delay.
const ROUNDS: usize = 30;
/// How long one round may take.
const ROUND_WITHIN: Duration = Duration::from_secs(5);
/// Linux delays an acknowledgement by at least 40 ms, and nothing else comes near that between two packets of one exchange.
const DELAYED: Duration = Duration::from_millis(30);

/// The two ways in which one round comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// From the publish to the broker's PUBACK.
    pub acknowledged: Duration,
    /// From the publish to the message itself.
    pub returned: Duration,
}

/// What the rounds say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// The middle of all rounds, each from the publish until both PUBACK and message were there.
    pub median: Duration,
    /// Whether the second of the two packets waits for the network's acknowledgement of the first.
    pub delayed: bool,
}

/// Sends messages to a topic on which the profile's devices answer, and times their return.
///
/// # Errors
///
/// The broker refuses the topic, or a message does not come back.
pub async fn measure(agent: &Agent, profile: &Profile) -> anyhow::Result<Option<RoundTrip>> {
    let inbox = format!("{:032x}", rand::random::<u128>());
    let call = Call {
        device: "switchboard-check",
        command: "check",
        payload: &Payload::Empty,
        inbox: &inbox,
        attempt: 1,
        job_id: "switchboard-check",
        expires_at: None,
    };
    let rendered =
        profile.render(&call).map_err(|invalid| anyhow::anyhow!("{}: {}", invalid.field, invalid.message))?;
    let Some(answer) = rendered.answer else { return Ok(None) };
    let topic = answer.topic.as_str();
    let subscribing = tokio::time::timeout(ROUND_WITHIN, agent.subscribe(topic));
    let mut subscription = subscribing.await.with_context(|| format!("no subscription within {ROUND_WITHIN:?}"))??;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let acknowledged = async {
            let fate = agent.publish(topic, "").within(ROUND_WITHIN).await;
            (fate, start.elapsed())
        };
        let returned = async {
            let message = subscription.next_within(ROUND_WITHIN).await;
            (message.is_ok(), start.elapsed())
        };
        let ((fate, acknowledged), (came, returned)) = tokio::join!(acknowledged, returned);
        match fate? {
            Fate::Acknowledged if came => rounds.push(Round { acknowledged, returned }),
            Fate::Acknowledged => bail!("a message to {topic} did not come back within {ROUND_WITHIN:?}"),
            other => bail!("a message to {topic} was not taken: {other:?}"),
        }
    }
    Ok(judge(&rounds))
}

/// What the rounds say; nothing where there is none.
///
/// The network's own delay is in both packets and drops out of their difference, however far away the broker is.
pub fn judge(rounds: &[Round]) -> Option<RoundTrip> {
    let middle = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let median = middle(rounds.iter().map(|round| round.acknowledged.max(round.returned)).collect())?;
    let apart = middle(rounds.iter().map(|round| round.acknowledged.abs_diff(round.returned)).collect())?;
    Some(RoundTrip { median, delayed: apart >= DELAYED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_told_from_a_long_way() {
        let round = |acknowledged, returned| Round {
            acknowledged: Duration::from_millis(acknowledged),
            returned: Duration::from_millis(returned),
        };
        let near = judge(&[round(1, 1), round(1, 2), round(60, 1)]).unwrap();
        assert_eq!(near, RoundTrip { median: Duration::from_millis(2), delayed: false });
        assert!(!judge(&[round(45, 45), round(44, 46)]).unwrap().delayed, "a broker 45 ms away");
        assert!(judge(&[round(1, 1), round(1, 44), round(44, 1)]).unwrap().delayed);
        assert_eq!(judge(&[]), None);
    }
}

//! How long a message of QoS 1 takes to the MQTT broker and back, and whether the broker delays what it sends.

use crate::job::Payload;
use crate::mqtt::{Agent, Fate, Options};
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

/// One command and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// From the command's publish to the answer.
    pub whole: Duration,
    /// From the answer's publish to its PUBACK, at the device's end.
    pub acknowledged: Duration,
    /// From the answer's publish to the answer, at our end.
    pub returned: Duration,
}

/// What the rounds say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// The middle of all rounds.
    pub median: Duration,
    /// Whether the broker holds the answer back until the network has acknowledged the command's PUBACK.
    pub delayed: bool,
}

/// Plays commands and their answers through the broker, with a second connection in the place of the device.
///
/// Two connections, because the delay needs them: the broker has sent the PUBACK of the command, and its next packet, the
/// answer, waits until the PUBACK is acknowledged by a client that has nothing to send. A client that writes to itself
/// acknowledges at once.
///
/// # Errors
///
/// The broker refuses a topic, or an answer does not come.
pub async fn measure(agent: &Agent, device: Options, profile: &Profile) -> anyhow::Result<Option<RoundTrip>> {
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
    let (command, topic) = (rendered.topic.as_str(), answer.topic.as_str());
    let device = Agent::connect(device).await?;
    let subscribing = tokio::time::timeout(ROUND_WITHIN, agent.subscribe(topic));
    let mut subscription = subscribing.await.with_context(|| format!("no subscription within {ROUND_WITHIN:?}"))??;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        taken(agent, command).await?;
        let start = Instant::now();
        let acknowledged = async { taken(&device, topic).await.map(|()| start.elapsed()) };
        let returned = async { subscription.next_within(ROUND_WITHIN).await.map(|_| start.elapsed()) };
        let (acknowledged, returned) = tokio::join!(acknowledged, returned);
        let returned = returned.with_context(|| format!("a message to {topic} did not come back"))?;
        rounds.push(Round { whole: began.elapsed(), acknowledged: acknowledged?, returned });
    }
    device.close().await;
    Ok(judge(&rounds))
}

/// Publishes at QoS 1; the broker has it when this returns.
async fn taken(agent: &Agent, topic: &str) -> anyhow::Result<()> {
    match agent.publish(topic, "").within(ROUND_WITHIN).await? {
        Fate::Acknowledged | Fate::NoSubscribers => Ok(()),
        other => bail!("a message to {topic} was not taken: {other:?}"),
    }
}

/// What the rounds say; nothing where there is none.
///
/// The network's own delay is in both times and drops out of their difference, however far away the broker is.
pub fn judge(rounds: &[Round]) -> Option<RoundTrip> {
    let middle = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let median = middle(rounds.iter().map(|round| round.whole).collect())?;
    let apart = middle(rounds.iter().map(|round| round.acknowledged.abs_diff(round.returned)).collect())?;
    Some(RoundTrip { median, delayed: apart >= DELAYED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_told_from_a_long_way() {
        let round = |acknowledged, returned| Round {
            whole: Duration::from_millis(returned),
            acknowledged: Duration::from_millis(acknowledged),
            returned: Duration::from_millis(returned),
        };
        let near = judge(&[round(1, 1), round(1, 2), round(60, 3)]).unwrap();
        assert_eq!(near, RoundTrip { median: Duration::from_millis(2), delayed: false });
        assert!(!judge(&[round(45, 45), round(44, 46)]).unwrap().delayed, "a broker 45 ms away");
        assert!(judge(&[round(1, 1), round(1, 44), round(1, 45)]).unwrap().delayed);
        assert_eq!(judge(&[]), None);
    }
}

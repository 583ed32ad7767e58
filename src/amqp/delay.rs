//! Messages that wait in the broker for their time: a ladder of queues, one for each binary digit of the delay.
//!
//! The routing key begins with the delay in seconds as 28 binary digits. From the highest digit down, a message waits in
//! a queue of `2^n` seconds where its digit is 1 and goes past where it is 0; below the last digit it is routed by the rest
//! of the key. Names and arguments are those of Celery's native delayed delivery, so that one ladder serves both.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::connection::Link;
use super::publisher::Address;
use super::topology::refusal;
use super::{ChannelPool, Connection, Error, properties};
use crate::envelope::{Headers, Value};

/// Digits of a delay, and so steps of the ladder.
const STEPS: u32 = 28;
/// Where messages arrive whose time has come.
pub(super) const DELIVERY: &str = "celery_delayed_delivery";
/// The longest delay: a little over eight and a half years.
pub const LONGEST: Duration = Duration::from_secs((1 << STEPS) - 1);

/// Where to publish a message that is to reach `queue` after `delay`, rounded down to whole seconds and at most [`LONGEST`].
pub fn delayed(queue: &str, delay: Duration) -> Address {
    let seconds = delay.min(LONGEST).as_secs();
    let digits = (0..STEPS).rev().map(|step| if seconds >> step & 1 == 1 { "1." } else { "0." });
    Address { exchange: step_name(STEPS - 1), routing_key: digits.chain([queue]).collect() }
}

impl ChannelPool {
    /// Sees to the ladder, and to its end at `queue`. Harmless to repeat.
    ///
    /// # Errors
    /// [`Error::Queue`] with the broker's words where it refuses a part, or a lost connection.
    pub async fn ensure_ladder(&self, queue: &str) -> Result<(), Error> {
        ensure_ladder(self.connection(), queue).await
    }
}

async fn ensure_ladder(connection: &Connection, queue: &str) -> Result<(), Error> {
    let deadline = connection.options().connect_timeout;
    connection.up(deadline).await?;
    let link = connection.link().await?;
    let channel = link.channel(deadline).await?;
    let ladder = async {
        let built = build(&channel).await;
        Ok(match built {
            Ok(()) => end_at(&channel, queue).await,
            failed => failed,
        })
    };
    // Some hundred answers of the broker under one deadline: each alone takes about a millisecond.
    let built = link.answer("delay ladder", deadline * 3, ladder).await?;
    match built {
        Ok(()) => close(&link, &channel, deadline).await,
        Err(error) => match refusal(&error) {
            Some((_, reason)) => Err(Error::Queue { queue: "celery_delayed_…".to_owned(), reason }),
            None => Err(error.into()),
        },
    }
}

async fn close(link: &Link, channel: &lapin::Channel, deadline: Duration) -> Result<(), Error> {
    link.answer("channel.close", deadline, channel.close(200, "done".into())).await
}

/// Makes the ladder, whose end leads nowhere yet.
pub(super) async fn build(channel: &lapin::Channel) -> Result<(), lapin::Error> {
    let topic = |name: &str| {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, FieldTable::default())
    };
    topic(DELIVERY).await?;
    for step in 0..STEPS {
        let (name, below) = (step_name(step), next_name(step));
        topic(&name).await?;
        let arguments = properties::table(step_arguments(step)).unwrap_or_default();
        channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments).await?;
        let (wait, pass) = (pattern(step, "1.#"), pattern(step, "0.#"));
        let (to_queue, to_exchange) = (QueueBindOptions::default(), ExchangeBindOptions::default());
        let from = || name.as_str().into();
        channel.queue_bind(from(), from(), wait.as_str().into(), to_queue, FieldTable::default()).await?;
        channel
            .exchange_bind(below.as_str().into(), from(), pass.as_str().into(), to_exchange, FieldTable::default())
            .await?;
    }
    Ok(())
}

async fn end_at(channel: &lapin::Channel, queue: &str) -> Result<(), lapin::Error> {
    let (key, options) = (behind(queue), QueueBindOptions::default());
    channel.queue_bind(queue.into(), DELIVERY.into(), key.as_str().into(), options, FieldTable::default()).await
}

/// The pattern of a routing key behind any delay.
pub(super) fn behind(key: &str) -> String {
    if key.starts_with('#') { key.to_owned() } else { format!("#.{key}") }
}

fn step_name(step: u32) -> String {
    format!("celery_delayed_{step}")
}

fn next_name(step: u32) -> String {
    step.checked_sub(1).map_or_else(|| DELIVERY.to_owned(), step_name)
}

/// The keys whose digit for this step is the one that `end` begins with.
fn pattern(step: u32, end: &str) -> String {
    "*.".repeat((STEPS - 1 - step) as usize) + end
}

fn step_arguments(step: u32) -> Headers {
    Headers(vec![
        ("x-queue-type".to_owned(), "quorum".into()),
        ("x-overflow".to_owned(), "reject-publish".into()),
        ("x-message-ttl".to_owned(), Value::Int((1 << step) * 1000)),
        ("x-dead-letter-exchange".to_owned(), next_name(step).into()),
        ("x-dead-letter-strategy".to_owned(), "at-least-once".into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_written_in_binary_before_the_queue() {
        let address = delayed("jobs", Duration::from_millis(5900));
        assert_eq!(address.exchange, "celery_delayed_27");
        assert_eq!(address.routing_key, format!("{}1.0.1.jobs", "0.".repeat(25)));
        assert_eq!(delayed("q", Duration::MAX).routing_key, format!("{}q", "1.".repeat(28)));
    }

    #[test]
    fn each_step_looks_at_its_own_digit_and_leads_to_the_next() {
        assert_eq!(pattern(27, "1.#"), "1.#");
        assert_eq!(pattern(25, "0.#"), "*.*.0.#");
        assert_eq!((next_name(1), next_name(0)), ("celery_delayed_0".to_owned(), DELIVERY.to_owned()));
        assert_eq!(step_arguments(10).get("x-message-ttl"), Some(&Value::Int(1_024_000)));
    }
}

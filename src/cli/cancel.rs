//! `switchboard cancel`: a record that every worker of the queue reads, and what they say to it.

use super::report::Plain;
use super::settings::{Queue, Settings};
use super::{BadUsage, FAILED, INTERRUPTED, print, requester, runtime, say, signals, values};
use crate::amqp::{
    self, Address, ChannelPool, Comparison, Connection, QueueKind, QueueSpec, ReplyQueue, Routing, Topology,
};
use crate::app;
use crate::config::Config;
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::outcome::Status;
use crate::wire::native::{Control, Known, MAX_ID_BYTES, Word};
use anyhow::{Context, anyhow, bail};
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Words held in memory.
const HELD: u16 = 64;
/// How long the broker may take to confirm the record.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
const QUEUE_TYPE: &str = "x-queue-type";
/// What a cancel costs at most, in words of workers that are waited for: nobody runs more replicas of one queue.
const MOST_WORDS: usize = 10_000;

/// Options of `cancel`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job's id
    pub job_id: String,
    /// The queue of jobs
    #[command(flatten)]
    pub queue: Queue,
    /// How long to wait for what workers know of the job
    #[arg(long, value_name = "2s", default_value = "2s", value_parser = values::time)]
    pub wait: Duration,
    /// Print what became of it in one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What is known of the cancel.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A worker ran it and stopped; or it was cancelled before.
    Cancelled(Word),
    /// It had ended otherwise.
    Finished(Word),
    /// Nobody that answered knows it.
    Recorded,
}

/// Calls the job off.
///
/// # Errors
///
/// The id can be no job's, the broker is not reached, or it keeps no stream for this.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let config = settings.load(args.queue.flags())?;
    if !(1..=MAX_ID_BYTES).contains(&args.job_id.len()) {
        let length = args.job_id.len();
        return Err(BadUsage(format!("the id has {length} bytes; a job's id has 1 to {MAX_ID_BYTES}")).into());
    }
    runtime()?.block_on(async {
        tokio::select! {
            biased;
            () = signals::interrupt() => Ok(INTERRUPTED.into()),
            ended = cancel(&config, &args) => ended,
        }
    })
}

async fn cancel(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let connection = requester::connect(config).await?;
    let stream = stream(config, &connection).await?;
    let mut replies = match ReplyQueue::open(&connection, HELD).await {
        Ok(replies) => Some(replies),
        // An account may be allowed to write and to make no queue.
        Err(error) => {
            say(format_args!("what workers know of it cannot be heard, for want of a queue: {error}"));
            None
        }
    };
    write(&connection, &stream, &args.job_id, replies.as_ref().map(ReplyQueue::name)).await?;
    let (end, answered) = match &mut replies {
        Some(replies) => words(replies, args.wait).await?,
        None => (End::Recorded, 0),
    };
    connection.close().await;
    match args.json {
        true => print(as_json(&args.job_id, &end, answered)),
        false => print(in_words(&args.job_id, &end, answered)),
    }
    Ok(match end {
        End::Cancelled(_) | End::Recorded => ExitCode::SUCCESS,
        End::Finished(_) => FAILED.into(),
    })
}

/// Calls a job off over a connection that is there already; workers may say to `reply_to` what they know of it.
///
/// # Errors
///
/// The broker keeps no stream for this, or does not take the record.
pub async fn record(config: &Config, connection: &Connection, id: &str, reply_to: Option<&str>) -> anyhow::Result<()> {
    let stream = stream(config, connection).await?;
    write(connection, &stream, id, reply_to).await
}

async fn write(connection: &Connection, stream: &str, id: &str, reply_to: Option<&str>) -> anyhow::Result<()> {
    let control =
        Control::Cancel { id: id.to_owned(), at_ms: Now::read().unix_ms, by: format!("cancel at {}", app::host()) };
    let reply_to = reply_to.map(str::to_owned);
    let record = Envelope { reply_to, correlation_id: Some(id.to_owned()), ..control.encode() };
    let channels = ChannelPool::new(connection.clone());
    let published = channels.publish_routed(Address::queue(stream), record, RECORD_WITHIN).await;
    match published.with_context(|| format!("the stream {stream:?} did not take the record"))? {
        Routing::Routed => Ok(()),
        Routing::Unroutable => bail!("there is no stream {stream:?} any more: it was deleted just now"),
    }
}

/// The stream of the queue's workers, made where it is missing and may be.
async fn stream(config: &Config, connection: &Connection) -> anyhow::Result<String> {
    let spec = app::control(config);
    let refused = |why: String| {
        anyhow!("jobs cannot be cancelled here: the stream {:?}, by which workers hear of it: {why}", spec.name)
    };
    let report = spec.topology().apply(connection).await.map_err(|error| match error {
        amqp::Error::MissingQueue(_) => {
            refused("it does not exist, and amqp.declare is off; create it with x-queue-type = \"stream\"".to_owned())
        }
        amqp::Error::Queue { reason, .. } => refused(reason),
        other => anyhow!(other),
    })?;
    if !matches!(report.queues.first().map(|queue| &queue.comparison), Some(Comparison::Differs(_))) {
        return Ok(spec.name);
    }
    // The broker names one argument of several. Asked about the type alone, it names another only of a stream.
    let mut plain = QueueSpec { dead_letter_queue: None, ..QueueSpec::jobs(&spec.name, QueueKind::Classic, "") };
    plain.arguments.set(QUEUE_TYPE, "stream".into());
    let report = Topology { queues: vec![plain], declare: true, ..Topology::default() }.apply(connection).await?;
    let found = report.differences().find(|(_, difference)| difference.argument == QUEUE_TYPE);
    match found {
        Some(_) => Err(refused("it is a queue of another type; delete it".to_owned())),
        None => Ok(spec.name),
    }
}

/// What workers say, until one of them knows the job or the time is up; and how many said anything.
async fn words(replies: &mut ReplyQueue, wait: Duration) -> anyhow::Result<(End, usize)> {
    let until = Instant::now() + wait;
    let mut answered = 0;
    while answered < MOST_WORDS {
        let left = until.saturating_duration_since(Instant::now());
        let reply = replies.next_within(left).await.context("the cancel is recorded, but no answer can reach us")?;
        let Some(reply) = reply else { break };
        let Some(word) = Word::decode(&reply) else { continue };
        answered += 1;
        if let Some(end) = judge(word) {
            return Ok((end, answered));
        }
    }
    Ok((End::Recorded, answered))
}

/// What a word settles; `None` where its worker knows nothing of the job.
fn judge(word: Word) -> Option<End> {
    let is_cancelled = word.status.as_deref() == Some(Status::Cancelled.as_str());
    match (word.known, &word.status) {
        (Known::Nothing, _) => None,
        (_, Some(_)) if !is_cancelled => Some(End::Finished(word)),
        // It ran there, and has not come to an end that its worker could tell.
        (Known::Running | Known::Finished, _) => Some(End::Cancelled(word)),
    }
}

fn in_words(id: &str, end: &End, answered: usize) -> String {
    let id = Plain(id);
    match end {
        End::Cancelled(word) => {
            let was = if word.known == Known::Running { "running" } else { "already cancelled" };
            let executed = match word.executed.as_deref() {
                Some("no") => "; surely not executed",
                Some(_) => "; nobody knows whether it was executed",
                None => "",
            };
            let now = if word.known == Known::Running { " -> cancelled" } else { "" };
            format!("{id}: {was}{now}{executed}; by {}", Plain(&word.worker))
        }
        End::Finished(word) => {
            let status = word.status.as_deref().unwrap_or_default();
            format!("{id}: finished before: {}; by {}", Plain(status), Plain(&word.worker))
        }
        End::Recorded => {
            let asked = match answered {
                0 => "no worker answered".to_owned(),
                1 => "the one worker that answered does not know it".to_owned(),
                _ => format!("none of the {answered} workers that answered knows it"),
            };
            format!("{id}: recorded: whoever takes it from the queue will cancel it; {asked}")
        }
    }
}

fn as_json(id: &str, end: &End, answered: usize) -> serde_json::Value {
    let (outcome, word) = match end {
        End::Cancelled(word) => ("cancelled", Some(word)),
        End::Finished(word) => ("finished", Some(word)),
        End::Recorded => ("recorded", None),
    };
    json!({
        "id": id,
        "outcome": outcome,
        "was_running": word.is_some_and(|word| word.known == Known::Running),
        "status": word.and_then(|word| word.status.as_ref()),
        "executed": word.and_then(|word| word.executed.as_ref()),
        "worker": word.map(|word| &word.worker),
        "answered": answered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(known: Known, status: Option<&str>, executed: Option<&str>) -> Word {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Word { id: "j".to_owned(), worker: "w".to_owned(), known, status: text(status), executed: text(executed) }
    }

    #[test]
    fn whoever_knows_the_job_settles_it() {
        assert_eq!(judge(word(Known::Nothing, None, None)), None);
        for (known, status, cancelled) in [
            (Known::Running, Some("cancelled"), true),
            (Known::Running, None, true),
            (Known::Running, Some("succeeded"), false),
            (Known::Finished, Some("timed_out"), false),
            (Known::Finished, Some("cancelled"), true),
        ] {
            let end = judge(word(known, status, None)).unwrap();
            assert_eq!(matches!(end, End::Cancelled(_)), cancelled, "{end:?}");
        }
    }

    #[test]
    fn a_person_and_a_program_are_told() {
        let running = End::Cancelled(word(Known::Running, Some("cancelled"), Some("no")));
        assert_eq!(in_words("j", &running, 1), "j: running -> cancelled; surely not executed; by w");
        let before = End::Cancelled(word(Known::Finished, Some("cancelled"), Some("unknown")));
        assert_eq!(in_words("j", &before, 1), "j: already cancelled; nobody knows whether it was executed; by w");
        let finished = End::Finished(word(Known::Finished, Some("succeeded"), Some("yes")));
        assert_eq!(in_words("j", &finished, 2), "j: finished before: succeeded; by w");
        for (answered, says) in [(0, "no worker answered"), (1, "the one worker"), (3, "none of the 3")] {
            assert!(in_words("j", &End::Recorded, answered).contains(says));
        }
        let told = as_json("j", &finished, 2);
        assert_eq!(
            (&told["outcome"], &told["status"], &told["answered"]),
            (&json!("finished"), &json!("succeeded"), &json!(2))
        );
    }
}

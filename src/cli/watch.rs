//! The results of a bulk while they come, and the person who watches them.

use super::collected::{Collected, Summary};
use super::coordinator;
use super::pace::{self, Pace};
use super::patience::{Next, Patience};
use super::progress::Progress;
use super::question::{self, Act, Heard, Lines, Question};
use super::report::{self, Answer};
use super::requester::Requester;
use super::{cancel, print, say, signals, standing};
use crate::amqp::ReplyQueue;
use crate::config::Config;
use crate::wire::bulk::{Stand, What};
use crate::wire::native;
use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::Fuse;
use std::io::Write;
use std::pin::pin;
use std::time::{Duration, Instant};

/// How often the bar is looked after and the silence measured.
const TICK: Duration = Duration::from_millis(250);

/// A bulk that is enqueued.
pub struct Bulk<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The connection that it was enqueued over.
    pub requester: &'a Requester,
    /// Its id.
    pub id: &'a str,
    /// How many devices it has.
    pub devices: usize,
    /// The longest silence that needs no reason.
    pub patience: Duration,
    /// Whether a program reads the results.
    pub json: bool,
}

/// How the results of a bulk ended.
pub enum End {
    /// With the summary, as they should.
    Summary(Summary),
    /// The job as a whole was refused.
    Refused(Box<Answer>),
    /// Nothing came for longer than any device may take, and nobody says that it goes on; or, as this says, that it has ended.
    Silence(Option<Stand>),
}

/// How watching ended.
pub enum Watched {
    /// With the results.
    Ended(End),
    /// Before them, by the person.
    Left {
        /// Whether they called the bulk off.
        cancelled: bool,
    },
}

/// Gathers results until they end or the person leaves. What is asked on the terminal keeps no result waiting.
///
/// # Errors
///
/// The connection is lost, or what came cannot be read.
pub async fn watch(bulk: &Bulk<'_>, replies: &mut ReplyQueue, collected: &mut Collected) -> anyhow::Result<Watched> {
    let progress = Progress::new(bulk.devices, bulk.json);
    // Never dropped in between: a reply that is just being taken would be lost with it.
    let mut gathering = pin!(gather(bulk, replies, collected, &progress));
    let mut cancelling = pin!(Fuse::terminated());
    let (mut interrupts, mut lines) = (signals::Interrupts::caught(), Lines::default());
    let mut question = Question::Watching;
    let answerable = question::is_answerable();
    loop {
        let act = tokio::select! {
            biased;
            () = interrupts.next() => question.hears(Heard::Interrupt, answerable),
            line = lines.next() => match line {
                Some(line) => question.hears(Heard::Line(&line), answerable),
                None => question.hears(Heard::NoMore, answerable),
            },
            recorded = &mut cancelling => match recorded {
                Ok(()) => Act::Nothing,
                Err(error) => {
                    progress.above(|| say(format_args!("the bulk is not cancelled: {error:#}")));
                    question.hears(Heard::NotRecorded, answerable)
                }
            },
            ended = &mut gathering => {
                if question == Question::Asked {
                    // The question is answered by this.
                    let _ = writeln!(std::io::stderr());
                }
                return ended.map(Watched::Ended);
            }
        };
        match act {
            Act::Nothing => {}
            Act::Ask => {
                progress.hide();
                lines.listen();
                let _ = write!(std::io::stderr(), "{}", question::words(bulk.id));
            }
            Act::GoOn => progress.show(),
            Act::Cancel => {
                progress.show();
                progress.above(|| say(format_args!("cancelling; the summary comes when what is under way has ended")));
                cancelling.set(cancel::record(bulk.config, bulk.requester.connection(), bulk.id, None).fuse());
            }
            Act::Leave => {
                progress.hide();
                if question == Question::Asked {
                    let _ = writeln!(std::io::stderr());
                }
                return Ok(Watched::Left { cancelled: question == Question::Cancelling });
            }
        }
    }
}

async fn gather(
    bulk: &Bulk<'_>,
    replies: &mut ReplyQueue,
    collected: &mut Collected,
    progress: &Progress,
) -> anyhow::Result<End> {
    let is_coordinated = coordinator::is_coordinated(bulk.config, bulk.devices);
    let now = Instant::now();
    let (mut patience, mut pace) = (Patience::new(bulk.patience, is_coordinated, now), Pace::new(now));
    loop {
        let reply = replies.next_within(TICK).await?;
        let now = Instant::now();
        let next = match reply {
            None => patience.next(now),
            Some(reply) => match coordinator::word(&reply)? {
                Some(word) => {
                    if patience.last() != Some(word.state) {
                        progress.above(|| said_of(bulk.id, word.state));
                    }
                    patience.answered(word.state, now)
                }
                None => {
                    patience.heard(now);
                    if let Some(end) = take(&reply.body, reply.kind.as_deref(), collected, bulk.json)? {
                        return Ok(end);
                    }
                    Next::Wait
                }
            },
        };
        match next {
            Next::Wait => {}
            Next::Ask => ask(bulk, replies.name()).await,
            Next::GiveUp => return Ok(End::Silence(patience.last().filter(|state| coordinator::has_ended(*state)))),
        }
        let done = bulk.devices.saturating_sub(collected.waiting());
        let rate = pace.rate(now, done);
        let note = patience.last().map(standing::name);
        progress.advance(done, || pace::line(collected, bulk.devices, rate, note));
    }
}

/// Takes a result or the summary, which is an end.
fn take(body: &[u8], kind: Option<&str>, collected: &mut Collected, json: bool) -> anyhow::Result<Option<End>> {
    if json {
        print(report::one_line(body));
    }
    if kind == Some(native::SUMMARY) {
        let summary = serde_json::from_slice(body).context("the summary cannot be read")?;
        return Ok(Some(End::Summary(summary)));
    }
    let answer = Answer::read(body)?;
    if answer.device.is_none() {
        return Ok(Some(End::Refused(Box::new(answer))));
    }
    collected.take(&answer);
    Ok(None)
}

/// Asks how the bulk stands; the answer comes with the results. What cannot be asked has no answer.
async fn ask(bulk: &Bulk<'_>, reply_to: &str) {
    let queue = coordinator::queue_of(bulk.config, bulk.id);
    let question = coordinator::question(bulk.id, What::Status, reply_to, bulk.id);
    bulk.requester.publish(&queue, question, coordinator::ANSWER_WITHIN).await.ok();
}

/// Tells the person of a state that explains the silence.
fn said_of(id: &str, state: Stand) {
    if state == Stand::Paused {
        say(format_args!("the bulk is paused; `switchboard bulk-resume {id}` lets it go on"));
    }
}

//! Carries out what follows on a Celery task's end: chords begun, tasks sent, results told, parts counted, in that order.

use super::celery::{self, Asked, Ended, Options};
use super::outbox::Outbox;
use crate::amqp::{Address, PublishError};
use crate::backend::{self, Backend, Counted};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::metrics::metrics;
use crate::wire::celery::{After, Answer, ChordPart, Message, chord, lost, read_end};
use futures_util::future::join_all;

/// Why a task's end could not be told.
pub(super) enum Untold {
    /// Ours: the program ends. The next worker tells it.
    Closed,
    /// What was tried, and what came of it.
    Failed(String),
}

impl From<PublishError> for Untold {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Closed => Self::Closed,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Tells a task's end to everybody whom it concerns; each part is confirmed before the next kind begins. What is sent has the
/// same ids each time, so that a repetition after a crash is known as one.
pub(super) async fn tell(
    outbox: &Outbox,
    options: &Options,
    asked: &Asked,
    ended: Option<&Ended>,
    result: &Envelope,
) -> Result<(), Untold> {
    if let Some(ended) = ended {
        send_out(outbox, options, &ended.after).await?;
    }
    let head = &asked.head;
    if !head.ignore_result {
        let reply_to = head.reply_to.as_deref().filter(|queue| !queue.is_empty());
        // Beat declares a queue for results and never reads it: they would pile up there for a day.
        let reply_to = reply_to.filter(|_| options.beat_results || !head.from_beat);
        let answered = match reply_to {
            Some(reply_to) => outbox.reply(reply_to, result.clone()).await?,
            None => false,
        };
        store(options.backend.as_ref(), &head.id, result, answered).await?;
    }
    match ended {
        Some(ended) => count_all(outbox, options, &ended.after).await,
        None => Ok(()),
    }
}

/// What follows on an end that is told already.
async fn carry_out(outbox: &Outbox, options: &Options, after: &After) -> Result<(), Untold> {
    send_out(outbox, options, after).await?;
    count_all(outbox, options, after).await
}

/// Everything but the parts of chords, which count only what is told.
async fn send_out(outbox: &Outbox, options: &Options, after: &After) -> Result<(), Untold> {
    for start in &after.chords {
        chords(options)?.begin_chord(&start.group, start.size, start.structure.as_deref()).await.map_err(failed)?;
    }
    for unrouted in join_all(after.messages.iter().map(|message| send(outbox, message))).await {
        if let Some(message) = unrouted? {
            let now = Now::read().unix_ms;
            // Its failure may have followers of its own, which may have no queue either.
            let instead = lost(message, &celery::sender(options, now));
            Box::pin(carry_out(outbox, options, &instead)).await?;
        }
    }
    for answer in &after.answers {
        tell_for(outbox, options, answer).await?;
    }
    Ok(())
}

async fn count_all(outbox: &Outbox, options: &Options, after: &After) -> Result<(), Untold> {
    for part in &after.parts {
        count(outbox, options, part).await?;
    }
    Ok(())
}

/// Sends one task, which comes back where no queue takes it.
async fn send<'a>(outbox: &Outbox, message: &'a Message) -> Result<Option<&'a Message>, Untold> {
    let to = Address { exchange: message.exchange.clone(), routing_key: message.routing_key.clone() };
    if outbox.send_on(to, message.envelope.clone()).await? {
        return Ok(None);
    }
    tracing::error!(
        exchange = message.exchange,
        routing_key = message.routing_key,
        task = message.envelope.headers.text("task"),
        "no queue takes a task that was to follow; its callers are told that it failed"
    );
    metrics().reply_unroutable();
    Ok(Some(message))
}

/// A result in the name of a task that will not run.
async fn tell_for(outbox: &Outbox, options: &Options, answer: &Answer) -> Result<(), Untold> {
    let answered = match answer.reply_to.as_deref().filter(|queue| !queue.is_empty()) {
        Some(reply_to) => outbox.reply(reply_to, answer.envelope.clone()).await?,
        None => false,
    };
    store(options.backend.as_ref(), &answer.id, &answer.envelope, answered).await
}

/// Stores a result where there is a place for it. That it cannot be stored is no reason to keep a task whose caller has heard.
async fn store(backend: Option<&Backend>, id: &str, result: &Envelope, answered: bool) -> Result<(), Untold> {
    let Some(backend) = backend else { return Ok(()) };
    let state = read_end(&result.body).map_or("FAILURE", |end| end.state());
    match backend.store(id, state, &result.body).await {
        Err(error) if answered => {
            tracing::warn!(job_id = id, "the result was answered, and could not be stored: {error}");
            Ok(())
        }
        stored => stored.map_err(failed),
    }
}

/// Counts a part of a chord; the one that completes it sends what was waiting for all of them.
async fn count(outbox: &Outbox, options: &Options, part: &ChordPart) -> Result<(), Untold> {
    let backend = chords(options)?;
    let member = part.member();
    let counted = backend::Part { group: &part.group, id: &part.id, index: part.index, member: &member };
    let (structure, members) = match backend.chord_part(&counted).await.map_err(failed)? {
        Counted::Complete(members) => (None, members),
        Counted::Nested(structure, members) => (Some(structure), members),
        Counted::Waiting | Counted::Done => return Ok(()),
    };
    let after = chord::complete(part, &members, structure.as_deref(), &celery::sender(options, Now::read().unix_ms));
    if !backend.hold_chord(&counted).await.map_err(failed)? {
        return Ok(());
    }
    // What follows on the body's failure may be a part of another chord.
    Box::pin(carry_out(outbox, options, &after)).await?;
    backend.finish_chord(&part.group, after.answers.is_empty()).await.map_err(failed)
}

fn chords(options: &Options) -> Result<&Backend, Untold> {
    options.backend.as_ref().ok_or_else(|| Untold::Failed("a chord needs celery.result_backend".to_owned()))
}

fn failed(error: backend::Error) -> Untold {
    Untold::Failed(error.to_string())
}

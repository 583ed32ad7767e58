//! What is wanted of a coordinator besides its bulks: words, pauses, room, a bulk that was there before.

use super::actor::Actor;
use super::office::Wish;
use super::words;
use crate::amqp::{Address, Error, Tag, delayed};
use crate::envelope::Envelope;
use crate::wire::native;
use std::time::Instant;

impl Actor {
    /// Grants all of it, and lets go of the messages that said it.
    pub(super) async fn grant_wishes(&mut self, now: u64) -> Result<(), Error> {
        let wishes = std::mem::take(&mut self.office.wishes);
        if wishes.is_empty() {
            return Ok(());
        }
        let (mut messages, mut granted) = (Vec::new(), Vec::new());
        for wish in wishes {
            let mut say = |tag: Tag, message: Option<(Address, Envelope)>| {
                granted.push(tag);
                messages.extend(message);
            };
            match wish {
                Wish::Tell { tag, ask, reply_to, correlation_id } => {
                    self.office.asked(&ask, now);
                    let word = words::word(&self.office, &ask.id, now);
                    let answer = Envelope { correlation_id, ..words::answer(&word) };
                    say(tag, reply_to.map(|queue| (Address::queue(queue), answer)));
                }
                // Not read again each time that anything is done here.
                Wish::Later { .. } if self.no_ladder_until.is_some_and(|until| Instant::now() < until) => {
                    self.office.wishes.push(wish);
                }
                Wish::Later { tag, start } => match self.later(&start).await {
                    Some(parked) => say(tag, Some(parked)),
                    // The broker has no place for it: it waits here until there is room, and holds nobody up.
                    None => self.office.take(tag, *start, false, now),
                },
                Wish::Repeat { tag, end, ended } => say(tag, Some(words::ending(&end, &words::tally_of(&ended)))),
                Wish::Refuse { tag, start } => say(tag, words::refusal(&start, &self.options.name)),
                Wish::Fire { tag, fire } => self.fire_now(tag, fire).await?,
            }
        }
        if granted.is_empty() {
            return Ok(());
        }
        // A pause is one only once it survives us.
        self.write_down(true).await?;
        self.publish(messages).await?;
        self.office.done.extend(granted);
        Ok(())
    }

    /// Where a bulk waits for which there is no room.
    async fn later(&mut self, start: &Envelope) -> Option<(Address, Envelope)> {
        if !self.has_ladder {
            if let Err(error) = self.outside.channels.ensure_ladder(&self.queue).await {
                let job_id = start.message_id.as_deref();
                tracing::error!(job_id, "a bulk waits here, as the broker has no delay queues for it: {error}");
                self.no_ladder_until = Some(Instant::now() + self.options.again);
                return None;
            }
            self.has_ladder = true;
        }
        tracing::info!(job_id = start.message_id, "a bulk waits: there are as many as may be at one time");
        Some((delayed(&self.queue, self.options.again), native::parked_again(start)))
    }
}

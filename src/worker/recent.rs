//! What became of the commands of the last minutes, by id: a repetition is answered, not run again.
//!
//! It covers one worker. It matters when the AMQP connection breaks between a command and its ack: the job comes back, and
//! its outcome is still known here.

use crate::envelope::Envelope;
use crate::table::Table;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many ids.
    pub ids: usize,
    /// How many bytes of replies.
    pub bytes: usize,
    /// For how long.
    pub keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ids: 10_000, bytes: 8 << 20, keep: Duration::from_secs(600) }
    }
}

/// A reply as it was first given.
pub(crate) type Reply = Arc<Envelope>;

/// What is known of an id.
pub(crate) enum Recall {
    /// Nothing: it is entered as running, and [`Recent::finish`] must follow.
    New,
    /// It is being run; the receiver hears the reply, or `None` if there will be none and it may be run.
    Running(oneshot::Receiver<Option<Reply>>),
    /// It was run.
    Done(Reply),
    /// The id stands for something else: same id, other command.
    Different,
}

#[derive(Default)]
pub(crate) struct Recent {
    ids: Table<Arc<str>, Entry>,
    done: VecDeque<(Instant, Arc<str>)>,
    bytes: usize,
}

struct Entry {
    /// Of the job's body: the same id with another body is another command.
    digest: u64,
    state: State,
}

enum State {
    Running(Vec<oneshot::Sender<Option<Reply>>>),
    Done { reply: Reply, until: Instant, reached: bool },
}

/// What is known of an id, for somebody who only asks.
pub(crate) enum Glimpse {
    /// Nothing.
    Nothing,
    /// It is being run; the receiver hears when it has come to its end.
    Running(oneshot::Receiver<Option<Reply>>),
    /// It was run.
    Done(Reply),
}

/// What is to be remembered of a job that came to its end.
pub(crate) enum End {
    /// Nothing: it was not begun, or is somebody else's by now.
    Nothing,
    /// It surely did not reach its device: who sends it anew means another try, but a redelivery is the same one.
    NotReached(Reply),
    /// It may have reached its device.
    Reached(Reply),
}

impl Recent {
    /// Looks an id up, and enters it as running if it is not known.
    pub(crate) fn begin(
        &mut self,
        id: &Arc<str>,
        digest: u64,
        redelivered: bool,
        now: Instant,
        limits: &Limits,
    ) -> Recall {
        self.forget_old(now, limits);
        if !redelivered {
            self.forget_unreached(id);
        }
        match self.ids.get_mut(id) {
            None => {
                self.ids.insert(id.clone(), Entry { digest, state: State::Running(Vec::new()) });
                Recall::New
            }
            Some(entry) if entry.digest != digest => Recall::Different,
            Some(Entry { state: State::Done { reply, .. }, .. }) => Recall::Done(reply.clone()),
            Some(Entry { state: State::Running(waiting), .. }) => {
                let (waiter, heard) = oneshot::channel();
                waiting.push(waiter);
                Recall::Running(heard)
            }
        }
    }

    /// The end of what [`Recent::begin`] entered. Who waits for it hears a reply only if it may have reached its device.
    pub(crate) fn finish(&mut self, id: &Arc<str>, end: End, now: Instant, limits: &Limits) {
        let Some(entry) = self.ids.get_mut(id) else { return };
        let State::Running(waiting) = &mut entry.state else { return };
        let heard = if let End::Reached(reply) = &end { Some(reply) } else { None };
        for waiter in waiting.drain(..) {
            drop(waiter.send(heard.cloned()));
        }
        let (reply, reached) = match end {
            End::Nothing => return drop(self.ids.remove(id)),
            End::NotReached(reply) => (reply, false),
            End::Reached(reply) => (reply, true),
        };
        self.bytes += reply.body.len();
        let until = now + limits.keep;
        entry.state = State::Done { reply, until, reached };
        self.done.push_back((until, id.clone()));
        self.forget_old(now, limits);
    }

    /// What is known of an id; nothing changes.
    pub(crate) fn glimpse(&mut self, id: &str) -> Glimpse {
        match self.ids.get_mut(id).map(|entry| &mut entry.state) {
            None => Glimpse::Nothing,
            Some(State::Done { reply, .. }) => Glimpse::Done(reply.clone()),
            Some(State::Running(waiting)) => {
                let (waiter, heard) = oneshot::channel();
                waiting.push(waiter);
                Glimpse::Running(heard)
            }
        }
    }

    fn forget_unreached(&mut self, id: &Arc<str>) {
        if let Some(Entry { state: State::Done { reply, reached: false, .. }, .. }) = self.ids.get(id) {
            self.bytes -= reply.body.len();
            self.ids.remove(id);
        }
    }

    fn forget_old(&mut self, now: Instant, limits: &Limits) {
        while let Some((until, _)) = self.done.front() {
            if *until > now && self.done.len() <= limits.ids && self.bytes <= limits.bytes {
                return;
            }
            let Some((end, id)) = self.done.pop_front() else { return };
            // Forgotten in between and entered again, it is another entry.
            if let Some(Entry { state: State::Done { reply, until, .. }, .. }) = self.ids.get(&id)
                && *until == end
            {
                self.bytes -= reply.body.len();
                self.ids.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn reply(text: &'static str) -> Reply {
        Arc::new(Envelope { body: Bytes::from_static(text.as_bytes()), ..Envelope::default() })
    }

    const LIMITS: Limits = Limits { ids: 2, bytes: 10, keep: Duration::from_secs(1) };

    #[test]
    fn a_repetition_hears_what_the_first_one_heard() {
        let (mut recent, id, now) = (Recent::default(), Arc::from("a"), Instant::now());
        assert!(matches!(recent.begin(&id, 1, false, now, &LIMITS), Recall::New));
        let Recall::Running(mut heard) = recent.begin(&id, 1, false, now, &LIMITS) else { panic!("not running") };
        recent.finish(&id, End::Reached(reply("r")), now, &LIMITS);
        assert_eq!(heard.try_recv().unwrap(), Some(reply("r")));
        assert!(matches!(recent.begin(&id, 1, false, now, &LIMITS), Recall::Done(r) if r == reply("r")));
        assert!(matches!(recent.begin(&id, 2, false, now, &LIMITS), Recall::Different));
        assert!(matches!(recent.begin(&id, 1, false, now + LIMITS.keep, &LIMITS), Recall::New));
    }

    #[test]
    fn what_did_not_happen_may_be_run_again() {
        let (mut recent, id, now) = (Recent::default(), Arc::from("a"), Instant::now());
        recent.begin(&id, 1, false, now, &LIMITS);
        let Recall::Running(mut heard) = recent.begin(&id, 1, false, now, &LIMITS) else { panic!("not running") };
        recent.finish(&id, End::Nothing, now, &LIMITS);
        assert_eq!(heard.try_recv().unwrap(), None);
        assert!(matches!(recent.begin(&id, 1, false, now, &LIMITS), Recall::New));
    }

    #[test]
    fn it_is_bounded_in_ids_and_bytes_and_never_forgets_what_runs() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        let running = Arc::from("running");
        recent.begin(&running, 1, false, now, &LIMITS);
        for name in ["a", "b", "c"] {
            let id = Arc::from(name);
            recent.begin(&id, 1, false, now, &LIMITS);
            recent.finish(&id, End::Reached(reply("1234")), now, &LIMITS);
        }
        assert!(matches!(recent.begin(&Arc::from("a"), 1, false, now, &LIMITS), Recall::New));
        assert!(matches!(recent.begin(&Arc::from("c"), 1, false, now, &LIMITS), Recall::Done(_)));
        assert!(matches!(recent.begin(&running, 1, false, now, &LIMITS), Recall::Running(_)));
        let big = Arc::from("big");
        recent.begin(&big, 1, false, now, &LIMITS);
        recent.finish(&big, End::Reached(reply("12345678901")), now, &LIMITS);
        assert_eq!((recent.bytes, recent.done.len()), (0, 0));
    }

    #[test]
    fn what_did_not_reach_its_device_is_told_to_a_redelivery_and_tried_again_for_a_new_one() {
        let (mut recent, id, now) = (Recent::default(), Arc::from("a"), Instant::now());
        recent.begin(&id, 1, false, now, &LIMITS);
        let Recall::Running(mut heard) = recent.begin(&id, 1, false, now, &LIMITS) else { panic!("not running") };
        recent.finish(&id, End::NotReached(reply("no")), now, &LIMITS);
        assert_eq!(heard.try_recv().unwrap(), None);
        assert!(matches!(recent.begin(&id, 1, true, now, &LIMITS), Recall::Done(r) if r == reply("no")));
        assert!(matches!(recent.begin(&id, 1, false, now, &LIMITS), Recall::New));
        let later = now + LIMITS.keep / 2;
        recent.finish(&id, End::Reached(reply("yes")), later, &LIMITS);
        // The first entry's time is up, not the second one's.
        assert!(
            matches!(recent.begin(&id, 1, false, now + LIMITS.keep, &LIMITS), Recall::Done(r) if r == reply("yes"))
        );
        assert!(matches!(recent.begin(&id, 1, false, later + LIMITS.keep, &LIMITS), Recall::New));
        assert_eq!(recent.bytes, 0);
    }
}

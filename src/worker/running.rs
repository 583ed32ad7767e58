//! What is under way here, by its id: repetitions of it wait, and whoever calls it off finds it.

use super::Shared;
use super::cancels::Watched;
use super::recent::{End, Recent};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// A bulk that is coordinated here, found by whoever calls it off until it is dropped.
pub(super) struct Coordinated {
    shared: Arc<Shared>,
    id: Arc<str>,
    watched: Watched,
}

impl Coordinated {
    pub(super) fn enter(shared: &Arc<Shared>, id: &Arc<str>, made_at: Option<u64>) -> Self {
        let watched = shared.cancels().run(id, made_at);
        Self { shared: shared.clone(), id: id.clone(), watched }
    }
}

impl Drop for Coordinated {
    fn drop(&mut self) {
        self.shared.cancels().end(&self.id, &self.watched);
    }
}

/// An id entered as running; forgotten on drop unless finished with a reply.
///
/// On the heap: every future that hands it on has room for it twice, as an argument and as its own.
pub(crate) struct Running(Box<Entered>);

struct Entered {
    shared: Arc<Shared>,
    /// What it is known by: the job's id, or that of a piece of a bulk.
    key: Arc<str>,
    /// What it is called off by.
    id: Arc<str>,
    watched: Watched,
    is_piece: bool,
    done: bool,
}

impl Running {
    /// A job, which was entered as running.
    pub(super) fn job(shared: &Arc<Shared>, id: &Arc<str>, made_at: Option<u64>) -> Self {
        Self::enter(shared, [id, id], made_at, false)
    }

    /// A piece of the bulk of that id, which was entered as running under that key.
    pub(super) fn piece(shared: &Arc<Shared>, key: &Arc<str>, id: &Arc<str>, made_at: Option<u64>) -> Self {
        Self::enter(shared, [key, id], made_at, true)
    }

    fn enter(shared: &Arc<Shared>, [key, id]: [&Arc<str>; 2], made_at: Option<u64>, is_piece: bool) -> Self {
        let watched = shared.cancels().run(id, made_at);
        let (shared, key, id) = (shared.clone(), key.clone(), id.clone());
        Self(Box::new(Entered { shared, key, id, watched, is_piece, done: false }))
    }

    /// Cancelled when the job is called off.
    pub(crate) fn cancel(&self) -> CancellationToken {
        self.0.watched.token.clone()
    }

    /// Remembers what came of the job, for its repetitions.
    pub(crate) fn finish(mut self, end: End) {
        self.0.done = true;
        self.0.end(end);
    }
}

impl Entered {
    fn end(&self, end: End) {
        let shared = &self.shared;
        let (memory, limits): (&Mutex<Recent>, _) = match self.is_piece {
            true => (&shared.pieces, &super::PIECES),
            false => (&shared.recent, &shared.options.recent),
        };
        memory.lock().unwrap_or_else(PoisonError::into_inner).finish(&self.key, end, Instant::now(), limits);
        shared.cancels().end(&self.id, &self.watched);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.done {
            self.end(End::Nothing);
        }
    }
}

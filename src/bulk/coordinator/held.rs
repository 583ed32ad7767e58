//! Messages that are held unacked, and when what they say has to be written down. Pure.

use crate::amqp::Tag;

/// A message that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) tag: Tag,
    /// Since when: milliseconds since the Unix epoch.
    pub(super) since: u64,
}

/// The messages that a snapshot makes superfluous, the snapshot before it among them.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) held: Vec<Tag>,
    /// How many of them say what no snapshot says.
    pub(super) news: usize,
    /// When the first of these came.
    pub(super) news_since: Option<u64>,
    /// When the first of all came.
    pub(super) since: Option<u64>,
}

/// How long messages are held.
pub(super) struct Patience {
    /// So many that say something new make a snapshot.
    pub(super) news: usize,
    /// So long after the first of them, in milliseconds, at the latest.
    soon: u64,
    /// So long is anything held at most, in milliseconds: far less than the broker's own limit of 30 minutes.
    pub(super) longest: u64,
}

/// What is patient enough.
pub(super) const PATIENCE: Patience = Patience { news: 200, soon: 1000, longest: 600_000 };

impl Patience {
    pub(super) fn over_at(&self, log: &Log) -> Option<u64> {
        let soon = log.news_since.map(|since| since.saturating_add(self.soon));
        let longest = log.since.map(|since| since.saturating_add(self.longest));
        soon.into_iter().chain(longest).min()
    }

    pub(super) fn is_over(&self, log: &Log, now: u64) -> bool {
        self.over_at(log).is_some_and(|at| at <= now)
    }
}

impl Log {
    pub(super) fn hold(&mut self, tag: Tag, is_news: bool, now: u64) {
        self.held.push(tag);
        self.since.get_or_insert(now);
        if is_news {
            self.learnt(now);
        }
    }

    /// Something is known that no message says, or whose message is held elsewhere.
    pub(super) fn learnt(&mut self, now: u64) {
        self.news += 1;
        self.news_since.get_or_insert(now);
    }

    /// A snapshot is safe that says all of it.
    pub(super) fn written_down(&mut self) -> Vec<Tag> {
        std::mem::take(self).held
    }
}

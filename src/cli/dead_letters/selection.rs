//! Which dead letters are meant: by their ids, by their reason, at most so many.

use super::letter::Letter;
use std::collections::BTreeSet;

/// What the command line says about which letters are meant.
#[derive(Debug, Default)]
pub struct Selection {
    /// Each letter with one of these ids; without any, all of them.
    ids: BTreeSet<String>,
    /// Only those that are there for this reason.
    reason: Option<String>,
    /// At most so many.
    limit: Option<usize>,
    chosen: usize,
    found: BTreeSet<String>,
}

impl Selection {
    /// The letters with these ids, or all; of those only the ones with that reason, and at most so many.
    pub fn new(ids: &[String], reason: Option<&str>, limit: Option<usize>) -> Self {
        Self { ids: ids.iter().cloned().collect(), reason: reason.map(str::to_owned), limit, ..Self::default() }
    }

    /// Whether it asks for no letter by name.
    pub fn is_of_all(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether no further letter can be meant.
    pub fn is_complete(&self) -> bool {
        self.limit.is_some_and(|limit| self.chosen >= limit)
    }

    /// Whether the next letter is meant, in the order of the queue.
    pub fn takes(&mut self, letter: &Letter) -> bool {
        let named = self.ids.is_empty() || self.ids.contains(&letter.id);
        let takes = named && self.reason.as_ref().is_none_or(|r| *r == letter.cause.reason) && !self.is_complete();
        if takes {
            self.chosen += 1;
            self.found.insert(letter.id.clone());
        }
        takes
    }

    /// The ids of which no letter was met.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.ids.difference(&self.found).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;
    use crate::wire::dead_letter::{Cause, marked};

    fn letter(id: &str, reason: &str) -> Letter {
        let cause = Cause { reason: reason.to_owned(), ..Cause::default() };
        let message = Envelope { message_id: Some(id.to_owned()), ..Envelope::default() };
        Letter::read(marked(&message, &cause))
    }

    #[test]
    fn all_letters_with_an_id_are_meant_and_ids_of_none_are_told() {
        let mut selection = Selection::new(&["a".to_owned(), "x".to_owned(), "b".to_owned()], None, None);
        let taken = ["a", "b", "c", "a"].map(|id| selection.takes(&letter(id, "invalid")));
        assert_eq!(taken, [true, true, false, true]);
        assert_eq!(selection.missing().collect::<Vec<_>>(), ["x"]);
        assert!(!selection.is_of_all());
    }

    #[test]
    fn reason_and_limit_narrow_it() {
        let mut selection = Selection::new(&[], Some("poison"), Some(2));
        let taken = ["poison", "invalid", "poison", "poison"].map(|reason| selection.takes(&letter("a", reason)));
        assert_eq!(taken, [true, false, true, false]);
        assert!(selection.is_complete() && selection.is_of_all() && selection.missing().next().is_none());
        let mut named = Selection::new(&["a".to_owned()], Some("poison"), None);
        assert!(!named.takes(&letter("a", "invalid")));
        assert_eq!(named.missing().collect::<Vec<_>>(), ["a"]);
    }
}

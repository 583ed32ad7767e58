//! The names of tasks that we serve: how many were begun of each, and the terms that control has set.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use super::terms::Terms;

/// All names, fixed at the start: a count for every name that comes would have no bound.
pub(super) struct Register {
    places: HashMap<Arc<str>, usize>,
    names: Vec<Named>,
}

struct Named {
    name: Arc<str>,
    begun: AtomicU64,
    /// Whether control has ever set anything: without it, no task takes the lock.
    any_terms: AtomicBool,
    terms: Mutex<Terms>,
}

impl Register {
    pub(super) fn new(names: impl Iterator<Item = Arc<str>>) -> Self {
        let mut sorted: Vec<Arc<str>> = names.collect();
        sorted.sort_unstable();
        sorted.dedup();
        let places = sorted.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        let named =
            |name| Named { name, begun: AtomicU64::new(0), any_terms: AtomicBool::new(false), terms: Mutex::default() };
        Self { places, names: sorted.into_iter().map(named).collect() }
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// One more of the name at that place was begun.
    pub(super) fn count(&self, place: usize) {
        self.names[place].begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Each name with the number of tasks begun, in the order of the names.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names.iter().map(|named| (&*named.name, named.begun.load(Ordering::Relaxed)))
    }

    /// Reads the terms of a name, if any were set.
    pub(super) fn read<T>(&self, name: &str, read: impl FnOnce(&Terms) -> T) -> Option<T> {
        self.change(name, |terms| read(terms))
    }

    /// Uses the terms of a name, if any were set.
    pub(super) fn change<T>(&self, name: &str, change: impl FnOnce(&mut Terms) -> T) -> Option<T> {
        let named = &self.names[self.place(name)?];
        named.any_terms.load(Ordering::Acquire).then(|| named.with(change))
    }

    /// Sets terms; `None` if we do not serve the name.
    pub(super) fn set<T>(&self, name: &str, change: impl FnOnce(&mut Terms) -> T) -> Option<T> {
        let named = &self.names[self.place(name)?];
        named.any_terms.store(true, Ordering::Release);
        Some(named.with(change))
    }
}

impl Named {
    fn with<T>(&self, change: impl FnOnce(&mut Terms) -> T) -> T {
        change(&mut self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

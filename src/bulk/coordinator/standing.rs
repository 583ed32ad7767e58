//! What a coordinator keeps besides its bulks: those that ended, so that one that comes again is known, and what fired. Pure.

use crate::outcome::Status;
use crate::schedule::{self, Memory};
use crate::wire::bulk::Stand;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many bulks that ended are remembered.
const MOST: usize = 1000;
/// How many of one schedule's: its own memory knows what fired.
const MOST_FIRES: usize = 20;
/// How long they are remembered.
const KEPT_MS: u64 = 48 * 3_600_000;
/// Devices of one that are named.
pub(super) const FAILED: usize = 20;

/// A bulk that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// When: milliseconds since the Unix epoch.
    pub(super) at: u64,
    /// When it was handed over.
    pub(super) began: u64,
    /// Tells two jobs with one id apart.
    pub(super) digest: u64,
    pub(super) stand: Stand,
    pub(super) counts: [usize; Status::ALL.len()],
    /// The first devices that did not succeed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) failed: Vec<Arc<str>>,
}

/// What is kept. Two pieces of any age merge to what both know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    #[serde(default)]
    pub(super) ended: BTreeMap<Arc<str>, Ended>,
    /// What happened to each schedule so far, by its name.
    #[serde(default)]
    pub(super) schedules: BTreeMap<Arc<str>, Memory>,
}

impl Standing {
    pub(super) fn merge(&mut self, other: Self) {
        for (id, ended) in other.ended {
            self.add(id, ended);
        }
        for (name, memory) in other.schedules {
            let known = self.schedules.entry(name).or_default();
            *known = known.merge(memory);
        }
    }

    /// A bulk ended.
    pub(super) fn add(&mut self, id: Arc<str>, ended: Ended) {
        match self.ended.get(&id) {
            Some(known) if known.at >= ended.at => {}
            _ => drop(self.ended.insert(id, ended)),
        }
    }

    /// Forgets what is too old or too much; of schedules, what nothing happened to for long and is not among these.
    pub(super) fn forget(&mut self, now: u64, is_set: impl Fn(&str) -> bool) {
        self.schedules
            .retain(|name, memory| is_set(name) || memory.last.is_some_and(|at| at.saturating_add(KEPT_MS) > now));
        self.ended.retain(|_, ended| ended.at.saturating_add(KEPT_MS) > now);
        let mut newest: Vec<(u64, Arc<str>)> = self.ended.iter().map(|(id, ended)| (ended.at, id.clone())).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let mut fires: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, (_, id)) in newest.iter().enumerate() {
            // Others may have such an id as well.
            let schedule = schedule::name_of(id).filter(|name| self.schedules.contains_key(*name) || is_set(name));
            let is_one_too_many = schedule.is_some_and(|schedule| {
                let count = fires.entry(schedule).or_default();
                *count += 1;
                *count > MOST_FIRES
            });
            if index >= MOST || is_one_too_many {
                self.ended.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(at: u64) -> Ended {
        Ended { at, began: 0, digest: 1, stand: Stand::Completed, counts: [0; 8], failed: Vec::new() }
    }

    #[test]
    fn the_newest_are_kept_and_of_each_schedule_only_the_last_fires() {
        let mut standing = Standing::default();
        for at in 0..1500 {
            standing.add(format!("b{at}").into(), ended(at));
            standing.add(format!("tick@{at}").into(), ended(at));
        }
        for at in 1400..1450 {
            standing.add(format!("update@{at}").into(), ended(at));
        }
        standing.schedules.insert("old".into(), Memory::default());
        standing.schedules.insert("set".into(), Memory::default());
        standing.forget(1500, |name| name == "set" || name == "tick");
        assert_eq!(standing.schedules.len(), 1);
        let others = standing.ended.keys().filter(|id| id.starts_with("update@")).count();
        assert_eq!(others, 50, "no schedule is called so");
        let fires = standing.ended.keys().filter(|id| id.starts_with("tick@")).count();
        assert_eq!(fires, MOST_FIRES);
        assert!(standing.ended.contains_key("b1499") && standing.ended.contains_key("tick@1499"));
        assert!(!standing.ended.contains_key("b10") && standing.ended.len() <= MOST);
        standing.forget(KEPT_MS + 1499, |_| false);
        assert!(standing.ended.is_empty());
    }

    #[test]
    fn two_pieces_add_up_in_any_order() {
        let piece = |entries: &[(&str, u64)]| {
            let mut standing = Standing::default();
            entries.iter().for_each(|(id, at)| standing.add((*id).into(), ended(*at)));
            standing
        };
        let (a, b) = (piece(&[("x", 1), ("y", 5)]), piece(&[("y", 4), ("z", 2)]));
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.merge(b);
        ba.merge(a);
        assert_eq!(ab, ba);
        assert_eq!(ab.ended.get("y").map(|ended| ended.at), Some(5));
    }
}

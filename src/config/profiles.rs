//! `[profiles.NAME]`: what was set, laid key by key over the built-in profile of that name, and compiled.

use super::problem::{Problem, Source};
use crate::profile::{Profile, builtin};
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::{Table, Value};

/// Every profile by its name: the built-in ones, as changed, and the user's own.
pub type Profiles = BTreeMap<String, Arc<Profile>>;

/// Compiles every profile, or says everything that is wrong with any of them.
pub(super) fn compile(mut set: BTreeMap<String, ProfileTable>) -> (Profiles, Vec<Problem>) {
    let (mut profiles, mut problems) = (Profiles::new(), Vec::new());
    let builtin = builtin().into_iter().map(|(name, table)| {
        let set = set.remove(&name).unwrap_or_default();
        (name, set.over(&table), set)
    });
    let mut all: Vec<_> = builtin.collect();
    all.extend(set.into_iter().map(|(name, set)| (name, set.set.clone(), set)));
    for (name, table, set) in all {
        match Profile::compile(&name, &table) {
            Ok(profile) => drop(profiles.insert(name, Arc::new(profile))),
            Err(found) => problems.extend(found.into_iter().map(|found| set.problem(&name, &found.key, found.problem))),
        }
    }
    (profiles, problems)
}

/// The keys that were set in one profile, and where.
#[derive(Clone, Debug, Default)]
pub(super) struct ProfileTable {
    /// The keys, as deep as they were given.
    pub(super) set: Table,
    sources: BTreeMap<String, Source>,
}

impl ProfileTable {
    /// Lays more keys over these.
    pub(super) fn add(&mut self, table: &Table, source: &dyn Fn(&[&str]) -> Source) {
        merge(&mut self.set, table);
        // Where it begins: who sets more of it later has no part in what is missing.
        self.sources.entry(String::new()).or_insert_with(|| source(&[]));
        self.remember(&mut Vec::new(), table, source);
    }

    fn remember<'t>(&mut self, path: &mut Vec<&'t str>, table: &'t Table, source: &dyn Fn(&[&str]) -> Source) {
        for (name, value) in table {
            path.push(name);
            self.sources.insert(path.join("."), source(path));
            if let Value::Table(inner) = value {
                self.remember(path, inner, source);
            }
            path.pop();
        }
    }

    /// The profile to compile: these keys laid over those of the built-in profile, tables within tables likewise.
    fn over(&self, builtin: &Table) -> Table {
        let mut merged = builtin.clone();
        merge(&mut merged, &self.set);
        merged
    }

    /// A problem that the profile's compiler found in `key`, said of the place where that key was set; where it was not,
    /// of the nearest table around it that was, which may be the whole profile.
    fn problem(&self, profile: &str, key: &str, problem: impl Into<String>) -> Problem {
        let around = std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(around, _)| around));
        let source = around.chain([""]).filter_map(|key| self.sources.get(key)).next();
        let path = if key.is_empty() { format!("profiles.{profile}") } else { format!("profiles.{profile}.{key}") };
        Problem::new(source.cloned().unwrap_or(Source::Default), path, problem)
    }
}

fn merge(under: &mut Table, over: &Table) {
    for (name, value) in over {
        match (under.get_mut(name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            _ => drop(under.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_laid_over_the_builtin_profile_one_by_one() {
        let builtin: Table = "qos = 1\nretain = false\n[answer]\ntopic = 'a'\nmatch = 'b'".parse().unwrap();
        let mut profile = ProfileTable::default();
        profile.add(&"qos = 2\n[answer]\ntopic = 'c'".parse().unwrap(), &|_| Source::Default);
        profile.add(&"qos = 0".parse().unwrap(), &|_| Source::Flag("--x"));
        let expected: Table = "qos = 0\nretain = false\n[answer]\ntopic = 'c'\nmatch = 'b'".parse().unwrap();
        assert_eq!(profile.over(&builtin), expected);
        assert_eq!(profile.problem("p", "qos", "").source, Source::Flag("--x"));
        assert_eq!(profile.problem("p", "answer.match", "").key, "profiles.p.answer.match");
    }
}

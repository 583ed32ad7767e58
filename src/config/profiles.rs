//! What was set in `[profiles.NAME]`, to be laid over the built-in profile of that name.

use super::problem::{Problem, Source};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The keys that were set in one profile, and where.
#[derive(Clone, Debug, Default)]
pub struct ProfileTable {
    /// The keys, as deep as they were given.
    pub set: Table,
    sources: BTreeMap<String, Source>,
}

impl ProfileTable {
    /// Lays more keys over these.
    pub fn add(&mut self, table: &Table, source: &dyn Fn(&[&str]) -> Source) {
        merge(&mut self.set, table);
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
    pub fn over(&self, builtin: &Table) -> Table {
        let mut merged = builtin.clone();
        merge(&mut merged, &self.set);
        merged
    }

    /// A problem that the profile's compiler found in `key`, said of the place where that key was set; where it was not,
    /// of the nearest table around it that was.
    pub fn problem(&self, profile: &str, key: &str, problem: impl Into<String>) -> Problem {
        let around = std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(around, _)| around));
        let source = around.filter_map(|key| self.sources.get(key)).next().or_else(|| self.sources.values().next());
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

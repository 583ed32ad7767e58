//! What was set, by whom, before it is checked: later sources replace earlier ones, key by key.

use super::keys::{self, KEYS, SECTIONS};
use super::kind::read_any;
use super::problem::{Problem, Source};
use super::profiles::ProfileTable;
use super::suggest::nearest;
use crate::profile::builtin;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// A value and who said so.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The value, unchecked.
    pub value: Value,
    /// Who said so last.
    pub source: Source,
}

/// Everything that was set.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The keys of the table, by path.
    pub values: BTreeMap<&'static str, Given>,
    /// What was set in each profile.
    pub profiles: BTreeMap<String, ProfileTable>,
    /// The list of schedules as a whole.
    pub schedules: Option<Value>,
    /// Where the keys within tables of the user's own stand, by their path, joined by zeros.
    deep: BTreeMap<String, Source>,
    /// What is known to be wrong so far.
    pub problems: Vec<Problem>,
}

impl Settings {
    /// Takes in a table of any depth; `source` tells where the key of that path stands.
    pub(super) fn add_table(&mut self, table: &Table, source: &dyn Fn(&[&str]) -> Source) {
        for (name, value) in table {
            match name.as_str() {
                "profiles" => self.add_profiles(value, source),
                "schedules" => self.set_schedules(value.clone(), source),
                _ => self.add_section(&[name], value, source),
            }
        }
    }

    fn add_section(&mut self, path: &[&str], value: &Value, source: &dyn Fn(&[&str]) -> Source) {
        let dotted = path.join(".");
        let is_section = SECTIONS.iter().any(|(section, _)| *section == dotted);
        match (keys::find(&dotted), value) {
            (Some(key), _) => {
                self.remember(path, value, source);
                self.values.insert(key.path, Given { value: value.clone(), source: source(path) });
            }
            (None, Value::Table(table)) if is_section => {
                for (name, value) in table {
                    self.add_section(&[path, &[name.as_str()]].concat(), value, source);
                }
            }
            _ if is_section => {
                self.report(source(path), &dotted, format!("is a section; right is [{dotted}] with its keys below"))
            }
            _ => self.unknown(source(path), &dotted),
        }
    }

    fn set_schedules(&mut self, value: Value, source: &dyn Fn(&[&str]) -> Source) {
        // The list is replaced as a whole, and so are its places.
        self.deep.retain(|path, _| path.split('\0').next() != Some("schedules"));
        self.remember(&["schedules"], &value, source);
        self.schedules = Some(value);
    }

    fn remember(&mut self, path: &[&str], value: &Value, source: &dyn Fn(&[&str]) -> Source) {
        self.deep.insert(path.join("\0"), source(path));
        for (name, value) in value.as_table().into_iter().flatten() {
            self.remember(&[path, &[name.as_str()]].concat(), value, source);
        }
        for (index, value) in value.as_array().into_iter().flatten().enumerate().filter(|(_, item)| item.is_table()) {
            self.remember(&[path, &[index.to_string().as_str()]].concat(), value, source);
        }
    }

    /// Where a key within a table of the user's own stands, or the nearest table around it.
    pub(super) fn place(&self, path: &[&str]) -> Source {
        let around = (1..=path.len()).rev().map(|depth| path[..depth].join("\0"));
        around.filter_map(|path| self.deep.get(&path)).next().cloned().unwrap_or(Source::Default)
    }

    fn add_profiles(&mut self, value: &Value, source: &dyn Fn(&[&str]) -> Source) {
        let Value::Table(profiles) = value else {
            return self.report(
                source(&["profiles"]),
                "profiles",
                "is no table; right is [profiles.NAME] with its keys below",
            );
        };
        for (name, value) in profiles {
            match value {
                Value::Table(table) => {
                    let key_source = |path: &[&str]| source(&[&["profiles", name.as_str()], path].concat());
                    self.profiles.entry(name.clone()).or_default().add(table, &key_source);
                }
                _ => self.report(
                    source(&["profiles", name]),
                    &format!("profiles.{name}"),
                    "is no table; right is [profiles.NAME] with its keys below",
                ),
            }
        }
    }

    /// Takes in one value given as text: an environment variable (`path` split at `__`) or a flag.
    ///
    /// Names are compared without regard to case. A profile is looked for among those set so far and the built-in ones,
    /// where `_` also stands for `-`, which no shell takes in a variable's name.
    pub(super) fn add_text(&mut self, path: &[String], text: &str, source: Source) {
        let lower: Vec<String> = path.iter().map(|part| part.to_lowercase()).collect();
        let dotted = lower.join(".");
        if let Some(key) = keys::find(&dotted) {
            let value = key.kind.read(text);
            // It replaces what a file said, and so do its places.
            let within = key.path.replace('.', "\0");
            self.deep.retain(|path, _| !path.starts_with(&within));
            self.remember(&key.path.split('.').collect::<Vec<_>>(), &value, &|_| source.clone());
            self.values.insert(key.path, Given { value, source });
            return;
        }
        match lower.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["schedules"] => self.set_schedules(read_any(text), &|_| source.clone()),
            ["profiles", name, ref keys @ ..] if !keys.is_empty() => {
                let plain = |name: &str| name.to_lowercase().replace('-', "_");
                let known = self.profiles.keys().cloned().chain(builtin().into_iter().map(|(name, _)| name));
                let name =
                    known.into_iter().find(|known| plain(known) == plain(name)).unwrap_or_else(|| name.to_owned());
                let value = keys
                    .iter()
                    .rev()
                    .fold(read_any(text), |value, key| Value::Table(Table::from_iter([((*key).to_owned(), value)])));
                if let Value::Table(table) = value {
                    self.profiles.entry(name).or_default().add(&table, &|_| source.clone());
                }
            }
            _ => self.unknown(source, &dotted),
        }
    }

    /// Adds a problem.
    pub(super) fn report(&mut self, source: Source, key: &str, problem: impl Into<String>) {
        self.problems.push(Problem::new(source, key, problem));
    }

    fn unknown(&mut self, source: Source, dotted: &str) {
        let (section, name) = dotted.rsplit_once('.').unwrap_or(("", dotted));
        let known_section = section.is_empty() || SECTIONS.iter().any(|(known, _)| *known == section);
        let sections = || SECTIONS.iter().map(|(section, _)| *section).chain(["profiles", "schedules"]);
        // First what the section itself has, then the same name elsewhere: a key in the wrong section is a usual slip.
        let siblings = KEYS.iter().filter(|key| key.section() == section).map(|key| key.name());
        let here = nearest(name, siblings).map(|name| format!("{section}.{name}"));
        let elsewhere = || KEYS.iter().find(|key| key.name() == name).map(|key| key.path.to_owned());
        let top =
            || nearest(dotted.split('.').next().unwrap_or_default(), sections()).map(|section| format!("[{section}]"));
        let meant = if section.is_empty() {
            top().or_else(elsewhere)
        } else if known_section {
            here.or_else(elsewhere)
        } else {
            top().or_else(elsewhere)
        };
        let what = if section.is_empty() || !known_section {
            "is no section or key of the configuration"
        } else {
            "is no key of this section"
        };
        let problem = match meant {
            Some(meant) => format!("{what}; did you mean {meant}?"),
            None => format!("{what}; `switchboard schema config` lists all there are"),
        };
        self.report(source, dotted, problem);
    }
}

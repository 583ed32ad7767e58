//! `[[schedules]]`: jobs at set times, read from TOML and held against the rest of the configuration.

mod job;
mod reader;
mod schema;

pub(super) use schema::schema;

use super::kind::describe;
use super::problem::Problem;
use super::sections::Config;
use super::settings::Settings;
use super::url::redact;
#[cfg(test)]
pub(super) use reader::NAMES;
use reader::Reader;
use std::collections::BTreeMap;
use toml::Value;

/// The most schedules of one configuration: each is looked at again whenever one fires.
const MOST: usize = 1000;

/// Checks the schedules and fills them in.
pub(super) fn check(config: &mut Config, settings: &mut Settings) {
    let Some(value) = settings.schedules.take() else { return };
    let Value::Array(list) = &value else {
        let problem = format!("is {}; right is [[schedules]] with its keys below, once for each", describe(&value));
        return settings.report(settings.place(&["schedules"]), "schedules", problem);
    };
    if list.len() > MOST {
        let problem = format!("are {}; right are at most {MOST}", list.len());
        settings.report(settings.place(&["schedules"]), "schedules", problem);
    }
    let mut schedules = Vec::new();
    let mut problems = Vec::new();
    let mut names = BTreeMap::new();
    for (index, value) in list.iter().enumerate() {
        let mut reader = Reader::new(config, &settings.problems);
        let schedule = reader.schedule(value);
        let name = value.get("name").and_then(Value::as_str);
        if let Some(name) = name
            && let Some(first) = names.insert(name.to_owned(), index)
        {
            reader
                .wrong("name", format!("is {name:?}, as that of schedule {}; each needs a name of its own", first + 1));
        }
        let at = name.map_or_else(|| format!("schedules[{index}]"), |name| format!("schedules.{name}"));
        let number = index.to_string();
        let found = reader.into_problems();
        match schedule {
            Some(schedule) if found.is_empty() => schedules.push(schedule),
            _ => {}
        }
        problems.extend(found.into_iter().map(|(key, problem)| {
            let path: Vec<&str> = ["schedules", &number].into_iter().chain(key.split('.')).collect();
            let key = if key.is_empty() { at.clone() } else { format!("{at}.{key}") };
            // A message may repeat a text, and in a text there may be an address with its password.
            Problem::new(settings.place(&path), redact(&key), redact(&problem))
        }));
    }
    config.schedules = schedules;
    settings.problems.extend(problems);
}

//! Reading a profile's keys one by one, so that every unknown key and bad value is reported at once.

use super::Problem;
use std::time::Duration;
use toml::{Table, Value};

/// A table of keys being read, and what was wrong so far.
pub(super) struct Keys<'t> {
    table: &'t Table,
    /// What stands before the name of each key in a problem: `status.`.
    prefix: &'static str,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'t> Keys<'t> {
    pub(super) fn new(table: &'t Table, prefix: &'static str) -> Self {
        Self { table, prefix, known: Vec::new(), problems: Vec::new() }
    }

    /// Notes that a key's value is wrong.
    pub(super) fn problem(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.push(Problem { key: format!("{}{key}", self.prefix), problem: problem.into() });
    }

    /// The value of a key as `read` understands it; `None`, and a problem noted, where it does not.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'t Value) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        match read(self.table.get(key)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problem(key, problem);
                None
            }
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<&'t str> {
        self.read(key, |value| value.as_str().ok_or_else(|| wrong(value, "a string")))
    }

    /// A text that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&'t str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(key, |value| parse(value.as_str().ok_or_else(|| wrong(value, "a string"))?))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, |value| value.as_bool().ok_or_else(|| wrong(value, "true or false")))
    }

    /// A whole number within a range.
    pub(super) fn number(&mut self, key: &'static str, least: i64, most: i64) -> Option<usize> {
        self.read(key, |value| {
            let right = match most {
                i64::MAX => format!("a whole number from {least}"),
                _ => format!("a whole number from {least} to {most}"),
            };
            let number = value.as_integer().filter(|number| (least..=most).contains(number));
            number.and_then(|number| usize::try_from(number).ok()).ok_or_else(|| wrong(value, &right))
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.read(key, |value| {
            let found = choices.iter().find(|(word, _)| value.as_str() == Some(*word));
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
                wrong(value, &words.join(" or "))
            })
        })
    }

    /// A list of strings; one string stands for a list of one.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<&'t str>> {
        self.read(key, |value| match value {
            Value::String(text) => Ok(vec![text.as_str()]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().ok_or_else(|| format!("has the item {}; strings are right", shown(item))))
                .collect(),
            _ => Err(wrong(value, "a list of strings")),
        })
    }

    /// A length of time: `250ms`, `5s`, `2m`, `1h`.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.read(key, |value| {
            value.as_str().and_then(parse_duration).ok_or_else(|| wrong(value, "a duration like \"250ms\" or \"60s\""))
        })
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<&'t Table> {
        self.read(key, |value| value.as_table().ok_or_else(|| wrong(value, "a table")))
    }

    /// Takes over what was wrong in a table within this one.
    pub(super) fn absorb(&mut self, mut problems: Vec<Problem>) {
        self.problems.append(&mut problems);
    }

    /// Everything that was wrong, with each key that nobody asked for.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let unknown: Vec<String> =
            self.table.keys().filter(|key| !self.known.contains(&key.as_str())).cloned().collect();
        self.known.sort_unstable();
        // Some are read twice, in different ways.
        self.known.dedup();
        for key in unknown {
            let known = self.known.join(", ");
            self.problem(&key, format!("is not known here; the keys are {known}"));
        }
        self.problems
    }
}

/// "is …; … is right", for a value of the wrong kind or range.
pub(super) fn wrong(value: &Value, right: &str) -> String {
    format!("is {}; {right} is right", shown(value))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {}", crate::excerpt::Excerpt(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        other => other.to_string(),
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

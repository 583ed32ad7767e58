//! A configuration file: its keys, and on which line each stands.

use super::problem::{Problem, Source};
use super::settings::Settings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Table;
use toml::de::{DeTable, DeValue};

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path, as it was given.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl File {
    /// Reads it; the problem says why it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { path: path.to_owned(), text }),
            Err(error) => {
                let source = Source::File { path: Arc::new(path.to_owned()), line: 0 };
                Err(Problem::new(source, "", format!("this configuration file cannot be read: {error}")))
            }
        }
    }

    /// Adds its keys to what was set; if it is no TOML, says where and adds nothing.
    pub(super) fn add_to(&self, settings: &mut Settings) {
        let path = Arc::new(self.path.clone());
        let at = |line| Source::File { path: path.clone(), line };
        let (spans, errors) = DeTable::parse_recoverable(&self.text);
        for error in &errors {
            let line = error.span().map_or(0, |span| self.line(span.start));
            // Its message only: the whole error would repeat the line, and with it perhaps a password.
            settings.report(at(line), "", format!("is no valid TOML: {}", error.message()));
        }
        let (true, Ok(table)) = (errors.is_empty(), self.text.parse::<Table>()) else { return };
        let mut lines = BTreeMap::new();
        self.collect(&mut Vec::new(), spans.get_ref(), &mut lines);
        settings.add_table(&table, &|key| at(lines.get(&key.join("\0")).copied().unwrap_or(0)));
    }

    fn collect(&self, path: &mut Vec<String>, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
        for (name, value) in table {
            self.collect_at(path, name.get_ref(), name.span().start, value.get_ref(), lines);
        }
    }

    fn collect_at(
        &self,
        path: &mut Vec<String>,
        name: &str,
        at: usize,
        value: &DeValue<'_>,
        lines: &mut BTreeMap<String, usize>,
    ) {
        path.push(name.to_owned());
        lines.insert(path.join("\0"), self.line(at));
        match value {
            DeValue::Table(inner) => self.collect(path, inner, lines),
            // The tables of a list go by their number.
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate().filter(|(_, item)| item.get_ref().is_table()) {
                    self.collect_at(path, &index.to_string(), item.span().start, item.get_ref(), lines);
                }
            }
            _ => {}
        }
        path.pop();
    }

    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }
}

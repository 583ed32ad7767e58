//! The project's own files as tests read them: paths, text, and which modules and crates a source file names.

use std::path::Path;

/// A file of Rust.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// From the project's folder, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text without comments and literals.
    code: String,
}

/// Every file under `src`.
pub(crate) fn files() -> Vec<SourceFile> {
    let files = rust_under("src");
    assert!(files.len() > 5, "src was not found");
    files
}

/// Every file under `tests`.
pub(crate) fn test_files() -> Vec<SourceFile> {
    rust_under("tests")
}

/// The text of a file of the project; what is not UTF-8 in it is replaced.
pub(crate) fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The paths of every file of the project that people write: no build output, no history, no lock file.
pub(crate) fn project_files() -> Vec<String> {
    const NOT_OURS: &[&str] = &[".git", "target", ".state", "node_modules", "__pycache__", ".venv", "Cargo.lock"];
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type().unwrap();
            if NOT_OURS.contains(&name.as_str()) || name.ends_with(".log") {
                continue;
            } else if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn rust_under(folder: &str) -> Vec<SourceFile> {
    let prefix = format!("{folder}/");
    let paths = project_files().into_iter().filter(|path| path.starts_with(&prefix) && path.ends_with(".rs"));
    paths.map(|path| SourceFile::new(path.clone(), read(&path))).collect()
}

impl SourceFile {
    fn new(path: String, text: String) -> Self {
        let code = code_of(&text);
        Self { path, text, code }
    }

    /// The module that it belongs to: the first name under `src`.
    pub(crate) fn module(&self) -> String {
        let under = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = under.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first).to_owned()
    }

    /// Every module of the crate that it names from the root: by `crate::`, or by enough `super::`; `switchboard::` in the
    /// program's own door.
    pub(crate) fn modules_used(&self, is_module: impl Fn(&str) -> bool) -> Vec<String> {
        let mut used = Vec::new();
        for root in ["crate", "switchboard"] {
            for after in self.paths_from(root) {
                used.extend(heads(after));
            }
        }
        let depth = self.path.trim_end_matches("/mod.rs").split('/').count() - 1;
        let climb = "super::".repeat(depth);
        for (at, _) in self.code.match_indices(&climb) {
            let rest = self.code[at..].trim_start_matches("super::");
            used.extend(heads(rest));
        }
        used.retain(|name| is_module(name));
        used.sort();
        used.dedup();
        used
    }

    /// Whether it names this foreign crate. A module of ours with the same name is not taken for it.
    pub(crate) fn uses_crate(&self, name: &str) -> bool {
        if name == "metrics" {
            // `crate::metrics` is imported as `metrics` all over the house: the crate is named with `::` before it.
            return self.code.match_indices("::metrics::").any(|(at, _)| !ends_in_name(&self.code[..at]))
                || self.code.lines().any(|line| line.trim_start().starts_with("use metrics::"));
        }
        self.paths_from(name).next().is_some()
    }

    /// What follows `name::` wherever that begins a path.
    fn paths_from<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.code.match_indices(name).filter_map(move |(at, _)| {
            let before = &self.code[..at];
            let absolute = before.strip_suffix("::").is_some_and(|before| !ends_in_name(before));
            let begins = absolute || !(before.ends_with("::") || ends_in_name(before));
            self.code[at + name.len()..].strip_prefix("::").filter(|_| begins)
        })
    }
}

fn ends_in_name(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>')
}

/// The first names of a path or of a group in braces: `a::b` gives a; `{a::{b, c}, d}` gives a and d.
fn heads(after: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = after.strip_prefix('{') else { return vec![name(after)] };
    let (mut depth, mut heads, mut fresh) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                heads.push(name(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// A text of Rust without comments, strings and characters; line ends stay.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest).filter(|_| !ends_in_name(&code)) {
            length
        } else if c == '"' {
            string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the raw string at the beginning, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let hashes_on = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = hashes_on.len() - hashes_on.trim_start_matches('#').len();
    let inner = hashes_on[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inner.len() + inner.find(&end).map_or(inner.len(), |at| at + end.len()))
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut inner = text.char_indices().skip(1);
    match inner.next() {
        Some((_, '\\')) => text.char_indices().skip(3).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        Some(_) => inner.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::new(path.into(), text.into())
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "a // lapin::x\n/* lapin::y */ b \"lapin::z \\\" lapin::\" 'l' '\\'' r#\"lapin::\"# c<'a>";
        assert_eq!(code_of(text).split_whitespace().collect::<Vec<_>>(), ["a", "b", "c<'a>"]);
    }

    #[test]
    fn modules_are_found_however_they_are_named() {
        let text = "use crate::amqp::X;\nuse crate::{job::{A, B}, topic,\n  wire::c};\nfn f(x: crate::mqtt::Y) {}";
        assert_eq!(file("src/a.rs", text).modules_used(|_| true), ["amqp", "job", "mqtt", "topic", "wire"]);
        let climbing = file("src/mqtt/link.rs", "use super::router; use super::super::amqp::Z;");
        assert_eq!(climbing.modules_used(|_| true), ["amqp"]);
        let parent = file("src/mqtt/mod.rs", "use super::amqp; mod router;");
        assert_eq!((parent.modules_used(|_| true), parent.module()), (vec!["amqp".to_owned()], "mqtt".to_owned()));
        assert_eq!(file("src/main.rs", "switchboard::cli::run()").modules_used(|_| true), ["cli"]);
    }

    #[test]
    fn crates_are_found_and_modules_of_the_same_name_are_not() {
        let uses = |text: &str, name: &str| file("src/a.rs", text).uses_crate(name);
        assert!(
            uses("use lapin::Connection;", "lapin")
                && uses("x: ::lapin::Y", "lapin")
                && uses("#[derive(clap::Args)]", "clap")
        );
        assert!(!uses("crate::lapin::x", "lapin") && !uses("my_lapin::x", "lapin") && !uses("// lapin::x", "lapin"));
        assert!(uses("use ::metrics::Gauge;", "metrics") && uses("use metrics::Gauge;", "metrics"));
        assert!(!uses("use metrics_exporter_prometheus::X;", "metrics"));
        assert!(!uses("use crate::metrics::metrics; metrics::metrics().x()", "metrics"));
    }
}

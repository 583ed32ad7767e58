//! What is wrong with a configuration, and where it was said.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A file.
    File {
        /// Its path, as it was given.
        path: Arc<PathBuf>,
        /// The line of the key, counted from 1; 0 where it concerns the whole file.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said.
    pub source: Source,
    /// The key, with its section; empty where it concerns the whole source.
    pub key: String,
    /// What is wrong and what would be right: a sentence whose subject is the key. Without secrets.
    pub problem: String,
}

impl Problem {
    /// A problem of one key.
    pub fn new(source: Source, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { source, key: key.into(), problem: problem.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}\n    {}", self.source, self.problem),
            key => write!(f, "{}: {key}\n    {}", self.source, self.problem),
        }
    }
}

/// Everything that is wrong with a configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    /// One block for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

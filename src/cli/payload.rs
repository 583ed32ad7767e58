//! The payload of a command as it is given on the command line: JSON, `@file`, or `-` for standard input.

use super::BadUsage;
use crate::job;
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a payload comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The argument itself.
    Json(Bytes),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            _ if text == "-" => Ok(Self::Stdin),
            Some("") => Err("a file's name is missing; right is @FILE".into()),
            Some(path) => Ok(Self::File(path.into())),
            None => json(Bytes::copy_from_slice(text.as_bytes())).map(Self::Json),
        }
    }
}

impl Payload {
    /// The JSON text, read from where it is.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or that is no JSON.
    pub fn read(&self) -> Result<Bytes, BadUsage> {
        let (text, from) = match self {
            Self::Json(json) => return Ok(json.clone()),
            Self::File(path) => (std::fs::read(path), path.display().to_string()),
            Self::Stdin => {
                let mut text = Vec::new();
                (std::io::stdin().read_to_end(&mut text).map(|_| text), "standard input".to_owned())
            }
        };
        let text = text.map_err(|error| BadUsage(format!("the payload in {from} cannot be read: {error}")))?;
        json(text.into()).map_err(|problem| BadUsage(format!("the payload in {from} {problem}")))
    }

    /// What goes with the command: the JSON, or nothing where none is given.
    ///
    /// # Errors
    ///
    /// As [`Payload::read`].
    pub fn of(given: Option<&Self>) -> Result<job::Payload, BadUsage> {
        given.map_or(Ok(job::Payload::Empty), |payload| payload.read().map(job::Payload::Json))
    }
}

fn json(text: Bytes) -> Result<Bytes, String> {
    match serde_json::from_slice::<IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!(
            "is no JSON: {error}; right is a value such as '{{\"speed\": 2}}', '5' or '\"on\"' (a text in double quotes)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_a_file_or_standard_input() {
        assert_eq!("{\"a\": 1}".parse(), Ok(Payload::Json("{\"a\": 1}".into())));
        assert_eq!("-".parse(), Ok(Payload::Stdin));
        assert_eq!("-5".parse(), Ok(Payload::Json("-5".into())));
        assert_eq!("@a/b".parse(), Ok(Payload::File("a/b".into())));
        for bad in ["on", "", "@", "{", "1 2"] {
            assert!(bad.parse::<Payload>().unwrap_err().contains("right is"), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_read_and_must_be_json() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1]\n").unwrap();
        assert_eq!(Payload::File(file.path().into()).read().unwrap(), "[1]\n");
        std::fs::write(file.path(), "on").unwrap();
        assert!(Payload::File(file.path().into()).read().unwrap_err().to_string().contains("is no JSON"));
        assert!(Payload::File("/nowhere/x".into()).read().unwrap_err().to_string().contains("/nowhere/x"));
    }
}

//! The records of the control stream, and what workers say to them.

use crate::envelope::Envelope;
use serde::{Deserialize, Serialize};

/// The AMQP `type` of what a worker says to a cancel.
pub const CANCEL: &str = "switchboard.cancel";
/// Bytes of an id or name in a record; a longer one is no record of ours.
const LONGEST: usize = 1024;

/// A record of the control stream, which every worker of a queue reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The job of this id is called off, if it was made before.
    Cancel {
        /// The job's id.
        id: String,
        /// When it was called off: milliseconds since the Unix epoch. A job made later is another one.
        at_ms: u64,
        /// Who called it off, for a person.
        by: String,
    },
    /// A reader's own mark, by which it knows that it has read everything before.
    Mark {
        /// Unguessable.
        by: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cancel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

impl Control {
    /// The record as a message; `reply_to` is left to whoever wants to hear what workers say to it.
    pub fn encode(&self) -> Envelope {
        let record = match self.clone() {
            Self::Cancel { id, at_ms, by } => Record { cancel: Some(id), mark: None, at_ms: Some(at_ms), by: Some(by) },
            Self::Mark { by } => Record { cancel: None, mark: Some(by), at_ms: None, by: None },
        };
        json(&record)
    }

    /// Reads a record; `None` for what is none, or one of a later version.
    pub fn decode(envelope: &Envelope) -> Option<Self> {
        let record: Record = serde_json::from_slice(&envelope.body).ok()?;
        let short = |text: &String| (1..=LONGEST).contains(&text.len());
        match record {
            Record { cancel: Some(id), at_ms: Some(at_ms), by, .. } if short(&id) => {
                Some(Self::Cancel { id, at_ms, by: by.filter(short).unwrap_or_default() })
            }
            Record { mark: Some(by), .. } if short(&by) => Some(Self::Mark { by }),
            _ => None,
        }
    }
}

/// What a worker knows of a job that is called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// Nothing: it will not run it if it gets it.
    Nothing,
    /// It ran here, and was called off.
    Running,
    /// It had its outcome before.
    Finished,
}

/// What one worker says to a cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The job's id.
    pub id: String,
    /// The worker's name.
    pub worker: String,
    /// What it knows of the job.
    pub known: Known,
    /// How the job ended: a status of a result or summary. Absent where the worker knows of no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Whether the device can have acted, as the result says it. Absent for a bulk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed: Option<String>,
}

impl Word {
    /// What a worker that remembers this result or summary knows.
    pub fn of_result(id: &str, worker: &str, known: Known, result: &Envelope) -> Self {
        #[derive(Default, Deserialize)]
        struct End {
            status: Option<String>,
            executed: Option<String>,
        }
        let End { status, executed } = serde_json::from_slice(&result.body).unwrap_or_default();
        Self { id: id.to_owned(), worker: worker.to_owned(), known, status, executed }
    }

    /// The word as a message.
    pub fn encode(&self) -> Envelope {
        json(self)
    }

    /// Reads it; `None` for what is none.
    pub fn decode(envelope: &Envelope) -> Option<Self> {
        serde_json::from_slice(&envelope.body).ok()
    }
}

fn json(what: &impl Serialize) -> Envelope {
    Envelope {
        // Texts and numbers: nothing that JSON could refuse.
        body: serde_json::to_vec(what).unwrap_or_default().into(),
        content_type: Some("application/json".to_owned()),
        kind: Some(CANCEL.to_owned()),
        persistent: true,
        ..Envelope::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let cancel = Control::Cancel { id: "01J".to_owned(), at_ms: 7, by: "me".to_owned() };
        assert_eq!(cancel.encode().body, &br#"{"cancel":"01J","at_ms":7,"by":"me"}"#[..]);
        for record in [cancel, Control::Mark { by: "x".to_owned() }] {
            assert_eq!(Control::decode(&record.encode()), Some(record));
        }
        let long = format!(r#"{{"cancel":"{}","at_ms":1}}"#, "x".repeat(LONGEST + 1));
        for other in ["", "{}", "[]", r#"{"cancel":"x"}"#, r#"{"cancel":"","at_ms":1}"#, r#"{"cancel":1}"#, &long] {
            let envelope = Envelope { body: other.to_owned().into(), ..Envelope::default() };
            assert_eq!(Control::decode(&envelope), None, "{other}");
        }
        let later = Envelope { body: r#"{"cancel":"x","at_ms":1,"why":"new"}"#.into(), ..Envelope::default() };
        assert!(Control::decode(&later).is_some(), "a later version may say more");
    }

    #[test]
    fn a_word_repeats_how_the_job_ended() {
        let body = r#"{"id":"01J","status":"cancelled","executed":"no","timing_ms":{}}"#;
        let result = Envelope { body: body.into(), ..Envelope::default() };
        let word = Word::of_result("01J", "w", Known::Running, &result);
        assert_eq!((word.status.as_deref(), word.executed.as_deref()), (Some("cancelled"), Some("no")));
        assert_eq!(Word::decode(&word.encode()), Some(word));
        let summary = Envelope { body: r#"{"status":"cancelled","total":3}"#.into(), ..Envelope::default() };
        assert_eq!(Word::of_result("01J", "w", Known::Finished, &summary).executed, None);
    }
}

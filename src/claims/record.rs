//! What is written into the claim log: claims, results, releases and marks, as small JSON messages.

use crate::envelope::Envelope;
use crate::outcome::Status;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What is claimed: one command to one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The command id.
    pub id: Arc<str>,
    /// The device, where the command is one of a bulk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// Which command to that device it is, where a bulk names it more than once; counted from the last one, which is 0: what
    /// is left of a bulk keeps its numbers. In a bulk that is spread over all workers, its place in the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nth: u32,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A subject in 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u128);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x})", self.0)
    }
}

impl Subject {
    /// A command to a device of its own.
    pub fn single(id: Arc<str>) -> Self {
        Self { id, device: None, nth: 0 }
    }

    /// The 128-bit FNV-1a hash of its parts, each followed by a byte that no UTF-8 has. Only compared within a process.
    pub fn key(&self) -> Key {
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let mut hash = OFFSET;
        let mut feed = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xFF]) {
                hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
            }
        };
        feed(self.id.as_bytes());
        if let Some(device) = &self.device {
            feed(device.as_bytes());
            feed(&self.nth.to_be_bytes());
        }
        Key(hash)
    }
}

/// Who wrote a record: a random number for each claim, each mark.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub u128);

impl Nonce {
    /// One that nobody else has.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// One record of the log. Times are milliseconds since the Unix epoch, by the writer's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// Somebody wants to send this command. The first one in the log may.
    Claim {
        /// What is claimed.
        #[serde(flatten)]
        subject: Subject,
        /// The claim.
        by: Nonce,
        /// When its owner has an outcome, at the latest.
        until: u64,
        /// Whether the broker had not delivered the job before: a new submission, not a repeated delivery.
        fresh: bool,
    },
    /// What came of it.
    Result {
        /// What was claimed.
        #[serde(flatten)]
        subject: Subject,
        /// By this claim.
        by: Nonce,
        /// False if the command surely never reached its device.
        reached: bool,
        /// How it ended.
        #[serde(with = "status")]
        status: Status,
        /// What was said to the requester; absent where that is too large, or was said to nobody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<Said>,
    },
    /// It was not sent by this claim, and will not be.
    Release {
        /// What was claimed.
        #[serde(flatten)]
        subject: Subject,
        /// By this claim.
        by: Nonce,
    },
    /// A reader's own sign: having read it, it has read everything up to it.
    Mark {
        /// Whose sign.
        by: Nonce,
        /// When it was written.
        at: u64,
        /// Whether its writer saw that no job was anywhere before this log was: then the log knows everything there is to know.
        #[serde(default, skip_serializing_if = "is_false")]
        clean: bool,
    },
}

/// What of a reply is repeated; the correlation is each requester's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
}

impl Said {
    /// A reply to be kept; `None` where its body has over `max` bytes or is no UTF-8, or where it says something in headers.
    pub fn of(reply: &Envelope, max: usize) -> Option<Self> {
        if reply.body.len() > max || !reply.headers.is_empty() {
            return None;
        }
        Some(Self {
            body: std::str::from_utf8(&reply.body).ok()?.to_owned(),
            kind: reply.kind.clone(),
            content_type: reply.content_type.clone(),
            content_encoding: reply.content_encoding.clone(),
            message_id: reply.message_id.clone(),
        })
    }

    /// The reply, for somebody who has still to be named in its correlation.
    pub fn into_envelope(self) -> Envelope {
        Envelope {
            body: self.body.into(),
            kind: self.kind,
            content_type: self.content_type,
            content_encoding: self.content_encoding,
            message_id: self.message_id,
            persistent: true,
            ..Envelope::default()
        }
    }
}

impl Record {
    /// As a message to the log.
    pub fn envelope(&self) -> Envelope {
        Envelope {
            // Neither numbers nor text can fail.
            body: serde_json::to_vec(self).expect("a record is JSON").into(),
            content_type: Some("application/json".to_owned()),
            kind: Some("switchboard.claims".to_owned()),
            persistent: true,
            ..Envelope::default()
        }
    }

    /// A message of the log; `None` for one of a later version, or of somebody who has no business there.
    pub fn read(envelope: &Envelope) -> Option<Self> {
        serde_json::from_slice(&envelope.body).ok()
    }
}

/// A status by its name.
mod status {
    use super::{Cow, Deserialize, Deserializer, Serializer, Status};

    pub(super) fn serialize<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(status.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        let known = Status::ALL.into_iter().find(|status| status.as_str() == name);
        known.ok_or_else(|| serde::de::Error::custom("no status has this name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn every_record_survives_the_log_and_says_in_plain_words_what_it_is() {
        let subject = Subject { id: "j".into(), device: Some("d".into()), nth: 2 };
        let by = Nonce(0xAB);
        let reply = Envelope {
            body: Bytes::from_static(b"{}"),
            message_id: Some("m".to_owned()),
            kind: Some("k".to_owned()),
            persistent: true,
            ..Envelope::default()
        };
        let said = Said::of(&reply, 2);
        assert_eq!(said.clone().map(Said::into_envelope), Some(reply.clone()));
        let records = [
            Record::Claim { subject: subject.clone(), by, until: 9, fresh: true },
            Record::Result { subject: subject.clone(), by, reached: true, status: Status::TimedOut, reply: said },
            Record::Release { subject, by },
            Record::Mark { by, at: 7, clean: false },
            Record::Mark { by, at: 7, clean: true },
        ];
        for record in records {
            assert_eq!(Record::read(&record.envelope()), Some(record));
        }
        let claim = Record::Claim { subject: Subject::single("j".into()), by, until: 9, fresh: false };
        let expected = r#"{"record":"claim","id":"j","by":"000000000000000000000000000000ab","until":9,"fresh":false}"#;
        assert_eq!(claim.envelope().body, expected);
        assert_eq!(Record::read(&Envelope { body: Bytes::from_static(b"[]"), ..Envelope::default() }), None);
    }

    #[test]
    fn a_reply_that_is_too_large_or_no_text_is_not_kept() {
        let reply = |body: &'static [u8]| Envelope { body: Bytes::from_static(body), ..Envelope::default() };
        assert!(Said::of(&reply(b"123"), 2).is_none());
        assert!(Said::of(&reply(b"\xff"), 2).is_none());
    }

    #[test]
    fn every_command_has_a_key_of_its_own() {
        let of =
            |id: &str, device: Option<&str>, nth| Subject { id: id.into(), device: device.map(Into::into), nth }.key();
        let keys = [of("ab", None, 0), of("a", Some("b"), 0), of("a", Some("b"), 1), of("", Some("ab"), 0)];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key));
        }
        assert_eq!(keys[0], Subject::single("ab".into()).key());
    }
}

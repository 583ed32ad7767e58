//! The records of a shard queue. What they say adds up to the same whichever order they are read in, and however often.

use super::{Carried, Ranges};
use crate::envelope::Envelope;
use crate::outcome::Status;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Begins the AMQP `type` of every record.
pub const KIND: &str = "switchboard.bulk.";

/// The queue of a shard.
pub fn shard_queue(bulk_queue: &str, shard: u32) -> String {
    format!("{bulk_queue}.coordinator.{shard}")
}

/// Which of so many shards a bulk belongs to. What a schedule fires is `NAME@INSTANT`, and belongs where the schedule does.
pub fn shard_of(id: &str, shards: u32) -> u32 {
    let name = id.rsplit_once('@').map_or(id, |(name, _)| name);
    u32::try_from(digest(name.as_bytes()) % u64::from(shards.max(1))).unwrap_or_default()
}

/// FNV-1a: the same in every process and version.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A record that comes from outside the coordinator. Its own are its own matter.
#[derive(Clone, Debug)]
pub enum Record {
    /// A bulk is to be carried out.
    Start(Box<Start>),
    /// What came of devices, from a worker.
    Reports(Vec<Report>),
    /// What is asked for a bulk.
    Ask(Ask),
    /// A schedule is to fire now.
    Fire(Fire),
}

impl Record {
    /// The record as a message; `reply_to` is left to whoever asks.
    pub fn encode(&self) -> Envelope {
        match self {
            Self::Start(start) => Envelope { message_id: Some(start.id.to_string()), ..json("start", start) },
            Self::Reports(reports) => json("reports", reports),
            Self::Ask(ask) => json("ask", ask),
            Self::Fire(fire) => json("fire", fire),
        }
    }

    /// Reads a record; `None` for one of the coordinator's own.
    ///
    /// # Errors
    /// What is wrong with it: it is no record, or one of a later version.
    pub fn decode(envelope: &Envelope) -> Option<Result<Self, String>> {
        let read = match envelope.kind.as_deref().and_then(|kind| kind.strip_prefix(KIND)).unwrap_or_default() {
            "start" => read(envelope).map(|start| Self::Start(Box::new(start))),
            "reports" => read(envelope).map(Self::Reports),
            "ask" => read(envelope).map(Self::Ask),
            "fire" => read(envelope).map(Self::Fire),
            _ => return None,
        };
        Some(read)
    }
}

/// A record of that name.
pub fn json<T: Serialize + ?Sized>(name: &str, value: &T) -> Envelope {
    Envelope {
        // Numbers, texts, lists and tables by text cannot fail.
        body: serde_json::to_vec(value).unwrap_or_default().into(),
        content_type: Some("application/json".to_owned()),
        kind: Some(format!("{KIND}{name}")),
        persistent: true,
        ..Envelope::default()
    }
}

/// Its body.
///
/// # Errors
/// What is wrong with it.
pub fn read<T: DeserializeOwned>(envelope: &Envelope) -> Result<T, String> {
    serde_json::from_slice(&envelope.body).map_err(|error| error.to_string())
}

/// A bulk as it is handed to its coordinator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The id of the bulk.
    pub id: Arc<str>,
    /// The job as [`native::encode`](crate::wire::native::encode) writes it, with all devices.
    pub job: Box<RawValue>,
    /// When the job was made, milliseconds since the Unix epoch, as far as its producer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<u64>,
    /// When it was handed over, milliseconds since the Unix epoch.
    pub at: u64,
    /// Where results of devices go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// What the requester knows them by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What is published when it ends, after the tally is put into it; nothing where nobody waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// A message for the end of a bulk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The queue that the job came from.
    pub queue: String,
    /// The job without its devices.
    pub message: Carried,
}

/// What came of devices of one chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The bulk.
    pub id: Arc<str>,
    /// The release that the chunk was.
    pub release: u32,
    /// Devices with their outcome, by status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Done>,
    /// Devices that were not begun, and will not be by this chunk.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub back: Ranges,
}

/// Devices that came to the same status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The status.
    #[serde(with = "status")]
    pub status: Status,
    /// Their places in the list of the bulk.
    pub at: Ranges,
}

/// What is asked for a bulk. The answer, a [`Word`], goes to the `reply_to` of the message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The bulk.
    pub id: Arc<str>,
    /// What is to be done.
    pub what: What,
    /// When it was asked, milliseconds since the Unix epoch: the latest counts.
    pub at: u64,
}

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// How it stands.
    Status,
    /// Nothing more is released until it is resumed.
    Pause,
    /// It goes on.
    Resume,
}

/// A schedule is to fire, whatever its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fire {
    /// The schedule's name.
    pub schedule: String,
    /// The id of the bulk that it becomes.
    pub id: Arc<str>,
    /// When it was asked for, milliseconds since the Unix epoch.
    pub at: u64,
}

/// How a bulk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// The coordinator knows no such bulk: it never came, was run by one worker alone, or ended long ago.
    NotKnown,
    /// It goes on.
    Running,
    /// Nothing more is released.
    Paused,
    /// Too many failed, and what is under way ends.
    Aborting,
    /// It was called off, and what is under way ends.
    Cancelling,
    /// Every device had its turn.
    Completed,
    /// Too many failed.
    Aborted,
    /// It was called off.
    Cancelled,
}

/// What a coordinator says of a bulk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The bulk.
    pub id: Arc<str>,
    /// How it stands.
    pub state: Stand,
    /// How many devices it has.
    #[serde(default)]
    pub total: usize,
    /// How many of them came to each status.
    #[serde(default)]
    pub counts: BTreeMap<String, usize>,
    /// Devices that are released and have no outcome yet.
    #[serde(default)]
    pub outstanding: usize,
    /// The first of those that failed.
    #[serde(default)]
    pub failed: Vec<Arc<str>>,
    /// From its start to now, or to its end.
    #[serde(default)]
    pub duration_ms: u64,
}

/// A status by its name.
pub(super) mod status {
    use crate::outcome::Status;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;

    pub(in crate::wire::bulk) fn serialize<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(status.as_str())
    }

    pub(in crate::wire::bulk) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        let known = Status::ALL.into_iter().find(|status| status.as_str() == name);
        known.ok_or_else(|| serde::de::Error::custom("no status has this name"))
    }
}

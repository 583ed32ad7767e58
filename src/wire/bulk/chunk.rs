//! A chunk: some devices of a bulk as a job of their own, which any worker may take.

use super::{Ranges, digest};
use crate::envelope::{Envelope, Value};
use crate::job::Job;
use crate::outcome::{Executed, Failure, Outcome, Status};
use crate::wire::native;
use serde::{Deserialize, Serialize};

/// The header that makes a bulk job a chunk.
pub const CHUNK: &str = "x-switchboard-chunk";

/// What a chunk says of itself, besides the job that it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The shard queue that is told what came of its devices.
    pub to: String,
    /// Which release of the bulk it is: no two chunks of a bulk have the same.
    pub release: u32,
    /// The places of its devices in the list of the bulk, as many as it has, in their order.
    pub at: Ranges,
    /// No device is begun after this, milliseconds since the Unix epoch; what was not begun goes back.
    pub until: u64,
    /// Nothing is sent: every device has this outcome, which is only to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub say: Option<Say>,
    /// Its worker's part of the concurrency of the bulk; none where the chunk has all that it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Its devices may have been commanded before, by a worker that was not heard of: it is as if it had been delivered before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub perhaps: bool,
}

/// What one worker has of the concurrency of a bulk, for all chunks of it together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Devices that it commands at one time.
    pub devices: u32,
    /// How many workers have as much. Whoever finds more of them begins nothing, unless somebody had the chunk before: together they
    /// would command too many.
    pub workers: u32,
}

/// An outcome that is told to every device's requester.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Say {
    /// One of `cancelled`, `expired`, `unknown`.
    #[serde(with = "super::record::status")]
    pub status: Status,
    /// What is told to a program.
    pub code: String,
    /// What is told to a person.
    pub message: String,
}

impl Say {
    /// The outcome of each device: not executed, unless it is unknown or the chunk says `perhaps`.
    pub fn outcome(&self) -> Outcome {
        let executed = if self.status == Status::Unknown { Executed::Unknown } else { Executed::No };
        let failure = Failure { code: self.code.clone().into(), message: self.message.clone() };
        Outcome::new(self.status, executed, Some(failure))
    }
}

impl Chunk {
    /// The message of a chunk: the job with its devices, for whoever wants their results.
    pub fn encode(&self, job: &Job, reply_to: Option<&str>, correlation_id: Option<&str>) -> Envelope {
        let mut envelope = native::encode(job);
        // Of its own: a message that finds no queue comes back under it.
        envelope.message_id = Some(self.name(&job.id));
        envelope.reply_to = reply_to.map(str::to_owned);
        envelope.correlation_id = correlation_id.map(str::to_owned);
        envelope.headers.set(CHUNK, Value::Text(serde_json::to_string(self).unwrap_or_default()));
        envelope
    }

    /// AMQP has 255 bytes for it, which the id of a job may take alone.
    fn name(&self, id: &str) -> String {
        let name = format!("{id}/{}", self.release);
        match name.len() {
            ..=255 => name,
            _ => format!("{:016x}/{}", digest(id.as_bytes()), self.release),
        }
    }

    /// What the header says; `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(envelope: &Envelope) -> Option<Result<Self, String>> {
        let text = envelope.headers.text(CHUNK)?;
        Some(serde_json::from_str(text).map_err(|error| format!("the header {CHUNK} cannot be read: {error}")))
    }
}

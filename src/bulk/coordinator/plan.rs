//! What a bulk is to do: its devices, its rules, and how it is cut into chunks. Pure, and never changed once read.

use crate::envelope::Envelope;
use crate::job::{Bulk, Guarantee, Job, Payload, Target, Targets};
use crate::wire::bulk::{self, Start};
use crate::wire::native;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a device: its place in the list, its name, where it stands.
const DEVICE: usize = 96;

/// How large a chunk may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkLimits {
    /// Devices.
    pub(super) devices: usize,
    /// Bytes of their own payloads together; one device may have more.
    pub(super) bytes: usize,
}

/// A bulk as it was handed over.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) id: Arc<str>,
    /// The job without its devices, which are in `targets`.
    job: Job,
    rules: Bulk,
    pub(super) targets: Arc<[Target]>,
    pub(super) reply_to: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) made_at: Option<u64>,
    /// When it was handed over, milliseconds since the Unix epoch.
    pub(super) at: u64,
    /// Tells two jobs with one id apart.
    pub(super) digest: u64,
    /// Whether its devices may take longer than their time, as long as they say that they are at it.
    pub(super) has_progress: bool,
    /// What it takes in memory: its message and what was read of it, and each device.
    pub(super) bytes: usize,
}

impl Plan {
    /// Reads what was handed over. `with_progress` are the profiles whose devices say that they are at it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(start: &Start, with_progress: &BTreeSet<String>) -> Result<Self, String> {
        let text = start.job.get();
        let envelope = Envelope {
            body: text.to_owned().into(),
            content_type: Some("application/json".to_owned()),
            message_id: Some(start.id.to_string()),
            ..Envelope::default()
        };
        let mut job = native::decode(&envelope, &native::Limits::TAKEN).map_err(|wrong| wrong.failure.message)?;
        let Targets::Many(mut rules) = std::mem::replace(&mut job.targets, Targets::One("".into())) else {
            return Err("it is for one device".to_owned());
        };
        let targets_len = rules.targets.len();
        let targets = std::mem::take(&mut rules.targets).into();
        job.enqueued_at = start.made_at;
        Ok(Self {
            id: start.id.clone(),
            has_progress: with_progress.contains(&*job.profile),
            job,
            rules,
            targets,
            reply_to: start.reply_to.clone(),
            correlation_id: start.correlation_id.clone(),
            made_at: start.made_at,
            at: start.at,
            digest: bulk::digest(text.as_bytes()),
            bytes: 2 * text.len() + DEVICE * targets_len,
        })
    }

    /// The command of a bulk, as far as it can be read.
    pub(super) fn command_of(start: &Start) -> Arc<str> {
        #[derive(serde::Deserialize)]
        struct Named {
            command: Arc<str>,
        }
        serde_json::from_str(start.job.get()).map_or_else(|_| "".into(), |named: Named| named.command)
    }

    /// How many devices it has.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.targets.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn rules(&self) -> &Bulk {
        &self.rules
    }

    pub(super) fn is_at_most_once(&self) -> bool {
        self.job.guarantee.unwrap_or_default() == Guarantee::AtMostOnce
    }

    /// How long one command may take at a worker, where its job says nothing and at most.
    pub(super) fn timeout(&self, default: Duration, most: Duration) -> Duration {
        match self.has_progress {
            true => most,
            false => self.job.timeout.unwrap_or(default).min(most),
        }
    }

    pub(super) fn is_expired(&self, now_ms: u64) -> bool {
        self.job.expires_at.is_some_and(|at| at <= now_ms)
    }

    /// How many devices a chunk has at most: a quarter of the window, so that some end while others begin, and what is begun
    /// within a second.
    pub(super) fn chunk_devices(&self, window: usize, limits: &ChunkLimits) -> usize {
        let by_rate = self.rules.rate_per_second.map_or(usize::MAX, |rate| rate.ceil() as usize);
        limits.devices.min(window / 4).min(by_rate).max(1)
    }

    /// Whether a chunk that has `bytes` of payloads has room for one more device.
    pub(super) fn fits(&self, place: u32, bytes: &mut usize, limits: &ChunkLimits) -> bool {
        let more = match self.targets.get(place as usize).and_then(|target| target.payload.as_ref()) {
            Some(Payload::Json(text)) => text.len(),
            Some(Payload::Bytes(raw)) => raw.len() * 4 / 3,
            Some(Payload::Empty) | None => 0,
        };
        *bytes = bytes.saturating_add(more);
        *bytes <= limits.bytes
    }

    /// The job of a chunk. Its rate spreads its devices over the time until the next one.
    pub(super) fn chunk_job(&self, places: impl Iterator<Item = u32>) -> Job {
        let target = |place: u32| self.targets.get(place as usize).cloned();
        let bulk = Bulk {
            targets: places.filter_map(target).collect(),
            rate_per_second: self.rules.rate_per_second,
            concurrency: None,
            abort: None,
            results: self.rules.results,
        };
        Job { targets: Targets::Many(bulk), ..self.job.clone() }
    }
}

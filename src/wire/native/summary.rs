//! The end of a bulk: how many devices came to which status.

use super::message_id::{Class, message_id};
use super::result::{Json, Origin, reply};
use crate::envelope::Envelope;
use crate::outcome::Status;
use std::sync::Arc;
use std::time::Duration;

/// How many failed devices a summary names.
pub const FAILED_LISTED: usize = 1000;

/// How a bulk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryStatus {
    /// Every device had its turn.
    Completed,
    /// Too many failed.
    Aborted,
    /// The requester called it off.
    Cancelled,
}

impl SummaryStatus {
    /// Its name in summaries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What became of a bulk.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How it ended.
    pub status: SummaryStatus,
    /// How many devices it had.
    pub total: usize,
    /// How many of them came to each status, in the order of [`Status::ALL`].
    pub counts: [usize; 8],
    /// The devices that did not succeed, of which the first [`FAILED_LISTED`] are named.
    pub failed: Vec<Arc<str>>,
    /// From the delivery to the last outcome.
    pub duration: Duration,
}

/// The summary of a bulk, ready to be published to the reply queue. Every status is in its counts, with 0 where no
/// device came to it.
pub fn summary(origin: &Origin, summary: &Summary) -> Envelope {
    let mut json =
        Json::new(384 + summary.failed.iter().take(FAILED_LISTED).map(|device| device.len() + 3).sum::<usize>());
    json.raw("{\"id\":").text(&origin.id);
    json.raw(",\"command\":").name(&origin.command);
    json.raw(",\"status\":").text(summary.status.as_str());
    json.raw(",\"total\":").number(summary.total as u64);
    json.raw(",\"counts\":");
    for (index, (status, count)) in Status::ALL.iter().zip(summary.counts).enumerate() {
        json.raw(if index == 0 { "{" } else { "," }).text(status.as_str());
        json.raw(":").number(count as u64);
    }
    json.raw("},\"failed\":[");
    for (index, device) in summary.failed.iter().take(FAILED_LISTED).enumerate() {
        json.raw(if index == 0 { "" } else { "," }).text(device);
    }
    json.raw("],\"duration_ms\":").milliseconds(summary.duration);
    json.raw("}");
    reply(origin, super::SUMMARY, message_id(&origin.id, "", Class::Summary), json)
}

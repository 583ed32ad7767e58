//! From an AMQP message to a job.

use super::members::Members;
use super::value::{text, whole, word, wrong};
use super::{bulk, content, moment, payload};
use crate::envelope::Envelope;
use crate::excerpt::{Excerpt, truncate};
use crate::job::{Guarantee, Job, Mode, Payload, Targets};
use crate::outcome::Failure;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// The longest id of a job, in bytes: what AMQP has room for in `message_id`.
pub const MAX_ID_BYTES: usize = 255;
/// The longest `timeout_ms` that is no mistake: 31 days. The worker's own limit is shorter.
pub const MAX_TIMEOUT_MS: u64 = 31 * 86_400_000;

const FIELDS: &[&str; 13] = &[
    "id",
    "device",
    "devices",
    "targets",
    "command",
    "payload",
    "mode",
    "profile",
    "timeout_ms",
    "expires_at",
    "not_before",
    "guarantee",
    "bulk",
];

/// What a job may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest payload, in bytes: of JSON as it is written, of `$base64` as it is decoded.
    pub max_payload_bytes: usize,
    /// The most devices in one job.
    pub max_devices: usize,
    /// Whether a list may have none: at the end of a bulk, when each of its devices has its outcome.
    pub no_devices: bool,
    /// Whether a device that is named more than once is as many: in what is left of a bulk of which it was counted so.
    pub repeats: bool,
}

impl Limits {
    /// Of what a worker has taken as a job: whoever goes on with it may be allowed less, and it is a job all the same.
    pub const TAKEN: Self =
        Self { max_payload_bytes: usize::MAX, max_devices: 10_000_000, no_devices: false, repeats: true };
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_payload_bytes: 262_144, max_devices: 1_000_000, no_devices: false, repeats: false }
    }
}

/// A message that is no job, and what could be read of it for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The job's id, else the message's.
    pub id: Option<Arc<str>>,
    /// The one device it was for.
    pub device: Option<Arc<str>>,
    /// The command.
    pub command: Option<Arc<str>>,
    /// What is wrong.
    pub failure: Failure,
}

/// Reads a job from a message.
///
/// # Errors
///
/// [`Undecodable`] with the first thing that is not as the contract's section "A job" has it.
pub fn decode(envelope: &Envelope, limits: &Limits) -> Result<Job, Undecodable> {
    let body = content::text(&envelope.body);
    let mut members = match &body {
        Ok(text) => Members::read("body", text, FIELDS),
        Err(_) => Members::none(FIELDS),
    };
    let read = || {
        content::check(envelope)?;
        body?;
        members.check()?;
        read(envelope, &members, limits)
    };
    read().map_err(|problem| Undecodable {
        id: readable(&members, "id").filter(|id| check_id("id", id).is_ok()).or_else(|| {
            let id = envelope.message_id.as_deref().filter(|id| check_id("message_id", id).is_ok());
            id.map(Into::into)
        }),
        device: readable(&members, "device"),
        command: readable(&members, "command"),
        failure: Failure::new("invalid_job", problem),
    })
}

type Fields<'a> = Members<'a, 13>;

fn read(envelope: &Envelope, fields: &Fields<'_>, limits: &Limits) -> Result<Job, String> {
    let timeout =
        fields.get("timeout_ms").map(|value| whole("timeout_ms", value, 1, MAX_TIMEOUT_MS, " of milliseconds"));
    let expires_at = fields.get("expires_at").map(|value| moment::instant("expires_at", value)).transpose()?;
    let not_before = fields.get("not_before").map(|value| moment::instant("not_before", value)).transpose()?;
    let ttl_ends = moment::time_to_live_ends(envelope)?;
    let expires_at = match (expires_at, ttl_ends) {
        (Some(said), Some(ttl)) => Some(said.min(ttl)),
        (said, ttl) => said.or(ttl),
    };
    if let (Some(value), Some(start), Some(end)) = (fields.get("not_before"), not_before, expires_at)
        && start >= end
    {
        return Err(wrong("not_before", value, "a time before the job expires"));
    }
    let modes = [Mode::Request, Mode::Publish].map(|mode| (mode.as_str(), mode));
    let guarantees = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce].map(|g| (g.as_str(), g));
    Ok(Job {
        id: id(envelope, fields.get("id"))?,
        targets: targets(envelope, fields, limits)?,
        command: match fields.get("command") {
            Some(value) => text("command", value)?.into(),
            None => return Err("command is missing; the command's name is right".to_owned()),
        },
        payload: match fields.get("payload") {
            Some(value) => payload::payload("payload", value, &envelope.body, limits.max_payload_bytes)?,
            None => Payload::Empty,
        },
        mode: fields.get("mode").map(|value| word("mode", value, &modes)).transpose()?.unwrap_or_default(),
        profile: match fields.get("profile") {
            Some(value) => profile(value)?,
            None => "default".into(),
        },
        timeout: timeout.transpose()?.map(Duration::from_millis),
        expires_at,
        not_before,
        guarantee: fields.get("guarantee").map(|value| word("guarantee", value, &guarantees)).transpose()?,
        enqueued_at: moment::made_at(envelope),
    })
}

fn id(envelope: &Envelope, value: Option<&RawValue>) -> Result<Arc<str>, String> {
    let checked = |field, id: &str| check_id(field, id).map(|()| id.into());
    match (value, envelope.message_id.as_deref()) {
        (Some(value), _) => checked("id", &text("id", value)?),
        // Some clients cannot leave the property out, and send it empty.
        (None, Some(id)) if !id.is_empty() => checked("message_id", id),
        _ => Ok(made_id()),
    }
}

/// An id for what came without one.
pub fn made_id() -> Arc<str> {
    ulid::Ulid::generate().to_string().into()
}

/// Whether an id can be carried and shown: 1 to [`MAX_ID_BYTES`] bytes without control characters.
pub(in crate::wire) fn check_id(field: &str, id: &str) -> Result<(), String> {
    if !(1..=MAX_ID_BYTES).contains(&id.len()) {
        return Err(format!("{field} has {} bytes; 1 to {MAX_ID_BYTES} are right", id.len()));
    }
    match id.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!(
            "{field} {} contains the control character U+{:04X}; printable characters are right",
            Excerpt(id),
            c as u32
        )),
        None => Ok(()),
    }
}

fn targets(envelope: &Envelope, fields: &Fields<'_>, limits: &Limits) -> Result<Targets, String> {
    let options = fields.get("bulk");
    let many = match (fields.get("device"), fields.get("devices"), fields.get("targets")) {
        (Some(value), None, None) => {
            let device = text("device", value)?;
            return match options {
                Some(_) => {
                    Err("bulk is there, but the job has one device; devices or targets is right with it".to_owned())
                }
                None => Ok(Targets::One(device.into())),
            };
        }
        (None, Some(value), None) => bulk::devices(value, limits)?,
        (None, None, Some(value)) => bulk::targets(value, &envelope.body, limits)?,
        (None, None, None) => {
            return Err("device is missing; exactly one of device, devices and targets is right".to_owned());
        }
        (device, devices, targets) => {
            let named = [("device", device), ("devices", devices), ("targets", targets)];
            let given: Vec<&str> = named.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
            return Err(format!(
                "{} are there together; exactly one of device, devices and targets is right",
                given.join(" and ")
            ));
        }
    };
    Ok(Targets::Many(bulk::bulk(options, many)?))
}

fn profile(value: &RawValue) -> Result<Arc<str>, String> {
    match text("profile", value)? {
        name if name.is_empty() => Err(wrong("profile", value, "a profile's name, like \"default\",")),
        name => Ok(name.into()),
    }
}

/// A text field for the answer to a job that is wrong: bounded, since nothing has checked it.
fn readable(fields: &Fields<'_>, name: &str) -> Option<Arc<str>> {
    let text = text(name, fields.get(name)?).ok()?;
    (!text.is_empty()).then(|| truncate(&text, MAX_ID_BYTES).into())
}

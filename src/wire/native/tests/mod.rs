//! Jobs and results of the contract, and every way in which a job can be wrong.

mod answers;
mod jobs;
mod wrong;

use super::*;
use crate::envelope::Envelope;
use crate::job::*;
use bytes::Bytes;

const LIMITS: Limits = Limits { max_payload_bytes: 1000, max_devices: 5, no_devices: false, repeats: false };

fn message(body: impl Into<Bytes>) -> Envelope {
    Envelope { body: body.into(), content_type: Some("application/json".to_owned()), ..Envelope::default() }
}

/// A job for one device with these further fields, each with a comma before it.
fn with(fields: &str) -> Envelope {
    message(format!(r#"{{"device": "d", "command": "c"{fields}}}"#))
}

fn job(envelope: &Envelope) -> Job {
    decode(envelope, &LIMITS).unwrap()
}

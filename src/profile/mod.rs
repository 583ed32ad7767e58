//! Device profiles: how a device is spoken to, written as configuration and compiled once.
//!
//! A profile turns a command into an MQTT message ([`Profile::render`]), says which attempt an incoming message answers
//! ([`Profile::identify`]) and what the answer means ([`Profile::judge`]). It holds no state and does no I/O.
//!
//! Three properties of a dialect decide what is safe, and compiling a profile enforces them: an answer that carries no
//! attempt forces one command at a time; an answer that does not show its device is refused, since any device could
//! give it; a retained answer never counts unless the profile asks for it.

mod alphabet;
mod answer;
mod body;
mod builtin;
mod compile;
mod consistency;
mod device;
mod identify;
mod keys;
mod pointer;
mod presence;
mod render;
mod slot;
mod template;
#[cfg(test)]
mod tests;

pub use builtin::builtin;
pub use device::{DeviceSide, Heard, Reply};
pub use presence::Presence;

use crate::job::{Guarantee, Payload};
use crate::topic::{TopicFilter, TopicName};
use bytes::Bytes;
use std::sync::OnceLock;
use std::time::Duration;

/// Something wrong with one key of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, within the profile: `retain`, `status.topic`.
    pub key: String,
    /// What is wrong and what would be right: `is the string "yes"; true or false is right`.
    pub problem: String,
}

/// A compiled device profile.
#[derive(Debug)]
pub struct Profile {
    name: String,
    request: template::Template,
    qos: u8,
    retain: bool,
    body: body::Body,
    responses: Vec<template::Template>,
    shared: bool,
    correlate: compile::Correlate,
    answer_device: Option<pointer::Pointer>,
    response_topic: bool,
    correlation_data: bool,
    expiry: bool,
    content_type: Option<String>,
    user_properties: Vec<(String, slot::Text)>,
    judgement: answer::Judgement,
    presence: Option<Presence>,
    device: alphabet::Alphabet,
    command: alphabet::Alphabet,
    job_in_topic: bool,
    attempt_bits: u32,
    in_flight_per_device: Option<usize>,
    max_payload_bytes: Option<usize>,
    late_grace: Option<Duration>,
    guarantee: Option<Guarantee>,
    retained_answers: bool,
    /// The standing filter of the first inbox asked for, since an inbox lives as long as its worker.
    standing: OnceLock<(String, TopicFilter)>,
}

/// One attempt of one command, as a profile needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The device's id.
    pub device: &'a str,
    /// The command's name.
    pub command: &'a str,
    /// What goes with it.
    pub payload: &'a Payload,
    /// Where this worker is answered: unguessable, one topic level, the same for the worker's whole run.
    pub inbox: &'a str,
    /// The attempt's own number, of at most [`Profile::attempt_bits`] bits, never used twice.
    pub attempt: u128,
    /// The job's id, which repeats when the command is tried again.
    pub job_id: &'a str,
    /// After this the device must not act on it: milliseconds since the Unix epoch.
    pub expires_at: Option<u64>,
}

/// A command as an MQTT message.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Where it is published.
    pub topic: TopicName,
    /// What is published.
    pub payload: Bytes,
    /// 0 or 1.
    pub qos: u8,
    /// Whether the broker is to keep it.
    pub retain: bool,
    /// Where the answer will come; `None` where the dialect knows no answers.
    pub answer: Option<AnswerTo>,
    /// MQTT 5 correlation data: the 16 bytes of the attempt, most significant first.
    pub correlation: Option<Bytes>,
    /// MQTT 5 content type.
    pub content_type: Option<String>,
    /// MQTT 5 user properties.
    pub user_properties: Vec<(String, String)>,
    /// Whether the MQTT 5 message expiry is to say how long the command is still worth sending.
    pub expiry: bool,
}

/// Where the answer to one command comes.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerTo {
    /// Where this device answers this command; `-` stands where a level is the device's to choose (`{code}`).
    pub topic: TopicName,
    /// What to subscribe to.
    pub filter: TopicFilter,
    /// The further topics on which it may answer, where the dialect has more than one, each with its filter.
    pub others: Vec<(TopicName, TopicFilter)>,
    /// Whether `topic` goes with the request as its MQTT 5 response topic.
    pub in_request: bool,
}

/// What an incoming message is an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified<'t> {
    /// The device that speaks, from the topic or, where the dialect has it so, the payload. It must be compared with the
    /// device that the attempt was for.
    pub device: Option<&'t str>,
    /// Which of its commands.
    pub key: Key,
    /// The level of the topic that says how it went (`{code}`), for [`Answer::code`].
    pub code: Option<&'t str>,
}

/// By what an answer is matched to its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The number of the attempt.
    Attempt(u128),
    /// Nothing but the topic: whichever command now waits on it.
    AnswerTopic,
}

/// An answer as it arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// Its payload.
    pub payload: &'a [u8],
    /// What [`Identified::code`] said.
    pub code: Option<&'a str>,
    /// Its MQTT 5 user properties.
    pub user_properties: &'a [(String, String)],
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The device is at it; the answer is still to come.
    Progress,
    /// Done.
    Success,
    /// The device refused or failed.
    Error {
        /// The device's own code, or `device_error` where it gave none.
        code: String,
        /// The device's own words, or the error as it stands in the answer.
        message: String,
    },
}

/// A job that this profile cannot carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The field of the job that is wrong.
    pub field: &'static str,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Profile {
    /// Its name, as jobs call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether commands that share an answer topic must go one at a time, since nothing else tells their answers apart.
    pub fn one_at_a_time(&self) -> bool {
        matches!(self.correlate, compile::Correlate::Nothing)
    }

    /// Whether it depends on properties that only MQTT 5 has.
    pub fn needs_mqtt5(&self) -> bool {
        self.response_topic || self.correlation_data
    }

    /// How many bits the number of an attempt may have, for devices that read it as a small number.
    pub fn attempt_bits(&self) -> u32 {
        self.attempt_bits
    }

    /// How many commands a device takes at once; the worker's own setting where the profile says nothing.
    pub fn in_flight_per_device(&self) -> Option<usize> {
        self.in_flight_per_device
    }

    /// The longest MQTT payload a device takes, in bytes.
    pub fn max_payload_bytes(&self) -> Option<usize> {
        self.max_payload_bytes
    }

    /// How long after its deadline an answer is still worth reporting; the worker's own setting where `None`.
    pub fn late_grace(&self) -> Option<Duration> {
        self.late_grace
    }

    /// What a crash may cost where a job does not say; the worker's own setting where `None`.
    pub fn guarantee(&self) -> Option<Guarantee> {
        self.guarantee
    }

    /// Whether a device may say that it is at it, which gives it more time.
    pub fn has_progress(&self) -> bool {
        self.judgement.progress.is_some()
    }

    /// Whether a retained message may be an answer.
    pub fn retained_answers(&self) -> bool {
        self.retained_answers
    }

    /// How a device says whether it is there.
    pub fn presence(&self) -> Option<&Presence> {
        self.presence.as_ref()
    }

    /// What an answer means, judged by its payload alone.
    pub fn read(&self, payload: &[u8]) -> Reading {
        self.judge(&Answer { payload, ..Answer::default() })
    }

    /// What an answer means.
    ///
    /// A payload that is no JSON has no members, so it is a success unless the profile demands otherwise.
    pub fn judge(&self, answer: &Answer<'_>) -> Reading {
        self.judgement.of(answer)
    }
}

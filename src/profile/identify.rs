//! Which attempt an incoming message answers.

use super::compile::{Correlate, IdForm};
use super::pointer::{Pointer, scalar};
use super::template::{parse_decimal, parse_hex};
use super::{Identified, Key, Profile};

impl Profile {
    /// Which command a message answers, if it is an answer to this inbox in this dialect at all.
    ///
    /// Strict: another inbox, another fixed level, a number that this program would have written differently, missing
    /// correlation data are no answers. Allocates nothing unless the answer's JSON must be searched.
    pub fn identify<'t>(
        &self,
        inbox: &str,
        topic: &'t str,
        payload: &'t [u8],
        correlation: Option<&[u8]>,
    ) -> Option<Identified<'t>> {
        let captured = self.responses.iter().find_map(|response| response.capture(topic, inbox))?;
        let device = match &self.answer_device {
            None => captured.device,
            Some(pointer) => Some(plain_text(pointer, payload)?),
        };
        let key = match &self.correlate {
            Correlate::Topic => Key::Attempt(captured.attempt?),
            Correlate::Mqtt5 => Key::Attempt(u128::from_be_bytes(correlation?.try_into().ok()?)),
            Correlate::Json(pointer, form) => Key::Attempt(form.read(&scalar(pointer.find(payload)?)?)?),
            Correlate::Nothing => Key::AnswerTopic,
        };
        Some(Identified { device, key, code: captured.code })
    }
}

/// A string in the payload that stands there without escapes, as every id does that can be part of a topic.
fn plain_text<'t>(pointer: &Pointer, payload: &'t [u8]) -> Option<&'t str> {
    serde_json::from_str(pointer.find(payload)?.get()).ok()
}

impl IdForm {
    fn read(self, text: &str) -> Option<u128> {
        match self {
            Self::Hex => parse_hex(text),
            Self::Decimal => parse_decimal(text),
        }
    }
}

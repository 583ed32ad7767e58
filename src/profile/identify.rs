//! Which attempt an incoming message answers.

use super::compile::{Correlate, IdForm};
use super::pointer::{Pointer, scalar};
use super::template::{Captured, parse_decimal, parse_hex};
use super::{Identified, Key, Profile};

impl Profile {
    /// The device that speaks on an answer topic of this inbox, whatever it says and whichever command it means.
    pub fn speaker<'t>(&self, inbox: &str, topic: &'t str, payload: &'t [u8]) -> Option<&'t str> {
        self.device(&self.captured(inbox, topic)?, payload)
    }

    fn captured<'t>(&self, inbox: &str, topic: &'t str) -> Option<Captured<'t>> {
        self.responses.iter().find_map(|response| response.capture(topic, inbox))
    }

    fn device<'t>(&self, captured: &Captured<'t>, payload: &'t [u8]) -> Option<&'t str> {
        match &self.answer_device {
            None => captured.device,
            Some(pointer) => plain_text(pointer, payload),
        }
    }

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
        let captured = self.captured(inbox, topic)?;
        let device = self.device(&captured, payload);
        if self.answer_device.is_some() && device.is_none() {
            return None;
        }
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

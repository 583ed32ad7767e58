//! A command as an MQTT message.

use super::slot::{Slot, Values};
use super::template::Template;
use super::{AnswerTo, Call, Invalid, Profile, Rendered};
use crate::topic::{InvalidTopic, TopicFilter, TopicName};
use bytes::Bytes;

impl Profile {
    /// Writes a command as the MQTT message that this dialect has for it.
    ///
    /// # Errors
    ///
    /// [`Invalid`] where device, command, job id or payload is something that the dialect cannot carry.
    pub fn render(&self, call: &Call<'_>) -> Result<Rendered, Invalid> {
        self.device.check(call.device)?;
        self.command.check(call.command)?;
        if self.job_in_topic {
            super::compile::job_alphabet().check(call.job_id)?;
        }
        let values = Values::of(call);
        let payload = self.body.render(&values, call.payload)?;
        if let Some(most) = self.max_payload_bytes.filter(|most| payload.len() > *most) {
            let message = format!("payload has {} bytes in MQTT; profile {:?} takes {most}", payload.len(), self.name);
            return Err(Invalid { field: "payload", message });
        }
        let user_properties =
            self.user_properties.iter().filter_map(|(name, text)| Some((name.clone(), text.render(&values)?)));
        Ok(Rendered {
            topic: TopicName::new(self.request.render(&values)).map_err(no_topic)?,
            payload,
            qos: self.qos,
            retain: self.retain,
            answer: self.answer_to(&values)?,
            correlation: self.correlation_data.then(|| Bytes::copy_from_slice(&call.attempt.to_be_bytes())),
            content_type: self.content_type.clone(),
            user_properties: user_properties.collect(),
            expiry: self.expiry,
        })
    }

    /// The one filter that serves every command of a worker, where there is one.
    pub fn standing_filter(&self, inbox: &str) -> Option<TopicFilter> {
        let [response] = self.responses.as_slice() else { return None };
        if !self.shared {
            return None;
        }
        if let Some((known, filter)) = self.standing.get()
            && known == inbox
        {
            return Some(filter.clone());
        }
        let values = Values { device: "", command: "", inbox, job: "", attempt: 0, expires_at: None };
        let filter = TopicFilter::new(response.filter(&values, |slot| slot == Slot::Inbox)).ok()?;
        self.standing.get_or_init(|| (inbox.to_owned(), filter.clone()));
        Some(filter)
    }

    fn answer_to(&self, values: &Values<'_>) -> Result<Option<AnswerTo>, Invalid> {
        let Some((first, others)) = self.responses.split_first() else { return Ok(None) };
        let (topic, filter) = self.answer_place(first, values)?;
        let others = others.iter().map(|other| self.answer_place(other, values)).collect::<Result<_, _>>()?;
        Ok(Some(AnswerTo { topic, filter, others, in_request: self.response_topic }))
    }

    fn answer_place(&self, response: &Template, values: &Values<'_>) -> Result<(TopicName, TopicFilter), Invalid> {
        let topic = TopicName::new(response.render(values)).map_err(no_topic)?;
        if let Some(filter) = self.standing_filter(values.inbox) {
            return Ok((topic, filter));
        }
        // What differs from one command to the next would cost a subscription for each, so it stays open.
        let open = |slot| match slot {
            Slot::Seq | Slot::Attempt | Slot::Job | Slot::Code => true,
            Slot::Device | Slot::Command => self.shared,
            _ => false,
        };
        let filter = response.filter(values, |slot| !open(slot));
        let filter = match filter == topic.as_str() {
            true => TopicFilter::from(&topic),
            false => TopicFilter::new(filter).map_err(no_topic)?,
        };
        Ok((topic, filter))
    }
}

/// The parts were checked one by one; what is left is that together they are too long.
fn no_topic(problem: InvalidTopic) -> Invalid {
    Invalid { field: "device", message: format!("device and command make no topic: {problem}") }
}

//! The other side of a dialect: what a device hears of a request, and where its answer goes. Simulated devices stand on it.

use super::body::Body;
use super::compile::Correlate;
use super::pointer::{Pointer, scalar};
use super::slot::Slot;
use super::{Invalid, Profile};
use crate::topic::{TopicFilter, TopicName};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// The gaps of which a device has to know what they hold.
const READ: [Slot; 6] = [Slot::Device, Slot::Command, Slot::Inbox, Slot::Seq, Slot::Attempt, Slot::Job];

/// A profile as its devices use it.
#[derive(Clone, Debug)]
pub struct DeviceSide {
    profile: Arc<Profile>,
    /// Where in the request's JSON a gap is found that the topic lacks.
    in_body: Vec<(Slot, Pointer)>,
    payload: Option<Pointer>,
}

/// A request as its device hears it.
#[derive(Debug)]
pub struct Heard<'m> {
    /// Whom it is for.
    pub device: Cow<'m, str>,
    /// What is to be done; empty where the dialect does not say.
    pub command: Cow<'m, str>,
    /// The job's own payload, or the whole message where that cannot be told apart.
    pub payload: &'m [u8],
    /// How it is answered; `None` where it cannot be.
    pub reply: Option<Reply>,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Where.
    pub topic: TopicName,
    /// The MQTT 5 correlation data that goes with it.
    pub correlation: Option<Bytes>,
    /// The members that the answer, a JSON object, must have: their names, and their values as JSON text.
    pub members: Vec<(String, String)>,
}

/// What the gaps of one request hold.
struct Gaps<'m>(Vec<(Slot, Cow<'m, str>)>);

impl<'m> Gaps<'m> {
    fn get(&self, slot: Slot) -> Option<&Cow<'m, str>> {
        self.0.iter().find(|(known, _)| *known == slot).map(|(_, value)| value)
    }
}

impl DeviceSide {
    /// Prepares to speak as the devices of this profile do.
    ///
    /// # Errors
    ///
    /// In words, why requests or answers of this profile cannot be understood from the device's side.
    pub fn new(profile: Arc<Profile>) -> Result<Self, String> {
        if profile.request.is_wide() || profile.responses.iter().any(super::template::Template::is_wide) {
            return Err("its names span several levels of a topic".to_owned());
        }
        let place = |slot| match &profile.body {
            Body::Json(node) => node.place(slot).map(Pointer::of),
            Body::Raw | Body::Text => None,
        };
        let lacking = READ.into_iter().filter(|slot| !profile.request.has(*slot));
        let in_body: Vec<(Slot, Pointer)> = lacking.filter_map(|slot| Some((slot, place(slot)?))).collect();
        let payload = place(Slot::Payload);
        let known = |slot| profile.request.has(slot) || in_body.iter().any(|(known, _)| *known == slot);
        if !known(Slot::Device) {
            return Err("its requests do not show their device".to_owned());
        }
        // With a response topic in the request nothing has to be put together.
        let answer = profile.responses.first().filter(|_| !profile.response_topic);
        if let Some(gap) = answer.and_then(|answer| answer.gaps().find(|slot| !known(*slot))) {
            return Err(format!("the topic of its answers has {{{}}}, which its requests do not show", gap.name()));
        }
        Ok(Self { in_body, payload, profile })
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What a device subscribes to, or, without one, what all devices together do.
    ///
    /// # Errors
    ///
    /// The device's id is none that the profile can carry.
    pub fn filter(&self, device: Option<&str>) -> Result<TopicFilter, Invalid> {
        if let Some(device) = device {
            self.profile.device.check(device)?;
        }
        let filter = self.profile.request.fill(|slot, out| match device {
            Some(device) if slot == Slot::Device => {
                out.push_str(device);
                true
            }
            _ => false,
        });
        let no_topic = |problem| Invalid { field: "device", message: format!("no topic for it: {problem}") };
        TopicFilter::new(filter).map_err(no_topic)
    }

    /// Reads a request; `None` where the message is none of this dialect.
    pub fn hear<'m>(
        &self,
        topic: &'m str,
        payload: &'m [u8],
        response_topic: Option<&str>,
        correlation: Option<&[u8]>,
    ) -> Option<Heard<'m>> {
        let mut gaps = Gaps(Vec::with_capacity(READ.len()));
        self.profile.request.each_gap(topic, |slot, value| {
            gaps.0.push((slot, Cow::Borrowed(value)));
            Some(())
        })?;
        for (slot, pointer) in &self.in_body {
            // A gap without a value, as a missing command, leaves its member out.
            if let Some(value) = pointer.find(payload).and_then(scalar) {
                gaps.0.push((*slot, value));
            }
        }
        let heard = match &self.payload {
            None => payload,
            Some(pointer) => pointer.find(payload).map_or(&[][..], |value| value.get().as_bytes()),
        };
        let device = gaps.get(Slot::Device)?.clone();
        let command = gaps.get(Slot::Command).cloned().unwrap_or_default();
        let reply = self.reply(&device, &gaps, response_topic, correlation);
        Some(Heard { device, command, payload: heard, reply })
    }

    fn reply(
        &self,
        device: &str,
        gaps: &Gaps<'_>,
        response_topic: Option<&str>,
        correlation: Option<&[u8]>,
    ) -> Option<Reply> {
        let topic = match self.profile.response_topic {
            true => response_topic?.to_owned(),
            false => self.profile.responses.first()?.fill(|slot, out| match gaps.get(slot) {
                Some(value) => {
                    out.push_str(value);
                    true
                }
                None => false,
            }),
        };
        let mut members = Vec::new();
        if let Some(pointer) = &self.profile.answer_device {
            members.push(member(pointer, quoted(device)));
        }
        let mut repeated = None;
        match &self.profile.correlate {
            Correlate::Mqtt5 => repeated = Some(Bytes::copy_from_slice(correlation?)),
            Correlate::Json(pointer, _) => {
                let id = gaps
                    .get(Slot::Attempt)
                    .map(|id| quoted(id))
                    .or_else(|| gaps.get(Slot::Seq).map(|id| id.to_string()))?;
                members.push(member(pointer, id));
            }
            Correlate::Topic | Correlate::Nothing => {}
        }
        Some(Reply { topic: TopicName::new(topic).ok()?, correlation: repeated, members })
    }
}

/// The outermost member of a document in which the pointer finds this JSON text.
fn member(pointer: &Pointer, json: String) -> (String, String) {
    let (outer, inner) = match pointer.tokens() {
        [] => ("", &[][..]),
        [outer, inner @ ..] => (outer.as_str(), inner),
    };
    let value = inner.iter().rev().fold(json, |value, token| format!("{{{}:{value}}}", quoted(token)));
    (outer.to_owned(), value)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{call, compile, profile};
    use super::super::{Key, Rendered};
    use super::*;
    use crate::job::Payload;

    fn side(profile: Profile) -> DeviceSide {
        DeviceSide::new(Arc::new(profile)).unwrap()
    }

    fn hear<'m>(side: &DeviceSide, rendered: &'m Rendered) -> Option<Heard<'m>> {
        let answer = rendered.answer.as_ref().filter(|answer| answer.in_request);
        let response_topic = answer.map(|answer| answer.topic.as_str());
        side.hear(rendered.topic.as_str(), &rendered.payload, response_topic, rendered.correlation.as_deref())
    }

    #[test]
    fn what_a_profile_asks_its_device_hears_and_what_the_device_answers_is_identified() {
        let payload = Payload::Json(r#"{"speed":2}"#.into());
        let bridge = "topic = 'bridge/request'\nresponses = ['bridge/response']\nsubscribe = 'shared'\n\
                      correlate = 'json:/meta/id'\nattempt_bits = 53\nanswer_device = 'json:/from'\npayload = 'json'\n\
                      json = { to = '{device}', n = '{seq}', do = ['{command}'], value = '{payload}' }";
        for profile in [profile("default"), profile("json"), profile("mqtt5"), compile(bridge).unwrap()] {
            let name = profile.name().to_owned();
            let side = side(profile);
            let rendered = side.profile().render(&call("dev-7", "open", &payload)).unwrap();
            assert!(side.filter(None).unwrap().matches(rendered.topic.as_str()), "{name}");
            assert!(side.filter(Some("dev-7")).unwrap().matches(rendered.topic.as_str()), "{name}");
            let heard = hear(&side, &rendered).unwrap();
            assert_eq!((&*heard.device, &*heard.command), ("dev-7", "open"), "{name}");
            assert_eq!(heard.payload, br#"{"speed":2}"#, "{name}");
            let reply = heard.reply.unwrap();
            let members: Vec<String> =
                reply.members.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
            let answer = format!("{{{}}}", members.join(","));
            assert_eq!(rendered.answer.unwrap().topic, reply.topic, "{name}");
            let (topic, correlation) = (reply.topic.as_str(), reply.correlation.as_deref());
            let found = side.profile().identify("in", topic, answer.as_bytes(), correlation).unwrap();
            assert_eq!((found.device, found.key), (Some("dev-7"), Key::Attempt(7)), "{name}: {answer}");
        }
    }

    #[test]
    fn a_device_does_not_hear_what_is_for_another_topic_or_cannot_be_answered() {
        let side = side(profile("mqtt5"));
        assert_eq!(side.filter(Some("dev-7")).unwrap().as_str(), "devices/dev-7/commands/+");
        assert!(side.hear("devices/dev-7/responses/in", b"", None, None).is_none());
        let without = side.hear("devices/dev-7/commands/open", b"", None, None).unwrap();
        assert_eq!((without.payload, without.reply), (&b""[..], None));
        assert!(side.filter(Some("a/b")).is_err());
    }

    #[test]
    fn a_profile_whose_requests_say_too_little_is_refused() {
        for (keys, expected) in [
            ("topic = 'all'\npayload = 'json'\njson = { to = 'to-{device}' }", "do not show their device"),
            ("topic = 'd/{device}'\ndevice_levels = 2", "several levels"),
            (
                "topic = 'd/{device}'\nresponses = ['d/{device}/{code}']\nsubscribe = 'device'\ncorrelate = 'json:/id'\npayload = 'json'\njson = { id = '{attempt}' }",
                "{code}",
            ),
        ] {
            let error = DeviceSide::new(Arc::new(compile(keys).unwrap())).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}

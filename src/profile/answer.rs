//! Reading an answer: is it progress, success or an error, and which.

use super::pointer::{Pointer, scalar};
use super::{Answer, Reading};
use crate::excerpt::truncate;
use std::borrow::Cow;

/// The code of an error whose answer names none.
const NO_CODE: &str = "device_error";
/// A device's error code and message are cut to so many bytes: the answer itself goes to the requester whole.
const MAX_CODE_BYTES: usize = 128;
const MAX_MESSAGE_BYTES: usize = 1024;

/// Where in an answer a value stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// In the JSON of the payload.
    Json(Pointer),
    /// In the level of the answer's topic that is `{code}`.
    Code,
    /// In a user property of MQTT 5.
    Property(String),
}

/// What must hold for the value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// It is there, and neither `null` nor `false`.
    Present,
    /// Its text is one of these.
    OneOf(Vec<String>),
    /// It is a number from the first to the last.
    Within(i64, i64),
}

/// A condition on an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Predicate {
    pub(super) source: Source,
    pub(super) test: Test,
}

/// How an answer is judged, in the order of the fields: what is neither progress nor an error is a success, unless the
/// profile says what success looks like.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    pub(super) progress: Option<Predicate>,
    pub(super) error: Option<Predicate>,
    pub(super) success: Option<Predicate>,
    pub(super) error_code: Option<Source>,
    pub(super) error_message: Option<Source>,
}

/// A value found in an answer.
struct Found<'a> {
    /// As text, where it is a scalar.
    scalar: Option<Cow<'a, str>>,
    /// As it stands in the answer.
    raw: &'a str,
}

impl Source {
    /// Reads `json:/pointer`, `code` or `property:name`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("json", pointer)) => Ok(Self::Json(Pointer::parse(pointer)?)),
            Some(("property", name)) if !name.is_empty() => Ok(Self::Property(name.to_owned())),
            None if text == "code" => Ok(Self::Code),
            _ => Err(format!("is {text:?}; \"json:/pointer\", \"code\" or \"property:name\" is right")),
        }
    }

    fn find<'a>(&self, answer: &Answer<'a>) -> Option<Found<'a>> {
        let plain = |text: &'a str| Found { scalar: Some(Cow::Borrowed(text)), raw: text };
        match self {
            Self::Json(pointer) => {
                pointer.find(answer.payload).map(|value| Found { scalar: scalar(value), raw: value.get() })
            }
            Self::Code => answer.code.map(plain),
            Self::Property(name) => {
                answer.user_properties.iter().find(|(key, _)| key == name).map(|(_, value)| plain(value))
            }
        }
    }
}

impl Predicate {
    fn holds<'a>(&self, answer: &Answer<'a>) -> Option<Found<'a>> {
        let found = self.source.find(answer)?;
        let text = found.scalar.as_deref();
        let holds = match &self.test {
            Test::Present => !matches!(found.raw, "null" | "false"),
            Test::OneOf(values) => text.is_some_and(|text| values.iter().any(|value| value == text)),
            Test::Within(first, last) => {
                text.and_then(|text| text.parse().ok()).is_some_and(|number| (*first..=*last).contains(&number))
            }
        };
        holds.then_some(found)
    }
}

impl Judgement {
    /// Judges an answer.
    pub(super) fn of(&self, answer: &Answer<'_>) -> Reading {
        let holds = |predicate: &Option<Predicate>| predicate.as_ref().and_then(|predicate| predicate.holds(answer));
        if holds(&self.progress).is_some() {
            return Reading::Progress;
        }
        if let Some(found) = holds(&self.error) {
            return self.error(answer, Some(found));
        }
        if self.success.is_some() && holds(&self.success).is_none() {
            return self.error(answer, None);
        }
        Reading::Success
    }

    fn error(&self, answer: &Answer<'_>, found: Option<Found<'_>>) -> Reading {
        let text = |source: &Option<Source>| {
            source.as_ref().and_then(|source| source.find(answer)).and_then(|found| found.scalar)
        };
        let code = text(&self.error_code).unwrap_or(Cow::Borrowed(NO_CODE));
        let message = text(&self.error_message).or_else(|| {
            let found = found?;
            Some(found.scalar.unwrap_or(Cow::Borrowed(found.raw)))
        });
        let message = message.unwrap_or(Cow::Borrowed("the answer is not what its profile calls a success"));
        Reading::Error {
            code: truncate(&code, MAX_CODE_BYTES).to_owned(),
            message: truncate(&message, MAX_MESSAGE_BYTES).to_owned(),
        }
    }
}

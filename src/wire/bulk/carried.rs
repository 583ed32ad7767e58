//! A message within a message: what is to be published later is kept as it is, with properties and headers.

use crate::envelope::{Envelope, Headers, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A message as JSON. Headers of kinds that no producer of ours uses (decimals, raw bytes, times) are kept too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    #[serde(flatten)]
    body: Body,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Kind)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Text(String),
    Base64(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i64, u8),
    Text(String),
    Bytes(String),
    Time(u64),
    List(Vec<Kind>),
    Table(Vec<(String, Kind)>),
}

impl Carried {
    /// A message to be kept. Its time to live and its producer's login are not: the first would run anew, and the second is
    /// nobody else's to give.
    pub fn of(envelope: Envelope) -> Self {
        let body = match std::str::from_utf8(&envelope.body) {
            Ok(text) => Body::Text(text.to_owned()),
            Err(_) => Body::Base64(STANDARD.encode(&envelope.body)),
        };
        Self {
            body,
            content_type: envelope.content_type,
            content_encoding: envelope.content_encoding,
            kind: envelope.kind,
            message_id: envelope.message_id,
            correlation_id: envelope.correlation_id,
            reply_to: envelope.reply_to,
            priority: envelope.priority,
            timestamp: envelope.timestamp,
            app_id: envelope.app_id,
            headers: envelope.headers.0.into_iter().map(|(name, value)| (name, Kind::of(value))).collect(),
        }
    }

    /// The message, persistent.
    pub fn into_envelope(self) -> Envelope {
        let body = match self.body {
            Body::Text(text) => text.into(),
            // We wrote it.
            Body::Base64(text) => STANDARD.decode(text).unwrap_or_default().into(),
        };
        Envelope {
            body,
            content_type: self.content_type,
            content_encoding: self.content_encoding,
            kind: self.kind,
            message_id: self.message_id,
            correlation_id: self.correlation_id,
            reply_to: self.reply_to,
            priority: self.priority,
            timestamp: self.timestamp,
            app_id: self.app_id,
            persistent: true,
            headers: Headers(self.headers.into_iter().map(|(name, kind)| (name, kind.value())).collect()),
            ..Envelope::default()
        }
    }
}

impl Kind {
    fn of(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Int(number) => Self::Int(number),
            // JSON has no word for the others.
            Value::Float(number) if !number.is_finite() => Self::Null,
            Value::Float(number) => Self::Float(number),
            Value::Decimal(mantissa, places) => Self::Decimal(mantissa, places),
            Value::Text(text) => Self::Text(text),
            Value::Bytes(bytes) => Self::Bytes(STANDARD.encode(bytes)),
            Value::Time(seconds) => Self::Time(seconds),
            Value::List(values) => Self::List(values.into_iter().map(Self::of).collect()),
            Value::Table(headers) => {
                Self::Table(headers.0.into_iter().map(|(name, value)| (name, Self::of(value))).collect())
            }
        }
    }

    fn value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Int(number) => Value::Int(number),
            Self::Float(number) => Value::Float(number),
            Self::Decimal(mantissa, places) => Value::Decimal(mantissa, places),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(text) => Value::Bytes(Bytes::from(STANDARD.decode(text).unwrap_or_default())),
            Self::Time(seconds) => Value::Time(seconds),
            Self::List(kinds) => Value::List(kinds.into_iter().map(Self::value).collect()),
            Self::Table(entries) => {
                Value::Table(Headers(entries.into_iter().map(|(name, kind)| (name, kind.value())).collect()))
            }
        }
    }
}

//! An AMQP message as the rest of the program sees it: body, properties and headers, without a type of the AMQP client.

use bytes::Bytes;

/// What crosses AMQP in either direction.
///
/// Field names are those of the AMQP 0-9-1 `basic` class, except `kind`, which AMQP calls `type`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The message body, unparsed.
    pub body: Bytes,
    /// MIME type of the body.
    pub content_type: Option<String>,
    /// MIME encoding of the body (`utf-8`, `binary`, a compression).
    pub content_encoding: Option<String>,
    /// The application's own kind of message (AMQP property `type`).
    pub kind: Option<String>,
    /// The application's id of this message.
    pub message_id: Option<String>,
    /// What the receiver of a reply knows the request by.
    pub correlation_id: Option<String>,
    /// The queue that wants the reply.
    pub reply_to: Option<String>,
    /// 0 to 9 by convention; only classic queues with `x-max-priority` act on it.
    pub priority: Option<u8>,
    /// Time to live in milliseconds, as the decimal string that AMQP carries.
    pub expiration: Option<String>,
    /// When the producer made it: seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// The broker-checked login of the producer.
    pub user_id: Option<String>,
    /// The producer's name for itself.
    pub app_id: Option<String>,
    /// Whether the broker keeps it over a restart (`delivery_mode` 2).
    pub persistent: bool,
    /// The headers table.
    pub headers: Headers,
}

/// A headers table. The AMQP client hands incoming ones over sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, Value)>);

impl Headers {
    /// The value of the first header of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text of the first header of that name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Sets a header, replacing one of the same name.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes a header out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    /// Whether there is no header at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value in a headers table. Integers of every width and sign arrive as `Int`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `V`: no value.
    Null,
    /// `t`.
    Bool(bool),
    /// Every integer kind of AMQP; an unsigned 64-bit one over `i64::MAX` saturates.
    Int(i64),
    /// `f` and `d`.
    Float(f64),
    /// `D`: mantissa and number of decimals.
    Decimal(i64, u8),
    /// `S` and `s`, where it is UTF-8.
    Text(String),
    /// `x`, and text that is not UTF-8.
    Bytes(Bytes),
    /// `T`: seconds since the Unix epoch.
    Time(u64),
    /// `A`.
    List(Vec<Value>),
    /// `F`.
    Table(Headers),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

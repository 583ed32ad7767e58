//! lapin's properties and field tables to an [`Envelope`] and back.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable, LongString, ShortString};

use super::nodes::FRAME_MAX;
use crate::envelope::{Envelope, Headers, Value};

/// How deep tables and lists may be nested, in either direction. AMQP sets no bound, and recursion needs one.
pub(super) const MAX_DEPTH: usize = 32;

/// Bytes of headers: a frame, less what the other properties can take. Over a larger frame RabbitMQ closes the connection.
const MAX_HEADERS: usize = FRAME_MAX as usize - 4096;

/// Why an envelope cannot be written as AMQP. Sending it again would not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// AMQP carries this text with a length byte.
    #[error("{field} has {length} bytes; AMQP carries at most 255")]
    TooLong {
        /// The property, `routing_key`, `exchange` or `header name`.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// Tables or lists within each other beyond the bound.
    #[error("the headers are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// They go into one frame, which is bounded.
    #[error("the headers have {0} bytes; at most {MAX_HEADERS} fit into a frame")]
    HeadersTooLarge(usize),
    /// AMQP's decimal has an unsigned 32-bit mantissa.
    #[error("the decimal mantissa {0} does not fit AMQP's 32 bits")]
    Decimal(i64),
}

/// What arrived, as an envelope. Headers come in the order of their names: lapin keeps no other. A value nested deeper than
/// 32 levels is read as `Null`.
pub(super) fn envelope(properties: &BasicProperties, body: Vec<u8>) -> Envelope {
    let text = |property: &Option<ShortString>| property.as_ref().map(|text| text.as_str().to_owned());
    Envelope {
        body: Bytes::from(body),
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        kind: text(properties.kind()),
        message_id: text(properties.message_id()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        priority: *properties.priority(),
        expiration: text(properties.expiration()),
        timestamp: *properties.timestamp(),
        user_id: text(properties.user_id()),
        app_id: text(properties.app_id()),
        persistent: *properties.delivery_mode() == Some(2),
        headers: properties.headers().as_ref().map(|table| headers(table, 0)).unwrap_or_default(),
    }
}

fn headers(table: &FieldTable, depth: usize) -> Headers {
    Headers(table.into_iter().map(|(name, found)| (name.as_str().to_owned(), value(found, depth))).collect())
}

fn value(found: &AMQPValue, depth: usize) -> Value {
    match found {
        AMQPValue::Boolean(flag) => Value::Bool(*flag),
        AMQPValue::ShortShortInt(number) => Value::Int((*number).into()),
        AMQPValue::ShortShortUInt(number) => Value::Int((*number).into()),
        AMQPValue::ShortInt(number) => Value::Int((*number).into()),
        AMQPValue::ShortUInt(number) => Value::Int((*number).into()),
        AMQPValue::LongInt(number) => Value::Int((*number).into()),
        AMQPValue::LongUInt(number) => Value::Int((*number).into()),
        AMQPValue::LongLongInt(number) => Value::Int(*number),
        AMQPValue::Float(number) => Value::Float((*number).into()),
        AMQPValue::Double(number) => Value::Float(*number),
        AMQPValue::DecimalValue(decimal) => Value::Decimal(decimal.value.into(), decimal.scale),
        AMQPValue::ShortString(text) => Value::Text(text.as_str().to_owned()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Bytes(Bytes::copy_from_slice(text.as_bytes())),
        },
        AMQPValue::Timestamp(seconds) => Value::Time(*seconds),
        AMQPValue::ByteArray(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth >= MAX_DEPTH => Value::Null,
        AMQPValue::FieldArray(list) => {
            Value::List(list.as_slice().iter().map(|found| value(found, depth + 1)).collect())
        }
        AMQPValue::FieldTable(table) => Value::Table(headers(table, depth + 1)),
        AMQPValue::Void => Value::Null,
    }
}

/// An envelope as lapin sends it; strings move, only the headers table is rebuilt.
pub(super) fn properties(envelope: Envelope) -> Result<(BasicProperties, Bytes), Unsendable> {
    let mut properties = BasicProperties::default().with_delivery_mode(if envelope.persistent { 2 } else { 1 });
    // By name, not in a loop over functions: each of those would move the whole of it.
    macro_rules! set {
        ($field:literal, $text:ident, $with:ident) => {
            if let Some(text) = envelope.$text {
                properties = properties.$with(short($field, text)?);
            }
        };
    }
    set!("content_type", content_type, with_content_type);
    set!("content_encoding", content_encoding, with_content_encoding);
    set!("type", kind, with_type);
    set!("message_id", message_id, with_message_id);
    set!("correlation_id", correlation_id, with_correlation_id);
    set!("reply_to", reply_to, with_reply_to);
    set!("expiration", expiration, with_expiration);
    set!("user_id", user_id, with_user_id);
    set!("app_id", app_id, with_app_id);
    if let Some(priority) = envelope.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(timestamp) = envelope.timestamp {
        properties = properties.with_timestamp(timestamp);
    }
    if !envelope.headers.is_empty() {
        let size = table_size(&envelope.headers, 0);
        if size > MAX_HEADERS {
            return Err(Unsendable::HeadersTooLarge(size));
        }
        properties = properties.with_headers(table(envelope.headers)?);
    }
    Ok((properties, envelope.body))
}

/// A text that AMQP carries with a length byte; lapin's own conversion panics on a longer one.
pub(super) fn short(field: &'static str, text: String) -> Result<ShortString, Unsendable> {
    let length = text.len();
    ShortString::try_new(text).map_err(|_| Unsendable::TooLong { field, length })
}

/// Headers, or the arguments of a queue, as lapin's table. The last of several headers of one name is sent.
pub(super) fn table(headers: Headers) -> Result<FieldTable, Unsendable> {
    nested_table(headers, 0)
}

fn nested_table(headers: Headers, depth: usize) -> Result<FieldTable, Unsendable> {
    let mut table = FieldTable::default();
    for (name, found) in headers.0 {
        table.insert(short("header name", name)?, amqp_value(found, depth)?);
    }
    Ok(table)
}

/// Bytes that further headers of a message may have.
pub fn header_room(envelope: &Envelope) -> usize {
    MAX_HEADERS.saturating_sub(table_size(&envelope.headers, 0))
}

/// Bytes of a table on the wire.
pub(super) fn table_size(headers: &Headers, depth: usize) -> usize {
    4 + headers.0.iter().map(|(name, value)| 1 + name.len() + value_size(value, depth)).sum::<usize>()
}

fn value_size(value: &Value, depth: usize) -> usize {
    1 + match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) | Value::Time(_) => 8,
        Value::Decimal(..) => 5,
        Value::Text(text) => 4 + text.len(),
        Value::Bytes(bytes) => 4 + bytes.len(),
        // Refused for its depth anyway.
        Value::List(_) | Value::Table(_) if depth >= MAX_DEPTH => 0,
        Value::List(list) => 4 + list.iter().map(|value| value_size(value, depth + 1)).sum::<usize>(),
        Value::Table(headers) => table_size(headers, depth + 1),
    }
}

fn amqp_value(found: Value, depth: usize) -> Result<AMQPValue, Unsendable> {
    Ok(match found {
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(flag),
        Value::Int(number) => AMQPValue::LongLongInt(number),
        Value::Float(number) => AMQPValue::Double(number),
        Value::Decimal(mantissa, scale) => AMQPValue::DecimalValue(DecimalValue {
            scale,
            value: u32::try_from(mantissa).map_err(|_| Unsendable::Decimal(mantissa))?,
        }),
        Value::Text(text) => AMQPValue::LongString(LongString::from(text)),
        Value::Bytes(bytes) => AMQPValue::ByteArray(ByteArray::from(&bytes[..])),
        Value::Time(seconds) => AMQPValue::Timestamp(seconds),
        Value::List(_) | Value::Table(_) if depth >= MAX_DEPTH => return Err(Unsendable::TooDeep),
        Value::List(list) => {
            let list = list.into_iter().map(|found| amqp_value(found, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            AMQPValue::FieldArray(FieldArray::from(list))
        }
        Value::Table(headers) => AMQPValue::FieldTable(nested_table(headers, depth + 1)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_filter("NaN equals nothing", |x| !x.is_nan()).prop_map(Value::Float),
            (any::<u32>(), any::<u8>()).prop_map(|(mantissa, scale)| Value::Decimal(mantissa.into(), scale)),
            ".{0,300}".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())),
            any::<u64>().prop_map(Value::Time),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map("[a-z-]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Table(Headers(map.into_iter().collect()))),
            ]
        })
    }

    fn any_envelope() -> impl Strategy<Value = Envelope> {
        let text = || prop::option::of("[ -~]{0,255}");
        (
            prop::collection::vec(any::<u8>(), 0..60),
            (text(), text(), text(), text(), text(), text(), text(), text(), text()),
            (any::<Option<u8>>(), any::<Option<u64>>(), any::<bool>()),
            prop::collection::btree_map("[a-z-]{1,12}", any_value(), 0..5),
        )
            .prop_map(|(body, t, (priority, timestamp, persistent), headers)| Envelope {
                body: body.into(),
                content_type: t.0,
                content_encoding: t.1,
                kind: t.2,
                message_id: t.3,
                correlation_id: t.4,
                reply_to: t.5,
                expiration: t.6,
                user_id: t.7,
                app_id: t.8,
                priority,
                timestamp,
                persistent,
                headers: Headers(headers.into_iter().collect()),
            })
    }

    proptest! {
        #[test]
        fn an_envelope_survives_the_way_out_and_back(sent in any_envelope()) {
            let (properties, body) = properties(sent.clone()).unwrap();
            prop_assert_eq!(envelope(&properties, body.to_vec()), sent);
        }
    }

    #[test]
    fn text_that_is_not_utf8_arrives_as_bytes() {
        let mut headers = FieldTable::default();
        headers.insert("raw".into(), AMQPValue::LongString(vec![0xff, 0xfe].into()));
        headers.insert("old".into(), AMQPValue::ShortInt(-3));
        let found = envelope(&BasicProperties::default().with_headers(headers), Vec::new());
        assert_eq!(found.headers.get("raw"), Some(&Value::Bytes(Bytes::from_static(&[0xff, 0xfe]))));
        assert_eq!(found.headers.get("old"), Some(&Value::Int(-3)));
        assert!(!found.persistent);
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused_by_name_instead_of_panicking() {
        let long = Envelope { correlation_id: Some("x".repeat(256)), ..Envelope::default() };
        assert_eq!(properties(long), Err(Unsendable::TooLong { field: "correlation_id", length: 256 }));
        let nest = |levels| (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        let with = |value| Envelope { headers: Headers(vec![("h".to_owned(), value)]), ..Envelope::default() };
        assert!(properties(with(nest(MAX_DEPTH))).is_ok());
        assert_eq!(properties(with(nest(MAX_DEPTH + 1))), Err(Unsendable::TooDeep));
        let large = with(Value::Text("x".repeat(MAX_HEADERS)));
        assert_eq!(properties(large), Err(Unsendable::HeadersTooLarge(MAX_HEADERS + 11)));
        assert_eq!(properties(with(Value::Decimal(-1, 2))), Err(Unsendable::Decimal(-1)));
    }

    #[test]
    fn nesting_beyond_the_bound_is_read_as_null() {
        let deep = (0..100).fold(AMQPValue::Void, |inner, _| AMQPValue::FieldArray(FieldArray::from(vec![inner])));
        let mut levels = 0;
        let mut found = value(&deep, 0);
        while let Value::List(mut list) = found {
            levels += 1;
            found = list.remove(0);
        }
        assert_eq!((levels, found), (MAX_DEPTH, Value::Null));
    }
}

//! What a task says about itself beside its arguments: the headers of protocol 2, the members of protocol 1's body.

use super::dates;
use super::refusal::invalid;
use crate::envelope::{Headers, Value};
use crate::excerpt::Excerpt;
use crate::wire::celery::Exception;
use std::fmt;

/// The headers that Celery knows, each as it came. Read in one pass, since every task has some twenty of them.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) task: Option<&'a Value>,
    pub(super) id: Option<&'a Value>,
    pub(super) shadow: Option<&'a Value>,
    pub(super) eta: Option<&'a Value>,
    pub(super) expires: Option<&'a Value>,
    pub(super) group: Option<&'a Value>,
    pub(super) group_index: Option<&'a Value>,
    pub(super) retries: Option<&'a Value>,
    pub(super) timelimit: Option<&'a Value>,
    pub(super) root_id: Option<&'a Value>,
    pub(super) parent_id: Option<&'a Value>,
    pub(super) args_repr: Option<&'a Value>,
    pub(super) kwargs_repr: Option<&'a Value>,
    pub(super) ignore_result: Option<&'a Value>,
    pub(super) stamped_headers: Option<&'a Value>,
    pub(super) stamps: Option<&'a Value>,
    pub(super) compression: Option<&'a Value>,
    pub(super) beat: Option<&'a Value>,
    /// The application's own, in their order.
    pub(super) extra: Vec<&'a (String, Value)>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(headers: &'a Headers) -> Self {
        let mut fields = Self::default();
        for header in &headers.0 {
            fields.put(header);
        }
        fields
    }

    /// Whether a header of that name means something here.
    pub(super) fn knows(name: &str) -> bool {
        Self::default().place(name).is_some()
    }

    /// Takes what these headers say, except where they say null. The application's own headers stay the ones from before.
    pub(super) fn override_with(&mut self, headers: &'a Headers) {
        for header in headers.0.iter().filter(|(_, value)| *value != Value::Null) {
            if let Some(place) = self.place(&header.0) {
                *place = Some(&header.1);
            }
        }
    }

    fn put(&mut self, header: &'a (String, Value)) {
        match self.place(&header.0) {
            Some(place) => *place = Some(&header.1),
            None if is_applications(&header.0) => self.extra.push(header),
            None => {}
        }
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<&'a Value>> {
        Some(match name {
            "task" => &mut self.task,
            "id" => &mut self.id,
            "shadow" => &mut self.shadow,
            "eta" => &mut self.eta,
            "expires" => &mut self.expires,
            "group" => &mut self.group,
            "group_index" => &mut self.group_index,
            "retries" => &mut self.retries,
            "timelimit" => &mut self.timelimit,
            "root_id" => &mut self.root_id,
            "parent_id" => &mut self.parent_id,
            "argsrepr" => &mut self.args_repr,
            "kwargsrepr" => &mut self.kwargs_repr,
            "ignore_result" => &mut self.ignore_result,
            "stamped_headers" => &mut self.stamped_headers,
            "stamps" => &mut self.stamps,
            "compression" => &mut self.compression,
            "celery_beat_task" => &mut self.beat,
            _ => return None,
        })
    }

    /// The stamps by which a task can be revoked. One value or a list of them stands for a name; values that are no text
    /// stand as the text that Python makes of them.
    pub(super) fn stamps(&self) -> Vec<(String, Vec<String>)> {
        let (Some(Value::List(names)), Some(Value::Table(stamps))) = (self.stamped_headers, self.stamps) else {
            return Vec::new();
        };
        let names = names.iter().filter_map(text);
        let stamp = |name: &str| match stamps.get(name)? {
            Value::List(values) => Some((name.to_owned(), values.iter().filter_map(stamp_text).collect())),
            value => Some((name.to_owned(), stamp_text(value).into_iter().collect())),
        };
        names.filter_map(stamp).collect()
    }

    /// Soft and hard limit in seconds. One that is not positive is none, as in Celery.
    pub(super) fn limits(&self) -> Result<(Option<f64>, Option<f64>), Exception> {
        let wrong = |value: &Value| {
            invalid(format!(
                "timelimit is {}; a list of the hard and the soft limit, each a number of seconds or null, is right",
                Shown(value)
            ))
        };
        let whole = match self.timelimit {
            None | Some(Value::Null) => return Ok((None, None)),
            Some(value) => value,
        };
        let Value::List(pair) = whole else { return Err(wrong(whole)) };
        let [hard, soft] = pair.as_slice() else { return Err(wrong(whole)) };
        let limit = |value: &Value| match value {
            Value::Null => Ok(None),
            value => number(value).map(|n| Some(n).filter(|n| n.is_finite() && *n > 0.0)).ok_or_else(|| wrong(whole)),
        };
        Ok((limit(soft)?, limit(hard)?))
    }
}

/// Neither one of Celery's nor one that a broker or this program sets on the way.
fn is_applications(name: &str) -> bool {
    const CELERYS: [&str; 3] = ["lang", "origin", "replaced_task_nesting"];
    const WAYS: [&str; 4] = ["x-death", "x-first-death", "x-last-death", "x-switchboard-"];
    !CELERYS.contains(&name) && name != "x-delivery-count" && !WAYS.iter().any(|way| name.starts_with(way))
}

/// An instant in milliseconds since the Unix epoch; none where the message says none.
pub(super) fn instant(name: &str, value: Option<&Value>) -> Result<Option<u64>, Exception> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Time(seconds)) => Ok(Some(seconds.saturating_mul(1000))),
        Some(Value::Text(text)) if dates::instant(text).is_some() => Ok(dates::instant(text)),
        Some(value) => Err(invalid(format!(
            "{name} is {}; a time in ISO 8601, like \"2026-11-22T10:00:05+00:00\", is right",
            Shown(value)
        ))),
    }
}

/// A text that is not empty.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

pub(super) fn integer(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

/// What Python takes for true.
pub(super) fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(bit)) => *bit,
        Some(Value::Int(number)) => *number != 0,
        Some(Value::Float(number)) => *number != 0.0,
        Some(Value::Decimal(number, _)) => *number != 0,
        Some(Value::Text(text)) => !text.is_empty(),
        Some(Value::Bytes(bytes)) => !bytes.is_empty(),
        Some(Value::List(values)) => !values.is_empty(),
        Some(Value::Table(entries)) => !entries.is_empty(),
        Some(Value::Time(_)) => true,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Decimal(mantissa, decimals) => Some(*mantissa as f64 / 10_f64.powi(i32::from(*decimals))),
        _ => None,
    }
}

fn stamp_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(format!("{number:?}")),
        Value::Bool(bit) => Some(if *bit { "True" } else { "False" }.to_owned()),
        _ => None,
    }
}

/// A header's value as a message shows it: words and numbers as they are, the rest by its kind.
pub(super) struct Shown<'a>(pub(super) &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(bit) => bit.fmt(f),
            Value::Int(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Decimal(..) => f.write_str("a decimal"),
            Value::Text(text) => Excerpt(text).fmt(f),
            Value::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Value::Time(_) => f.write_str("a timestamp"),
            Value::List(values) => write!(f, "a list of {}", values.len()),
            Value::Table(_) => f.write_str("a table"),
        }
    }
}

/// A header's value as JSON; kinds that JSON has not as null.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(bit) => (*bit).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        _ => serde_json::Value::Null,
    }
}

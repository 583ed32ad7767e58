//! What protocol 1 says of a task in its body, as the headers that protocol 2 says it in.

use super::fields::Fields;
use super::members::Members;
use crate::envelope::{Headers, Value};
use crate::wire::celery::typed;
use serde_json::value::RawValue;

/// The members of protocol 1's body, as if they had been headers.
pub(super) fn headers(members: &Members<'_>) -> Headers {
    let members = members.0.iter().filter(|(name, _)| Fields::knows(name) || name == "taskset");
    let mut told = Headers(members.filter_map(|(name, value)| Some((name.clone(), told(value)?))).collect());
    // The older name of the same.
    if matches!(told.get("group"), None | Some(Value::Null))
        && let Some(group) = told.take("taskset")
    {
        told.set("group", group);
    }
    told
}

/// The longest member that is looked at: a frame of headers has no room for more.
const LONGEST: usize = 128 * 1024;

/// One member as the value that a header would have. An object is a typed value, or nothing that a header could be.
fn told(value: &RawValue) -> Option<Value> {
    fn header(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(bit) => Value::Bool(bit),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) => Value::Int(number),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(header).collect()),
            serde_json::Value::Object(members) => {
                Value::Table(Headers(members.into_iter().map(|(name, value)| (name, header(value))).collect()))
            }
        }
    }
    if value.get().len() > LONGEST {
        return None;
    }
    let plain = typed::plain(&value.to_owned()).ok()?;
    serde_json::from_str(plain.get()).ok().map(header)
}

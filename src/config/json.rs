//! Values of the user's own tables as JSON.

use super::kind::describe;
use serde_json::Value as Json;
use toml::Value;

/// A value as JSON; dates as TOML writes them.
///
/// # Errors
///
/// The key of what JSON does not have, and a sentence about it.
pub(super) fn json(key: &str, value: &Value) -> Result<Json, (String, String)> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Float(_) => {
            return Err((key.to_owned(), format!("is {}; right is a number that JSON has", describe(value))));
        }
        Value::Array(items) => {
            let item = |(index, item)| json(&format!("{key}[{index}]"), item);
            Json::Array(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        Value::Table(members) => {
            let member = |(name, value): (&String, &Value)| {
                Ok::<_, (String, String)>((name.clone(), json(&format!("{key}.{name}"), value)?))
            };
            Json::Object(members.iter().map(member).collect::<Result<_, _>>()?)
        }
    })
}

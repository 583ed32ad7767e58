//! One value of a job, read as the type it must have, or a message that says what it is and what would be right.

use super::job::Limits;
use crate::excerpt::Excerpt;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A value as a message shows it: numbers and words as they stand, strings cut, the rest by its kind.
pub(in crate::wire) struct Shown<'a>(pub(super) &'a RawValue);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.get();
        match text.as_bytes().first() {
            Some(b'{') => f.write_str("an object"),
            Some(b'[') => f.write_str("a list"),
            Some(b'"') => match text_of(self.0) {
                Some(text) => Excerpt(&text).fmt(f),
                None => f.write_str("a string with a lone surrogate"),
            },
            // A number has no bound of its own.
            _ => f.write_str(crate::excerpt::truncate(text, 64)),
        }
    }
}

/// "field is …; … is right".
pub(in crate::wire) fn wrong(field: impl fmt::Display, value: &RawValue, right: impl fmt::Display) -> String {
    format!("{field} is {}; {right} is right", Shown(value))
}

fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    match serde_json::from_str::<&str>(value.get()) {
        Ok(plain) => Some(Cow::Borrowed(plain)),
        Err(_) => serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned),
    }
}

/// A string.
pub(in crate::wire) fn text<'a>(field: impl fmt::Display, value: &'a RawValue) -> Result<Cow<'a, str>, String> {
    text_of(value).ok_or_else(|| wrong(field, value, "a string"))
}

/// A whole number from `least` to `most`, which may be written with a fraction of nothing: JSON has one kind of number, and
/// there are writers that know no other than `500.0`.
pub(in crate::wire) fn whole(field: &str, value: &RawValue, least: u64, most: u64, unit: &str) -> Result<u64, String> {
    let plain = serde_json::from_str::<u64>(value.get()).ok();
    plain
        .or_else(|| serde_json::from_str::<f64>(value.get()).ok().and_then(without_fraction))
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| wrong(field, value, format_args!("a whole number{unit} from {least} to {most}")))
}

fn without_fraction(number: f64) -> Option<u64> {
    // Beyond this not every whole number is one of its kind, and what was written may have been another.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64)
}

/// A finite number for which `good` holds.
pub(in crate::wire) fn number(
    field: &str,
    value: &RawValue,
    right: &str,
    good: impl FnOnce(f64) -> bool,
) -> Result<f64, String> {
    serde_json::from_str::<f64>(value.get())
        .ok()
        .filter(|number| number.is_finite() && good(*number))
        .ok_or_else(|| wrong(field, value, right))
}

/// One of a few words.
pub(in crate::wire) fn word<T: Copy>(field: &str, value: &RawValue, words: &[(&str, T)]) -> Result<T, String> {
    let text = text_of(value);
    let found = words.iter().find(|(word, _)| text.as_deref() == Some(*word));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        wrong(field, value, words.join(" or "))
    })
}

/// The devices of a list, as many as there may be.
pub(in crate::wire) fn list<'a>(
    field: &str,
    value: &'a RawValue,
    limits: &Limits,
) -> Result<Vec<&'a RawValue>, String> {
    if !value.get().starts_with('[') {
        return Err(wrong(field, value, "a list"));
    }
    // The syntax was checked when the value was cut out, so only the walk over it is left.
    let mut reader = serde_json::Deserializer::from_str(value.get());
    let items =
        Vec::<&RawValue>::deserialize(&mut reader).map_err(|problem| format!("{field} is no list: {problem}"))?;
    match items.len() {
        0 if !limits.no_devices => Err(format!("{field} is an empty list; at least one device is right")),
        n if n > limits.max_devices => {
            Err(format!("{field} has {n} devices; at most {} are right", limits.max_devices))
        }
        _ => Ok(items),
    }
}

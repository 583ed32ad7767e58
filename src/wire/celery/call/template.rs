//! Texts and values with gaps for a call's arguments: `garage-{door}`, `{ speed = "{speed}" }`.

use super::argument;
use super::arguments::Bound;
use super::fault::Fault;
use crate::excerpt::Excerpt;
use crate::job::Payload;
use crate::wire::native::Limits;
use crate::wire::native::value::wrong;
use serde_json::Value;
use std::fmt::Write;

/// A text; `{name}` is an argument, `{{` and `}}` are braces.
#[derive(Clone, Debug)]
pub(super) struct Text(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Plain(String),
    Argument(usize),
}

/// Which parameter has that name; the error says what there is.
pub(super) type Find<'a> = &'a dyn Fn(&str) -> Result<usize, String>;

impl Text {
    /// Reads a template. The error is a sentence whose subject is the key.
    pub(super) fn parse(text: &str, find: Find<'_>) -> Result<Self, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(index) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(index);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(&from[..1]);
                rest = after;
                continue;
            }
            let gap = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = gap.filter(|(name, _)| !name.contains('{')) else {
                let brace = &from[..1];
                return Err(format!(
                    "is {} with a single {brace:?}; right is \"{{name}}\" for an argument, and {brace:?} twice for itself",
                    Excerpt(text)
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Plain(std::mem::take(&mut plain)));
            }
            parts.push(Part::Argument(find(name)?));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Plain(plain));
        }
        Ok(Self(parts))
    }

    /// The argument that is all of it.
    pub(super) fn whole(&self) -> Option<usize> {
        match self.0[..] {
            [Part::Argument(index)] => Some(index),
            _ => None,
        }
    }

    /// The text itself, where it has no gap.
    pub(super) fn fixed(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Part::Plain(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for these arguments; each has to be a text or a number.
    pub(super) fn fill(&self, bound: &Bound<'_>) -> Result<String, Fault> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Plain(text) => out.push_str(text),
                Part::Argument(index) => insert(&mut out, bound, *index)?,
            }
        }
        Ok(out)
    }
}

fn insert(out: &mut String, bound: &Bound<'_>, index: usize) -> Result<(), Fault> {
    let name = bound.name(index);
    let Some(given) = bound.at(index) else {
        return Err(Fault::Said(format!("{name} is left out; a string or a number is right")));
    };
    let plain = argument::plain(given)?;
    match plain.get().as_bytes().first() {
        Some(b'"') => out.push_str(&argument::text(name, &plain)?),
        Some(b'-' | b'0'..=b'9') => out.push_str(plain.get()),
        _ => return Err(Fault::Said(wrong(name, given, "a string or a number"))),
    }
    Ok(())
}

/// A value whose texts may have gaps; a text that is one gap is the argument itself, of its type.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// JSON without a gap.
    Fixed(String),
    Text(Text),
    Argument(usize),
    List(Vec<Shape>),
    Object(Vec<(String, Shape)>),
}

impl Shape {
    /// Reads a value; every problem with the place in it where it is.
    pub(super) fn parse(at: &str, value: &Value, find: Find<'_>, problems: &mut Vec<(String, String)>) -> Self {
        let shape = match value {
            Value::String(text) => match Text::parse(text, find) {
                Ok(text) => match (text.whole(), text.fixed()) {
                    (Some(index), _) => Self::Argument(index),
                    (None, Some(fixed)) => Self::Fixed(Value::from(fixed).to_string()),
                    (None, None) => Self::Text(text),
                },
                Err(problem) => {
                    problems.push((at.to_owned(), problem));
                    Self::Fixed("null".to_owned())
                }
            },
            Value::Array(items) => {
                let item = |(index, item)| Self::parse(&format!("{at}[{index}]"), item, find, problems);
                Self::List(items.iter().enumerate().map(item).collect())
            }
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| {
                    (name.clone(), Self::parse(&format!("{at}.{name}"), value, find, problems))
                };
                Self::Object(members.iter().map(member).collect())
            }
            plain => Self::Fixed(plain.to_string()),
        };
        if shape.has_gap() { shape } else { Self::Fixed(shape.as_fixed()) }
    }

    fn has_gap(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Text(_) | Self::Argument(_) => true,
            Self::List(items) => items.iter().any(Self::has_gap),
            Self::Object(members) => members.iter().any(|(_, value)| value.has_gap()),
        }
    }

    fn as_fixed(&self) -> String {
        let mut out = String::new();
        // Nothing in it asks for an argument, so nothing can fail.
        let _ = self.write(&mut out, &mut |_, _| Ok(()));
        out
    }

    fn write(
        &self,
        out: &mut String,
        fill: &mut dyn FnMut(&mut String, &Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self {
            Self::Fixed(json) => out.push_str(json),
            Self::Text(_) | Self::Argument(_) => fill(out, self)?,
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    out.push(if index == 0 { '[' } else { ',' });
                    item.write(out, fill)?;
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Self::Object(members) => {
                for (index, (name, value)) in members.iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    let _ = write!(out, "{}:", Value::from(name.as_str()));
                    value.write(out, fill)?;
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }

    /// The payload for these arguments. An argument that is left out is `null` within it, and no payload where it is all of it.
    pub(super) fn payload(&self, bound: &Bound<'_>, limits: &Limits) -> Result<Payload, Fault> {
        if let Self::Argument(index) = self {
            return bound
                .at(*index)
                .map_or(Ok(Payload::Empty), |value| argument::payload(bound.name(*index), value, limits));
        }
        let mut out = String::new();
        self.write(&mut out, &mut |out, gap| {
            match gap {
                Self::Text(text) => out.push_str(&Value::from(text.fill(bound)?).to_string()),
                Self::Argument(index) => match bound.at(*index) {
                    Some(value) => out.push_str(&argument::written(value)?),
                    None => out.push_str("null"),
                },
                Self::Fixed(_) | Self::List(_) | Self::Object(_) => {}
            }
            Ok(())
        })?;
        argument::bounded("payload", Payload::Json(out.into()), limits)
    }
}

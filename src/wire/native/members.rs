//! The members of a JSON object of known names: each borrowed as its text, none twice, none unknown.

use crate::excerpt::Excerpt;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// What an object of these names holds, as far as it could be read.
pub(super) struct Members<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'a RawValue>; N],
    /// The first thing wrong with the object itself.
    fault: Option<String>,
}

impl<'a, const N: usize> Members<'a, N> {
    /// Reads an object and goes on after unknown and repeated members, so that the rest is there to be reported with.
    ///
    /// `what` is the object's name in messages.
    pub(super) fn read(what: impl fmt::Display, json: &'a str, names: &'static [&'static str; N]) -> Self {
        let mut members = Self { names, values: [None; N], fault: None };
        let mut reader = serde_json::Deserializer::from_str(json);
        let read = reader.deserialize_any(&mut members).and_then(|()| reader.end());
        if let Err(problem) = read {
            let fault = match problem.classify() {
                serde_json::error::Category::Data => format!("{what} is JSON, but no object; an object is right"),
                _ => format!("{what} is no JSON: {problem}; a JSON object is right"),
            };
            members.fault.get_or_insert(fault);
        } else if let Some(fault) = &mut members.fault {
            fault.insert_str(0, &format!("{what} has "));
        }
        members
    }

    /// Nothing at all, where there was no text to read.
    pub(super) fn none(names: &'static [&'static str; N]) -> Self {
        Self { names, values: [None; N], fault: None }
    }

    /// An error where the object itself is not as it must be.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// The member of that name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let index = self.names.iter().position(|known| *known == name)?;
        self.values[index]
    }

    fn note(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

impl<'a, const N: usize> Visitor<'a> for &mut Members<'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name(self.names))? {
            let value: &RawValue = map.next_value()?;
            match name {
                Ok(index) => {
                    if self.values[index].replace(value).is_some() {
                        self.note(format!("the field {:?} twice; once is right", self.names[index]));
                    }
                }
                Err(unknown) => {
                    let known = self.names.join(", ");
                    self.note(format!("the unknown field {}; the fields are {known}", Excerpt(&unknown)));
                }
            }
        }
        Ok(())
    }
}

/// A member's name as its place among the known ones, or itself.
struct Name<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Name<N> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Name<N> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name).ok_or_else(|| name.to_owned()))
    }
}

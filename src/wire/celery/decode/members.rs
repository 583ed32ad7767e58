//! The parts of a body, each still as the text that it came as: the syntax of all of it is checked, and nothing is built.

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

/// A value's parts.
pub(super) enum Parts<'a> {
    /// The first items of a list, three at least, and how many there are.
    List(Vec<&'a RawValue>, usize),
    /// The members of an object.
    Object(Members<'a>),
    /// Neither.
    Other,
}

/// An object's members in their order; of a name that stood twice the last value, as in Python.
#[derive(Default)]
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The value of a member; none where it is missing.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// So few members are compared one by one.
const FEW: usize = 16;

fn last_wins<T>(members: &mut Vec<(String, T)>) {
    let repeats = match members.len() {
        0 | 1 => false,
        n if n <= FEW => members.iter().enumerate().any(|(at, (name, _))| members[..at].iter().any(|(n, _)| n == name)),
        n => {
            let mut seen: HashMap<&str, ()> = HashMap::with_capacity(n);
            members.iter().any(|(name, _)| seen.insert(name, ()).is_some())
        }
    };
    if !repeats {
        return;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<(String, T)> = Vec::with_capacity(members.len());
    for (name, value) in members.drain(..) {
        match places.get(&name) {
            Some(at) => kept[*at].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    *members = kept;
}

/// The parts of a value.
///
/// # Errors
///
/// That of the syntax; or, of the category `Data`, that an object has more than `most` members.
pub(super) fn parts(text: &str, most: usize) -> Result<Parts<'_>, serde_json::Error> {
    whole(text, PartsVisitor { most, items: 3 })
}

/// The members of an object of which nobody has yet counted them. As [`parts`]; another kind of value has none.
pub(super) fn members(text: &str, most: usize) -> Result<Members<'_>, serde_json::Error> {
    match parts(text, most)? {
        Parts::Object(members) => Ok(members),
        _ => Ok(Members::default()),
    }
}

/// The items of a list. As [`parts`]; another kind of value has none.
pub(super) fn items(text: &str, most: usize) -> Result<Vec<&RawValue>, serde_json::Error> {
    match whole(text, PartsVisitor { most, items: most })? {
        Parts::List(items, count) if count <= most => Ok(items),
        Parts::List(_, count) => {
            Err(serde_json::Error::custom(format_args!("there are {count}; at most {most} are right")))
        }
        _ => Ok(Vec::new()),
    }
}

fn whole<'a>(text: &'a str, visitor: PartsVisitor) -> Result<Parts<'a>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let parts = reader.deserialize_any(visitor)?;
    reader.end()?;
    Ok(parts)
}

struct PartsVisitor {
    /// So many members an object may have.
    most: usize,
    /// So many items of a list are kept.
    items: usize,
}

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'de>, A::Error> {
        let mut first = Vec::new();
        let mut count = 0;
        while first.len() < self.items {
            match seq.next_element::<&RawValue>()? {
                Some(item) => first.push(item),
                None => return Ok(Parts::List(first, count)),
            }
            count += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Parts::List(first, count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let mut members: Vec<(String, &RawValue)> = Vec::new();
        while let Some(member) = map.next_entry()? {
            if members.len() == self.most {
                return Err(A::Error::custom(format_args!(
                    "there are more than {} members; at most those are right",
                    self.most
                )));
            }
            members.push(member);
        }
        last_wins(&mut members);
        Ok(Parts::Object(Members(members)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_unit<E>(self) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }
}

/// A value as a message shows it: by its kind, or as it stands where that is short.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_bytes().first() {
            Some(b'{') => f.write_str("an object"),
            Some(b'[') => f.write_str("a list"),
            Some(b'"') => f.write_str("a string"),
            _ => f.write_str(crate::excerpt::truncate(self.0, 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_that_stood_twice_the_last_value_is_kept_in_the_first_place() {
        let many: Vec<String> = (0..40).map(|n| format!("\"k{}\": {n}", n % 30)).collect();
        let many = format!("{{{}}}", many.join(","));
        let members_of = |text| members(text, 40).unwrap();
        assert_eq!(members_of(&many).0.len(), 30);
        assert_eq!(members_of(&many).0[3].0, "k3");
        assert_eq!(members_of(&many).get("k3").unwrap().get(), "33");
        assert_eq!(members_of(&many).get("k13").unwrap().get(), "13");
        assert_eq!(members_of(r#"{"a": 1, "b": 2, "\u0061": 3}"#).get("a").unwrap().get(), "3");
        assert!(members(&many, 39).err().unwrap().is_data());
    }

    #[test]
    fn a_list_is_counted_whole() {
        let Parts::List(first, count) = parts("[1, 2, 3, 4, 5]", 0).unwrap() else { panic!("no list") };
        assert_eq!((first.len(), count), (3, 5));
        assert!(matches!(parts("null", 0).unwrap(), Parts::Other));
        assert!(parts("[1, 2, 3, x]", 9).err().unwrap().is_syntax());
        assert!(parts("[] []", 9).err().unwrap().is_syntax());
        assert_eq!(items("[1, 2]", 2).unwrap().len(), 2);
        assert_eq!(items("[1, 2]", 1).unwrap_err().to_string(), "there are 2; at most 1 are right");
    }
}

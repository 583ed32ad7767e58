//! The profiles that come with the program, in the same form in which a user writes one.

use toml::{Table, Value};

const BUILTIN: &str = include_str!("builtin.toml");

/// Name and keys of every built-in profile. A user's `[profiles.NAME]` of the same name replaces single keys of it.
pub fn builtin() -> Vec<(String, Table)> {
    let all: Table = BUILTIN.parse().expect("the built-in profiles are TOML, as a test proves");
    all.into_iter()
        .filter_map(|(name, value)| match value {
            Value::Table(table) => Some((name, table)),
            _ => None,
        })
        .collect()
}

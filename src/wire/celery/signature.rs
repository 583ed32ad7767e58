//! A signature: a task that is to be sent later, as Celery writes it into messages.

use super::Json;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A task to be sent, with the options of its sending. Groups, chains and chords are signatures too.
#[derive(Clone, Debug, Deserialize)]
pub struct Signature {
    /// The task's name; `celery.group`, `celery.chain` and `celery.chord` stand for more than one.
    pub task: String,
    /// Its positional arguments, behind what is put in front of them.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<Json>,
    /// Its named arguments.
    #[serde(default, deserialize_with = "or_default")]
    pub kwargs: BTreeMap<String, Json>,
    /// How it is sent: `task_id`, `queue`, `link` and many more; unknown ones mean nothing.
    #[serde(default, deserialize_with = "or_default")]
    pub options: BTreeMap<String, Json>,
    /// `group`, `chain` or `chord`.
    #[serde(default)]
    pub subtask_type: Option<String>,
    /// Nothing is put in front of its arguments.
    #[serde(default, deserialize_with = "or_default")]
    pub immutable: bool,
}

impl Signature {
    /// An option read as the type that it should have; `None` where it is absent, null or of another type.
    pub fn option<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        let text: &RawValue = self.options.get(name)?;
        serde_json::from_str::<Option<T>>(text.get()).ok().flatten()
    }
}

/// Producers that are no Python may write null where they mean nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(reader: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

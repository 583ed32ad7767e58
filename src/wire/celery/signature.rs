//! A signature: a task that is to be sent later, as Celery writes it into messages.

use super::Json;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// A task to be sent, with the options of its sending. Groups, chains and chords are signatures too.
#[derive(Clone, Debug, Deserialize, Serialize)]
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

/// What a signature stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One task.
    Task,
    /// Tasks that are sent together.
    Group,
    /// Tasks of which each is sent with the result of the one before.
    Chain,
    /// A group, and a body that is sent with the list of its results.
    Chord,
}

impl Signature {
    /// An option read as the type that it should have; `None` where it is absent, null or of another type.
    pub fn option<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        let text: &RawValue = self.options.get(name)?;
        serde_json::from_str::<Option<T>>(text.get()).ok().flatten()
    }

    /// What it stands for. Celery's `map`, `starmap` and others are tasks like any other, for whoever knows their names.
    pub fn kind(&self) -> Kind {
        match self.subtask_type.as_deref() {
            Some("group") => Kind::Group,
            Some("chain") => Kind::Chain,
            Some("chord") => Kind::Chord,
            _ => Kind::Task,
        }
    }

    /// A signature for more than one, without options.
    pub(super) fn of(kind: Kind, tasks: &[Signature]) -> Self {
        let (task, subtask_type) = match kind {
            Kind::Group => ("celery.group", "group"),
            _ => ("celery.chain", "chain"),
        };
        let mut sig = Self::empty(task, subtask_type);
        sig.set_tasks(tasks);
        sig
    }

    /// A chord without options.
    pub(super) fn chord(header: &Signature, body: &Signature) -> Self {
        let mut sig = Self::empty("celery.chord", "chord");
        sig.kwargs.insert("kwargs".to_owned(), raw(&serde_json::Map::new()));
        sig.kwargs.insert("header".to_owned(), raw(header));
        sig.kwargs.insert("body".to_owned(), raw(body));
        sig
    }

    fn empty(task: &str, subtask_type: &str) -> Self {
        Self {
            task: task.to_owned(),
            args: Vec::new(),
            kwargs: BTreeMap::new(),
            options: BTreeMap::new(),
            subtask_type: Some(subtask_type.to_owned()),
            immutable: false,
        }
    }

    /// The members of a group or chain as they are written; none where that is nonsense.
    pub(super) fn tasks(&self) -> Vec<Signature> {
        self.named("tasks").unwrap_or_default()
    }

    /// A named argument read as the type that it should have.
    pub(super) fn named<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        serde_json::from_str(self.kwargs.get(name)?.get()).ok()
    }

    pub(super) fn set_tasks(&mut self, tasks: &[Signature]) {
        self.kwargs.insert("tasks".to_owned(), raw(tasks));
    }

    pub(super) fn set_option(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.options.insert(name.to_owned(), raw(value));
    }

    /// Signatures under an option that holds one of them, or a list.
    pub(super) fn linked(&self, name: &str) -> Vec<Signature> {
        match self.option::<Vec<Signature>>(name) {
            Some(list) => list,
            None => self.option::<Signature>(name).into_iter().collect(),
        }
    }

    /// Adds to the signatures under an option.
    pub(super) fn link(&mut self, name: &str, more: Vec<Signature>) {
        if !more.is_empty() {
            let mut all = self.linked(name);
            all.extend(more);
            self.set_option(name, &all);
        }
    }

    /// The id under which the result will be known, where the sender has chosen one.
    pub(super) fn id(&self) -> Option<String> {
        self.option("task_id")
    }
}

/// A value as JSON text.
pub(super) fn raw(value: &(impl Serialize + ?Sized)) -> Json {
    // Maps with string keys, lists and texts are always JSON.
    to_raw_value(value).expect("a value of strings, lists and maps is JSON")
}

/// Producers that are no Python may write null where they mean nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(reader: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

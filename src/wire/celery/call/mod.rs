//! What a task asks for, as a job: the three tasks of our own, and the application's own names mapped onto commands.
//!
//! Reading is as strict as the native format's, and speaks as Python does: a call with wrong arguments ends as an exception
//! whose text names the argument, what was given and what would be right.

mod argument;
mod arguments;
mod builtin;
mod fault;
mod mapped;
mod mapping;
mod template;
#[cfg(test)]
mod tests;

pub use mapped::Mapped;
pub use mapping::{KEYS, Mapping, Problem, Wait, abort};

use super::{About, Exception, Task};
use crate::job::{Guarantee, Job, Mode, Payload, Targets};
use crate::outcome::Failure;
use crate::wire::native::{Limits, check_id};
use builtin::Builtin;
use fault::Fault;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The tasks that are served, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    mapped: Arc<BTreeMap<Box<str>, Mapped>>,
}

/// What the caller gets of a command that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Returns {
    /// The device's answer.
    #[default]
    Answer,
    /// `None`.
    Nothing,
    /// The summary of a bulk.
    Summary,
}

impl Calls {
    /// The tasks of our own and these. Of two with one name the last is served; the configuration refuses that.
    pub fn new(mapping: Vec<Mapped>) -> Self {
        let mapped = mapping.into_iter().map(|mapped| (mapped.name().into(), mapped)).collect();
        Self { mapped: Arc::new(mapped) }
    }

    /// The names of all tasks that are served: our own first, then the mapped ones in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let builtin = Builtin::ALL.into_iter().map(|builtin| -> &str { builtin.name() });
        builtin.chain(self.mapped.keys().map(AsRef::as_ref))
    }

    /// What a caller of this task gets where it succeeds; `None` for a name that is not served.
    pub fn returns(&self, name: &str) -> Option<Returns> {
        let builtin = Builtin::of(name).map(Builtin::returns);
        builtin.or_else(|| self.mapped.get(name).map(Mapped::returns))
    }

    /// The job that a task asks for.
    ///
    /// Time limits, retries and what follows on the task's end are no part of it.
    ///
    /// # Errors
    ///
    /// `celery.exceptions.NotRegistered` for a name that is not served; `switchboard.exceptions.InvalidCommand` for
    /// arguments that are not as the task takes them. Nothing was sent then.
    pub fn read(&self, task: &Task, limits: &Limits) -> Result<Job, Exception> {
        let head = &task.head;
        let checked = check_id("id", &head.id).map_err(Fault::from);
        let asked = match (Builtin::of(&head.name), self.mapped.get(&*head.name)) {
            (Some(builtin), _) => checked.and_then(|()| builtin.read(&task.args, &task.kwargs, limits)),
            (None, Some(mapped)) => checked.and_then(|()| mapped.read(&task.args, &task.kwargs, limits)),
            (None, None) => return Err(Exception::new("celery.exceptions", "NotRegistered", &*head.name)),
        };
        let asked = asked.map_err(|fault| match fault {
            Fault::Raised(exception) => exception,
            Fault::Said(text) => {
                let (device, command) = self.named(task);
                let about = About { id: &head.id, device: &device, command: &command };
                super::ending::invalid(&about, &Failure::new("invalid_job", text))
            }
        })?;
        Ok(Job {
            id: head.id.clone(),
            targets: asked.targets,
            command: asked.command,
            payload: asked.payload,
            mode: asked.mode,
            profile: asked.profile,
            timeout: asked.timeout,
            expires_at: task.expires,
            not_before: task.eta,
            guarantee: asked.guarantee,
            // A task does not say when it was made.
            enqueued_at: None,
        })
    }

    /// What a call is about that is wrong in something else.
    fn named(&self, task: &Task) -> Named {
        match (Builtin::of(&task.head.name), self.mapped.get(&*task.head.name)) {
            (Some(builtin), _) => builtin.named(&task.args, &task.kwargs),
            (None, Some(mapped)) => mapped.named(&task.args, &task.kwargs),
            (None, None) => Named::default(),
        }
    }
}

/// The device and the command that a call names; empty where that cannot be read.
type Named = (Arc<str>, Arc<str>);

/// What the arguments of a call come to.
struct Asked {
    targets: Targets,
    command: Arc<str>,
    payload: Payload,
    mode: Mode,
    profile: Arc<str>,
    timeout: Option<Duration>,
    guarantee: Option<Guarantee>,
}

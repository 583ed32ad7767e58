//! A message that is no task that can be run, and the exception that says so to its caller.

use crate::wire::celery::{Exception, Head};

/// A task that is answered, where it can be, and never run.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Whatever of it could be read. An empty id means that nobody can be answered.
    pub head: Head,
    /// What the caller's `.get()` raises.
    pub exception: Exception,
}

/// The message is not shaped like a task, or says something that means nothing.
pub(super) fn invalid(text: impl Into<String>) -> Exception {
    Exception::new("celery.exceptions", "InvalidTaskError", text)
}

/// The body cannot be read. kombu's own word for it, so that a caller finds it where he looks for it.
pub(super) fn undecodable(text: impl Into<String>) -> Exception {
    Exception::new("kombu.exceptions", "DecodeError", text)
}

/// The body is of a kind that is not read at all.
pub(super) fn disallowed(text: impl Into<String>) -> Exception {
    Exception::new("kombu.exceptions", "ContentDisallowed", text)
}

/// What Celery's worker answers to a name that it does not know; the name is the argument, whatever it is.
pub(super) fn not_registered(name: serde_json::Value) -> Exception {
    Exception { module: "celery.exceptions".into(), kind: "NotRegistered".into(), args: vec![name] }
}

//! A Celery task as it was asked for, and how it ended: the words that every other file here speaks.

use super::Signature;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// One JSON value as the text that its producer wrote: numbers of any size and the order of members stay what they are.
///
/// The numbers that Python writes and JSON does not know (`NaN`, `Infinity`, `-Infinity`) stand masked in it.
pub type Json = Box<RawValue>;

/// What is known of a task before its body is: enough to answer it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The task's id: the idempotency key, and the id of its result. Empty where it could not be read.
    pub id: Arc<str>,
    /// The task's name; empty where it could not be read.
    pub name: Arc<str>,
    /// What the client knows the result by: the message's correlation id, else the task's id.
    pub correlation_id: String,
    /// The queue that the client reads results from; none where the message names none.
    pub reply_to: Option<String>,
    /// The client wants no result at all, failures included.
    pub ignore_result: bool,
    /// Sent by celery beat, which reads no results.
    pub from_beat: bool,
    /// The group it belongs to.
    pub group: Option<String>,
    /// Its place in the group.
    pub group_index: Option<i64>,
    /// The first task of the workflow; the task itself where the message says nothing.
    pub root_id: Option<String>,
    /// The task that sent this one.
    pub parent_id: Option<String>,
}

/// A task, well-formed in all its parts; whether we serve its name is another question.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// Who asks, and where the result goes.
    pub head: Head,
    /// The name shown instead of the task's own.
    pub shadow: Option<String>,
    /// The positional arguments.
    pub args: Vec<Json>,
    /// The named arguments; of a name that stood twice the last value.
    pub kwargs: Vec<(String, Json)>,
    /// What follows on its end.
    pub embed: Embed,
    /// Not to be run before: milliseconds since the Unix epoch.
    pub eta: Option<u64>,
    /// Not to be run after: milliseconds since the Unix epoch.
    pub expires: Option<u64>,
    /// How often it was tried before.
    pub retries: i64,
    /// Seconds after which it is given up, softly.
    pub soft_limit: Option<f64>,
    /// Seconds after which it is given up.
    pub hard_limit: Option<f64>,
    /// The arguments as Python shows them, for events and inspection; empty where the message does not say.
    pub args_repr: String,
    /// The named arguments likewise.
    pub kwargs_repr: String,
    /// Stamps by which tasks can be revoked: each name with its values.
    pub stamps: Vec<(String, Vec<String>)>,
    /// Headers of the application's own, to be kept where the task is sent on.
    pub extra: crate::envelope::Headers,
}

/// What follows on a task's end.
#[derive(Clone, Debug, Default)]
pub struct Embed {
    /// Sent with the result in front of their arguments, where the task succeeds.
    pub callbacks: Vec<Signature>,
    /// Sent with the task's id in front of their arguments, where it fails.
    pub errbacks: Vec<Signature>,
    /// The rest of a chain, in Celery's order: the next step is the last one.
    pub chain: Vec<Signature>,
    /// What is sent when every task of the group is done.
    pub chord: Option<Box<Signature>>,
}

/// How a task ended.
#[derive(Clone, Debug)]
pub enum End {
    /// State SUCCESS, with the result.
    Success(Json),
    /// State FAILURE.
    Failure(Exception),
    /// State REVOKED; the reason is the text in the exception: `revoked`, `expired` or `terminated`.
    Revoked(Exception),
}

/// An exception that a Python client can build again: `module.kind(*args)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// `exc_module`.
    pub module: Cow<'static, str>,
    /// `exc_type`.
    pub kind: Cow<'static, str>,
    /// `exc_message`: the constructor's arguments.
    pub args: Vec<serde_json::Value>,
}

impl Exception {
    /// An exception with one text for its argument.
    pub fn new(module: &'static str, kind: &'static str, text: impl Into<String>) -> Self {
        let args = vec![serde_json::Value::String(text.into())];
        Self { module: Cow::Borrowed(module), kind: Cow::Borrowed(kind), args }
    }

    /// Celery's own exception of a task that is not run, or not to its end.
    pub fn revoked(reason: &'static str) -> Self {
        Self::new("celery.exceptions", "TaskRevokedError", reason)
    }
}

/// As Python shows it, its first argument alone.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.args.first() {
            Some(serde_json::Value::String(text)) => write!(f, "{}: {text}", self.kind),
            Some(other) => write!(f, "{}: {other}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

impl End {
    /// Celery's name of the state.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Success(_) => "SUCCESS",
            Self::Failure(_) => "FAILURE",
            Self::Revoked(_) => "REVOKED",
        }
    }
}

//! Celery's messages: tasks into jobs, outcomes into results, and what follows on a task's end.
//!
//! The message formats are those of Celery 5.7 (protocols 1 and 2), kombu's serializers and its rpc and Redis results.

pub mod control;
pub mod event;
mod fnmatch;
pub mod info;
pub mod repr;
mod signature;
mod task;
#[cfg(test)]
pub(crate) mod vectors;

pub use signature::Signature;
pub use task::{Embed, End, Exception, Head, Json, Task};

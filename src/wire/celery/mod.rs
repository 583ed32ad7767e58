//! Celery's messages: tasks into jobs, outcomes into results, and what follows on a task's end.
//!
//! The message formats are those of Celery 5.7 (protocols 1 and 2), kombu's serializers and its rpc and Redis results.

mod body;
mod compression;
mod dates;
mod decode;
mod embed;
mod fields;
mod kind;
mod members;
mod msgpack;
mod nonfinite;
mod refusal;
mod routing;
mod signature;
mod task;
pub mod typed;
#[cfg(test)]
pub(crate) mod vectors;

pub use decode::{Bounds, decode};
pub use kind::is_task;
pub use nonfinite::unmask;
pub use refusal::Refusal;
pub use routing::routing_key;
pub use signature::Signature;
pub use task::{Embed, End, Exception, Head, Json, Task};

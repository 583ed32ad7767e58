//! Celery's messages: tasks into jobs, outcomes into results, and what follows on a task's end.
//!
//! The message formats are those of Celery 5.7 (protocols 1 and 2), kombu's serializers and its rpc and Redis results.

mod body;
pub mod call;
mod canvas;
mod compression;
pub mod control;
mod dates;
mod decode;
mod embed;
pub mod ending;
pub mod event;
mod fields;
mod fnmatch;
mod id;
pub mod info;
mod kind;
mod members;
mod message;
mod msgpack;
mod nonfinite;
mod refusal;
pub mod repr;
mod response;
mod rest;
mod result;
mod routes;
mod routing;
mod signature;
mod stored;
mod task;
pub mod typed;
#[cfg(test)]
pub(crate) mod vectors;

pub use call::{Calls, Mapped, Mapping, Returns, Wait};
pub use canvas::{After, Answer, ChordPart, ChordStart, Message, Sender, Step, Target, chord};
pub use canvas::{after, lost, unservable};
pub use decode::{Bounds, decode};
pub use ending::{About, end, failed_here, hard_limit, soft_limit, summary_end};
pub use id::message_id;
pub use kind::is_task;
pub use message::task_message;
pub use nonfinite::unmask;
pub use refusal::Refusal;
pub use response::success;
pub use rest::rest;
pub use result::{Child, exception, reply, result};
pub use routes::Routes;
pub use routing::routing_key;
pub use signature::{Kind, Signature};
pub use stored::read_end;
pub use task::{Embed, End, Exception, Head, Json, Task};

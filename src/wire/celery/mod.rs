//! Celery's messages: tasks into jobs, outcomes into results, and what follows on a task's end.
//!
//! The message formats are those of Celery 5.7 (protocols 1 and 2), kombu's serializers and its rpc and Redis results.

pub mod call;
mod canvas;
pub mod control;
mod decode;
pub mod ending;
pub mod event;
mod fnmatch;
mod id;
pub mod info;
mod message;
mod nonfinite;
pub mod repr;
mod rest;
mod result;
mod routes;
mod signature;
mod task;
#[cfg(test)]
pub(crate) mod vectors;

pub use call::{Calls, Mapped, Mapping, Returns, Wait};
pub use canvas::{After, Answer, ChordPart, ChordStart, Message, Sender, Step, Target, chord};
pub use canvas::{after, lost, unservable};
pub use decode::{Bounds, Refusal, decode, is_task, routing_key, typed};
pub use ending::{About, end, hard_limit, named, soft_limit, summary_end};
pub use id::message_id;
pub use message::task_message;
pub use nonfinite::unmask;
pub use rest::rest;
pub use result::{Child, exception, native_words, read_end, reply, result, success};
pub use routes::Routes;
pub use signature::{Kind, Signature};
pub use task::{Embed, End, Exception, Head, Json, Task};

//! Celery's messages: tasks into jobs, outcomes into results, and what follows on a task's end.
//!
//! The message formats are those of Celery 5.7 (protocols 1 and 2), kombu's serializers and its rpc and Redis results.

mod canvas;
mod id;
mod message;
mod nonfinite;
pub mod repr;
mod response;
mod result;
mod signature;
mod task;
#[cfg(test)]
pub(crate) mod vectors;

pub use canvas::{After, Answer, ChordPart, ChordStart, Message, Sender, Step, Target, chord};
pub use canvas::{after, lost, unservable};
pub use id::message_id;
pub use message::task_message;
pub use nonfinite::unmask;
pub use response::success;
pub use result::{Child, exception, reply, result};
pub use signature::{Kind, Signature};
pub use task::{Embed, End, Exception, Head, Json, Task};

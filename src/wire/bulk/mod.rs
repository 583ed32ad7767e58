//! What workers and coordinators send each other about a bulk that is larger than one worker's share.
//!
//! A *record* goes to a shard queue, the mailbox and log of the coordinator of the bulk. A *chunk* goes the other way: some
//! devices of the bulk as a job of their own, for any worker. Both are ours alone: no requester reads or writes them, and what is
//! not understood is somebody else's or of a later version.

mod carried;
mod chunk;
mod ranges;
mod record;
#[cfg(test)]
mod tests;

pub use carried::Carried;
pub use chunk::{CHUNK, Chunk, Part, Say};
pub use ranges::Ranges;
pub use record::{
    Ask, Done, End, Fire, KIND, Record, Report, Stand, Start, What, Word, digest, json, read, shard_of, shard_queue,
};

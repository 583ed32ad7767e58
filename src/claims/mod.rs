//! Claims: at most once per command over all replicas, by a log that each of them reads from end to end.
//!
//! To send a command, a worker appends a claim to a RabbitMQ stream and waits until it reads it back: the first claim in the
//! order of the stream may send. What came of it is appended before it is said, so that anybody can say it again. Who may
//! send what is decided by the [`Ledger`], a pure machine over the records; the [`Log`] reads, writes and wakes.
//!
//! What it promises: a [`Claim`] is given out only once it was read back as the first; a claim that was dropped before its
//! command was sent is released, and one dropped after is not; every wait has an end.

mod claim;
mod decision;
mod ledger;
mod log;
mod reading;
mod record;
mod table;

pub use claim::Claim;
pub use decision::{Asking, Decision, decide};
pub use ledger::{Event, Ledger, Limits, Standing};
pub use log::{Claimed, Log, LogState, Options};
pub use record::{Key, Nonce, Record, Said, Subject};

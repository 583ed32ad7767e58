//! The native format: jobs and results as the contract has them.
//!
//! Reading is strict, since a job that is half understood moves a real device: every field is known, of its type, named
//! once, and the message of a refusal names the field, what was found and what would be right.

mod bulk;
mod cancel;
pub(in crate::wire) mod checked;
mod content;
mod end;
mod job;
mod members;
mod message_id;
mod moment;
mod payload;
pub(in crate::wire) mod places;
mod producer;
mod result;
mod summary;
#[cfg(test)]
mod tests;
pub(in crate::wire) mod value;

pub use cancel::{CANCEL, Control, Known, Word};
pub use end::{end, extended};
pub(in crate::wire) use job::check_id;
pub use job::{Limits, MAX_ID_BYTES, MAX_TIMEOUT_MS, Undecodable, decode, made_id};
pub use moment::{lives_from, parked, parked_again};
pub use places::Places;
pub use producer::encode;
pub use result::{Origin, Timing, redelivered, result};
pub use summary::{FAILED_LISTED, Summary, SummaryStatus, summary};

/// The AMQP `type` of a result.
pub const RESULT: &str = "switchboard.result";
/// The AMQP `type` of a summary.
pub const SUMMARY: &str = "switchboard.summary";

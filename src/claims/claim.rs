//! A claim that was won: the right to send one command, and the duty to say what came of it.

use super::log::Shared;
use super::record::{Nonce, Record, Said, Subject};
use crate::envelope::Envelope;
use crate::outcome::Status;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::timeout;

/// The right to send one command.
///
/// Dropped, it is released unless the command may have been sent: then it stands, and others hear nothing until its time is
/// over.
#[must_use = "a claim that is dropped is released"]
pub struct Claim {
    shared: Arc<Shared>,
    subject: Subject,
    by: Nonce,
    sent: AtomicBool,
    ended: bool,
    /// Whether it was written; one in name only has nothing to say but an answer.
    written: bool,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({:?})", self.by)
    }
}

impl Claim {
    /// Also one that is not won yet: until it is, nobody sends.
    pub(super) fn new(shared: Arc<Shared>, subject: Subject, by: Nonce) -> Self {
        Self { shared, subject, by, sent: AtomicBool::new(false), ended: false, written: true }
    }

    /// One in name only, of a command that is sent all the same.
    pub(super) fn in_name(shared: Arc<Shared>, subject: Subject, by: Nonce) -> Self {
        Self { shared, subject, by, sent: AtomicBool::new(true), ended: false, written: false }
    }

    /// It was not won and never will be: there is nothing to release.
    pub(super) fn forget(mut self) {
        self.ended = true;
    }

    /// The command may be on its way from now on. Does not block.
    pub fn sent(&self) {
        self.sent.store(true, Ordering::Release);
    }

    /// Writes down what came of the command, and waits for the confirm: to be called before it is said to anybody. False if
    /// the broker did not confirm in time; writing goes on for a while.
    ///
    /// `reached` is false if the command surely never reached its device.
    pub async fn finish(mut self, reached: bool, status: Status, reply: Option<&Envelope>) -> bool {
        self.ended = true;
        // What a command that nobody claimed did not do says nothing about others of its id.
        if !self.written && !reached {
            return true;
        }
        let reply = reply.and_then(|reply| Said::of(reply, self.shared.options.max_reply));
        let record = Record::Result { subject: self.subject.clone(), by: self.by, reached, status, reply };
        let written = timeout(self.shared.options.wait, self.shared.end(record)).await;
        let confirmed = matches!(written, Ok(Ok(true)));
        if !confirmed {
            // Not louder: while the log is away this is so for every job, and the worker says that it is not ready.
            tracing::debug!(job_id = &*self.subject.id, "an outcome is not confirmed in the claim log");
        }
        confirmed
    }

    /// The command was surely not sent: anybody may claim it.
    pub fn release(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ended = true;
        if !self.written {
            return;
        }
        self.shared.table().give_up(self.by);
        self.shared.end(Record::Release { subject: self.subject.clone(), by: self.by });
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.ended && !self.sent.load(Ordering::Acquire) {
            self.end();
        }
    }
}

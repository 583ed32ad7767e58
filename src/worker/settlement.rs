//! The one table that says what happens to a delivery: what happened → is there a reply, and how it is settled.

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// It is no job, or none that can be carried out.
    Undecodable,
    /// It is a task of a protocol that this version does not speak; nothing that it could read can be said.
    Unserved,
    /// The job has its outcome, whichever.
    Outcome,
    /// Nothing was sent, because this worker stops or closed its MQTT connection.
    NotStarted,
    /// The worker ends while the command may be at the device, or while its result is not confirmed; it may run again.
    Interrupted,
    /// Nothing was sent, because the delivery is no longer ours: the broker gave it to somebody else.
    Lost,
    /// Its time has not come, and it is too far away to be held.
    TooEarly {
        /// When it has: milliseconds since the Unix epoch.
        not_before: u64,
    },
    /// It lost too many workers to be taken among others.
    Suspect,
    /// It lost a worker, and its queue does not count that.
    Uncounted,
    /// It lost too many workers even by itself.
    Poison,
    /// The rest of it went back to the queue as a message of its own, confirmed.
    Continued,
    /// Our own code failed on it.
    Panicked,
    /// Its reply can never be delivered: the broker forbids it, or its address is no address.
    Unanswerable,
}

/// What is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A result.
    Send,
    /// Nothing.
    Nothing,
}

/// How a delivery ends; the reply, where there is one, is confirmed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    Ack,
    /// A copy with the reason goes to the dead letters, confirmed; then ack.
    DeadLetter(&'static str),
    /// A fresh copy goes back to the queue, confirmed; then ack. A requeue would mark it as delivered before, and then
    /// nobody could run it at most once.
    GiveBack,
    /// A copy waits in the broker for its time, confirmed; then ack.
    Park {
        /// Milliseconds since the Unix epoch.
        not_before: u64,
    },
    /// A copy with its count goes to the queue of those kept apart, confirmed; then ack.
    KeepApart,
    /// A copy with its count goes back to its queue, confirmed; then ack.
    Count,
    /// The very message goes back, marked as delivered before: whoever gets it must not take it for one that nobody began.
    Requeue,
    /// Nothing: the broker has taken it away already.
    Leave,
}

/// The table. `reply_to`: whether somebody waits for a result.
pub(crate) fn settle(happened: Happened, reply_to: bool) -> (Reply, Settle) {
    match (happened, reply_to) {
        (Happened::Outcome | Happened::Undecodable | Happened::Panicked, true) => (Reply::Send, Settle::Ack),
        (Happened::Outcome, false) | (Happened::Continued, _) => (Reply::Nothing, Settle::Ack),
        (Happened::Undecodable, false) => (Reply::Nothing, Settle::DeadLetter("invalid")),
        (Happened::Unserved, _) => (Reply::Nothing, Settle::DeadLetter("unserved")),
        (Happened::Panicked, false) => (Reply::Nothing, Settle::DeadLetter("panic")),
        (Happened::Unanswerable, _) => (Reply::Nothing, Settle::DeadLetter("unanswerable")),
        (Happened::Suspect, _) => (Reply::Nothing, Settle::KeepApart),
        (Happened::Uncounted, _) => (Reply::Nothing, Settle::Count),
        (Happened::Poison, _) => (Reply::Nothing, Settle::DeadLetter("poison")),
        (Happened::Interrupted, _) => (Reply::Nothing, Settle::Requeue),
        (Happened::NotStarted, _) => (Reply::Nothing, Settle::GiveBack),
        (Happened::TooEarly { not_before }, _) => (Reply::Nothing, Settle::Park { not_before }),
        (Happened::Lost, _) => (Reply::Nothing, Settle::Leave),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row() {
        use Happened as H;
        let rows = [
            (H::Outcome, true, Reply::Send, Settle::Ack),
            (H::Outcome, false, Reply::Nothing, Settle::Ack),
            (H::Undecodable, true, Reply::Send, Settle::Ack),
            (H::Undecodable, false, Reply::Nothing, Settle::DeadLetter("invalid")),
            (H::Unserved, true, Reply::Nothing, Settle::DeadLetter("unserved")),
            (H::Unserved, false, Reply::Nothing, Settle::DeadLetter("unserved")),
            (H::Panicked, true, Reply::Send, Settle::Ack),
            (H::Panicked, false, Reply::Nothing, Settle::DeadLetter("panic")),
            (H::Unanswerable, true, Reply::Nothing, Settle::DeadLetter("unanswerable")),
            (H::Unanswerable, false, Reply::Nothing, Settle::DeadLetter("unanswerable")),
            (H::Interrupted, true, Reply::Nothing, Settle::Requeue),
            (H::Interrupted, false, Reply::Nothing, Settle::Requeue),
            (H::NotStarted, true, Reply::Nothing, Settle::GiveBack),
            (H::NotStarted, false, Reply::Nothing, Settle::GiveBack),
            (H::Suspect, true, Reply::Nothing, Settle::KeepApart),
            (H::Suspect, false, Reply::Nothing, Settle::KeepApart),
            (H::Uncounted, true, Reply::Nothing, Settle::Count),
            (H::Uncounted, false, Reply::Nothing, Settle::Count),
            (H::Poison, true, Reply::Nothing, Settle::DeadLetter("poison")),
            (H::Poison, false, Reply::Nothing, Settle::DeadLetter("poison")),
            (H::TooEarly { not_before: 7 }, true, Reply::Nothing, Settle::Park { not_before: 7 }),
            (H::TooEarly { not_before: 7 }, false, Reply::Nothing, Settle::Park { not_before: 7 }),
            (H::Continued, true, Reply::Nothing, Settle::Ack),
            (H::Continued, false, Reply::Nothing, Settle::Ack),
            (H::Lost, true, Reply::Nothing, Settle::Leave),
            (H::Lost, false, Reply::Nothing, Settle::Leave),
        ];
        for (happened, reply_to, reply, end) in rows {
            assert_eq!(settle(happened, reply_to), (reply, end), "{happened:?}, reply_to {reply_to}");
        }
    }
}

//! Why a command is not sent although nothing is wrong with it, in the words of an outcome.

use crate::metrics::Refused;
use crate::outcome::{Executed, Failure, Outcome, Status};

/// Why a command is refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// So many wait for the device already, and that is the bound.
    Busy { most: usize },
}

impl Refusal {
    /// The label under which it is counted.
    pub(crate) fn reason(self) -> Refused {
        Refused::Busy
    }

    /// The outcome. "No" speaks of this command as it came here; it must not hide that somebody may have sent it before.
    pub(crate) fn outcome(self, sent_before: bool) -> Outcome {
        let Self::Busy { most } = self;
        let (code, why) = (
            "device_busy",
            format!("{most} commands wait for this device already, as many as worker.per_device_queue lets wait"),
        );
        match sent_before {
            false => Outcome::not_sent(Status::Undeliverable, Failure::new(code, why)),
            true => {
                let why = format!("{why}; it may have been sent before, and the device may have acted");
                Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new(code, why)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_no_unless_somebody_may_have_sent_it_before() {
        let outcome = Refusal::Busy { most: 7 }.outcome(false);
        assert_eq!((outcome.status, outcome.executed), (Status::Undeliverable, Executed::No));
        assert!(outcome.failure.unwrap().message.contains("7 commands wait"));
        let before = Refusal::Busy { most: 7 }.outcome(true);
        assert_eq!((before.status, before.executed), (Status::Unknown, Executed::Unknown));
    }
}

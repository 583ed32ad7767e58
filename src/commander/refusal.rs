//! Why a command is not sent although nothing is wrong with it, in the words of an outcome.

use super::breaker::Cause;
use crate::metrics::Refused;
use crate::outcome::{Executed, Failure, Outcome, Status};
use std::time::Duration;

/// Why a command is refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// So many wait for the device already, and that is the bound.
    Busy { most: usize },
    /// The device has been silent for so long; `again` is how long until it is tried, `None` while it is.
    Offline { silent: Duration, cause: Cause, again: Option<Duration> },
}

impl Refusal {
    /// The label under which it is counted.
    pub(crate) fn reason(self) -> Refused {
        match self {
            Self::Busy { .. } => Refused::Busy,
            Self::Offline { .. } => Refused::Offline,
        }
    }

    /// The outcome. "No" speaks of this command as it came here; it must not hide that somebody may have sent it before.
    pub(crate) fn outcome(self, sent_before: bool) -> Outcome {
        let (code, why) = match self {
            Self::Busy { most } => (
                "device_busy",
                format!("{most} commands wait for this device already, as many as worker.per_device_queue lets wait"),
            ),
            Self::Offline { silent, cause, again } => {
                let silent = seconds(silent);
                let why = match cause {
                    Cause::Failures(count) => format!(
                        "the last {count} commands did not reach the device or got no answer, the first of them {silent} ago"
                    ),
                    Cause::Word => format!("the device said {silent} ago that it is offline"),
                };
                let again = again.map_or("another command is trying it now".to_owned(), |again| {
                    format!("it is tried again in {}, or once it is heard of", seconds(again))
                });
                ("device_offline", format!("{why}; {again}"))
            }
        };
        match sent_before {
            false => Outcome::not_sent(Status::Undeliverable, Failure::new(code, why)),
            true => {
                let why = format!("{why}; it may have been sent before, and the device may have acted");
                Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new(code, why)))
            }
        }
    }
}

/// Rounded up: nobody is told to come back too early.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis().div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_no_unless_somebody_may_have_sent_it_before() {
        for refusal in
            [Refusal::Busy { most: 7 }, Refusal::Offline { silent: Duration::ZERO, cause: Cause::Word, again: None }]
        {
            let outcome = refusal.outcome(false);
            assert_eq!((outcome.status, outcome.executed), (Status::Undeliverable, Executed::No));
            let before = refusal.outcome(true);
            assert_eq!((before.status, before.executed), (Status::Unknown, Executed::Unknown));
            assert_eq!(outcome.failure.unwrap().code, before.failure.unwrap().code);
        }
    }

    #[test]
    fn it_says_how_many_since_when_and_until_when() {
        let said = |refusal: Refusal| refusal.outcome(false).failure.unwrap().message;
        assert!(said(Refusal::Busy { most: 7 }).contains("7 commands wait"));
        let silent = Duration::from_millis(41_200);
        let again = Some(Duration::from_millis(17_900));
        let failed = said(Refusal::Offline { silent, cause: Cause::Failures(5), again });
        assert!(
            failed.contains("last 5 commands") && failed.contains("42 s ago") && failed.contains("in 18 s"),
            "{failed}"
        );
        let word = said(Refusal::Offline { silent, cause: Cause::Word, again: None });
        assert!(word.contains("said 42 s ago that it is offline") && word.contains("trying it now"), "{word}");
    }
}

//! Whether a connection is alive: when to ask the broker for a sign of life, and when to stop believing in it.

use std::time::{Duration, Instant};

/// Why a connection that nobody closed is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stall {
    /// Not even the answer to a ping.
    #[error("nothing came for a whole keep-alive")]
    Silent,
    /// The broker takes no bytes, although it may still send some.
    #[error("the broker read nothing for a whole keep-alive")]
    Unread,
    /// SUBSCRIBE or UNSUBSCRIBE.
    #[error("the broker did not answer a subscription in time")]
    UnansweredSubscription,
    /// The window is full of publishes for which no PUBACK comes.
    #[error("the broker acknowledges no publishes")]
    Unacknowledged,
}

/// The pulse of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    keep_alive: Duration,
    received: Instant,
    sent: Instant,
    ping: Ping,
    /// Since when the same byte waits for the socket.
    stuck_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    Quiet,
    Due,
    Sent(Instant),
    /// Overdue once. Our own process may have been stopped: whatever lies in the socket is read before the second look.
    Doubted(Instant),
}

/// How long a pulse is doubted before the link is given up.
const DOUBT: Duration = Duration::from_millis(250);

impl Pulse {
    /// A connection just made. A broker may ask for a shorter keep-alive than ours, not for a later notice of its death.
    pub(crate) fn new(ours: Duration, brokers: Option<u16>, now: Instant) -> Self {
        let brokers = brokers.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()));
        let keep_alive = brokers.map_or(ours, |brokers| brokers.min(ours));
        Self { keep_alive, received: now, sent: now, ping: Ping::Quiet, stuck_since: None }
    }

    pub(crate) fn on_received(&mut self, now: Instant) {
        self.received = now;
        self.ping = Ping::Quiet;
    }

    /// Bytes were put before the socket.
    pub(crate) fn on_sent(&mut self, now: Instant) {
        self.sent = now;
        self.stuck_since.get_or_insert(now);
    }

    /// The socket took bytes; `all` if none are left.
    pub(crate) fn on_written(&mut self, all: bool, now: Instant) {
        self.stuck_since = (!all).then_some(now);
    }

    /// Whether a ping is due now; if so, it is taken as sent.
    pub(crate) fn take_ping(&mut self, now: Instant) -> bool {
        let due = self.ping == Ping::Due;
        if due {
            self.ping = Ping::Sent(now);
        }
        due
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Instant {
        let half = self.keep_alive / 2;
        let ping = match self.ping {
            Ping::Quiet | Ping::Due => self.received.min(self.sent) + half,
            Ping::Sent(at) => at + half,
            Ping::Doubted(at) => at + DOUBT,
        };
        self.stuck_since.map_or(ping, |since| ping.min(since + self.keep_alive))
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Option<Stall> {
        let half = self.keep_alive / 2;
        match self.ping {
            Ping::Quiet if self.received.min(self.sent) + half <= now => self.ping = Ping::Due,
            Ping::Sent(at) if at + half <= now => self.ping = Ping::Doubted(now),
            Ping::Doubted(at) if at + DOUBT <= now => return Some(Stall::Silent),
            _ => {}
        }
        self.stuck_since.is_some_and(|since| since + self.keep_alive <= now).then_some(Stall::Unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_connection_is_asked_after_half_the_time_doubted_after_the_whole_and_given_up_after_a_second_look() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, None, start);
        assert_eq!(pulse.next_deadline(), start + KEEP_ALIVE / 2);
        assert_eq!((pulse.tick(start + 4 * SECOND), pulse.take_ping(start + 4 * SECOND)), (None, false));
        let asked = start + 5 * SECOND;
        assert_eq!(pulse.tick(asked), None);
        assert!(pulse.take_ping(asked) && !pulse.take_ping(asked), "one ping, not a storm of them");
        assert_eq!(pulse.next_deadline(), asked + KEEP_ALIVE / 2);
        let doubted = start + KEEP_ALIVE;
        assert_eq!(pulse.tick(doubted), None, "a process that was stopped looks again");
        assert_eq!(pulse.next_deadline(), doubted + DOUBT);
        assert_eq!(pulse.tick(doubted + DOUBT), Some(Stall::Silent));
    }

    #[test]
    fn any_packet_ends_the_doubt() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, None, start);
        pulse.tick(start + 5 * SECOND);
        pulse.take_ping(start + 5 * SECOND);
        pulse.tick(start + KEEP_ALIVE);
        pulse.on_received(start + KEEP_ALIVE);
        assert_eq!(pulse.tick(start + KEEP_ALIVE + DOUBT), None);
    }

    #[test]
    fn one_who_only_listens_still_pings_so_that_the_broker_does_not_give_it_up() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, None, start);
        for second in 1..=5 {
            pulse.on_received(start + second * SECOND);
        }
        pulse.tick(start + 5 * SECOND);
        assert!(pulse.take_ping(start + 5 * SECOND));
    }

    #[test]
    fn a_broker_that_reads_nothing_is_given_up_although_it_sends() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, None, start);
        pulse.on_sent(start);
        pulse.on_sent(start + SECOND);
        pulse.on_written(false, start + SECOND);
        for second in 2..=10 {
            pulse.on_received(start + second * SECOND);
            assert_eq!(pulse.tick(start + second * SECOND), None, "after {second} s");
            pulse.take_ping(start + second * SECOND);
        }
        assert!(pulse.next_deadline() <= start + 11 * SECOND);
        assert_eq!(pulse.tick(start + 11 * SECOND), Some(Stall::Unread));
        pulse.on_written(true, start + 11 * SECOND);
        assert_eq!(pulse.tick(start + 11 * SECOND), None);
    }

    #[test]
    fn the_brokers_keep_alive_counts_if_it_is_shorter_and_none_is_not_zero() {
        let start = Instant::now();
        for (brokers, expected) in [(None, 5_000), (Some(0), 5_000), (Some(4), 2_000), (Some(u16::MAX), 5_000)] {
            let pulse = Pulse::new(KEEP_ALIVE, brokers, start);
            assert_eq!(pulse.next_deadline(), start + Duration::from_millis(expected), "{brokers:?}");
        }
    }
}

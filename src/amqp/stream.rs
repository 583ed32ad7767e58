//! The public side of reading a RabbitMQ stream: what it should be, what comes out of it, and the handle to its reader.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reader::Reader;
use super::{Connection, QueueKind, QueueSpec, Topology};
use crate::envelope::{Envelope, Headers, Value};

/// What a stream should be, and whether to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// How long records are kept, to the second; RabbitMQ drops whole segments, so it may be longer.
    pub max_age: Duration,
    /// How many bytes are kept; older segments are dropped beyond that.
    pub max_bytes: u64,
    /// Bytes of one segment, the unit in which records are dropped. Well below `max_bytes`.
    pub segment_bytes: u64,
    /// Whether to make it where it is missing; otherwise a missing stream is waited for.
    pub declare: bool,
}

impl StreamSpec {
    /// The stream as a queue to be seen to, for whoever only writes to it.
    pub fn topology(&self) -> Topology {
        let mut arguments = Headers::default();
        arguments.set("x-queue-type", "stream".into());
        arguments.set("x-max-age", interval(self.max_age).into());
        let number = |bytes: u64| Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
        arguments.set("x-max-length-bytes", number(self.max_bytes));
        arguments.set("x-stream-max-segment-size-bytes", number(self.segment_bytes));
        let queue = QueueSpec {
            name: self.name.clone(),
            // Adds no argument of its own; the queue type above is the one that counts.
            kind: QueueKind::Classic,
            dead_letter_queue: None,
            delivery_limit: None,
            arguments,
        };
        Topology { queues: vec![queue], declare: self.declare, ..Topology::default() }
    }
}

/// One record of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRecord {
    /// Its number in the stream, from 0 and growing; the broker may leave numbers out.
    pub offset: u64,
    /// Whether it comes right after the record that was read before it. False for the first record of all, and wherever
    /// records in between are lost to us: then reading began anew, as far back as `since` and the stream reach, and what
    /// was learned from earlier records may be incomplete. Such a record can have been read before.
    pub follows: bool,
    /// Its body, properties and headers.
    pub envelope: Envelope,
}

/// What a reader of a stream is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// Not reading, but trying to.
    Waiting {
        /// What is in the way.
        reason: String,
    },
    /// The broker gives us records as they come.
    Reading,
}

/// Reads one stream over one channel at a time. Dropping it stops it; so does dropping the receiver.
pub struct Stream {
    state: watch::Receiver<StreamState>,
    _stop: DropGuard,
}

impl Stream {
    /// Starts reading. The stream is seen to on each new connection. The first read begins `since` ago by the broker's
    /// clock, to the chunk: some older records may come too. Later reads go on after the last record handed over.
    ///
    /// `prefetch` (at least 2) is how many unread records are held here, and as many again on their way; the broker sends
    /// records in chunks and may exceed it by one.
    pub fn start(
        connection: Connection,
        spec: StreamSpec,
        since: Duration,
        prefetch: u16,
    ) -> (Self, mpsc::Receiver<StreamRecord>) {
        let prefetch = prefetch.max(2);
        let (out, records) = mpsc::channel(prefetch.into());
        let (stated, state) = watch::channel(StreamState::Waiting { reason: "connecting".to_owned() });
        let stop = CancellationToken::new();
        let reader = Reader::new(connection, &spec, since, prefetch, out, stated);
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = reader.run() => {}
                () = stopped.cancelled() => {}
            }
        });
        (Self { state, _stop: stop.drop_guard() }, records)
    }

    /// A handle to something else that reads.
    #[cfg(test)]
    pub(super) fn over(state: watch::Receiver<StreamState>) -> Self {
        Self { state, _stop: CancellationToken::new().drop_guard() }
    }

    /// What it is doing, and each change of it.
    pub fn state(&self) -> watch::Receiver<StreamState> {
        self.state.clone()
    }
}

/// Whole seconds, at least one, as RabbitMQ writes them.
pub(super) fn interval(duration: Duration) -> String {
    format!("{}s", duration.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_those_of_a_bounded_stream() {
        let spec = StreamSpec {
            name: "s".to_owned(),
            max_age: Duration::from_millis(3_600_900),
            max_bytes: 1000,
            segment_bytes: 100,
            declare: true,
        };
        let topology = spec.topology();
        let wanted: [(&str, Value); 4] = [
            ("x-queue-type", "stream".into()),
            ("x-max-age", "3600s".into()),
            ("x-max-length-bytes", Value::Int(1000)),
            ("x-stream-max-segment-size-bytes", Value::Int(100)),
        ];
        assert_eq!(topology.queues[0].declared_arguments().0, wanted.map(|(name, value)| (name.to_owned(), value)));
        assert!(topology.declare);
    }
}

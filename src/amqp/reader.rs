//! The task behind a stream's reader: every record in order and once, from where it stood, over every reconnect.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connection::{Link, backoff};
use super::stream::{StreamRecord, StreamSpec, StreamState, interval};
use super::topology::Report;
use super::{Comparison, Connection, Difference, Error, Topology, properties};
use crate::envelope::{Envelope, Headers, Value};

/// Where RabbitMQ writes a record's number, and where it is told at which to begin.
const OFFSET: &str = "x-stream-offset";
/// Records are acknowledged after this long without another: unacknowledged ones must not grow old, or the broker closes the
/// channel over its consumer timeout.
const IDLE: Duration = Duration::from_secs(1);

/// Where reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As far back as asked for.
    Since,
    /// After this record. It is asked for once more, and compared: a stream that was deleted and made again counts from 0,
    /// and its record of that number is another one.
    After { offset: u64, print: u64 },
}

/// What a record is, given the place where reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// The next one.
    Next,
    /// The first one of a new beginning.
    First,
    /// The one that was read last: nothing was missed.
    Known,
    /// Read before.
    Old,
    /// Not of the stream that was read: begin anew.
    Foreign,
}

/// `confirmed` tells that this session has found the place already.
fn arrival(place: Place, confirmed: bool, offset: u64, print: u64) -> Arrival {
    match place {
        Place::Since => Arrival::First,
        Place::After { offset: last, .. } if confirmed && offset > last => Arrival::Next,
        Place::After { .. } if confirmed => Arrival::Old,
        Place::After { offset: last, print: known } if offset == last && print == known => Arrival::Known,
        Place::After { offset: last, .. } if offset == last => Arrival::Foreign,
        // The record that was read last has been dropped, and perhaps others after it.
        Place::After { offset: last, .. } if offset > last => Arrival::First,
        Place::After { .. } => Arrival::Old,
    }
}

/// Reads one stream over one channel at a time.
pub(super) struct Reader {
    connection: Connection,
    topology: Topology,
    stream: String,
    since: Duration,
    prefetch: u16,
    out: mpsc::Sender<StreamRecord>,
    state: watch::Sender<StreamState>,
    place: Place,
    report: Option<Report>,
}

/// How a session ended.
enum End {
    /// Nobody reads, or the connection was closed.
    Stopped,
    /// The place is not in the stream: read anew, at once.
    Misplaced(&'static str),
    Lost(String),
}

/// One channel on which the stream is read.
struct Session {
    link: Link,
    channel: lapin::Channel,
    records: lapin::Consumer,
    deadline: Duration,
}

impl Reader {
    pub(super) fn new(
        connection: Connection,
        spec: &StreamSpec,
        since: Duration,
        prefetch: u16,
        out: mpsc::Sender<StreamRecord>,
        state: watch::Sender<StreamState>,
    ) -> Self {
        let (topology, stream) = (spec.topology(), spec.name.clone());
        Self { connection, topology, stream, since, prefetch, out, state, place: Place::Since, report: None }
    }

    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let since = Instant::now();
            let reason = match self.session().await {
                End::Stopped => return,
                End::Misplaced(why) => {
                    warn!(stream = %self.stream, why, "reading the stream anew");
                    self.place = Place::Since;
                    continue;
                }
                End::Lost(reason) => reason,
            };
            let options = self.connection.options();
            failures = if since.elapsed() > options.backoff_max { 1 } else { failures + 1 };
            let wait = backoff(failures, options.backoff_min, options.backoff_max, rand::random());
            warn!(stream = %self.stream, %reason, wait_ms = wait.as_millis() as u64, "not reading the stream");
            self.state.send_replace(StreamState::Waiting { reason });
            tokio::select! {
                () = sleep(wait) => {}
                () = self.out.closed() => return,
            }
        }
    }

    async fn session(&mut self) -> End {
        let out = self.out.clone();
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = out.closed() => return End::Stopped,
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(Error::Closed) => return End::Stopped,
            Err(error) => return End::Lost(error.to_string()),
        };
        info!(stream = %self.stream, epoch = session.link.epoch, place = ?self.place, "reading the stream");
        let end = self.read(&mut session).await;
        if session.channel.status().connected() {
            let _ = timeout(session.deadline, session.channel.close(200, "done".into())).await;
        }
        end
    }

    async fn open(&mut self) -> Result<Session, Error> {
        let link = self.connection.link().await?;
        let deadline = self.connection.options().connect_timeout;
        let report = self.topology.apply_on(&link, deadline).await?;
        for queue in &report.queues {
            match &queue.comparison {
                // Whatever was read before was read from another.
                Comparison::Created => self.place = Place::Since,
                // Reading would take its messages away.
                Comparison::Differs(Difference { argument, found, .. }) if argument == "x-queue-type" => {
                    let reason =
                        format!("it is no stream, its x-queue-type is {found}; delete it or choose another name");
                    return Err(Error::Queue { queue: self.stream.clone(), reason });
                }
                _ => {}
            }
        }
        if self.report.as_ref() != Some(&report) {
            report.log();
            self.report = Some(report);
        }
        let channel = link.channel(deadline).await?;
        let qos = channel.basic_qos(self.prefetch, BasicQosOptions { global: false });
        link.answer("basic.qos", deadline, qos).await?;
        let wrong = |error: properties::Unsendable| Error::Channel(error.to_string());
        let mut begin = Headers::default();
        begin.set(
            OFFSET,
            match self.place {
                Place::Since => interval(self.since).into(),
                Place::After { offset, .. } => Value::Int(i64::try_from(offset).unwrap_or(i64::MAX)),
            },
        );
        let (queue, begin) =
            (properties::short("queue", self.stream.clone()).map_err(wrong)?, properties::table(begin).map_err(wrong)?);
        let consuming = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), begin);
        let records = link.answer("basic.consume", deadline, consuming).await.map_err(|error| self.told(error))?;
        Ok(Session { link, channel, records, deadline })
    }

    fn no_stream(&self, what: &str) -> Error {
        let reason = format!("it is no stream, {what}; delete it or choose another name");
        Error::Queue { queue: self.stream.clone(), reason }
    }

    /// The broker refuses to number the messages of a queue of any other type.
    fn told(&self, error: Error) -> Error {
        match error {
            Error::Channel(words) if words.contains(&format!("invalid arg '{OFFSET}'")) => {
                self.no_stream("its messages have no offsets")
            }
            error => error,
        }
    }

    fn is_reading(&self) {
        self.state.send_if_modified(|state| std::mem::replace(state, StreamState::Reading) != StreamState::Reading);
    }

    async fn read(&mut self, session: &mut Session) -> End {
        // Where there is no place to find, there is nothing to wait for.
        let mut confirmed = self.place == Place::Since;
        if confirmed {
            self.is_reading();
        }
        let patience = sleep(session.deadline);
        tokio::pin!(patience);
        let (mut unacked, mut last_tag) = (0u16, 0);
        loop {
            let arrived = tokio::select! {
                biased;
                () = session.link.pulse.lost() => return lost("the connection is gone"),
                () = self.out.closed() => return End::Stopped,
                arrived = session.records.next() => arrived,
                // A stream keeps its newest records whatever their age: the place is not in a stream that has none there.
                () = &mut patience, if !confirmed => return End::Misplaced("the record that was read last is not in it"),
                () = sleep(IDLE), if unacked > 0 => {
                    if let Err(error) = session.ack(last_tag).await {
                        return lost(&error.to_string());
                    }
                    unacked = 0;
                    continue;
                }
            };
            let delivery = match arrived {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return lost(&error.to_string()),
                // Deleted, or its replica on this node is gone.
                None => return lost("the broker cancelled the consumer"),
            };
            let tag = delivery.delivery_tag;
            let mut envelope = properties::envelope(&delivery.properties, delivery.data);
            let Some(offset) = take_offset(&mut envelope.headers) else {
                return lost(&self.no_stream("its messages have no offsets").to_string());
            };
            let print = print(&envelope);
            let arrival = arrival(self.place, confirmed, offset, print);
            let follows = match arrival {
                Arrival::Foreign => return End::Misplaced("it was deleted and made again"),
                Arrival::Old => None,
                Arrival::Known => {
                    confirmed = true;
                    self.is_reading();
                    None
                }
                Arrival::Next => Some(true),
                Arrival::First => {
                    confirmed = true;
                    self.is_reading();
                    Some(false)
                }
            };
            if let Some(follows) = follows {
                if self.out.send(StreamRecord { offset, follows, envelope }).await.is_err() {
                    return End::Stopped;
                }
                self.place = Place::After { offset, print };
            }
            (unacked, last_tag) = (unacked + 1, tag);
            if unacked >= self.prefetch / 2 {
                if let Err(error) = session.ack(last_tag).await {
                    return lost(&error.to_string());
                }
                unacked = 0;
            }
        }
    }
}

impl Session {
    /// Gives the broker leave to send as many more.
    async fn ack(&self, tag: u64) -> Result<(), Error> {
        let acking = self.channel.basic_ack(tag, BasicAckOptions { multiple: true });
        self.link.answer("basic.ack", self.deadline, acking).await
    }
}

fn lost(reason: &str) -> End {
    End::Lost(reason.to_owned())
}

/// The broker adds it to the headers as the publisher wrote them.
fn take_offset(headers: &mut Headers) -> Option<u64> {
    let at = headers.0.iter().position(|(name, _)| name == OFFSET)?;
    match headers.0.remove(at).1 {
        Value::Int(offset) => u64::try_from(offset).ok(),
        _ => None,
    }
}

/// What tells the record of a number from that of another stream; only within this process.
fn print(envelope: &Envelope) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&envelope.body, &envelope.message_id, envelope.timestamp).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_only_after_the_very_record_that_was_read_last() {
        let place = Place::After { offset: 7, print: 70 };
        let cases = [
            (Place::Since, true, 0, 1, Arrival::First),
            (place, false, 6, 60, Arrival::Old),
            (place, false, 7, 70, Arrival::Known),
            (place, false, 7, 71, Arrival::Foreign),
            (place, false, 8, 80, Arrival::First),
            (place, true, 7, 70, Arrival::Old),
            (place, true, 8, 80, Arrival::Next),
            // Numbers that the broker left out are no loss within a session.
            (place, true, 12, 80, Arrival::Next),
        ];
        for (place, confirmed, offset, print, expected) in cases {
            assert_eq!(arrival(place, confirmed, offset, print), expected, "{place:?} {confirmed} {offset} {print}");
        }
    }
}

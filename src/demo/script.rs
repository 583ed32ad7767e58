//! The jobs of the demonstration: most are plain, and one of each kind of trouble comes along every so often.

use crate::envelope::Envelope;
use crate::job::{Bulk, Job, Mode, Payload, Target, Targets};
use crate::outcome::Status;
use crate::wire::native;
use serde_json::json;
use std::time::Duration;

/// What a job is there to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A command whose answer is awaited.
    Request,
    /// A command without an answer.
    OneWay,
    /// A command for a device that is not there.
    Absent,
    /// A command whose time had passed before it was sent.
    Expired,
    /// A job that no device can be sent.
    Invalid,
    /// No job at all, and nobody to tell so: it ends among the dead letters.
    Unreadable,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Request, Self::OneWay, Self::Absent, Self::Expired, Self::Invalid, Self::Unreadable];

    /// In words.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Request => "requests",
            Self::OneWay => "one-way",
            Self::Absent => "to devices that are not there",
            Self::Expired => "with an expired time",
            Self::Invalid => "invalid",
            Self::Unreadable => "unreadable",
        }
    }

    /// How a job of this kind may end; with nothing at all where nobody asks for a result.
    pub(super) fn may_end(self, status: Status) -> bool {
        match self {
            Self::Request => matches!(status, Status::Succeeded | Status::Rejected | Status::TimedOut),
            Self::OneWay => status == Status::Succeeded,
            Self::Absent => status == Status::Undeliverable,
            Self::Expired => status == Status::Expired,
            Self::Invalid => status == Status::Invalid,
            Self::Unreadable => false,
        }
    }
}

/// The whole of what is sent.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) jobs: usize,
    pub(super) devices: usize,
    pub(super) absent: usize,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
}

impl Script {
    /// The kind of the job of this number: the same mixture in every hundred, in an order that looks like none.
    pub(super) fn kind(&self, number: usize) -> Kind {
        // 37 and 100 have no common divisor, so each value from 0 to 99 comes once in every hundred.
        match number * 37 % 100 {
            0 | 1 => Kind::Expired,
            2 => Kind::Invalid,
            3 => Kind::Unreadable,
            4..=6 => Kind::Absent,
            7..=26 => Kind::OneWay,
            _ => Kind::Request,
        }
    }

    /// The id of the job of this number.
    pub(super) fn id(number: usize) -> String {
        format!("demo-{number:05}")
    }

    /// The id of the bulk.
    pub(super) const BULK: &'static str = "demo-bulk";

    /// The job of this number as a message without an address for its reply, made now (milliseconds since the Unix epoch).
    pub(super) fn job(&self, number: usize, now: u64) -> Envelope {
        let kind = self.kind(number);
        let device = match kind {
            Kind::Absent => self.absent_device(number % self.absent.max(1)),
            // A wildcard would reach every device at once.
            Kind::Invalid => format!("{}+", self.prefix),
            _ => self.device(number * 13 % self.devices.max(1)),
        };
        let mode = if kind == Kind::OneWay { Mode::Publish } else { Mode::Request };
        let job = Job {
            mode,
            expires_at: (kind == Kind::Expired).then(|| now.saturating_sub(1000)),
            ..self.plain(Self::id(number), Targets::One(device.into()), json!({"speed": number % 10}).into(), now)
        };
        let mut envelope = native::encode(&job);
        if kind == Kind::Unreadable {
            envelope.body = envelope.body.slice(..envelope.body.len() / 2);
        }
        envelope
    }

    /// One job for every device, those that are not there too.
    pub(super) fn bulk(&self, now: u64) -> Envelope {
        let targets = self.everyone().map(|device| Target { device: device.into(), payload: None }).collect();
        let targets = Targets::Many(Bulk::new(targets));
        native::encode(&self.plain(Self::BULK.to_owned(), targets, json!({"firmware": 7}).into(), now))
    }

    /// Every device, those that are not there last.
    pub(super) fn everyone(&self) -> impl Iterator<Item = String> {
        let there = (0..self.devices).map(|number| self.device(number));
        there.chain((0..self.absent).map(|number| self.absent_device(number)))
    }

    pub(super) fn device(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }

    fn absent_device(&self, number: usize) -> String {
        format!("absent-{number}")
    }

    /// A request with this id and nothing special about it, made now (milliseconds since the Unix epoch).
    pub(super) fn plain(&self, id: String, targets: Targets, payload: Payload, now: u64) -> Job {
        Job { payload, timeout: Some(self.timeout), enqueued_at: Some(now), ..Job::new(id, targets, "open") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::native::{Limits, decode};

    const NOW: u64 = 1_795_341_605_000;

    fn script() -> Script {
        let timeout = Duration::from_millis(1500);
        Script { jobs: 300, devices: 100, absent: 5, prefix: "dev-".to_owned(), timeout }
    }

    #[test]
    fn every_hundred_jobs_have_the_same_mixture() {
        let script = script();
        for hundred in 0..3 {
            let kinds: Vec<Kind> = (0..100).map(|number| script.kind(hundred * 100 + number)).collect();
            let counts = Kind::ALL.map(|kind| kinds.iter().filter(|one| **one == kind).count());
            assert_eq!(counts, [73, 20, 3, 2, 1, 1]);
        }
    }

    #[test]
    fn jobs_are_what_their_kind_says() {
        let (script, limits) =
            (script(), Limits { max_payload_bytes: 1000, max_devices: 200, no_devices: false, repeats: false });
        for number in 0..script.jobs {
            let decoded = decode(&script.job(number, NOW), &limits);
            let kind = script.kind(number);
            let Ok(job) = decoded else {
                assert_eq!(kind, Kind::Unreadable);
                continue;
            };
            let Targets::One(device) = &job.targets else { panic!("one device") };
            assert_eq!((&*job.id, job.enqueued_at), (Script::id(number).as_str(), Some(NOW)));
            assert_eq!(job.mode == Mode::Publish, kind == Kind::OneWay);
            assert_eq!(job.expires_at.is_some_and(|at| at < NOW), kind == Kind::Expired);
            assert_eq!(device.starts_with("absent-"), kind == Kind::Absent);
            assert_eq!(device.contains('+'), kind == Kind::Invalid);
        }
        let bulk = decode(&script.bulk(NOW), &limits).unwrap();
        assert!(matches!(bulk.targets, Targets::Many(bulk) if bulk.targets.len() == 105));
    }
}

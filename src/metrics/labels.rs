//! The closed sets of labels: a metric has a series for each, from the first moment on.

/// Why a job goes to the dead letters: the closed set of the label `reason` and of the header `x-switchboard-reason`.
pub const DEAD_LETTER_REASONS: [&str; 8] = [
    // The job itself is wrong, and it names no queue that could be told.
    "invalid",
    // There is an outcome, and the queue that it should go to can never be published to.
    "unanswerable",
    // Its time had passed, and it names no queue that could be told.
    "expired_unanswerable",
    // It was delivered more often than the limit.
    "poison",
    // Its handler panicked, and it names no queue that could be told.
    "panic",
    // It asks for something that this version does not serve.
    "unserved",
    // Its delay cannot be kept by the broker.
    "undelayable",
    // A reason outside this list: an oversight, shown rather than lost.
    "other",
];

/// Why a fire of a schedule lapses: the closed set of the label `reason`.
pub const LAPSE_REASONS: [&str; 4] = [
    // It was late by more than its grace, and another one made up for it, or none was to.
    "misfire", // It was too late to be made up for.
    "too_old", // The fire before it was still running.
    "overlap", // Nobody could say which devices there are.
    "devices",
];

/// The protocol a job came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A job as the contract writes it.
    Native,
    /// A Celery task.
    Celery,
}

impl Protocol {
    pub(super) const ALL: [Self; 2] = [Self::Native, Self::Celery];

    /// Its name in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Celery => "celery",
        }
    }
}

/// A part of a job's way, between two instants that are both measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From the producer's timestamp to the delivery.
    Queued,
    /// Waiting for the device's lane, a subscription or the connection.
    Waiting,
    /// From the hand-over to the MQTT connection to the broker's acknowledgement.
    Publish,
    /// From the publish to the device's answer.
    Device,
    /// From the outcome to the AMQP broker's confirm of the result.
    Reply,
}

impl Stage {
    pub(super) const ALL: [Self; 5] = [Self::Queued, Self::Waiting, Self::Publish, Self::Device, Self::Reply];

    /// Its name in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Publish => "publish",
            Self::Device => "device",
            Self::Reply => "reply",
        }
    }
}

/// Why a command is refused at once although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Too many wait for its device.
    Busy,
    /// Its device is silent, or says that it is not there.
    Offline,
}

impl Refused {
    pub(super) const ALL: [Self; 2] = [Self::Busy, Self::Offline];

    /// Its name in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }
}

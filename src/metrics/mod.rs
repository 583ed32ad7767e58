//! Every metric of the program: its name, kind, labels and help, and one method per event that moves it.

mod labels;

pub use ::metrics::Histogram;
pub use labels::{DEAD_LETTER_REASONS, LAPSE_REASONS, Protocol, Refused, Stage};

use crate::job::Mode;
use crate::outcome::Status;
use ::metrics::{Counter, Gauge, counter, gauge, histogram};
use std::sync::OnceLock;
use std::time::Duration;

const JOBS: &str = "switchboard_jobs_total";
const JOB_SECONDS: &str = "switchboard_job_seconds";
const STAGE_SECONDS: &str = "switchboard_stage_seconds";
const DEVICE_SECONDS: &str = "switchboard_device_seconds";
const JOBS_IN_FLIGHT: &str = "switchboard_jobs_in_flight";
const DEVICE_REQUESTS_IN_FLIGHT: &str = "switchboard_device_requests_in_flight";
const LATE_ANSWERS: &str = "switchboard_late_answers_total";
const UNMATCHED_MESSAGES: &str = "switchboard_unmatched_messages_total";
const DUPLICATE_ANSWERS: &str = "switchboard_duplicate_answers_total";
const DEVICE_REFUSALS: &str = "switchboard_device_refusals_total";
const REDELIVERIES: &str = "switchboard_redeliveries_total";
const DEAD_LETTERED: &str = "switchboard_dead_lettered_total";
const MQTT_UP: &str = "switchboard_mqtt_up";
const AMQP_UP: &str = "switchboard_amqp_up";
const MQTT_RECONNECTS: &str = "switchboard_mqtt_reconnects_total";
const AMQP_RECONNECTS: &str = "switchboard_amqp_reconnects_total";
const SUBSCRIPTIONS: &str = "switchboard_subscriptions";
const SUBSCRIPTION_USERS: &str = "switchboard_subscription_users";
const SCHEDULE_FIRES: &str = "switchboard_schedule_fires_total";
const SCHEDULE_LAG_SECONDS: &str = "switchboard_schedule_lag_seconds";
const SCHEDULE_LAPSES: &str = "switchboard_schedule_lapses_total";
const SCHEDULER_ACTIVE: &str = "switchboard_scheduler_active";
const BULK_DEVICES: &str = "switchboard_bulk_devices_total";
const BULK_ACTIVE: &str = "switchboard_bulk_active";
const READERS_LAGGED: &str = "switchboard_readers_lagged_total";
const REPLIES_UNROUTABLE: &str = "switchboard_replies_unroutable_total";

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds, counted in the buckets of [`BUCKETS`].
    Histogram,
}

/// One line of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name on `/metrics`.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it tells, for the person at the dashboard.
    pub help: &'static str,
}

const fn entry(name: &'static str, kind: Kind, help: &'static str) -> Entry {
    Entry { name, kind, help }
}

/// Every metric, in the order of the documentation.
pub const CATALOGUE: [Entry; 26] = [
    entry(JOBS, Kind::Counter, "Jobs finished, by the protocol they came by and the status they ended in."),
    entry(JOB_SECONDS, Kind::Histogram, "Time from the delivery of a job to its ack."),
    entry(STAGE_SECONDS, Kind::Histogram, "Time that jobs spent in each stage of their way."),
    entry(DEVICE_SECONDS, Kind::Histogram, "Time from a command's publish to the device's answer, by profile."),
    entry(JOBS_IN_FLIGHT, Kind::Gauge, "Jobs delivered and not yet acked."),
    entry(DEVICE_REQUESTS_IN_FLIGHT, Kind::Gauge, "Commands sent to a device whose answer is awaited."),
    entry(LATE_ANSWERS, Kind::Counter, "Answers that came after their command had ended as timed out or unknown."),
    entry(UNMATCHED_MESSAGES, Kind::Counter, "Messages on an answer topic that belong to no command of ours."),
    entry(DUPLICATE_ANSWERS, Kind::Counter, "Answers to a command that had been answered before."),
    entry(
        DEVICE_REFUSALS,
        Kind::Counter,
        "Commands refused at once because of their device, by reason: busy or offline.",
    ),
    entry(REDELIVERIES, Kind::Counter, "Deliveries that the AMQP broker says were delivered before."),
    entry(DEAD_LETTERED, Kind::Counter, "Jobs put into the dead letters, by reason."),
    entry(MQTT_UP, Kind::Gauge, "1 while the MQTT broker is connected, else 0."),
    entry(AMQP_UP, Kind::Gauge, "1 while the AMQP broker is connected, else 0."),
    entry(MQTT_RECONNECTS, Kind::Counter, "MQTT connections made after the first one."),
    entry(AMQP_RECONNECTS, Kind::Counter, "AMQP connections made after the first one."),
    entry(SUBSCRIPTIONS, Kind::Gauge, "MQTT topic filters subscribed."),
    entry(SUBSCRIPTION_USERS, Kind::Gauge, "Users of the subscribed topic filters."),
    entry(SCHEDULE_FIRES, Kind::Counter, "Fires of schedules."),
    entry(SCHEDULE_LAG_SECONDS, Kind::Histogram, "Time from the instant a schedule was due to its fire."),
    entry(SCHEDULE_LAPSES, Kind::Counter, "Fires of schedules that will not be, by reason."),
    entry(SCHEDULER_ACTIVE, Kind::Gauge, "Shards whose schedules this process fires, and 0 while others do."),
    entry(BULK_DEVICES, Kind::Counter, "Devices of bulk jobs, by the status they ended in."),
    entry(BULK_ACTIVE, Kind::Gauge, "Bulk jobs under way."),
    entry(READERS_LAGGED, Kind::Counter, "Messages that a subscription lost because its reader was too slow."),
    entry(REPLIES_UNROUTABLE, Kind::Counter, "Results whose reply queue did not exist any more."),
];

/// The name of every metric, in the order of [`CATALOGUE`].
pub const NAMES: &[&str] = &names();

const fn names() -> [&'static str; CATALOGUE.len()] {
    let mut names = [""; CATALOGUE.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = CATALOGUE[index].name;
        index += 1;
    }
    names
}

/// Upper bounds of the histograms' buckets, in seconds.
///
/// From a local round trip to the longest usual timeout of a device; each is about twice the one before.
pub const BUCKETS: [f64; 16] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];

/// Handles of every metric, made once: an event costs an array index and an atomic, never a look-up by label.
///
/// The arrays are indexed by the enums themselves (`status as usize`), whose `ALL` lists are in declaration order.
pub struct Metrics {
    jobs: [[Counter; 8]; 2],
    job_seconds: [[Histogram; 8]; 2],
    stages: [Histogram; 5],
    jobs_in_flight: Gauge,
    device_requests_in_flight: Gauge,
    late_answers: Counter,
    unmatched_messages: Counter,
    duplicate_answers: Counter,
    device_refusals: [Counter; 2],
    redeliveries: Counter,
    dead_lettered: [Counter; DEAD_LETTER_REASONS.len()],
    mqtt_up: Gauge,
    amqp_up: Gauge,
    mqtt_reconnects: Counter,
    amqp_reconnects: Counter,
    subscriptions: Gauge,
    subscription_users: Gauge,
    schedule_fires: Counter,
    schedule_lag: Histogram,
    schedule_lapses: [Counter; LAPSE_REASONS.len()],
    scheduler_active: Gauge,
    bulk_devices: [Counter; 8],
    bulk_active: Gauge,
    readers_lagged: Counter,
    replies_unroutable: Counter,
}

static METRICS: OnceLock<Metrics> = OnceLock::new();

/// The metrics of this process.
///
/// The first call takes the recorder installed at that time for good; without one, every event is a no-op. So the
/// program installs its recorder before it starts anything.
pub fn metrics() -> &'static Metrics {
    METRICS.get_or_init(Metrics::register)
}

/// Gives the help text of every metric to the installed recorder.
pub fn describe() {
    for Entry { name, kind, help } in CATALOGUE {
        match kind {
            Kind::Counter => ::metrics::describe_counter!(name, help),
            Kind::Gauge => ::metrics::describe_gauge!(name, help),
            Kind::Histogram => ::metrics::describe_histogram!(name, ::metrics::Unit::Seconds, help),
        }
    }
}

impl Metrics {
    /// Registers every metric with every label value at the current recorder, so that a rate exists before the first
    /// failure. The program uses [`metrics()`]; a test takes its own under `metrics::with_local_recorder`.
    pub fn register() -> Self {
        Self {
            jobs: Protocol::ALL
                .map(|p| Status::ALL.map(|s| counter!(JOBS, "protocol" => p.as_str(), "status" => s.as_str()))),
            job_seconds: [Mode::Request, Mode::Publish]
                .map(|m| Status::ALL.map(|s| histogram!(JOB_SECONDS, "mode" => m.as_str(), "status" => s.as_str()))),
            stages: Stage::ALL.map(|stage| histogram!(STAGE_SECONDS, "stage" => stage.as_str())),
            jobs_in_flight: gauge!(JOBS_IN_FLIGHT),
            device_requests_in_flight: gauge!(DEVICE_REQUESTS_IN_FLIGHT),
            late_answers: counter!(LATE_ANSWERS),
            unmatched_messages: counter!(UNMATCHED_MESSAGES),
            duplicate_answers: counter!(DUPLICATE_ANSWERS),
            device_refusals: Refused::ALL.map(|reason| counter!(DEVICE_REFUSALS, "reason" => reason.as_str())),
            redeliveries: counter!(REDELIVERIES),
            dead_lettered: DEAD_LETTER_REASONS.map(|reason| counter!(DEAD_LETTERED, "reason" => reason)),
            mqtt_up: gauge!(MQTT_UP),
            amqp_up: gauge!(AMQP_UP),
            mqtt_reconnects: counter!(MQTT_RECONNECTS),
            amqp_reconnects: counter!(AMQP_RECONNECTS),
            subscriptions: gauge!(SUBSCRIPTIONS),
            subscription_users: gauge!(SUBSCRIPTION_USERS),
            schedule_fires: counter!(SCHEDULE_FIRES),
            schedule_lag: histogram!(SCHEDULE_LAG_SECONDS),
            schedule_lapses: LAPSE_REASONS.map(|reason| counter!(SCHEDULE_LAPSES, "reason" => reason)),
            scheduler_active: gauge!(SCHEDULER_ACTIVE),
            bulk_devices: Status::ALL.map(|status| counter!(BULK_DEVICES, "status" => status.as_str())),
            bulk_active: gauge!(BULK_ACTIVE),
            readers_lagged: counter!(READERS_LAGGED),
            replies_unroutable: counter!(REPLIES_UNROUTABLE),
        }
    }

    /// A job was acked; `seconds` since its delivery.
    pub fn job_finished(&self, protocol: Protocol, mode: Mode, status: Status, seconds: f64) {
        self.jobs[protocol as usize][status as usize].increment(1);
        self.job_seconds[mode as usize][status as usize].record(seconds);
    }

    /// A job was delivered.
    pub fn job_started(&self) {
        self.jobs_in_flight.increment(1.0);
    }

    /// A delivered job left: acked or given back.
    pub fn job_ended(&self) {
        self.jobs_in_flight.decrement(1.0);
    }

    /// A command's answer is awaited from now on.
    pub fn device_request_started(&self) {
        self.device_requests_in_flight.increment(1.0);
    }

    /// A command's answer is no longer awaited.
    pub fn device_request_ended(&self) {
        self.device_requests_in_flight.decrement(1.0);
    }

    /// A job was this long in a stage.
    pub fn stage(&self, stage: Stage, time: Duration) {
        self.stages[stage as usize].record(time.as_secs_f64());
    }

    /// The histogram of a profile's answer times, in seconds. Callers keep it: this is a look-up by label.
    ///
    /// `profile` is a name from the configuration, never one from a job.
    pub fn device_histogram(&self, profile: &str) -> Histogram {
        histogram!(DEVICE_SECONDS, "profile" => profile.to_owned())
    }

    /// An answer came after its command had ended as timed out or unknown.
    pub fn late_answer(&self) {
        self.late_answers.increment(1);
    }

    /// A message on an answer topic belongs to no command of ours.
    pub fn unmatched_message(&self) {
        self.unmatched_messages.increment(1);
    }

    /// A command was answered again.
    pub fn duplicate_answer(&self) {
        self.duplicate_answers.increment(1);
    }

    /// A command was refused because of its device.
    pub fn device_refused(&self, reason: Refused) {
        self.device_refusals[reason as usize].increment(1);
    }

    /// A delivery carries the broker's redelivered flag.
    pub fn redelivery(&self) {
        self.redeliveries.increment(1);
    }

    /// A job went to the dead letters for one of [`DEAD_LETTER_REASONS`]; any other reason counts as `other`.
    pub fn dead_lettered(&self, reason: &'static str) {
        let known = DEAD_LETTER_REASONS.iter().position(|known| *known == reason);
        self.dead_lettered[known.unwrap_or(DEAD_LETTER_REASONS.len() - 1)].increment(1);
    }

    /// The MQTT broker is connected, or not.
    pub fn mqtt_up(&self, up: bool) {
        self.mqtt_up.set(f64::from(u8::from(up)));
    }

    /// The AMQP broker is connected, or not.
    pub fn amqp_up(&self, up: bool) {
        self.amqp_up.set(f64::from(u8::from(up)));
    }

    /// An MQTT connection was made that was not the first.
    pub fn mqtt_reconnected(&self) {
        self.mqtt_reconnects.increment(1);
    }

    /// An AMQP connection was made that was not the first.
    pub fn amqp_reconnected(&self) {
        self.amqp_reconnects.increment(1);
    }

    /// So many topic filters are subscribed.
    pub fn subscriptions(&self, n: usize) {
        self.subscriptions.set(n as f64);
    }

    /// So many users share the subscribed topic filters.
    pub fn subscription_users(&self, n: usize) {
        self.subscription_users.set(n as f64);
    }

    /// A schedule fired, so long after it was due.
    pub fn schedule_fired(&self, lag: Duration) {
        self.schedule_fires.increment(1);
        self.schedule_lag.record(lag.as_secs_f64());
    }

    /// So many fires lapsed for one of [`LAPSE_REASONS`].
    pub fn schedule_lapsed(&self, reason: &'static str, count: u64) {
        let known = LAPSE_REASONS.iter().position(|known| *known == reason);
        self.schedule_lapses[known.unwrap_or(0)].increment(count);
    }

    /// This process fires the schedules of so many shards more.
    pub fn scheduler_active(&self, delta: i32) {
        self.scheduler_active.increment(f64::from(delta));
    }

    /// One device of a bulk job ended in this status.
    pub fn bulk_device(&self, status: Status) {
        self.bulk_devices[status as usize].increment(1);
    }

    /// Bulk jobs began (positive) or ended (negative).
    pub fn bulk_active(&self, delta: i32) {
        self.bulk_active.increment(f64::from(delta));
    }

    /// A subscription lost a message because its reader was too slow.
    pub fn reader_lagged(&self) {
        self.readers_lagged.increment(1);
    }

    /// A result's reply queue did not exist any more.
    pub fn reply_unroutable(&self) {
        self.replies_unroutable.increment(1);
    }
}

// The facade stays in this file; the exporter's tests need a recorder of their own.
#[cfg(test)]
pub(crate) use ::metrics::with_local_recorder;

#[cfg(test)]
mod tests;

//! What a schedule does: one job, and where its devices come from.

use super::Schedule;
use crate::job::{Bulk, Job, Target, Targets};
use std::path::PathBuf;

/// The job of a schedule, which every fire is a copy of.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Who is commanded.
    pub devices: Devices,
    /// Everything else, with the rules of a bulk and no targets.
    template: Job,
}

/// Where the devices of a fire come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Devices {
    /// From the configuration.
    Listed(Vec<Target>),
    /// From a file, as it is when the schedule fires: an id a line, or JSON lines.
    File(PathBuf),
    /// Those of the job's profile that say, retained, that they are there.
    Online,
}

impl Work {
    /// The job with its devices set apart. One whose devices come from elsewhere gives `devices`; its own targets are then
    /// only there to carry the rules.
    pub fn new(mut job: Job, devices: Option<Devices>) -> Self {
        let rules = Bulk {
            targets: Vec::new(),
            rate_per_second: None,
            concurrency: None,
            abort: None,
            results: Default::default(),
        };
        let (listed, rules) = match job.targets {
            Targets::One(device) => (vec![Target { device, payload: None }], rules),
            Targets::Many(mut bulk) => (std::mem::take(&mut bulk.targets), bulk),
        };
        job.id = "".into();
        job.targets = Targets::Many(rules);
        Self { devices: devices.unwrap_or(Devices::Listed(listed)), template: job }
    }

    /// The job without devices, and with no id of a fire.
    pub fn template(&self) -> &Job {
        &self.template
    }
}

impl Schedule {
    /// The job of the fire of an instant, to these devices: what every replica would make of it. When it was enqueued is for
    /// whoever does that to say.
    pub fn job(&self, instant: u64, targets: Vec<Target>) -> Job {
        let mut job = Job { id: self.fire_id(instant), ..self.work.template.clone() };
        if let Targets::Many(bulk) = &mut job.targets {
            bulk.targets = targets;
        }
        job
    }
}

//! A fleet of devices that are not there: it hears the requests of a profile and answers as devices of the field do, the
//! bad ones included.
//!
//! One MQTT connection and one task play all of them. What a device does with a command is a pure function
//! ([`Behaviour::decide`]); what is answered later waits in one bounded queue.

mod answer;
mod behaviour;
mod counts;
mod due;
mod fleet;

pub use behaviour::{Behaviour, Conduct, Decision};
pub use counts::Counts;
pub use fleet::{Error, Fleet};

/// What is to be played, and every limit.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many devices.
    pub devices: usize,
    /// What their ids begin with; the rest is a number from 0.
    pub prefix: String,
    /// How they answer.
    pub behaviour: Behaviour,
    /// The same seed and the same commands lead to the same decisions.
    pub seed: u64,
    /// Up to so many devices subscribe each for itself and say that they are there. A broker then knows when a command is
    /// for nobody; more devices share one subscription, which takes the commands of absent ones too.
    pub apart: usize,
    /// Commands that wait to be heard; more are lost and counted.
    pub inbox: usize,
    /// Answers that wait for their time; more are lost and counted.
    pub pending: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            devices: 100,
            prefix: "dev-".to_owned(),
            behaviour: Behaviour::default(),
            seed: 0,
            apart: 1000,
            inbox: 65_536,
            pending: 100_000,
        }
    }
}

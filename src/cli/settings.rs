//! The options by which every command finds its configuration.

use crate::config::{self, Config, Flag, Inputs, Invalid};
use std::path::PathBuf;

/// Options of every command.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct Settings {
    /// The configuration file; else the one that SWITCHBOARD_CONFIG names, else config/switchboard.toml where it exists
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The AMQP broker, instead of amqp.url
    #[arg(long, global = true, value_name = "URL")]
    pub amqp_url: Option<String>,
    /// The MQTT broker, instead of mqtt.url
    #[arg(long, global = true, value_name = "URL")]
    pub mqtt_url: Option<String>,
}

/// The option that names the queue of jobs.
#[derive(Debug, Default, clap::Args)]
pub struct Queue {
    /// The queue of jobs, instead of amqp.queue
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,
}

/// The options that change how a worker works.
#[derive(Debug, Default, clap::Args)]
pub struct Work {
    /// The queue of jobs
    #[command(flatten)]
    pub queue: Queue,
    /// How many commands may be under way at a time, instead of worker.concurrency
    #[arg(long, value_name = "N")]
    pub concurrency: Option<String>,
    /// Where metrics and health are served, instead of http.listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
}

impl Settings {
    /// Reads and checks the configuration; `more` are the flags of the command itself.
    pub fn load(&self, more: Vec<Flag>) -> Result<Config, Invalid> {
        let own = [("amqp.url", "--amqp-url", &self.amqp_url), ("mqtt.url", "--mqtt-url", &self.mqtt_url)];
        let flags = given(own).into_iter().chain(more).collect();
        config::load(&Inputs::of_process(self.config.as_deref(), flags)?)
    }
}

impl Queue {
    /// The keys it sets.
    pub fn flags(&self) -> Vec<Flag> {
        given([("amqp.queue", "--queue", &self.queue)])
    }
}

impl Work {
    /// The keys they set.
    pub fn flags(&self) -> Vec<Flag> {
        let own = [("worker.concurrency", "--concurrency", &self.concurrency), ("http.listen", "--http", &self.http)];
        [self.queue.flags(), given(own)].concat()
    }
}

fn given<const N: usize>(flags: [(&'static str, &'static str, &Option<String>); N]) -> Vec<Flag> {
    let flag = |(key, name, value): (_, _, &Option<String>)| Some(Flag { key, name, value: value.clone()? });
    flags.into_iter().filter_map(flag).collect()
}

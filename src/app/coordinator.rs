//! The coordinator of bulks and schedules, as a configuration says.

use super::options::mqtt_options;
use crate::amqp::ChannelPool;
use crate::bulk::coordinator::{Options, Outside};
use crate::config::Config;
use crate::job::Target;
use crate::mqtt::{Agent, Message, Qos, Sink};
use crate::profile::Profile;
use crate::wire::native;
use crate::worker::{self, Worker};
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// Devices that say that they are there are looked for so long after the last one that did.
const QUIET: Duration = Duration::from_millis(500);
/// And so long in all.
const LOOKED_FOR: Duration = Duration::from_secs(15);
/// When a bulk for which there is no room is looked at again.
const AGAIN: Duration = Duration::from_secs(10);
/// What a report may take beyond a chunk's lease and its commands' time, at most: half of the lease, where that is shorter.
const SLACK: Duration = Duration::from_secs(15);

pub(super) fn options(config: &Config, name: &Arc<str>) -> Options {
    let (amqp, bulk, worker) = (&config.amqp, &config.bulk, &config.worker);
    Options {
        name: name.clone(),
        bulk_queue: amqp.bulk_queue.clone(),
        jobs_queue: amqp.queue.clone(),
        control: worker::control_stream(&amqp.queue),
        shards: bulk.shards,
        declare: amqp.declare,
        limits: native::Limits {
            max_payload_bytes: worker.max_payload_bytes,
            max_devices: worker.max_devices,
            no_devices: false,
            repeats: false,
        },
        chunk: bulk.chunk,
        chunk_bytes: bulk.chunk_bytes,
        lease: bulk.lease,
        timeout: worker.default_timeout,
        max_timeout: worker.max_timeout,
        with_progress: with_progress(config),
        slack: (bulk.lease / 2).min(SLACK),
        active: bulk.active,
        plan_bytes: bulk.plan_bytes,
        again: AGAIN,
        slots: worker.bulk_concurrency,
        schedules: config.schedules.iter().cloned().map(Arc::new).collect(),
    }
}

fn with_progress(config: &Config) -> BTreeSet<String> {
    config.profiles.iter().filter(|(_, profile)| profile.has_progress()).map(|(name, _)| name.clone()).collect()
}

pub(super) fn outside(config: &Config, worker: &Worker, channels: ChannelPool) -> Outside {
    let (mqtt, profiles) = (config.mqtt.clone(), config.profiles.clone());
    let online = move |name: &str| {
        let (profile, options) = (profiles.get(name).cloned(), mqtt_options(&mqtt));
        let name = name.to_owned();
        async move {
            let profile = profile.ok_or_else(|| format!("there is no profile {name:?}"))?;
            let mut options = options.map_err(|error| format!("{error:#}"))?;
            // A broker drops what it cannot queue for one client; of QoS 0 it queues nothing.
            (options.subscribe_qos, options.session_expiry) = (Qos::AtMostOnce, Duration::ZERO);
            online(options, profile).await
        }
        .boxed()
    };
    Outside { is_cancelled: worker.called_off(), watch: worker.watch(), online: Box::new(online), channels }
}

/// Devices as they say, retained, that they are there. Over a connection of its own: a broker says what it retains to whoever
/// subscribes first, and the worker's own subscription has long been there.
async fn online(options: crate::mqtt::Options, profile: Arc<Profile>) -> Result<Vec<Target>, String> {
    let filter = profile.presence().and_then(|presence| presence.filter());
    let filter = filter.ok_or_else(|| format!("the profile {:?} has no status topic to look at", profile.name()))?;
    let agent = Agent::connect(options).await.map_err(|error| error.to_string())?;
    let heard = Arc::new(Heard { profile, devices: Mutex::default(), any: Notify::new() });
    let deadline = Instant::now() + LOOKED_FOR;
    let subscribed = timeout_at(deadline, agent.subscribe_sink(filter, heard.clone())).await;
    let subscription = subscribed
        .map_err(|_| "the broker did not grant the status topics in time".to_owned())?
        .map_err(|error| error.to_string())?;
    while Instant::now() < deadline && timeout(QUIET, heard.any.notified()).await.is_ok() {}
    drop(subscription);
    agent.close().await;
    let devices = std::mem::take(&mut *heard.devices.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(devices.into_iter().map(|device| Target { device, payload: None }).collect())
}

struct Heard {
    profile: Arc<Profile>,
    devices: Mutex<BTreeSet<Arc<str>>>,
    any: Notify,
}

impl Sink for Heard {
    fn message(&self, message: &Message) {
        let Some(presence) = self.profile.presence() else { return };
        let Some(device) = presence.device(message.topic()) else { return };
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        match presence.is_online(&message.payload) {
            Some(true) => drop(devices.insert(device.into())),
            Some(false) => drop(devices.remove(device)),
            None => {}
        }
        self.any.notify_one();
    }

    fn ended(&self, _error: &crate::mqtt::Error) {}
}

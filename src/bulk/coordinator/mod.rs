//! The coordinator of bulks that all replicas work on, and of what schedules fire: one actor for each shard, of which one
//! replica's is active.
//!
//! A shard's queue is its mailbox and its log. Whatever comes is held until a snapshot says it too; who takes over is given all of
//! it again, publishes a barrier, and acts when it has read that. What goes out is written down first. All of the state only
//! grows, so that it adds up in any order; see [`known`](self).

mod actor;
mod cells;
mod course;
#[cfg(test)]
mod course_limits_tests;
#[cfg(test)]
mod course_tests;
mod division;
mod fires;
mod gauges;
mod held;
mod known;
mod log;
mod office;
#[cfg(test)]
mod office_tests;
mod pace;
mod plan;
mod standing;
mod watch;
mod wishes;
mod words;

use crate::amqp::{ChannelPool, Connection};
use crate::job::Target;
use crate::schedule::Schedule;
use crate::wire::bulk::shard_of;
use crate::wire::native;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How bulks are coordinated.
#[derive(Clone, Debug)]
pub struct Options {
    /// The worker's name.
    pub name: Arc<str>,
    /// The queue of chunks; the shards' queues are named after it.
    pub bulk_queue: String,
    /// The queue of jobs, to which the ends of scheduled bulks go.
    pub jobs_queue: String,
    /// The stream by which jobs are called off.
    pub control: String,
    /// How many shards there are: the same for every replica.
    pub shards: u32,
    /// Whether queues are declared.
    pub declare: bool,
    /// The bounds of the devices that a schedule finds.
    pub limits: native::Limits,
    /// Devices in a chunk at most.
    pub chunk: usize,
    /// Bytes of payloads in a chunk at most, unless one device has more.
    pub chunk_bytes: usize,
    /// A chunk that is not begun within this goes back.
    pub lease: Duration,
    /// How long a command waits for its answer where its job says nothing.
    pub timeout: Duration,
    /// The longest that it waits, whatever its job says.
    pub max_timeout: Duration,
    /// The profiles whose devices say that they are at it, and may take that long.
    pub with_progress: BTreeSet<String>,
    /// What a report may take beyond lease and timeout.
    pub slack: Duration,
    /// Bulks of a shard at one time; others wait.
    pub active: usize,
    /// Bytes that the bulks of all shards take together; each shard has its part.
    pub plan_bytes: usize,
    /// When a bulk that waits is looked at again.
    pub again: Duration,
    /// Devices of bulks that each worker commands at one time.
    pub slots: usize,
    /// What fires when.
    pub schedules: Vec<Arc<Schedule>>,
}

impl Options {
    fn has_schedules(&self, shard: u32) -> bool {
        self.schedules.iter().any(|schedule| shard_of(&schedule.name, self.shards) == shard)
    }
}

/// Says whether the job of an id, made then, is called off.
pub type CalledOff = Box<dyn Fn(&str, Option<u64>) -> bool + Send + Sync>;
/// What keeps a bulk known by its id as one that runs here, until it is dropped.
pub type Watched = Box<dyn Send + Sync>;
/// Enters a bulk of that id, made then, as one that runs here.
pub type Watch = Box<dyn Fn(&Arc<str>, Option<u64>) -> Watched + Send + Sync>;
/// Finds the devices of a profile that say that they are there.
pub type Online = Box<dyn Fn(&str) -> BoxFuture<'static, Result<Vec<Target>, String>> + Send + Sync>;

/// What a coordinator needs besides its connection.
pub struct Outside {
    /// Whether the job of that id, made then (milliseconds since the Unix epoch), is called off.
    pub is_cancelled: CalledOff,
    /// Where whoever calls a bulk off finds it.
    pub watch: Watch,
    /// Who is there.
    pub online: Online,
    /// For the queues in which bulks wait for room.
    pub channels: ChannelPool,
}

/// Starts the actors of all shards, on a connection of their own, until `stop`. They end with the tracker's tasks.
pub fn start(options: Options, outside: Outside, connection: &Connection, stop: &CancellationToken) -> TaskTracker {
    let (options, outside) = (Arc::new(options), Arc::new(outside));
    let tasks = TaskTracker::new();
    for number in 0..options.shards {
        tasks.spawn(actor::keep(options.clone(), outside.clone(), connection.clone(), number, stop.clone()));
    }
    tasks.close();
    tasks
}

//! `switchboard schedule run`: a schedule fires now, whatever its time.

use super::Run;
use crate::amqp::{Address, ChannelPool, Routing};
use crate::cli::report::Plain;
use crate::cli::settings::Settings;
use crate::cli::{BadUsage, coordinator, print, requester, runtime, say};
use crate::config::Config;
use crate::deadline::Now;
use crate::wire::bulk::{Fire, Record};
use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// How long the broker may take to confirm the record.
const RECORD_WITHIN: Duration = Duration::from_secs(10);

/// Has it fired.
///
/// # Errors
///
/// The configuration is wrong, or as [`fire`] says.
pub fn run(settings: &Settings, args: &Run) -> anyhow::Result<ExitCode> {
    let config = settings.load(args.queue.flags())?;
    let names: Vec<&str> = config.schedules.iter().map(|schedule| &*schedule.name).collect();
    runtime()?.block_on(fire(&config, &names, &args.name, args.json))
}

/// Asks the coordinator of the schedule to fire it. `names` are the schedules of the configuration.
///
/// # Errors
///
/// There is no such schedule, the broker is not reached, or no worker has been there to make the queue.
async fn fire(config: &Config, names: &[&str], name: &str, json: bool) -> anyhow::Result<ExitCode> {
    if !names.contains(&name) {
        return Err(BadUsage(unknown(names, name)).into());
    }
    let record = record(name, Now::read().unix_ms)?;
    let (id, at) = (record.id.clone(), record.at);
    let queue = coordinator::queue_of(config, &id);
    let connection = requester::connect(config).await?;
    let channels = ChannelPool::new(connection.clone());
    let published = channels.publish_routed(Address::queue(&queue), Record::Fire(record).encode(), RECORD_WITHIN).await;
    match published.with_context(|| format!("the queue {queue:?} did not take the record"))? {
        Routing::Routed => {}
        Routing::Unroutable => {
            bail!("there is no queue {queue:?}: no worker is there to coordinate schedules, nor was one on this broker")
        }
    }
    connection.close().await;
    if json {
        print(json!({"schedule": name, "id": id, "at": rfc3339(at)?}));
    } else {
        print(&id);
        say(format_args!("see how it stands with `switchboard bulk-status {id}`"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The record by which a schedule fires at that time, milliseconds since the Unix epoch.
fn record(name: &str, at: u64) -> anyhow::Result<Fire> {
    Ok(Fire { schedule: name.to_owned(), id: format!("{name}@{}", rfc3339(at)?).into(), at })
}

fn rfc3339(unix_ms: u64) -> anyhow::Result<String> {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map(|at| format!("{at:.3}")).context("the clock of this machine shows no time that can be written")
}

fn unknown(names: &[&str], name: &str) -> String {
    let name = Plain(name);
    match names {
        [] => format!("there is no schedule {name}: the configuration has none, [[schedules]] makes one"),
        names => format!("there is no schedule {name}; the configuration has {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bulk::shard_of;

    #[test]
    fn what_is_fired_has_its_schedule_and_its_time_as_id_and_belongs_where_the_schedule_does() {
        let fired = record("nightly", 1_795_305_600_007).unwrap();
        assert_eq!((&*fired.id, &*fired.schedule), ("nightly@2026-11-22T00:00:00.007Z", "nightly"));
        assert_eq!(
            &*record("n", 1_795_305_600_000).unwrap().id,
            "n@2026-11-22T00:00:00.000Z",
            "as long for every time"
        );
        for shards in [1, 4, 7] {
            assert_eq!(shard_of(&fired.id, shards), shard_of("nightly", shards));
        }
        assert!(record("n", u64::MAX).is_err());
    }

    #[test]
    fn a_schedule_that_is_not_there_is_named_with_those_that_are() {
        assert_eq!(unknown(&["a", "b"], "c\n"), "there is no schedule c\\n; the configuration has a, b");
        assert!(unknown(&[], "c").contains("[[schedules]] makes one"));
    }
}

//! Celery's result backend against a real Redis.

use crate::harness::redis::{Client, OwnRedis};
use std::time::Duration;
use switchboard::backend::{Backend, Counted, Error, Options, Part};
use switchboard::demo::brokers::{Redis, redis::Options as Server};
use tokio::time::timeout;

mod chords;
mod outages;
mod results;

/// Long enough for a loaded machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400;

fn options(redis: &OwnRedis) -> Options {
    Options { url: redis.server().url(), deadline: PATIENCE, ..Options::default() }
}

/// A server, the backend under test, and a client beside it.
async fn start() -> (OwnRedis, Backend, Client) {
    let redis = OwnRedis::start().await;
    let backend = Backend::connect(options(&redis)).unwrap();
    let client = redis.client().await;
    (redis, backend, client)
}

/// An envelope as Python writes it.
fn envelope(state: &str, id: &str) -> String {
    format!(
        r#"{{"status": "{state}", "result": 3, "traceback": null, "children": [], "date_done": null, "task_id": "{id}"}}"#
    )
}

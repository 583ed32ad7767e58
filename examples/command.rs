//! Commands through a device profile, in-process: one device, then many at a time.
//!
//! `cargo run --example command -- mqtt://127.0.0.1:1883`, with `switchboard simulate` playing `dev-0` to `dev-99`.

use futures_util::StreamExt;
use serde_json::json;
use std::pin::pin;
use std::time::Duration;
use switchboard::commander::Commander;
use switchboard::mqtt::{Agent, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).or_else(|| std::env::var("MQTT_URL").ok());
    let agent = Agent::connect(Options::new(&url.unwrap_or("mqtt://127.0.0.1:1883".into()))?).await?;
    let commander = Commander::with_builtin_profiles(agent.clone());

    let outcome = commander.command("dev-7", "open", json!({"speed": 2})).timeout(Duration::from_secs(2)).await;
    println!("dev-7: {}, executed: {}", outcome.status.as_str(), outcome.executed.as_str());

    let devices = (0..100).map(|number| format!("dev-{number}"));
    let mut outcomes = pin!(commander.command_many(devices, "ping", ()).concurrency(20).start());
    let mut succeeded = 0;
    while let Some((device, outcome)) = outcomes.next().await {
        match outcome.failure {
            None => succeeded += 1,
            Some(failure) => println!("{device}: {}: {}", outcome.status.as_str(), failure.message),
        }
    }
    println!("{succeeded} of 100 succeeded");
    agent.close().await;
    Ok(())
}

//! Sends a request and prints its answer: `cargo run --example request -- mqtt://127.0.0.1:1883 lamp/get '?' lamp/state`.

use std::time::Duration;
use switchboard::mqtt::{Agent, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or_else(|| std::env::var("MQTT_URL").ok()).unwrap_or("mqtt://127.0.0.1:1883".into());
    let topic = arguments.next().unwrap_or("lamp/get".into());
    let payload = arguments.next().unwrap_or_default();

    let agent = Agent::connect(Options::new(&url)?).await?;
    let mut request = agent.request(topic, payload).within(Duration::from_secs(5));
    // Without a filter the device is told where to answer, as MQTT 5 can.
    if let Some(filter) = arguments.next() {
        request = request.reply_on(filter);
    }
    let answer = request.await?;
    println!("{} {}", answer.topic(), String::from_utf8_lossy(&answer.payload));
    agent.close().await;
    Ok(())
}

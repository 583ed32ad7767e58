//! Prints every message on a filter, over any number of reconnects: `cargo run --example subscribe -- mqtt://127.0.0.1:1883 'lamp/#'`.

use switchboard::mqtt::{Agent, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or_else(|| std::env::var("MQTT_URL").ok()).unwrap_or("mqtt://127.0.0.1:1883".into());
    let filter = arguments.next().unwrap_or("#".into());

    let agent = Agent::connect(Options::new(&url)?).await?;
    let mut messages = agent.subscribe(filter).await?;
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => println!("{} {}", message.topic(), String::from_utf8_lossy(&message.payload)),
                None => anyhow::bail!("the stream ended: {:?}", messages.error()),
            },
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                agent.close().await;
                return Ok(());
            }
        }
    }
}

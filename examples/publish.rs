//! Publishes one message and says what became of it: `cargo run --example publish -- mqtt://127.0.0.1:1883 lamp/set on`.

use std::time::Duration;
use switchboard::mqtt::{Agent, Fate, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or_else(|| std::env::var("MQTT_URL").ok()).unwrap_or("mqtt://127.0.0.1:1883".into());
    let topic = arguments.next().unwrap_or("lamp/set".into());
    let payload = arguments.next().unwrap_or("on".into());

    let agent = Agent::connect(Options::new(&url)?).await?;
    let fate = agent.publish(topic, payload).within(Duration::from_secs(5)).await?;
    println!(
        "{}",
        match &fate {
            Fate::Acknowledged => "the broker took it, and somebody is subscribed".to_owned(),
            Fate::NoSubscribers => "the broker took it, and nobody is subscribed".to_owned(),
            Fate::Written => "it was sent".to_owned(),
            Fate::Refused(refusal) => format!("the broker refused it: {}", refusal.reason),
            Fate::NotSent(why) => format!("it was not sent: {why}"),
            Fate::Unknown => "the connection broke; it may have arrived".to_owned(),
        }
    );
    agent.close().await;
    Ok(())
}

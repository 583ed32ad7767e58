//! A web server that commands devices: `POST /devices/lamp-7/commands/on` answers with what the device answered.
//!
//! `cargo run --example web_server -- mqtt://127.0.0.1:1883 127.0.0.1:8080`. One agent serves every request: one MQTT
//! connection, and a client that hangs up takes its command back if it has not left yet.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::time::Duration;
use switchboard::mqtt::{Agent, Error, Options};

/// How long a device may take.
const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or_else(|| std::env::var("MQTT_URL").ok()).unwrap_or("mqtt://127.0.0.1:1883".into());
    let listen = arguments.next().unwrap_or("127.0.0.1:8080".into());

    let agent = Agent::connect(Options::new(&url)?).await?;
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(agent.clone())).with_graceful_shutdown(interrupted()).await?;
    agent.close().await;
    Ok(())
}

async fn interrupted() {
    // Where signals cannot be heard, the server runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The whole server but its socket.
pub(crate) fn app(agent: Agent) -> Router {
    Router::new().route("/devices/{device}/commands/{command}", post(command)).with_state(agent)
}

async fn command(
    State(agent): State<Agent>,
    Path((device, command)): Path<(String, String)>,
    payload: Bytes,
) -> (StatusCode, Json<Value>) {
    // What comes from outside must stay within its level of the topic.
    if [&device, &command].iter().any(|name| name.is_empty() || name.contains('/')) {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "a name has no slash"})));
    }
    let answer = agent.request(format!("devices/{device}/commands/{command}"), payload).within(DEADLINE).await;
    match answer {
        Ok(message) => {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            (StatusCode::OK, Json(serde_json::from_str(&text).unwrap_or(Value::String(text))))
        }
        Err(error) => {
            let status = match error {
                Error::Topic { .. } => StatusCode::BAD_REQUEST,
                Error::Undelivered(_) => StatusCode::NOT_FOUND,
                Error::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            (status, Json(json!({"error": error.to_string()})))
        }
    }
}

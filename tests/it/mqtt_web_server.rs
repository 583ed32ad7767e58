//! The example of a web server, driven as its users would.

#[path = "../../examples/web_server.rs"]
#[expect(dead_code, reason = "the example's own main is not run")]
mod web_server;

use crate::harness::mosquitto;
use futures_util::future::join_all;
use switchboard::mqtt::{Agent, Options, Properties};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The status and the body that come back.
async fn post(port: u16, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_hundred_callers_at_once_get_each_their_devices_answer() {
    let broker = mosquitto::start();
    let devices = Agent::connect(Options::new(&broker.url()).unwrap()).await.unwrap();
    let mut commands = devices.subscribe("devices/+/commands/echo").await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = commands.next().await {
            let asked = *message.properties.unwrap();
            let answer = Properties { correlation: asked.correlation, ..Properties::default() };
            let payload = format!("{{\"echo\":{}}}", String::from_utf8_lossy(&message.payload));
            devices.publish(asked.response_topic.unwrap(), payload).properties(answer).await.unwrap();
        }
    });
    let agent = Agent::connect(Options::new(&broker.url()).unwrap()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, web_server::app(agent)).await });
    let callers = (0..100).map(|number| async move {
        let (status, body) = post(port, &format!("/devices/lamp-{number}/commands/echo"), &number.to_string()).await;
        assert_eq!((status, body), (200, format!("{{\"echo\":{number}}}")));
    });
    join_all(callers).await;
    let (status, body) = post(port, "/devices/lamp/commands/nobody-listens", "").await;
    assert!(status == 404 && body.contains("nobody is subscribed"), "{status} {body}");
    assert_eq!(post(port, "/devices/a%2Fb/commands/echo", "").await.0, 400);
    assert_eq!(post(port, "/devices/a+/commands/echo", "").await.0, 400);
}

//! The listener as clients of every kind see it, over real sockets.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Longer than anything here takes, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    address: SocketAddr,
    health: Health,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Stage {
    async fn with(options: Options) -> Self {
        let http = Http::bind_with("127.0.0.1:0", options).await.unwrap();
        let (address, health, stop) = (http.address(), Health::new(&["mqtt", "amqp"]), CancellationToken::new());
        let (_, exporter) = Exporter::detached();
        let task = tokio::spawn(http.serve(health.clone(), exporter, stop.clone()));
        Self { address, health, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, request: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut socket).await
    }

    async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }
}

/// Everything until the other end closes, whether politely or by a reset.
async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the server closes the connection");
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn each_page_answers_and_readiness_names_every_part() {
    let stage = Stage::with(Options::default()).await;
    assert_eq!(status(&stage.get("/healthz").await), "200");
    let metrics = stage.get("/metrics?a=b").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    stage.health.up("amqp");
    stage.health.down("mqtt", "connection refused");
    let answer = stage.get("/readyz").await;
    assert!(status(&answer) == "503" && answer.ends_with("amqp: up\nmqtt: down: connection refused\n"), "{answer}");
    stage.health.up("mqtt");
    let answer = stage.get("/readyz").await;
    assert!(status(&answer) == "200" && answer.ends_with("amqp: up\nmqtt: up\n"), "{answer}");
}

#[tokio::test]
async fn another_path_is_not_found_and_another_method_is_refused() {
    let stage = Stage::with(Options::default()).await;
    assert_eq!(status(&stage.get("/").await), "404");
    assert_eq!(status(&stage.get("/metrics/").await), "404");
    for method in ["POST", "PUT", "DELETE", "HEAD"] {
        let answer = stage.send(&format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(status(&answer), "405", "{answer}");
        assert!(answer.to_lowercase().contains("allow: get"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_or_no_http_is_a_client_error() {
    let stage = Stage::with(Options::default()).await;
    let answer = stage.get(&format!("/{}", "x".repeat(15_000))).await;
    assert_eq!(status(&answer), "404", "{answer}");
    let answer = stage.get(&format!("/{}", "x".repeat(1_000_000))).await;
    assert!(answer.is_empty() || status(&answer).starts_with('4'), "{answer}");
    let answer = stage.send("\u{1}\u{2} nonsense\r\n\r\n").await;
    assert!(status(&answer).starts_with('4'), "{answer}");
    assert_eq!(status(&stage.get("/healthz").await), "200");
}

#[tokio::test]
async fn half_open_requests_are_closed_and_shut_nobody_out() {
    let options = Options { header_timeout: Duration::from_millis(300), connections: 8, ..Options::default() };
    let stage = Stage::with(options).await;
    let mut slow = Vec::new();
    for index in 0..24 {
        let mut socket = stage.connect().await;
        // Some say nothing at all.
        if index % 2 == 0 {
            socket.write_all(b"GET /metrics HTTP/1.1\r\nHost").await.unwrap();
        }
        slow.push(socket);
    }
    assert_eq!(status(&stage.get("/healthz").await), "200");
    for mut socket in slow {
        let answer = read_to_end(&mut socket).await;
        assert!(answer.is_empty() || status(&answer) == "408", "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_drips_is_closed_at_the_header_timeout() {
    let stage = Stage::with(Options { header_timeout: Duration::from_millis(300), ..Options::default() }).await;
    let mut socket = stage.connect().await;
    socket.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    let (mut reading, mut writing) = socket.split();
    let drip = async {
        while writing.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let closed = async {
        let mut answer = Vec::new();
        let _ = reading.read_to_end(&mut answer).await;
    };
    timeout(PATIENCE, async { tokio::join!(drip, closed) }).await.expect("the server closes the connection");
}

#[tokio::test]
async fn stopping_closes_the_listener_and_what_has_asked_for_nothing() {
    let stage = Stage::with(Options { header_timeout: Duration::from_secs(3600), ..Options::default() }).await;
    let mut idle = stage.connect().await;
    assert_eq!(status(&stage.get("/healthz").await), "200");
    stage.stop.cancel();
    timeout(PATIENCE, stage.task).await.expect("serving ends").unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(TcpStream::connect(stage.address).await.is_err());
}

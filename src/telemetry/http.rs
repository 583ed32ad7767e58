//! The HTTP listener for `/metrics`, `/healthz` and `/readyz`, which no slow, large or numerous client can take away.

use super::{Exporter, Health};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The limits of the listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a client may take to send its request.
    pub header_timeout: Duration,
    /// How long a connection may last in all; each serves one request.
    pub connection_timeout: Duration,
    /// How many connections may be open. One more takes the place of the oldest that has not sent its request yet.
    pub connections: usize,
    /// How large a request may be, in bytes, without a body (which is never read). At least 8192.
    pub request_bytes: usize,
    /// How long to wait after an error of the listener itself, such as having no file descriptor left.
    pub accept_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(20),
            connections: 64,
            request_bytes: 16 * 1024,
            accept_pause: Duration::from_millis(100),
        }
    }
}

/// A bound listener that does not serve yet.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
}

impl Http {
    /// Binds an address such as `127.0.0.1:9464`; port 0 takes a free one.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Self::bind_with(address, Options::default()).await
    }

    /// The same with limits of the caller's own.
    pub async fn bind_with(address: &str, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, options })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets the requests that have come in end, which takes at most the connection timeout.
    ///
    /// Dropping the future closes the listener and every connection.
    pub async fn serve(self, health: Health, exporter: Exporter, stop: CancellationToken) {
        let pages = Pages { health, exporter };
        let mut connections = Connections::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.tasks.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, _)) => connections.add(socket, &pages, &self.options),
                    Err(error) => {
                        tracing::warn!(%error, "the HTTP listener cannot take a connection; trying again");
                        sleep(self.options.accept_pause).await;
                    }
                },
            }
        }
        drop(self.listener);
        connections.finish().await;
    }
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    // Oldest first.
    open: Vec<Open>,
}

struct Open {
    task: AbortHandle,
    asked: Arc<AtomicBool>,
}

impl Connections {
    fn add(&mut self, socket: TcpStream, pages: &Pages, options: &Options) {
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() >= options.connections {
            // Refusing the new one instead would let anybody shut the scraper out by holding connections open.
            match self.open.iter().position(|open| !open.asked.load(Ordering::Relaxed)) {
                Some(idle) => self.open.remove(idle).task.abort(),
                None => return,
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(serve_one(socket, pages.clone(), asked.clone(), options.clone()));
        self.open.push(Open { task, asked });
    }

    async fn finish(mut self) {
        for open in self.open.iter().filter(|open| !open.asked.load(Ordering::Relaxed)) {
            open.task.abort();
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn serve_one(socket: TcpStream, pages: Pages, asked: Arc<AtomicBool>, options: Options) {
    let service = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(pages.answer(request.method(), request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(options.request_bytes)
        // One request a connection: then one deadline covers a client that never reads its answer as well.
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    // Whatever a client does wrong ends its connection, and concerns nobody else.
    let _ = timeout(options.connection_timeout, connection).await;
}

#[derive(Clone)]
struct Pages {
    health: Health,
    exporter: Exporter,
}

impl Pages {
    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET {
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is served here\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        match path {
            "/metrics" => page(StatusCode::OK, METRICS, self.exporter.render().await),
            "/healthz" => page(StatusCode::OK, TEXT, "alive\n".into()),
            "/readyz" => {
                let status = if self.health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                page(status, TEXT, self.health.report())
            }
            _ => page(StatusCode::NOT_FOUND, TEXT, "not found; there are /metrics, /healthz and /readyz\n".into()),
        }
    }
}

fn page(status: StatusCode, content_type: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

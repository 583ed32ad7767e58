//! Tokio as lapin asks for it, with streams that are screened.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Tokio, TokioRuntime};
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use lapin::tcp::AsyncTcpStream;

use super::screen::Screened;

/// The stream of the kit below it.
pub(super) type TcpStream = <TokioRuntime as Reactor>::TcpStream;

/// lapin takes whatever stream its runtime names as its own: that is the one place for something of ours between it and the
/// socket. All else is Tokio's.
#[derive(Clone, Debug)]
pub(super) struct Kit(Tokio);

impl Kit {
    /// Bound to the runtime that runs now.
    pub(super) fn current() -> Self {
        Self(Tokio::current())
    }
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, future: F) -> Task<Self::Task<T>> {
        self.0.spawn(future)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, act: F) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(act)
    }
}

impl Reactor for Kit {
    type TcpStream = Screened<AsyncTcpStream<TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Not for sockets of others: lapin never asks for it.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async { Ok(Screened::new(AsyncTcpStream::Plain(connecting.await?), 0)) }
    }
}

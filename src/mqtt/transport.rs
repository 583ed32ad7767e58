//! The bytes under MQTT: TCP with TCP_NODELAY, TLS, and WebSocket on top of either.

use super::options::{Options, Scheme};
use super::websocket;
use crate::tls::encrypt;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connected byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects as the options say. Has no deadline of its own: the caller sets one over this and the MQTT handshake.
pub(crate) async fn open(options: &Options) -> io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect((options.host.as_str(), options.port)).await?;
    // Without it every QoS 1 exchange waits for the peer's delayed ACK: 44 ms, or 88 where both ends leave it off.
    tcp.set_nodelay(true)?;
    Ok(match options.scheme {
        Scheme::Mqtt => Box::new(tcp),
        Scheme::Mqtts => Box::new(encrypt(tcp, &options.host, &options.tls).await?),
        Scheme::Ws => websocket::open(tcp, options).await?,
        Scheme::Wss => websocket::open(encrypt(tcp, &options.host, &options.tls).await?, options).await?,
    })
}

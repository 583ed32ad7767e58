//! One connect to the broker, under one deadline that lapin does not have, with a switch that ends it at any moment.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_rs::traits::Reactor;
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{ConnectionProperties, ErrorKind};
use rustix::net::connect_unspec;
use rustix::net::sockopt::set_socket_linger;
use tokio::time::{Instant, timeout_at};

use super::runtime::{Kit, TcpStream};
use super::screen::Screened;
use super::{Error, Options, nodes};
use crate::tls;

/// A duplicate of the connection's socket. Cutting it is the only way to end lapin's thread while the peer is silent,
/// or while the broker has blocked the connection: then not even a close is written. Dropping it cuts too.
pub(super) struct Cut(Arc<Mutex<Socket>>);

enum Socket {
    Pending,
    Open(std::net::TcpStream),
    Cut,
}

impl Cut {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Socket::Pending)))
    }

    /// Ends the connection at once; its pending operations fail. What was written to the socket still goes out.
    pub(super) fn cut(&self) {
        self.end(false);
    }

    /// The same, and what the system holds for a peer that does not read goes out no more: a path that was silent may work
    /// again within minutes, and would carry it there as if nothing had happened. The peer is told by a reset, at which what
    /// lies between here and there may drop it too.
    pub(super) fn sever(&self) {
        self.end(true);
    }

    fn end(&self, discards: bool) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Socket::Open(stream) = &*socket {
            if discards {
                // Where it does not end a connection (elsewhere than on Linux), closing without linger discards too, once lapin's
                // thread has closed its end; an option is the socket's, not this duplicate's.
                let _ = set_socket_linger(stream, Some(Duration::ZERO));
                let _ = connect_unspec(stream);
            }
            // An error means that it is down already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        *socket = Socket::Cut;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Stores the duplicate, unless the connect was given up meanwhile.
fn arm(switch: &Mutex<Socket>, stream: std::net::TcpStream) -> io::Result<()> {
    let mut socket = switch.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*socket, Socket::Cut) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    *socket = Socket::Open(stream);
    Ok(())
}

/// A connection, and how it came about.
pub(super) struct Dialled {
    pub(super) connection: lapin::Connection,
    pub(super) cut: Cut,
    /// The node's place in the list of addresses.
    pub(super) place: usize,
    pub(super) route: Route,
}

/// The node that was reached, and those that were tried in vain before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host and port.
    pub node: String,
    /// Why each of the others was not taken.
    pub failures: Vec<String>,
}

/// Connects to the first node that lets us, beginning with that at `first` and going round. Dropping the future ends it, and
/// lapin's thread with it.
pub(super) async fn dial(options: &Options, role: &str, first: usize) -> Result<Dialled, Error> {
    let nodes = nodes::parse(&options.url, options.heartbeat)?;
    let mut failures = Vec::new();
    for place in (0..nodes.len()).map(|step| (first + step) % nodes.len()) {
        let node = nodes::shown(&nodes[place]);
        match dial_one(nodes[place].clone(), options, role).await {
            Ok((connection, cut)) => {
                return Ok(Dialled { connection, cut, place, route: Route { node, failures } });
            }
            Err(error) if nodes.len() == 1 => return Err(error),
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(Error::NoNode(failures.join("; ")))
}

/// Connects: name look-up, TCP, TLS and the AMQP handshake within `connect_timeout`.
async fn dial_one(uri: AMQPUri, options: &Options, role: &str) -> Result<(lapin::Connection, Cut), Error> {
    let address = nodes::shown(&uri);
    let connector = tls_connector(&uri, options).await?;
    let deadline = Instant::now() + options.connect_timeout;
    let too_late = |address: String| Error::ConnectTimeout { address, seconds: options.connect_timeout.as_secs_f64() };

    // Where an address leaves it to the broker, nothing comes that is larger than the broker's own bound.
    let frame_max = uri.query.frame_max.unwrap_or(0);
    let cut = Cut::new();
    let switch = cut.0.clone();
    let open = async move |uri: AMQPUri, _: async_rs::Runtime<Kit>| {
        timeout_at(deadline, open_stream(&uri, connector.clone(), &switch))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map(|stream| AsyncTcpStream::Plain(Screened::new(stream, frame_max)))
            .map_err(lapin::Error::from)
    };
    let name = format!("{} {role}", options.connection_name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = lapin::Connection::connector(uri, async_rs::Runtime::new(Kit::current()), open, properties);
    match timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => Ok((connection, cut)),
        Ok(Err(error)) => match error.kind() {
            ErrorKind::IOError(error) if error.kind() == io::ErrorKind::TimedOut => Err(too_late(address)),
            _ => Err(Error::Connect { address, reason: error.to_string() }),
        },
        Err(_) => Err(too_late(address)),
    }
}

async fn open_stream(
    uri: &AMQPUri,
    connector: Option<RustlsConnector>,
    switch: &Mutex<Socket>,
) -> io::Result<AsyncTcpStream<TcpStream>> {
    let runtime = async_rs::Runtime::tokio_current();
    let (host, port) = (uri.authority.host.as_str(), uri.authority.port);
    let mut refused = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in tokio::net::lookup_host((host, port)).await? {
        match runtime.tcp_connect_addr(address).await {
            Ok(stream) => {
                arm(switch, std::net::TcpStream::from(stream.get_ref().as_fd().try_clone_to_owned()?))?;
                let plain = AsyncTcpStream::Plain(stream);
                return match connector {
                    Some(connector) => plain.into_rustls(&connector, host).await,
                    None => Ok(plain),
                };
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

async fn tls_connector(uri: &AMQPUri, options: &Options) -> Result<Option<RustlsConnector>, Error> {
    if uri.scheme != AMQPScheme::AMQPS {
        return Ok(None);
    }
    let config = tls::client_config(&options.tls).await.map_err(|error| Error::Tls(error.to_string()))?;
    Ok(Some(RustlsConnector::from(config)))
}

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
use tokio::time::{Instant, timeout_at};

use super::runtime::{Kit, TcpStream};
use super::screen::Screened;
use super::{Error, Options, tls};

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

    /// Ends the connection at once; its pending operations fail.
    pub(super) fn cut(&self) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Socket::Open(stream) = &*socket {
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

/// Connects: name look-up, TCP, TLS and the AMQP handshake within `connect_timeout`. Dropping the future ends it, and lapin's
/// thread with it.
pub(super) async fn dial(options: &Options, role: &str) -> Result<(lapin::Connection, Cut), Error> {
    let uri = parse(&options.url, options.heartbeat)?;
    let address = format!("{}:{}", uri.authority.host, uri.authority.port);
    let connector = tls_connector(&uri, options).await?;
    let deadline = Instant::now() + options.connect_timeout;
    let too_late = |address: String| Error::ConnectTimeout { address, seconds: options.connect_timeout.as_secs_f64() };

    // Without a wish of ours the broker's own bound counts, and it sends nothing beyond that.
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
    let files = options.tls.clone();
    let config = tokio::task::spawn_blocking(move || tls::client_config(&files))
        .await
        .map_err(|_| Error::Tls("reading the certificate files was interrupted".to_owned()))??;
    Ok(Some(RustlsConnector::from(config)))
}

/// Reads the URL; the error never repeats it, since it holds the password.
/// Where an address leads, for whoever shows it. No password is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The broker's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The virtual host.
    pub vhost: String,
    /// Our login.
    pub user: String,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl Place {
    /// Reads it off an address.
    ///
    /// # Errors
    /// [`Error::Url`], which shows no password.
    pub fn of(url: &str) -> Result<Self, Error> {
        let uri = parse(url, Duration::ZERO)?;
        Ok(Self {
            host: uri.authority.host,
            port: uri.authority.port,
            vhost: uri.vhost,
            user: uri.authority.userinfo.username,
            tls: uri.scheme == AMQPScheme::AMQPS,
        })
    }
}

pub(super) fn parse(url: &str, heartbeat: Duration) -> Result<AMQPUri, Error> {
    let mut uri: AMQPUri = url.parse().map_err(|problem: String| match problem.contains(url) {
        true => Error::Url("it has no host".to_owned()),
        false => Error::Url(problem),
    })?;
    // The parser reads a bracketed IPv6 host as "no host" and would silently connect to localhost.
    if let Some(host) = bracketed_host(url) {
        uri.authority.host = host.to_owned();
    }
    let seconds = u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
    uri.query.heartbeat.get_or_insert(seconds);
    Ok(uri)
}

fn bracketed_host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_gives_host_virtual_host_and_heartbeat() {
        let uri = parse("amqps://u:p%40ss@broker.example/%2fjobs?heartbeat=7", Duration::from_secs(10)).unwrap();
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("broker.example", 5671));
        assert_eq!((uri.vhost.as_str(), uri.query.heartbeat), ("/jobs", Some(7)));
        assert_eq!(uri.authority.userinfo.password, "p@ss");
        assert_eq!(parse("amqp://h", Duration::from_secs(10)).unwrap().query.heartbeat, Some(10));
    }

    #[test]
    fn an_ipv6_host_is_not_taken_for_localhost() {
        let uri = parse("amqp://u:p@[2001:db8::1]:5673/x", Duration::from_secs(10)).unwrap();
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("2001:db8::1", 5673));
        assert_eq!(parse("amqp://[::1]", Duration::from_secs(1)).unwrap().authority.host, "::1");
    }

    #[test]
    fn an_error_about_the_url_never_repeats_the_password() {
        for url in ["amqp:u:secret", "http://u:secret@h", "amqp://u:secret@h:99999/", "u:secret@h"] {
            let error = parse(url, Duration::from_secs(10)).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

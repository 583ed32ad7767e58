//! The bytes under MQTT: TCP with TCP_NODELAY, TLS, and WebSocket on top of either.

use super::options::{Options, Scheme, TlsFiles};
use super::websocket;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::path::Path;
use std::sync::Arc;
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
        Scheme::Mqtts => Box::new(encrypt(tcp, options).await?),
        Scheme::Ws => websocket::open(tcp, options).await?,
        Scheme::Wss => websocket::open(encrypt(tcp, options).await?, options).await?,
    })
}

async fn encrypt(tcp: TcpStream, options: &Options) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(options.host.clone()).map_err(io::Error::other)?;
    let files = options.tls.clone();
    // Reads files, over a hundred of them for the system's authorities.
    let config = tokio::task::spawn_blocking(move || client_config(&files)).await.map_err(io::Error::other)??;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await
}

fn client_config(files: &TlsFiles) -> io::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    match &files.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| in_file(path, error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, error))?;
            builder.with_client_auth_cert(certificates(cert)?, key_der).map_err(|error| in_file(cert, error))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a client certificate needs both cert_file and key_file")),
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| in_file(path, error))?.collect();
    let found = found.map_err(|error| in_file(path, error))?;
    if found.is_empty() {
        return Err(in_file(path, "it holds no PEM certificate"));
    }
    Ok(found)
}

fn in_file(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {error}", path.display()))
}

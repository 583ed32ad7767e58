//! TLS to Redis: PEM files to an encrypted stream whose peer proved its name.

use super::address::TlsFiles;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Encrypts a connection. Has no deadline of its own. The error is a file that cannot be used, or what the handshake said.
pub(super) async fn encrypt(tcp: TcpStream, host: &str, files: &TlsFiles) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let files = files.clone();
    // Reads files, over a hundred of them for the system's authorities.
    let config = tokio::task::spawn_blocking(move || client_config(&files)).await.map_err(io::Error::other)??;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

fn client_config(files: &TlsFiles) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
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
    // Named here rather than installed for the process: a library must not take that choice from its user.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, error))?;
            builder.with_client_auth_cert(certificates(cert)?, key_der).map_err(|error| in_file(cert, error))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(unusable("a client certificate needs both ssl_certfile and ssl_keyfile")),
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found.map_err(|error| in_file(path, error))? {
        found if found.is_empty() => Err(in_file(path, "it holds no PEM certificate")),
        found => Ok(found),
    }
}

fn in_file(path: &Path, error: impl std::fmt::Display) -> io::Error {
    unusable(format!("{}: {error}", path.display()))
}

/// Of the kind that [`super::link`] knows for something that only its user can mend.
fn unusable(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words.into())
}

//! TLS as a client: PEM files to a configuration that verifies the peer's name, and to an encrypted stream.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// PEM files for a connection with TLS; they are read again at each connect, so a rotated certificate needs no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate chain; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The client's private key; needs `cert_file`.
    pub key_file: Option<PathBuf>,
}

/// Encrypts a connection to a peer that proves this name. Has no deadline of its own.
///
/// # Errors
/// Of the kind `InvalidInput` where a file cannot be used, which only the user can mend; else what the handshake said.
pub(crate) async fn encrypt(tcp: TcpStream, host: &str, files: &TlsFiles) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    tokio_rustls::TlsConnector::from(client_config(files).await?).connect(name, tcp).await
}

/// Reads the files, over a hundred of them for the system's authorities: on a thread that may wait.
///
/// # Errors
/// Of the kind `InvalidInput` where one cannot be used.
pub(crate) async fn client_config(files: &TlsFiles) -> io::Result<Arc<ClientConfig>> {
    let files = files.clone();
    let read = tokio::task::spawn_blocking(move || read(&files)).await;
    read.map_err(io::Error::other)?.map(Arc::new)
}

fn read(files: &TlsFiles) -> io::Result<ClientConfig> {
    // What is missing in the settings comes before what is missing on the machine.
    let identity = match (&files.cert_file, &files.key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        (Some(cert), None) => {
            let words = "a client certificate needs the file of its key too (key_file, or ssl_keyfile in a URL)";
            return Err(in_file(cert, words));
        }
        (None, Some(key)) => {
            let words = "a client's key needs the file of its certificate too (cert_file, or ssl_certfile in a URL)";
            return Err(in_file(key, words));
        }
    };
    // Named here rather than installed for the process: a library must not take that choice from its user.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(files.ca_file.as_deref())?);
    let Some((cert, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, error))?;
    let configured = builder.with_client_auth_cert(certificates(cert)?, key_der);
    configured.map_err(|error| in_file(cert, format!("with {}: {error}", key.display())))
}

fn roots(ca_file: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| in_file(path, error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(unusable("the system has no certificate authorities; name a file of them"));
            }
        }
    }
    Ok(roots)
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

fn unusable(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_named_and_so_is_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let [empty, missing] = ["empty.pem", "missing.pem"].map(|name| folder.path().join(name));
        std::fs::write(&empty, "").unwrap();
        let given = |file: &PathBuf| Some(file.clone());
        let cases = [
            (TlsFiles { ca_file: given(&missing), ..TlsFiles::default() }, "missing.pem"),
            (TlsFiles { ca_file: given(&empty), ..TlsFiles::default() }, "empty.pem: it holds no PEM certificate"),
            (TlsFiles { cert_file: given(&empty), ..TlsFiles::default() }, "empty.pem: a client certificate needs"),
            (TlsFiles { key_file: given(&empty), ..TlsFiles::default() }, "empty.pem: a client's key needs"),
        ];
        for (files, words) in cases {
            let error = client_config(&files).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

//! The TLS side of a connect: PEM files to a client configuration that verifies the server's name.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{Error, TlsFiles};

/// Reads the files and builds the configuration; blocking, since files are.
pub(super) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, Error> {
    // The provider is named here rather than installed for the process: a library must not take that choice from its user.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.to_string()))?
        .with_root_certificates(roots(files.ca_file.as_deref())?);
    let config = match (&files.cert_file, &files.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|error| Error::Tls(format!("{} with {}: {error}", cert.display(), key.display())))?,
        (Some(_), None) => return Err(Error::Tls("cert_file is given without key_file".to_owned())),
        (None, Some(_)) => return Err(Error::Tls("key_file is given without cert_file".to_owned())),
    };
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| Error::Tls(format!("{}: {error}", path.display())))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Error::Tls("the system has no certificate authorities; set ca_file".to_owned()));
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Error::Tls(format!("{}: {error}", path.display())))?;
    match found.is_empty() {
        true => Err(Error::Tls(format!("{}: no certificate in it", path.display()))),
        false => Ok(found),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| Error::Tls(format!("{}: {error}", path.display())))
}

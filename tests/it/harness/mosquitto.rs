//! mosquitto for tests: a broker for each test, since one takes but a few milliseconds to start.

use std::path::Path;
use std::process::Command;
use switchboard::demo::brokers::Mosquitto;
use switchboard::demo::brokers::mosquitto::{Options, Tls};

/// A broker that takes anybody.
///
/// # Panics
/// mosquitto is not installed or does not start.
pub(crate) fn start() -> Mosquitto {
    start_with(Options::default())
}

/// A broker of a special kind.
///
/// # Panics
/// mosquitto is not installed or does not start so.
pub(crate) fn start_with(options: Options) -> Mosquitto {
    Mosquitto::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes an authority and a certificate for `localhost` and `127.0.0.1` in this folder.
///
/// # Panics
/// `openssl` is not installed (Debian package openssl) or fails.
pub(crate) fn certificates(folder: &Path, clients_too: bool) -> Tls {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let output = output.expect("openssl runs: the Debian package openssl has it");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout ca.key -out ca.crt \
         -subj /CN=test-authority -addext basicConstraints=critical,CA:TRUE",
    );
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr \
         -subj /CN=localhost",
    );
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt");
    Tls {
        ca_file: folder.join("ca.crt"),
        cert_file: folder.join("server.crt"),
        key_file: folder.join("server.key"),
        clients_too,
    }
}

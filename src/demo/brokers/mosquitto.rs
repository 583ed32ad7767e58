//! A private mosquitto: the MQTT broker of the demonstration and of every test that needs one.

use super::daemon::{Daemon, Ports, Server};
use super::{Error, Program};
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// What a private mosquitto is to be like. The default takes anybody, keeps nothing and limits nothing.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keeps sessions, queues and retained messages over [`Daemon::stop`] and [`Daemon::start_again`].
    pub persistence: bool,
    /// A second listener with TLS; its port is [`Daemon::tls_port`].
    pub tls: Option<Tls>,
    /// A third listener for WebSocket; its port is [`Mosquitto::websocket_port`]. A mosquitto without it does not start:
    /// Debian's is built so.
    pub websocket: bool,
    /// More lines of `mosquitto.conf`, put before the listeners.
    pub lines: Vec<String>,
}

/// The files of a TLS listener, in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority that clients check the certificate with, and the broker those of clients.
    pub ca_file: PathBuf,
    /// The broker's certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Whether a client must show a certificate.
    pub clients_too: bool,
}

/// The kind of server that mosquitto is.
#[derive(Debug)]
pub struct Broker;

/// A private mosquitto.
pub type Mosquitto = Daemon<Broker>;

impl Server for Broker {
    const PROGRAM: Program = Program {
        name: "mosquitto",
        usual: "/usr/sbin/mosquitto",
        package: "mosquitto",
        variable: "SWITCHBOARD_MOSQUITTO",
    };
    const FILE: &'static str = "mosquitto.conf";
    const FLAGS: &'static [&'static str] = &["-c"];
    const SAYS: &'static str = " running";

    fn answers(address: SocketAddr) -> bool {
        TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok()
    }
}

impl Daemon<Broker> {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// mosquitto is not installed, ends by itself (a line that it does not know), or does not serve in time.
    pub fn start(options: Options) -> Result<Self, Error> {
        Self::start_with(|ports, folder| configuration(&options, ports, folder))
    }

    /// `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
    }

    /// The port of the WebSocket listener, used where [`Options::websocket`] is set.
    pub fn websocket_port(&self) -> u16 {
        self.third_port()
    }
}

fn configuration(options: &Options, ports: Ports, folder: &Path) -> String {
    let folder = folder.display();
    let mut lines = format!(
        "# Started as root it would change to a user that cannot read this folder; others ignore the line.\n\
         user root\n\
         allow_anonymous true\n\
         # Without it every QoS 1 round trip waits 40 ms for a delayed acknowledgement.\n\
         set_tcp_nodelay true\n\
         # 0: no limit. With the defaults, 20 and 1000, it drops messages and tells nobody.\n\
         max_inflight_messages 0\n\
         max_queued_messages 0\n\
         log_dest stderr\n\
         log_type error\nlog_type warning\nlog_type notice\nlog_type information\n\
         persistence {}\npersistence_location {folder}/\n",
        options.persistence
    );
    for line in &options.lines {
        lines.push_str(line);
        lines.push('\n');
    }
    // Writing to a string cannot fail.
    let _ = writeln!(lines, "listener {} 127.0.0.1", ports[0]);
    if let Some(tls) = &options.tls {
        let _ = writeln!(
            lines,
            "listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate {}",
            ports[1],
            tls.ca_file.display(),
            tls.cert_file.display(),
            tls.key_file.display(),
            tls.clients_too
        );
    }
    if options.websocket {
        let _ = writeln!(lines, "listener {} 127.0.0.1\nprotocol websockets", ports[2]);
    }
    lines
}

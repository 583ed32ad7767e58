//! A private mosquitto: the MQTT broker of the demonstration and of every test that needs one.

use super::child::Running;
use super::{Error, Leash, Program, ports, with_free_ports};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROGRAM: Program = Program {
    name: "mosquitto",
    usual: "/usr/sbin/mosquitto",
    package: "mosquitto",
    variable: "SWITCHBOARD_MOSQUITTO",
};

/// A free machine takes some 12 ms.
const START_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// What a private mosquitto is to be like. The default takes anybody, keeps nothing and limits nothing.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keeps sessions, queues and retained messages over [`Mosquitto::stop`] and [`Mosquitto::start_again`].
    pub persistence: bool,
    /// A second listener with TLS; its port is [`Mosquitto::tls_port`].
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

/// A running (or stopped) private mosquitto. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Mosquitto {
    ports: [u16; 3],
    process: Option<Running>,
    leash: Leash,
}

impl Mosquitto {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// mosquitto is not installed, ends by itself (a line that it does not know), or does not serve in time.
    pub fn start(options: Options) -> Result<Self, Error> {
        with_free_ports(|| {
            let leash = Leash::new("mosquitto").map_err(Error::system("make a folder for mosquitto"))?;
            let ports = ports::free()?;
            let file = leash.folder().join("mosquitto.conf");
            std::fs::write(&file, configuration(&options, ports, leash.folder()))
                .map_err(Error::system(format!("write {}", file.display())))?;
            let mut broker = Self { ports, process: None, leash };
            broker.start_again()?;
            Ok(broker)
        })
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same ports, with what it kept.
    ///
    /// # Errors
    /// As [`start`](Self::start); and somebody else may have taken a port meanwhile.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.kill();
        let folder = self.leash.folder();
        let log = folder.join("mosquitto.log");
        // What an earlier run wrote would look like the word of this one.
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(PROGRAM.path());
        command.arg("-c").arg(folder.join("mosquitto.conf")).current_dir(folder);
        let mut process = Running::spawn(&PROGRAM, &mut command, &log)?;
        self.leash.hold(&[process.pid()]).map_err(Error::system("hold mosquitto"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()));
        let ready = process.wait_ready(START_WITHIN, || {
            // Its own word first: who answers on the port could be somebody else.
            let says_so = std::fs::read_to_string(&log).is_ok_and(|text| text.contains(" running"));
            says_so && TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok()
        });
        self.process = Some(process);
        if ready.is_err() {
            self.kill();
        }
        ready
    }

    /// `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
    }

    /// The port of the plain listener.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The port of the TLS listener, used where [`Options::tls`] is set.
    pub fn tls_port(&self) -> u16 {
        self.ports[1]
    }

    /// The port of the WebSocket listener, used where [`Options::websocket`] is set.
    pub fn websocket_port(&self) -> u16 {
        self.ports[2]
    }

    /// Its folder, which goes with it: `mosquitto.conf`, `mosquitto.log`, and what it keeps.
    pub fn folder(&self) -> &Path {
        self.leash.folder()
    }

    /// SIGKILL: clients see a reset, and what was not written down is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
            let _ = self.leash.hold(&[]);
            process.reap();
        }
    }

    /// SIGTERM: it writes down what it keeps and closes its connections; killed if it takes too long.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn stop(&mut self) -> Result<(), Error> {
        if let Some(process) = &mut self.process {
            process.signal("TERM")?;
            process.wait_end(STOP_WITHIN);
        }
        self.kill();
        Ok(())
    }

    /// SIGSTOP: connections stay and nothing answers.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn freeze(&mut self) -> Result<(), Error> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal("STOP"))
    }

    /// SIGCONT: it goes on where [`freeze`](Self::freeze) stopped it.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn thaw(&mut self) -> Result<(), Error> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal("CONT"))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

fn configuration(options: &Options, ports: [u16; 3], folder: &Path) -> String {
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

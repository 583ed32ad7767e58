//! A private Redis: where results are stored by tests, and by a Celery application beside the worker.

use super::daemon::{Daemon, Ports, Server};
use super::{Error, Program};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// What a private Redis is to be like. The default takes anybody and writes nothing down.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keeps everything over [`Daemon::kill`] and [`Daemon::start_again`], to the last answered command.
    pub persistence: bool,
    /// A second port with TLS, [`Daemon::tls_port`]: the files of its certificate and key, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// More lines of `redis.conf`.
    pub lines: Vec<String>,
}

/// The kind of server that Redis is.
#[derive(Debug)]
pub struct Store;

/// A private Redis.
pub type Redis = Daemon<Store>;

impl Server for Store {
    const PROGRAM: Program = Program {
        name: "redis-server",
        usual: "/usr/bin/redis-server",
        package: "redis-server",
        variable: "SWITCHBOARD_REDIS_SERVER",
    };
    const FILE: &'static str = "redis.conf";
    const FLAGS: &'static [&'static str] = &[];
    const SAYS: &'static str = "Ready to accept connections";

    /// With a pong, or with the refusal of one that wants a login.
    fn answers(address: SocketAddr) -> bool {
        let greet = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN)?;
            stream.set_read_timeout(Some(CONNECT_WITHIN))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok(answer == *b"+PONG" || answer == *b"-NOAU")
        };
        greet().unwrap_or(false)
    }
}

impl Daemon<Store> {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// Redis is not installed, ends by itself (a line that it does not know), or does not serve in time.
    pub fn start(options: Options) -> Result<Self, Error> {
        Self::start_with(|ports, folder| configuration(&options, ports, folder))
    }

    /// `redis://127.0.0.1:PORT/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port())
    }
}

fn configuration(options: &Options, ports: Ports, folder: &Path) -> String {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {}", ports[0]),
        format!("dir {}", folder.display()),
        "daemonize no".to_owned(),
        "save \"\"".to_owned(),
    ];
    if options.persistence {
        lines.extend(["appendonly yes".to_owned(), "appendfsync always".to_owned()]);
    }
    if let Some((certificate, key)) = &options.tls {
        lines.push(format!("tls-port {}", ports[1]));
        lines.push(format!("tls-cert-file {}", certificate.display()));
        lines.push(format!("tls-key-file {}", key.display()));
        lines.push("tls-auth-clients no".to_owned());
    }
    lines.extend(options.lines.iter().cloned());
    lines.join("\n") + "\n"
}

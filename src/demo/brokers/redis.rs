//! A private Redis: where results are stored by tests, and by a Celery application beside the worker.

use super::child::Running;
use super::{Error, Leash, Program, ports, with_free_ports};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROGRAM: Program = Program {
    name: "redis-server",
    usual: "/usr/bin/redis-server",
    package: "redis-server",
    variable: "SWITCHBOARD_REDIS_SERVER",
};

/// A free machine takes some 10 ms.
const START_WITHIN: Duration = Duration::from_secs(20);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// What a private Redis is to be like. The default takes anybody and writes nothing down.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keeps everything over [`Redis::kill`] and [`Redis::start_again`], to the last answered command.
    pub persistence: bool,
    /// A second port with TLS, [`Redis::tls_port`]: the files of its certificate and key, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// More lines of `redis.conf`.
    pub lines: Vec<String>,
}

/// A running (or stopped) private Redis. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Redis {
    ports: [u16; 2],
    process: Option<Running>,
    leash: Leash,
}

impl Redis {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// Redis is not installed, ends by itself (a line that it does not know), or does not serve in time.
    pub fn start(options: Options) -> Result<Self, Error> {
        with_free_ports(|| {
            let leash = Leash::new("redis").map_err(Error::system("make a folder for Redis"))?;
            let ports = ports::free()?;
            let file = leash.folder().join("redis.conf");
            std::fs::write(&file, configuration(&options, ports, leash.folder()))
                .map_err(Error::system(format!("write {}", file.display())))?;
            let mut redis = Self { ports, process: None, leash };
            redis.start_again()?;
            Ok(redis)
        })
    }

    /// Starts it again after [`kill`](Self::kill), on the same ports, with what it kept.
    ///
    /// # Errors
    /// As [`start`](Self::start); and somebody else may have taken a port meanwhile.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.kill();
        let folder = self.leash.folder();
        let log = folder.join("redis.log");
        // What an earlier run wrote would look like the word of this one.
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(PROGRAM.path());
        command.arg(folder.join("redis.conf")).current_dir(folder);
        let mut process = Running::spawn(&PROGRAM, &mut command, &log)?;
        self.leash.hold(&[process.pid()]).map_err(Error::system("hold Redis"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()));
        let ready = process.wait_ready(START_WITHIN, || {
            // Its own word first: who answers on the port could be somebody else.
            let says_so = std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Ready to accept connections"));
            says_so && speaks_redis(address)
        });
        self.process = Some(process);
        if ready.is_err() {
            self.kill();
        }
        ready
    }

    /// `redis://127.0.0.1:PORT/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port())
    }

    /// The plain port.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The port with TLS, used where [`Options::tls`] is set.
    pub fn tls_port(&self) -> u16 {
        self.ports[1]
    }

    /// Its folder, which goes with it: `redis.conf`, `redis.log`, and what it keeps.
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

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn configuration(options: &Options, ports: [u16; 2], folder: &Path) -> String {
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

/// Whether a Redis answers: with a pong, or with the refusal of one that wants a login.
fn speaks_redis(address: SocketAddr) -> bool {
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

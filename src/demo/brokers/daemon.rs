//! A server in the foreground with a file of its own as configuration: frozen, killed, and started again on the same ports.

use super::child::Running;
use super::{Error, Leash, Program, ports, with_free_ports};
use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A free machine takes some 10 ms.
const START_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The ports that one may listen on: plain, with TLS, and for WebSocket.
pub(super) type Ports = [u16; 3];

/// One kind of server.
pub trait Server: 'static {
    /// What is run.
    #[doc(hidden)]
    const PROGRAM: Program;
    /// The name of its configuration file.
    #[doc(hidden)]
    const FILE: &'static str;
    /// What stands before that file on the command line.
    #[doc(hidden)]
    const FLAGS: &'static [&'static str];
    /// What it writes when it serves.
    #[doc(hidden)]
    const SAYS: &'static str;

    /// Whether it serves at its plain port.
    #[doc(hidden)]
    fn answers(address: SocketAddr) -> bool;
}

/// A running (or stopped) private server. Dropping it ends it and removes its folder.
pub struct Daemon<S: Server> {
    ports: Ports,
    process: Option<Running>,
    leash: Leash,
    kind: PhantomData<S>,
}

impl<S: Server> fmt::Debug for Daemon<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?} in {}", S::PROGRAM.name, self.ports, self.folder().display())
    }
}

impl<S: Server> Daemon<S> {
    /// Starts one on free ports, with the configuration that is made for them and for its folder, and waits until it serves.
    pub(super) fn start_with(configuration: impl Fn(Ports, &Path) -> String) -> Result<Self, Error> {
        let name = S::PROGRAM.name;
        with_free_ports(|| {
            let leash = Leash::new(name).map_err(Error::system(format!("make a folder for {name}")))?;
            let ports = ports::free()?;
            let file = leash.folder().join(S::FILE);
            std::fs::write(&file, configuration(ports, leash.folder()))
                .map_err(Error::system(format!("write {}", file.display())))?;
            let mut server = Self { ports, process: None, leash, kind: PhantomData };
            server.start_again()?;
            Ok(server)
        })
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same ports, with what it kept.
    ///
    /// # Errors
    /// It ends by itself or does not serve in time; somebody else may have taken a port meanwhile.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.kill();
        let (name, folder) = (S::PROGRAM.name, self.leash.folder());
        let log = folder.join(S::FILE).with_extension("log");
        // What an earlier run wrote would look like the word of this one.
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(S::PROGRAM.path());
        command.args(S::FLAGS).arg(folder.join(S::FILE)).current_dir(folder);
        let mut process = Running::spawn(&S::PROGRAM, &mut command, &log)?;
        self.leash.hold(&[process.pid()]).map_err(Error::system(format!("hold {name}")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()));
        let ready = process.wait_ready(START_WITHIN, || {
            // Its own word first: who answers on the port could be somebody else.
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains(S::SAYS)) && S::answers(address)
        });
        self.process = Some(process);
        if ready.is_err() {
            self.kill();
        }
        ready
    }

    /// The plain port.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The port with TLS, used where its options say so.
    pub fn tls_port(&self) -> u16 {
        self.ports[1]
    }

    pub(super) fn third_port(&self) -> u16 {
        self.ports[2]
    }

    /// Its folder, which goes with it: its configuration, its log, and what it keeps.
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

impl<S: Server> Drop for Daemon<S> {
    fn drop(&mut self) {
        self.kill();
    }
}

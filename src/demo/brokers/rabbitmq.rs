//! A private RabbitMQ node, with an epmd (Erlang's port registry) of its own.

use super::child::Running;
use super::{Error, Leash, Program, ports, tail, with_free_ports};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

// The scripts beside the library, not those in /usr/sbin: Debian's change to the user `rabbitmq`, who may not enter a
// folder of somebody else's, and refuse other users.
const SERVER: Program = Program {
    name: "rabbitmq-server",
    usual: "/usr/lib/rabbitmq/bin/rabbitmq-server",
    package: "rabbitmq-server",
    variable: "SWITCHBOARD_RABBITMQ_SERVER",
};
const CTL: Program = Program { name: "rabbitmqctl", usual: "", package: "rabbitmq-server", variable: SERVER.variable };
const EPMD: Program = Program { name: "epmd", usual: "epmd", package: "erlang-base", variable: "SWITCHBOARD_EPMD" };

/// A free machine takes 10 s; one with other things to do a multiple of that.
const START_WITHIN: Duration = Duration::from_secs(120);
const EPMD_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const CTL_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// What a private node is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More lines of `rabbitmq.conf`.
    pub lines: Vec<String>,
    /// Its place among other nodes; alone where it has none.
    pub member: Option<Member>,
}

/// A place in a cluster: nodes on one epmd and with one cookie find each other by their names.
#[derive(Clone, Debug)]
pub struct Member {
    /// The node's name, before `@localhost`.
    pub name: String,
    /// The secret that nodes of one cluster share.
    pub cookie: String,
    /// The port of another node's epmd, which has to outlive this node; it starts one of its own where there is none.
    pub epmd: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    distribution: u16,
    epmd: u16,
}

/// A running (or stopped) private RabbitMQ node. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct RabbitMq {
    name: String,
    ports: Ports,
    epmd_is_ours: bool,
    epmd: Option<Running>,
    node: Option<Running>,
    leash: Leash,
}

impl RabbitMq {
    /// Starts one and waits until it serves: some ten seconds.
    ///
    /// # Errors
    /// RabbitMQ is not installed, ends by itself (a line that it does not know), or does not serve in time.
    pub fn start(options: Options) -> Result<Self, Error> {
        with_free_ports(|| {
            let leash = Leash::new("rabbitmq").map_err(Error::system("make a folder for RabbitMQ"))?;
            let [amqp, distribution, epmd] = ports::free()?;
            let theirs = options.member.as_ref().and_then(|member| member.epmd);
            let ports = Ports { amqp, distribution, epmd: theirs.unwrap_or(epmd) };
            let name = options.member.as_ref().map_or("switchboard", |member| &member.name).to_owned();
            let mut broker = Self { name, ports, epmd_is_ours: theirs.is_none(), epmd: None, node: None, leash };
            broker.furnish(&options).map_err(Error::system("write the configuration of RabbitMQ"))?;
            broker.start_again()?;
            Ok(broker)
        })
    }

    fn furnish(&self, options: &Options) -> std::io::Result<()> {
        let folder = self.leash.folder();
        for inner in ["home", "mnesia", "log"] {
            std::fs::create_dir(folder.join(inner))?;
        }
        let mut lines = format!("listeners.tcp.1 = 127.0.0.1:{}\n", self.ports.amqp);
        // Relative marks would count the memory and the disk of a machine that others use too.
        lines.push_str("vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n");
        for line in &options.lines {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{line}");
        }
        std::fs::write(folder.join("rabbitmq.conf"), lines)?;
        std::fs::write(folder.join("advanced.config"), "[].\n")?;
        std::fs::write(folder.join("enabled_plugins"), "[].\n")?;
        if let Some(member) = &options.member {
            // Erlang takes no cookie that others can read.
            let mut file = std::fs::File::options();
            let cookie = file.create_new(true).write(true).mode(0o400).open(folder.join("home/.erlang.cookie"));
            cookie?.write_all(member.cookie.as_bytes())?;
        }
        // Sourced by every script; without one of its own a node would read the machine's.
        std::fs::write(folder.join("rabbitmq-env.conf"), "")
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same ports, with the data it had.
    ///
    /// # Errors
    /// As [`start`](Self::start); and somebody else may have taken a port meanwhile.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.kill();
        self.start_epmd()?;
        let log = self.leash.folder().join("log/output.log");
        let mut node = Running::spawn(&SERVER, &mut self.command(SERVER.path()), &log)?;
        self.hold(Some(node.pid()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.amqp));
        let answers = node.wait_ready(START_WITHIN, || speaks_amqp(address));
        self.node = Some(node);
        // The listener opens a moment before the node has finished booting.
        let booted = answers.and_then(|()| self.ctl(&["await_startup"]).map(drop));
        if booted.is_err() {
            self.kill();
        }
        booted
    }

    /// In the foreground, so that its pid is known: the one that a node starts for itself stays behind for ever.
    fn start_epmd(&mut self) -> Result<(), Error> {
        if !self.epmd_is_ours || self.epmd.as_mut().is_some_and(|epmd| epmd.exited().is_none()) {
            return Ok(());
        }
        let mut command = self.command(EPMD.path());
        command.args(["-address", "127.0.0.1", "-port", &self.ports.epmd.to_string()]);
        let epmd = Running::spawn(&EPMD, &mut command, &self.leash.folder().join("log/epmd.log"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.epmd));
        let epmd = self.epmd.insert(epmd);
        // Held before it is waited for: an interrupt meanwhile ends this process at once.
        self.leash.hold(&[epmd.pid()]).map_err(Error::system("hold epmd"))?;
        epmd.wait_ready(EPMD_WITHIN, || TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok())
    }

    /// Names its processes to the leash: epmd, and this node.
    fn hold(&mut self, node: Option<u32>) -> Result<(), Error> {
        let pids: Vec<u32> = self.epmd.iter().map(Running::pid).chain(node).collect();
        self.leash.hold(&pids).map_err(Error::system("hold RabbitMQ"))
    }

    /// The node's name in its cluster.
    pub fn name(&self) -> String {
        format!("{}@localhost", self.name)
    }

    /// `amqp://guest:guest@127.0.0.1:PORT/%2f`.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// The AMQP port.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The port of its epmd.
    pub fn epmd_port(&self) -> u16 {
        self.ports.epmd
    }

    /// Its folder, which goes with it: `log/output.log` is what the node wrote.
    pub fn folder(&self) -> &Path {
        self.leash.folder()
    }

    /// Runs `rabbitmqctl` on this node and returns what it wrote.
    ///
    /// # Errors
    /// It failed, or took longer than a minute; the error has what it wrote.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String, Error> {
        let folder = self.leash.folder();
        let output = folder.join(format!("log/ctl-{:016x}", rand::random::<u64>()));
        let mut command = self.command(SERVER.path().with_file_name("rabbitmqctl"));
        let mut process = Running::spawn(&CTL, command.arg("--quiet").args(arguments), &output)?;
        let status = process.wait_end(CTL_WITHIN);
        drop(process);
        let text = std::fs::read_to_string(&output).unwrap_or_default();
        let _ = std::fs::remove_file(&output);
        if status.is_some_and(|status| status.success()) {
            return Ok(text);
        }
        let node = tail(&folder.join("log/output.log"));
        Err(Error::Ctl { command: arguments.join(" "), output: format!("{text}\nthe node wrote:\n{node}") })
    }

    /// SIGKILL of the node: nothing is written down that was not yet.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill();
            let _ = self.hold(None);
            node.reap();
        }
    }

    /// SIGTERM: an orderly stop, which takes about a second; killed if it takes too long.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn stop(&mut self) -> Result<(), Error> {
        if let Some(node) = &mut self.node {
            node.signal("TERM")?;
            node.wait_end(STOP_WITHIN);
        }
        self.kill();
        Ok(())
    }

    /// SIGSTOP: connections stay and nothing answers, not even heartbeats.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn freeze(&mut self) -> Result<(), Error> {
        self.node.as_mut().map_or(Ok(()), |node| node.signal("STOP"))
    }

    /// SIGCONT: it goes on where [`freeze`](Self::freeze) stopped it.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn thaw(&mut self) -> Result<(), Error> {
        self.node.as_mut().map_or(Ok(()), |node| node.signal("CONT"))
    }

    /// A command in the environment of this node and no other: a `RABBITMQ_…` of the caller's would lead it elsewhere.
    fn command(&self, program: PathBuf) -> Command {
        let folder = self.leash.folder();
        let mut command = Command::new(program);
        command.env_clear().current_dir(folder);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
        command.env("LANG", "C.UTF-8").env("HOME", folder.join("home"));
        command.env("RABBITMQ_NODENAME", self.name()).env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_NODE_PORT", self.ports.amqp.to_string());
        command.env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string());
        command.env("ERL_EPMD_PORT", self.ports.epmd.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.env("ERL_CRASH_DUMP_SECONDS", "0");
        // It makes the script become the node instead of waiting for it, so that our child is the node itself.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        for (variable, inner) in [
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_LOGS", "log/node.log"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ] {
            command.env(variable, folder.join(inner));
        }
        // Two schedulers that do not spin: a node that idles must not cost the machine a core.
        let erlang = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}";
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang);
        command.env("RABBITMQ_CTL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        command
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
        if let Some(mut epmd) = self.epmd.take() {
            epmd.kill();
            let _ = self.leash.hold(&[]);
            epmd.reap();
        }
    }
}

/// Whether an AMQP 0-9-1 server answers: to the protocol header it sends the method frame `connection.start`.
fn speaks_amqp(address: SocketAddr) -> bool {
    let greet = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN)?;
        stream.set_read_timeout(Some(CONNECT_WITHIN))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut frame = [0; 11];
        stream.read_exact(&mut frame)?;
        // Frame type 1 (method), class 10 (connection), method 10 (start).
        Ok(frame[0] == 1 && frame[7..] == [0, 10, 0, 10])
    };
    greet().unwrap_or(false)
}

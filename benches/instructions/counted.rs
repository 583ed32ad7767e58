//! A worker as a child process, under callgrind or not, and what callgrind counted.

use anyhow::{Context, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use switchboard::demo::brokers::Leash;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// An orderly stop under callgrind takes some seconds.
const STOP_WITHIN: Duration = Duration::from_secs(60);
const OUT: &str = "callgrind.out";
/// glibc copies much by one instruction that repeats itself, on processors that are good at it, and callgrind counts each
/// repetition: a count of bytes, and another one on another machine. So it is not to be used.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// The program that counts.
pub(crate) struct Valgrind(PathBuf);

impl Valgrind {
    /// Where it is.
    ///
    /// # Errors
    ///
    /// It is not installed.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let path = PathBuf::from(std::env::var_os("SWITCHBOARD_VALGRIND").unwrap_or_else(|| "valgrind".into()));
        let asked = std::process::Command::new(&path).arg("--version").stdout(Stdio::null()).status();
        match asked {
            Ok(status) if status.success() => Ok(Self(path)),
            asked => bail!(
                "{} cannot be run ({asked:?}): install the Debian package valgrind (apt-get install valgrind, or \
                 scripts/setup), or name the program in SWITCHBOARD_VALGRIND",
                path.display()
            ),
        }
    }
}

/// A running worker. Dropping it kills it and removes its folder, also when this process is killed.
pub(crate) struct Worker {
    // Before the leash, so that it is waited for before the leash lets go of its number.
    child: Child,
    leash: Leash,
    counted: bool,
}

impl Worker {
    /// Starts one with the default configuration, but for the QoS of commands.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub(crate) fn start(
        program: &Path,
        [amqp, mqtt]: [&str; 2],
        qos: u8,
        valgrind: Option<&Valgrind>,
    ) -> anyhow::Result<Self> {
        let mut leash = Leash::new("instructions").context("cannot make a folder for the worker")?;
        let mut command = match valgrind {
            None => Command::new(program),
            Some(Valgrind(path)) => {
                let mut command = Command::new(path);
                command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={OUT}")).arg(program);
                command
            }
        };
        command.args(["worker", "--amqp-url", amqp, "--mqtt-url", mqtt, "--http", "127.0.0.1:0"]);
        // Nothing of the machine's own configuration may count: no file of this folder, no variable.
        command.current_dir(leash.folder());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SWITCHBOARD")) {
            command.env_remove(name);
        }
        command.env("SWITCHBOARD__PROFILES__DEFAULT__QOS", qos.to_string());
        command.env("GLIBC_TUNABLES", TUNABLES);
        let log = File::create(leash.folder().join("log")).context("cannot write the worker's log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let pids: Vec<u32> = child.id().into_iter().collect();
        leash.hold(&pids).context("cannot hold the worker")?;
        Ok(Self { child, leash, counted: valgrind.is_some() })
    }

    /// Stops it in good order, and returns callgrind's profile, which is empty without callgrind.
    ///
    /// # Errors
    ///
    /// `work` failed, or the worker did not end well; with the end of its log.
    pub(crate) async fn end(mut self, work: anyhow::Result<()>) -> anyhow::Result<String> {
        let ended = match work {
            Ok(()) => self.stop().await,
            failed => failed,
        };
        ended.with_context(|| format!("the worker wrote:\n{}", self.log()))?;
        if !self.counted {
            return Ok(String::new());
        }
        std::fs::read_to_string(self.leash.folder().join(OUT)).context("callgrind left no profile")
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("it ended by itself")?.to_string();
        // By way of the shell: sending any signal but SIGKILL takes unsafe code or another dependency.
        Command::new("/bin/sh").args(["-c", "kill -s TERM \"$1\"", "signal", &pid]).status().await?;
        match timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if ExitStatus::success(&status) => {}
            Ok(status) => bail!("it ended with {status:?}"),
            Err(_) => bail!("it did not end within {STOP_WITHIN:?}"),
        }
        // It was waited for: its number can belong to anybody now.
        self.leash.hold(&[]).context("cannot let the worker go")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.leash.folder().join("log")).unwrap_or_default()
    }
}

/// The instructions of all threads in a profile.
///
/// # Errors
///
/// It has no line that says so.
pub(crate) fn total(profile: &str) -> anyhow::Result<u64> {
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|number| number.trim().parse().ok()).context("callgrind's profile has no totals")
}

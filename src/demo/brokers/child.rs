//! One child process: started with its output in a file, waited for with a deadline, ended by its own number.

use super::{Error, Program, tail};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often a condition that nobody announces is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A started process.
#[derive(Debug)]
pub(super) struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command with its output appended to `log`, in a process group of its own: Ctrl-C in a terminal is for the
    /// program that owns the broker, which still needs it for an orderly stop.
    pub(super) fn spawn(program: &Program, command: &mut Command, log: &Path) -> Result<Self, Error> {
        let out = File::options().create(true).append(true).open(log);
        let out = out.map_err(Error::system(format!("write {}", log.display())))?;
        let err = out.try_clone().map_err(Error::system("duplicate a file handle"))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => program.missing(Path::new(command.get_program())),
            _ => Error::System { doing: format!("run {}", command.get_program().display()), source },
        })?;
        Ok(Self { name: program.name, child, log: log.to_owned() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `ready` says so; an error if the process ends before that or the time is up.
    pub(super) fn wait_ready(&mut self, within: Duration, mut ready: impl FnMut() -> bool) -> Result<(), Error> {
        let mut ended = None;
        let done = look_until(within, || {
            // In this order: a process that is ready and then ends would otherwise count as ready.
            let ready = ready();
            ended = self.exited();
            ended.is_some() || ready
        });
        match ended {
            Some(status) => Err(Error::Ended { name: self.name, status, log: tail(&self.log) }),
            None if done => Ok(()),
            None => Err(Error::NotReady { name: self.name, within, log: tail(&self.log) }),
        }
    }

    /// Waits for its end; `None` when the time is up before that.
    pub(super) fn wait_end(&mut self, within: Duration) -> Option<ExitStatus> {
        let mut status = None;
        look_until(within, || {
            status = self.exited();
            status.is_some()
        });
        status
    }

    /// Sends a signal by its POSIX name; nothing if it ended already.
    ///
    /// By way of the shell: sending any signal but SIGKILL takes unsafe code or another dependency.
    pub(super) fn signal(&mut self, signal: &str) -> Result<(), Error> {
        if self.exited().is_some() {
            return Ok(());
        }
        let pid = self.pid().to_string();
        let sent = Command::new("/bin/sh").args(["-c", "kill -s \"$1\" \"$2\"", "signal", signal, &pid]).status();
        sent.map(drop).map_err(Error::system(format!("send {signal} to {}", self.name)))
    }

    /// SIGKILL, without waiting for the end.
    pub(super) fn kill(&mut self) {
        // It fails only for a process that ended.
        let _ = self.child.kill();
    }

    /// Waits for the end of a process that was killed; the kernel does not keep it waiting.
    pub(super) fn reap(mut self) {
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    /// A start that failed half-way leaves nothing behind.
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Looks until the condition holds or the time is up, and says which.
fn look_until(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    // Nobody ever sends: the receiver is a timer that stops no runtime, since callers are on a thread of their own.
    let (_never, timer) = mpsc::sync_channel::<()>(0);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        let _ = timer.recv_timeout(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(usual: &'static str) -> Program {
        Program { name: "broker", usual, package: "the-package", variable: "SWITCHBOARD_NO_SUCH_VARIABLE" }
    }

    fn run(script: &str, log: &Path) -> Running {
        Running::spawn(&program("/bin/sh"), Command::new("/bin/sh").args(["-c", script]), log).unwrap()
    }

    #[test]
    fn a_missing_program_is_named_with_its_package_and_variable() {
        let folder = tempfile::tempdir().unwrap();
        let program = program("/no/such/broker");
        let error =
            Running::spawn(&program, &mut Command::new(program.path()), &folder.path().join("log")).unwrap_err();
        let text = error.to_string();
        for part in ["/no/such/broker", "apt-get install the-package", "SWITCHBOARD_NO_SUCH_VARIABLE"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_end_before_readiness_is_an_error_with_the_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = run("echo address already in use >&2; exit 3", &folder.path().join("log"));
        let error = process.wait_ready(Duration::from_secs(20), || false).unwrap_err();
        assert!(error.is_port_clash(), "{error}");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_process_that_never_gets_ready_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = run("kill -STOP $$", &folder.path().join("log"));
        let error = process.wait_ready(Duration::from_millis(50), || false).unwrap_err();
        assert!(matches!(error, Error::NotReady { .. }) && !error.is_port_clash(), "{error}");
        assert!(process.wait_end(Duration::from_millis(50)).is_none());
        process.signal("KILL").unwrap();
        assert!(process.wait_end(Duration::from_secs(20)).is_some());
        process.signal("TERM").unwrap();
    }
}

//! The end of child processes when their parent is killed outright and no destructor runs.
//!
//! A leash is a tiny shell at the other end of a pipe. It is told which processes to hold; when the pipe closes, because
//! the leash was dropped or because the kernel closed it for a dead process, it kills them and removes their folder.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

// The last line that was read whole counts. Ctrl-C in a terminal goes to every process there: the leash outlives it.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
held=
while read -r pids; do held=$pids; done
for pid in $held; do kill -9 "$pid"; done
rm -rf -- "$1" || rm -rf -- "$1"
"#;

/// Holds a new temporary folder and any number of processes; all of it goes when the leash is dropped or its owner dies.
#[derive(Debug)]
pub struct Leash {
    folder: PathBuf,
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Leash {
    /// Makes a folder that only this user can enter, under the system's folder for temporary files, and holds it.
    ///
    /// # Errors
    /// The folder cannot be made, or `/bin/sh` not be run.
    pub fn new(name: &str) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("switchboard-{name}-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "leash"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { folder, shell, pipe })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// These processes are held from now on, and no others.
    ///
    /// A process must be let go before its parent has waited for it: after that its number can belong to anybody.
    ///
    /// # Errors
    /// The leash itself was killed.
    pub fn hold(&mut self, pids: &[u32]) -> io::Result<()> {
        let mut line = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        line.push('\n');
        // One write of less than PIPE_BUF bytes: the shell never sees half a list.
        self.pipe.as_mut().map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes()))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing can be done about a failure here, and the shell ends in any case: its pipe is closed.
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_leash_takes_process_and_folder_along() {
        let mut leash = Leash::new("leash-test").unwrap();
        let folder = leash.folder().to_owned();
        std::fs::write(folder.join("file"), "x").unwrap();
        let mut held = Command::new("/bin/sh").args(["-c", "read -r never"]).stdin(Stdio::piped()).spawn().unwrap();
        leash.hold(&[held.id()]).unwrap();
        assert!(folder.is_dir());
        drop(leash);
        // Ends only because it was killed: the pipe to its standard input is still open here.
        let stdin = held.stdin.take();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&held.wait().unwrap()), Some(9));
        drop(stdin);
        assert!(!folder.exists());
    }

    #[test]
    fn what_was_let_go_survives() {
        let mut leash = Leash::new("leash-test").unwrap();
        let mut free =
            Command::new("/bin/sh").args(["-c", "read -r never; exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
        leash.hold(&[free.id()]).unwrap();
        leash.hold(&[]).unwrap();
        drop(leash);
        drop(free.stdin.take());
        assert_eq!(free.wait().unwrap().code(), Some(7));
    }
}

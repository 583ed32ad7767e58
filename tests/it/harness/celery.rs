//! The real Celery: a Python with its client and tools, made once, and its programs as children of a test.

use super::eventually::eventually;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use switchboard::demo::brokers::Leash;

const REQUIREMENTS: &str = include_str!("../../celery/requirements.txt");
/// The folder of the scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/celery");
/// A script gives every wait of its own a shorter deadline, and says which one it was.
const SCRIPT_WITHIN: Duration = Duration::from_secs(180);
const READY_WITHIN: Duration = Duration::from_secs(60);
const SHOWN_BYTES: usize = 6_000;

/// The Python with what `tests/celery/requirements.txt` lists: made by the first who asks, kept beside the build.
///
/// # Panics
/// `python3 -m venv` or `pip install` fails.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("celery");
        std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // Other test programs of this build wait here until it is made. The lock goes with the file.
        let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let (python, made) = (folder.join("bin/python"), folder.join("made-of"));
        // Written last: a half-made environment does not have it.
        if std::fs::read_to_string(&made).ok().as_deref() != Some(REQUIREMENTS) {
            let _ = std::fs::remove_dir_all(&folder);
            let run = |command: &mut Command| {
                let output = command.stdin(Stdio::null()).output().unwrap();
                assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            };
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
            run(Command::new(&python).args(install).arg(format!("{SCRIPTS}/requirements.txt")));
            std::fs::write(&made, REQUIREMENTS).unwrap();
        }
        python
    })
}

/// An application: what its programs are told of it, in their environment.
#[derive(Clone, Debug)]
pub(crate) struct App {
    environment: Vec<(String, String)>,
}

/// What a script said: each of its findings by name.
#[derive(Debug)]
pub(crate) struct Said {
    findings: BTreeMap<String, Value>,
    everything: String,
}

impl App {
    /// One whose programs see these variables; `tests/celery/app.py` says what they mean.
    pub(crate) fn new(environment: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self { environment: environment.collect() }
    }

    /// The same with another value of a variable, or one more.
    pub(crate) fn with(&self, name: &str, value: impl Into<String>) -> Self {
        let mut app = self.clone();
        app.environment.retain(|(known, _)| known != name);
        app.environment.push((name.to_owned(), value.into()));
        app
    }

    fn command(&self, arguments: &[&str], folder: &Path) -> Command {
        let mut command = Command::new(python());
        command.args(arguments).current_dir(folder).envs(self.environment.iter().cloned());
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/celery");
        // The scripts before the example, which has an `app` too. Compiled files would be left in both.
        command.env("PYTHONPATH", format!("{SCRIPTS}:{example}")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PYTHONUNBUFFERED", "1").env("FLOWER_UNAUTHENTICATED_API", "true");
        command
    }

    /// Runs one scene of a script of `tests/celery` to its end, and returns what it found.
    ///
    /// # Panics
    /// It fails, or takes longer than three minutes.
    pub(crate) async fn run(&self, script: &str, scene: &str) -> Said {
        let path = format!("{SCRIPTS}/{script}");
        let output = self.output(&[&path, scene]).await;
        let everything = format!(
            "{script} {scene} said\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{everything}");
        let mut findings = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let known = findings.insert(line["name"].as_str().unwrap().to_owned(), line["found"].clone());
            assert!(known.is_none(), "two findings of one name: {line}");
        }
        Said { findings, everything }
    }

    /// Runs one of Celery's own commands, such as `inspect ping`; all that it wrote, if it ends well.
    ///
    /// # Panics
    /// It fails, or takes longer than three minutes.
    pub(crate) async fn celery(&self, arguments: &[&str]) -> String {
        let all: Vec<&str> =
            ["-m", "celery", "--app", "app", "--no-color"].into_iter().chain(arguments.iter().copied()).collect();
        let output = self.output(&all).await;
        let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
        assert!(output.status.success(), "celery {arguments:?}: {said}");
        said
    }

    async fn output(&self, arguments: &[&str]) -> std::process::Output {
        let folder = tempfile::tempdir().unwrap();
        tokio::task::spawn_blocking(python).await.unwrap();
        let mut command = tokio::process::Command::from(self.command(arguments, folder.path()));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let done = tokio::time::timeout(SCRIPT_WITHIN, command.output()).await;
        done.unwrap_or_else(|_| panic!("{arguments:?} runs longer than {SCRIPT_WITHIN:?}")).unwrap()
    }

    /// Starts one of Celery's own programs, such as `worker`, which runs until it is dropped.
    pub(crate) async fn start(&self, arguments: &[&str]) -> Program {
        tokio::task::spawn_blocking(python).await.unwrap();
        let mut leash = Leash::new("celery").unwrap();
        let log = std::fs::File::create(leash.folder().join("log")).unwrap();
        let all: Vec<&str> =
            ["-m", "celery", "--app", "app", "--no-color"].into_iter().chain(arguments.iter().copied()).collect();
        let mut command = self.command(&all, leash.folder());
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        leash.hold(&[child.id()]).unwrap();
        Program { name: arguments[0].to_owned(), child, leash }
    }

    /// A worker that runs the tasks of `tests/celery/app.py` that are Python's own, and is ready.
    pub(crate) async fn python_worker(&self, queue: &str) -> Program {
        let node = format!("{}@test", super::unique("python"));
        let quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"];
        let mut arguments = vec!["worker", "--pool", "threads", "--concurrency", "4", "-Q", queue, "-n", &node];
        arguments.extend(quiet);
        let mut program = self.start(&arguments).await;
        program.wait_for(" ready.").await;
        program
    }
}

impl Said {
    /// What was found under this name.
    ///
    /// # Panics
    /// Nothing was.
    pub(crate) fn found(&self, name: &str) -> &Value {
        self.findings.get(name).unwrap_or_else(|| panic!("nothing named {name}: {}", self.everything))
    }

    /// Asserts what was found.
    ///
    /// # Panics
    /// It was something else.
    pub(crate) fn expect(&self, name: &str, expected: Value) {
        assert_eq!(*self.found(name), expected, "{name} in {}", self.everything);
    }

    /// Asserts that a task came to this value.
    pub(crate) fn value(&self, name: &str, expected: Value) {
        self.expect(name, serde_json::json!({ "value": expected }));
    }

    /// Asserts that a task raised this class, written with its module, and returns the arguments of the exception.
    pub(crate) fn raised(&self, name: &str, class: &str) -> &Value {
        let found = self.found(name);
        assert_eq!(found["raised"], class, "{name} in {}", self.everything);
        &found["args"]
    }
}

/// One of Celery's programs. Dropping it kills it.
pub(crate) struct Program {
    name: String,
    child: Child,
    leash: Leash,
}

impl Program {
    /// Waits until it wrote this.
    pub(crate) async fn wait_for(&mut self, text: &str) {
        eventually(&format!("celery {} writes {text:?}", self.name), READY_WITHIN, async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "celery {} ended: {}", self.name, self.log());
            self.log().contains(text)
        })
        .await;
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.leash.folder().join("log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.leash.hold(&[]);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let start = (log.len().saturating_sub(SHOWN_BYTES)..=log.len()).find(|at| log.is_char_boundary(*at));
            eprintln!("the end of what celery {} wrote:\n{}", self.name, &log[start.unwrap_or_default()..]);
        }
    }
}

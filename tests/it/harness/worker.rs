//! The real program as a child process: started with flags, ended by signals, its log shown when a test fails.

use super::eventually::{eventually, found};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use switchboard::demo::brokers::{Leash, ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HTTP_WITHIN: Duration = Duration::from_secs(5);
const SHOWN_LINES: usize = 60;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_switchboard");

/// Runs the program to its end and returns what it wrote.
///
/// # Panics
/// It takes longer than `within`.
pub(crate) async fn run(arguments: &[&str], within: Duration) -> Output {
    run_in(&[], arguments, within).await
}

/// The same with environment variables.
pub(crate) async fn run_in(environment: &[(String, String)], arguments: &[&str], within: Duration) -> Output {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments).envs(environment.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(within, command.output()).await;
    done.unwrap_or_else(|_| panic!("switchboard {arguments:?} runs longer than {within:?}")).unwrap()
}

/// What a program wrote to its standard output.
pub(crate) fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// What a program said beside that.
pub(crate) fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// # Panics
/// It did not end with this code; with all that it wrote.
#[track_caller]
pub(crate) fn ended(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", out(output), err(output));
}

/// How a worker is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) amqp_url: String,
    pub(crate) mqtt_url: String,
    pub(crate) queue: String,
    /// More flags.
    pub(crate) arguments: Vec<String>,
    /// Environment variables, such as `SWITCHBOARD__WORKER__GRACE`.
    pub(crate) environment: Vec<(String, String)>,
}

/// A `switchboard worker`. Dropping it kills it.
pub(crate) struct Worker {
    child: Child,
    leash: Leash,
    http: u16,
}

impl Worker {
    /// Starts one, without waiting for anything.
    pub(crate) fn start(options: &Options) -> Self {
        Self::start_in(options, Leash::new("worker").unwrap(), None)
    }

    /// The same with its log written there, where [`Self::log`] does not find it.
    pub(crate) fn start_logging_to(options: &Options, log: Stdio) -> Self {
        Self::start_in(options, Leash::new("worker").unwrap(), Some(log))
    }

    fn start_in(options: &Options, mut leash: Leash, err: Option<Stdio>) -> Self {
        let [http] = ports::free().unwrap();
        let log = std::fs::File::create(leash.folder().join("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["worker", "--amqp-url", &options.amqp_url, "--mqtt-url", &options.mqtt_url]);
        command.args(["--queue", &options.queue, "--http", &format!("127.0.0.1:{http}")]).args(&options.arguments);
        // Workers of other tests take chunks of bulks from the default one.
        command.env("SWITCHBOARD__AMQP__BULK_QUEUE", format!("{}.bulk", options.queue));
        // Workers of other tests take tasks from the default one. A test that writes a configuration names its own.
        if !options.arguments.iter().any(|argument| argument == "--config") {
            command.env("SWITCHBOARD__CELERY__QUEUE", format!("{}.celery", options.queue));
        }
        command.envs(options.environment.iter().cloned()).current_dir(leash.folder());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(err.unwrap_or_else(|| log.into()));
        let child = command.spawn().unwrap();
        leash.hold(&[child.id()]).unwrap();
        Self { child, leash, http }
    }

    /// Starts one and waits until it is ready.
    pub(crate) async fn start_ready(options: &Options, within: Duration) -> Self {
        let mut worker = Self::start(options);
        worker.wait_ready(within).await;
        worker
    }

    /// Waits until `/readyz` says 200.
    pub(crate) async fn wait_ready(&mut self, within: Duration) {
        let child = &mut self.child;
        eventually("the worker is ready", within, async || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the worker ended before it was ready: {}", ended.unwrap_or_default());
            get(self.http, "/readyz").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    /// `GET` over HTTP: status and body; `None` while nobody answers.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        get(self.http, path).await
    }

    /// The value of a metric with these labels, summed over its series; 0 where there is none.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = self.get("/metrics").await.expect("the worker serves its metrics");
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let of_name = series.filter(|(series, _)| series.split('{').next() == Some(name));
        let matching = of_name.filter(|(series, _)| wanted.iter().all(|label| series.contains(label)));
        matching.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A line of what the system says of its memory (`VmRSS`, `VmHWM`), in bytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let found = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
        let kib = found.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("no {line} in {status}")) * 1024
    }

    fn log_file(&self) -> PathBuf {
        self.leash.folder().join("log")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM: drain and leave.
    pub(crate) fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        let _ = self.leash.hold(&[]);
        self.child.wait().unwrap();
    }

    /// SIGSTOP for this long, then SIGCONT, as a machine that was suspended.
    pub(crate) async fn stop_cont(&mut self, pause: Duration) {
        self.signal("STOP");
        tokio::time::sleep(pause).await;
        self.signal("CONT");
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self, within: Duration) -> ExitStatus {
        let child = &mut self.child;
        found("the worker ends", within, async || child.try_wait().unwrap()).await
    }

    fn signal(&mut self, signal: &str) {
        assert!(self.child.try_wait().unwrap().is_none(), "the worker ended before it was sent {signal}");
        let pid = self.pid().to_string();
        let sent = Command::new("/bin/sh").args(["-c", "kill -s \"$1\" \"$2\"", "signal", signal, &pid]).status();
        assert!(sent.unwrap().success(), "the worker cannot be sent {signal}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.leash.hold(&[]);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("the last {} of {} lines of the worker's log:\n{}", last.len(), lines.len(), last.join("\n"));
        }
    }
}

async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Some((status, if chunked { unchunked(body) } else { body.to_owned() }))
    };
    tokio::time::timeout(HTTP_WITHIN, exchange).await.ok().flatten()
}

/// A body in HTTP/1.1 chunks, put together.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let (Some(chunk), true) = (rest.get(..size), size > 0) else { break };
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

#[test]
fn a_chunked_body_is_put_together() {
    assert_eq!(unchunked("5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n"), "hello!");
    assert_eq!(unchunked("0\r\n\r\n"), "");
}

#[tokio::test]
async fn the_program_runs() {
    run(&["--help"], Duration::from_secs(20)).await;
}

//! `switchboard worker` as child processes, on private brokers, with their logs in a folder that goes with them.

use super::brokers::{Leash, ports, tail};
use anyhow::{Context, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Running workers. Dropping them kills them and removes their logs.
#[derive(Debug)]
pub(super) struct Workers {
    // First, so that its processes are waited for before the leash lets go of their numbers.
    workers: Vec<One>,
    leash: Leash,
}

#[derive(Debug)]
struct One {
    child: Child,
    http: u16,
    log: PathBuf,
}

impl Workers {
    /// Starts so many with this configuration, each with an HTTP port of its own, and with these options besides.
    pub(super) fn start(
        program: &Path,
        count: usize,
        [amqp_url, mqtt_url]: [&str; 2],
        configuration: &str,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let leash = Leash::new("demo").context("cannot make a folder for the workers' logs")?;
        // Where a worker looks that is told of no other.
        let file = leash.folder().join("config/switchboard.toml");
        let written =
            std::fs::create_dir_all(leash.folder().join("config")).and_then(|()| std::fs::write(&file, configuration));
        written.with_context(|| format!("cannot write {}", file.display()))?;
        let mut workers = Self { workers: Vec::new(), leash };
        for number in 1..=count {
            let [http] = ports::free()?;
            let log = workers.leash.folder().join(format!("worker-{number}.log"));
            let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
            let mut command = Command::new(program);
            command.args(["worker", "--amqp-url", amqp_url, "--mqtt-url", mqtt_url]);
            command.args(["--http", &format!("127.0.0.1:{http}")]).args(more);
            // Nothing of the machine's own configuration may count: no file of this folder, no variable.
            command.current_dir(workers.leash.folder());
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SWITCHBOARD")) {
                command.env_remove(name);
            }
            command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).kill_on_drop(true);
            // Ctrl-C in a terminal is for the demonstration, which stops its workers itself.
            command.process_group(0);
            let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
            workers.workers.push(One { child, http, log });
            let pids: Vec<u32> = workers.workers.iter().filter_map(|one| one.child.id()).collect();
            workers.leash.hold(&pids).context("cannot hold the workers")?;
        }
        Ok(workers)
    }

    /// Waits until each takes jobs.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        for one in &mut self.workers {
            let ready = async {
                while !is_ready(one.http).await {
                    if let Some(status) = one.child.try_wait()? {
                        bail!("a worker ended by itself ({status}); the end of its log:\n{}", tail(&one.log));
                    }
                    sleep(LOOK_EVERY).await;
                }
                Ok(())
            };
            match timeout(READY_WITHIN, ready).await {
                Ok(ready) => ready?,
                Err(_) => {
                    bail!("a worker is not ready after {READY_WITHIN:?}; the end of its log:\n{}", tail(&one.log))
                }
            }
        }
        Ok(())
    }

    /// Where each serves its metrics.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        self.workers.iter().map(|one| format!("http://127.0.0.1:{}/metrics", one.http))
    }

    /// The sum of a metric without labels over all of them.
    pub(super) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for one in &self.workers {
            let text = get(one.http, "/metrics").await?;
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
            sum += value.unwrap_or(0.0);
        }
        Ok(sum)
    }

    /// The ends of their logs.
    pub(super) fn logs(&self) -> String {
        let parts = self.workers.iter().map(|one| format!("the end of {}:\n{}\n", one.log.display(), tail(&one.log)));
        parts.collect()
    }

    /// SIGTERM to all, and waits for their orderly ends.
    ///
    /// # Errors
    ///
    /// One did not end in time, or not well.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for pid in self.workers.iter().filter_map(|one| one.child.id()) {
            // By way of the shell: sending any signal but SIGKILL takes unsafe code or another dependency.
            let kill = ["-c", "kill -s TERM \"$1\"", "signal", &pid.to_string()].map(str::to_owned);
            Command::new("/bin/sh").args(kill).status().await.context("cannot stop a worker")?;
        }
        for one in &mut self.workers {
            match timeout(STOP_WITHIN, one.child.wait()).await {
                Ok(Ok(status)) if ExitStatus::success(&status) => {}
                Ok(status) => bail!("a worker ended with {status:?}; the end of its log:\n{}", tail(&one.log)),
                Err(_) => bail!("a worker did not end within {STOP_WITHIN:?}; the end of its log:\n{}", tail(&one.log)),
            }
        }
        // They were waited for: their numbers can belong to anybody now.
        self.leash.hold(&[]).context("cannot let the workers go")
    }
}

/// Whether `/readyz` on this port says 200.
async fn is_ready(port: u16) -> bool {
    get(port, "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// What is answered on this port, head and body.
async fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(ANSWER_WITHIN, exchange).await.context("a worker does not answer over HTTP")?
}

//! Counts the instructions that a worker executes per command, and fails where they are more than the bound.
//!
//! A count, not a time: it is the same on a busy machine. Two workers under callgrind do few and many commands, and the
//! difference is what the further commands cost; start-up and stop drop out. `docs/performance.md` says how to read it.

mod counted;
mod scene;

use anyhow::Context;
use counted::{Valgrind, Worker};
use scene::Scene;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Instructions in user space that one command may cost.
const BOUND: u64 = 95_000;
/// Commands under way at a time.
const OUTSTANDING: usize = 100;
const FEW: usize = 500;
const MANY: usize = 5_500;
/// What is counted at each: a command and its answer are one message each, and at QoS 1 one acknowledgement each besides.
const QOS: [u8; 2] = [0, 1];
/// The whole of it; two busy cores took two and a half minutes.
const WITHIN: Duration = Duration::from_secs(600);
/// Names a folder in which callgrind's profiles of the longer runs are kept, for `callgrind_annotate`.
const KEEP: &str = "SWITCHBOARD_PROFILES";

/// What was counted at one QoS.
struct Row {
    qos: u8,
    few: u64,
    many: u64,
}

impl Row {
    fn per_command(&self) -> u64 {
        self.many.saturating_sub(self.few) / (MANY - FEW) as u64
    }
}

fn main() -> ExitCode {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    // Named where this very program is no release build, or another one is to be counted.
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let program = named.unwrap_or_else(|| env!("CARGO_BIN_EXE_switchboard").to_owned());
    match run(&program) {
        Ok(rows) => judged(&rows),
        Err(error) => {
            eprintln!("instructions: not counted: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &str) -> anyhow::Result<Vec<Row>> {
    let valgrind = Valgrind::find()?;
    // The worker has a folder of its own.
    let program = Path::new(program).canonicalize().with_context(|| format!("{program} is not there"))?;
    println!("instructions: of {}", program.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let counted = runtime.block_on(async { tokio::time::timeout(WITHIN, count(&program, &valgrind)).await });
    // A broker that is just starting ends with this process.
    runtime.shutdown_background();
    counted.unwrap_or_else(|_| Err(anyhow::anyhow!("it was not done within {WITHIN:?}")))
}

async fn count(program: &Path, valgrind: &Valgrind) -> anyhow::Result<Vec<Row>> {
    let keep = std::env::var_os(KEEP).map(PathBuf::from);
    let mut scene = Scene::start().await?;
    let urls = scene.urls();
    let start = |qos, valgrind| Worker::start(program, [&urls[0], &urls[1]], qos, valgrind);
    let mut rows = Vec::with_capacity(QOS.len());
    for qos in QOS {
        let devices = scene.devices(qos).await?;
        // Declares the queues, so that both of the counted ones find the same.
        let plain = start(qos, None)?;
        plain.end(scene.load(FEW, OUTSTANDING).await).await.context("a worker without callgrind")?;
        let mut counts = [0; 2];
        for (count, jobs) in counts.iter_mut().zip([FEW, MANY]) {
            println!("QoS {qos}: {jobs} commands, {OUTSTANDING} at a time, under callgrind");
            let worker = start(qos, Some(valgrind))?;
            let profile = worker.end(scene.load(jobs, OUTSTANDING).await).await?;
            *count = counted::total(&profile)?;
            if let Some(folder) = keep.as_deref().filter(|_| jobs == MANY) {
                let file = folder.join(format!("callgrind.out.qos{qos}"));
                std::fs::write(&file, &profile).with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        devices.stop().await?;
        let [few, many] = counts;
        rows.push(Row { qos, few, many });
    }
    scene.stop().await;
    Ok(rows)
}

/// Prints the table, and fails where a row is over the bound.
fn judged(rows: &[Row]) -> ExitCode {
    let mut table =
        format!("\n| QoS | {FEW} commands | {MANY} commands | per command | bound |\n|---|---|---|---|---|\n");
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {} | {} | {} | {} | {BOUND} |", row.qos, row.few, row.many, row.per_command());
    }
    println!("{table}");
    let over: Vec<&Row> = rows.iter().filter(|row| row.per_command() > BOUND).collect();
    for row in &over {
        let count = row.per_command();
        eprintln!("instructions: QoS {}: {count} per command are {} over the bound of {BOUND}", row.qos, count - BOUND);
    }
    if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `switchboard bulk-status`, `bulk-pause` and `bulk-resume`: a question to the coordinator of a bulk.

use super::coordinator::{self, ANSWER_WITHIN, Desk, Said, TRIES};
use super::settings::{Queue, Settings};
use super::{COULD_NOT_RUN, FAILED, INTERRUPTED, output, print, report, runtime, say, signals, standing, values};
use crate::config::Config;
use crate::wire::bulk::{Stand, What, Word};
use bytes::Bytes;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The pause between two looks at a bulk that is watched.
const EVERY: Duration = Duration::from_secs(1);

/// Options of `bulk-status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bulk that is asked about.
    #[command(flatten)]
    pub bulk: Bulk,
    /// Look again each second until it has ended
    #[arg(long)]
    pub watch: bool,
}

/// The bulk, and how the answer is printed.
#[derive(Debug, clap::Args)]
pub struct Bulk {
    /// The bulk's id
    #[arg(value_name = "ID", value_parser = values::id)]
    pub id: String,
    /// The queue of jobs
    #[command(flatten)]
    pub queue: Queue,
    /// Print the answer as it came, in one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Asks how a bulk stands.
///
/// # Errors
///
/// The broker is not reached.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    carried_out(settings, &args.bulk, What::Status, args.watch)
}

/// Asks for a pause or for its end, and prints the state that came back.
///
/// # Errors
///
/// The broker is not reached.
pub fn change(settings: &Settings, args: Bulk, what: What) -> anyhow::Result<ExitCode> {
    carried_out(settings, &args, what, false)
}

fn carried_out(settings: &Settings, bulk: &Bulk, what: What, watch: bool) -> anyhow::Result<ExitCode> {
    let config = settings.load(bulk.queue.flags())?;
    runtime()?.block_on(async {
        tokio::select! {
            biased;
            () = signals::interrupt() => Ok(INTERRUPTED.into()),
            asked = ask(&config, bulk, what, watch) => asked,
        }
    })
}

async fn ask(config: &Config, bulk: &Bulk, what: What, watch: bool) -> anyhow::Result<ExitCode> {
    let queue = coordinator::queue_of(config, &bulk.id);
    let mut desk = Desk::open(config).await?;
    let mut said = desk.ask(&queue, &bulk.id, what).await?;
    if watch {
        said = watched(&mut desk, &queue, bulk, said).await?;
    }
    desk.close().await;
    match said {
        Said::Word(word, body) => {
            shown(bulk, what, &word, &body);
            Ok(if word.state == Stand::NotKnown { FAILED.into() } else { ExitCode::SUCCESS })
        }
        Said::NoQueue => {
            say(format_args!(
                "there is no queue {queue:?}: no worker is there to coordinate bulks, nor was one on this broker"
            ));
            Ok(COULD_NOT_RUN.into())
        }
        Said::Nothing => {
            let seconds = ANSWER_WITHIN.as_secs();
            let still = if what == What::Status { "" } else { "; the next worker will still read what was asked for" };
            say(format_args!(
                "no answer from the queue {queue:?} within {seconds} s: no worker is there to coordinate bulks{still}"
            ));
            Ok(COULD_NOT_RUN.into())
        }
    }
}

/// Looks again until the bulk has ended or nobody knows it any more, and gives the last answer back.
async fn watched(desk: &mut Desk, queue: &str, bulk: &Bulk, first: Said) -> anyhow::Result<Said> {
    let (mut said, mut unanswered, mut shown) = (first, 0, String::new());
    let mut ticks = interval(EVERY);
    // An answer that took long is no reason to ask twice at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        match &said {
            Said::Word(word, _) if coordinator::has_ended(word.state) || word.state == Stand::NotKnown => {
                return Ok(said);
            }
            Said::Word(word, body) => {
                unanswered = 0;
                let line = if bulk.json { report::one_line(body) } else { standing::line(word) };
                if bulk.json || line != shown {
                    print(&line);
                    shown = line;
                }
                // Nobody sees what comes next.
                if output::is_lost() {
                    return Ok(said);
                }
            }
            // Its worker may have gone and another one takes its place; at the first question nobody was there.
            Said::Nothing if !shown.is_empty() && unanswered < TRIES => unanswered += 1,
            Said::Nothing | Said::NoQueue => return Ok(said),
        }
        ticks.tick().await;
        said = desk.ask(queue, &bulk.id, What::Status).await?;
    }
}

fn shown(bulk: &Bulk, what: What, word: &Word, body: &Bytes) {
    match (bulk.json, what) {
        (true, _) => print(report::one_line(body)),
        (false, What::Status) if word.state == Stand::NotKnown => print(standing::not_known(&bulk.id, what)),
        (false, What::Status) => print(standing::table(word)),
        (false, What::Pause | What::Resume) => print(standing::change(word, what)),
    }
}

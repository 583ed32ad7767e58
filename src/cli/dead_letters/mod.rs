//! `switchboard dead-letters`: what could not be processed, looked at, put back or thrown away.

pub mod consent;
pub mod desk;
pub mod discard;
pub mod letter;
pub mod replay;
pub mod revival;
pub mod selection;
pub mod shown;
pub mod table;

use super::settings::Settings;
use super::{FAILED, INTERRUPTED, print, runtime, say, signals, values};
use crate::config::Config;
use desk::Desk;
use selection::Selection;
use std::process::ExitCode;
use std::time::Duration;

/// What to do with the dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, each with its reason
    List(List),
    /// Show those with this id, whole
    Show(Show),
    /// Put copies back where they came from: of these, or of all
    #[command(long_about = replay::LONG)]
    Replay(Replay),
    /// Throw them away: these, or all
    Discard(Discard),
}

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only those that are there for this reason
    #[arg(long, value_name = "R")]
    pub reason: Option<String>,
    /// At most so many, the oldest ones
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub limit: Option<usize>,
    /// One line of JSON each
    #[arg(long)]
    pub json: bool,
}

/// Options of `show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// An id, as `list` has it
    pub id: String,
    /// One line of JSON each
    #[arg(long)]
    pub json: bool,
}

/// Which letters `replay` and `discard` mean.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Their ids, as `list` has them; all letters without any
    pub ids: Vec<String>,
    /// Only those that are there for this reason
    #[arg(long, value_name = "R")]
    pub reason: Option<String>,
    /// At most so many, the oldest ones
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub limit: Option<usize>,
    /// Do not ask, where all are meant and there is a terminal to ask on
    #[arg(long)]
    pub yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One line of JSON each, and the summary last
    #[arg(long)]
    pub json: bool,
}

/// Options of `replay`.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Also those that may have been executed already although they are to run at most once
    #[arg(long)]
    pub force: bool,
    /// Give those whose time is over this much time from now
    #[arg(long, value_name = "5m", value_parser = values::time)]
    pub expires_in: Option<Duration>,
    /// Into this queue, instead of where they came from
    #[arg(long, value_name = "QUEUE")]
    pub to: Option<String>,
    /// How many a second; as fast as the broker takes them where it is not given
    #[arg(long, value_name = "N", value_parser = values::rate)]
    pub rate: Option<f64>,
}

/// Options of `discard`.
#[derive(Debug, clap::Args)]
pub struct Discard {
    /// Which.
    #[command(flatten)]
    pub which: Which,
}

impl Which {
    fn selection(&self) -> Selection {
        Selection::new(&self.ids, self.reason.as_deref(), self.limit)
    }
}

/// Does it. The exit code is 0 where everything that was asked for was done, and 1 where something was not.
///
/// # Errors
///
/// The configuration is wrong, the broker is not reached, or the connection is lost.
pub fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let config = settings.load(Vec::new())?;
    runtime()?.block_on(async {
        match command {
            Command::List(args) => interruptible(list(&config, &args)).await,
            Command::Show(args) => interruptible(show(&config, &args)).await,
            Command::Replay(args) => replay::run(&config, &args).await,
            Command::Discard(args) => discard::run(&config, &args).await,
        }
    })
}

/// What only looks can end at any time: the broker takes back what is held.
async fn interruptible(looking: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::select! {
        biased;
        () = signals::interrupt() => Ok(INTERRUPTED.into()),
        looked = looking => looked,
    }
}

async fn list(config: &Config, args: &List) -> anyhow::Result<ExitCode> {
    let mut desk = Desk::open(config).await?;
    let chosen = desk.choose(&mut Selection::new(&[], args.reason.as_deref(), args.limit)).await?;
    if args.json {
        for one in &chosen {
            print(serde_json::Value::Object(shown::line(&one.letter)));
        }
    } else if !chosen.is_empty() {
        print(table::table(chosen.iter().map(|one| &one.letter)));
    }
    let (count, queue) = (chosen.len(), desk.queue());
    let beyond = if desk.has_more() { "; there are more behind them" } else { "" };
    let reason = args.reason.as_ref().map(|reason| format!(" with the reason {reason:?}")).unwrap_or_default();
    let sum = match count {
        0 => format!("no dead letters{reason} in {queue:?}{beyond}"),
        1 => format!("1 dead letter{reason} in {queue:?}{beyond}"),
        _ => format!("{count} dead letters{reason} in {queue:?}{beyond}"),
    };
    if args.json {
        say(sum)
    } else {
        print(sum)
    }
    chosen.into_iter().for_each(|one| desk.put_back(one));
    desk.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn show(config: &Config, args: &Show) -> anyhow::Result<ExitCode> {
    let mut desk = Desk::open(config).await?;
    let mut selection = Selection::new(std::slice::from_ref(&args.id), None, None);
    let chosen = desk.choose(&mut selection).await?;
    for (index, one) in chosen.iter().enumerate() {
        match args.json {
            true => print(serde_json::to_string(&shown::whole(&one.letter))?),
            false if index > 0 => print(format_args!("\n{}", shown::text(&one.letter))),
            false => print(shown::text(&one.letter)),
        }
    }
    let code = say_missing(&selection, &desk);
    chosen.into_iter().for_each(|one| desk.put_back(one));
    desk.close().await?;
    Ok(code)
}

/// Says which ids nobody has; the exit code that this leaves.
fn say_missing(selection: &Selection, desk: &Desk) -> ExitCode {
    let beyond = if desk.has_more() { " among those that were looked at" } else { "" };
    let mut code = ExitCode::SUCCESS;
    for id in selection.missing() {
        say(format_args!("no dead letter has the id {id:?}{beyond}; `switchboard dead-letters list` has their ids"));
        code = FAILED.into();
    }
    code
}

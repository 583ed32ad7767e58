//! `dead-letters replay`: a copy back where it came from, confirmed, and only then the dead letter is gone.
//!
//! A crash between the two leaves both, so a letter may be put back twice: with the same ids, by which workers and requesters
//! know a repetition.

use super::desk::{Chosen, Desk};
use super::letter::Letter;
use super::revival::{Refusal, Revival, Rules, revive};
use super::selection::Selection;
use super::{Replay, consent, say_missing};
use crate::cli::report::Plain;
use crate::cli::{BadUsage, FAILED, INTERRUPTED, print, say, signals};
use crate::config::Config;
use crate::deadline::Now;
use crate::job::Guarantee;
use anyhow::bail;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// What `replay --help` says first.
pub const LONG: &str = "Put copies back where they came from: of these, or of all

A dead letter is gone once the broker has confirmed its copy. A crash in between leaves both: a letter may be put back twice, \
with the same ids.

Refused are jobs that are to run at most once and may have been executed (every reason but invalid, unserved, undelayable and \
expired_unanswerable) unless --force is given, and jobs whose time is over unless --expires-in is given.";

/// How long letters may be held: the broker ends what holds one for half an hour.
const HOLD: Duration = Duration::from_secs(1200);

/// What came of the letters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Put back, or with `--dry-run` what would be.
    pub replayed: usize,
    /// Not put back, for a reason of their own.
    pub refused: usize,
    /// Not put back, because their queue did not take them.
    pub failed: usize,
}

/// Puts back what is meant and may be.
///
/// # Errors
///
/// The broker is not reached, or the connection is lost.
pub async fn run(config: &Config, args: &Replay) -> anyhow::Result<ExitCode> {
    let dead = &config.amqp.dead_letter_queue;
    if args.to.as_ref() == Some(dead) {
        return Err(
            BadUsage(format!("--to {dead:?} is the queue of the dead letters; right is a queue of jobs")).into()
        );
    }
    let which = &args.which;
    let mut desk = Desk::open(config).await?;
    let mut selection = which.selection();
    let mut chosen = desk.choose(&mut selection).await?;
    let most = args.rate.map_or(usize::MAX, |rate| (rate * HOLD.as_secs_f64()) as usize).max(1);
    let beyond = chosen.len() > most || desk.has_more() && which.limit.is_none();
    let later = chosen.split_off(most.min(chosen.len()));
    later.into_iter().for_each(|one| desk.put_back(one));
    let missing = say_missing(&selection, &desk);
    let question = format!("Put back {} dead letters of {dead:?}?", chosen.len());
    if consent::is_needed(selection.is_of_all(), which.yes, which.dry_run, chosen.len())
        && !consent::given(&question).await
    {
        say("nothing was done");
        return Ok(FAILED.into());
    }
    let rules =
        Rules { force: args.force, expires_in: args.expires_in, to: args.to.clone(), dead_letter_queue: dead.clone() };
    let mut counts = Counts::default();
    let put_back = put_back(config, args, &rules, &mut desk, chosen, &mut counts).await;
    sum_up(args, &counts, &selection);
    if beyond {
        say("there are more dead letters behind them; the same command again goes on with those");
    }
    let whole = put_back?;
    desk.close().await?;
    Ok(match whole {
        false => INTERRUPTED.into(),
        true if counts.refused + counts.failed > 0 => FAILED.into(),
        true => missing,
    })
}

/// In the order of the queue; false if it was interrupted, which it is only between two letters.
async fn put_back(
    config: &Config,
    args: &Replay,
    rules: &Rules,
    desk: &mut Desk,
    chosen: Vec<Chosen>,
    counts: &mut Counts,
) -> anyhow::Result<bool> {
    let mut pace = args.rate.map(|rate| interval(Duration::from_secs_f64(1.0 / rate)));
    if let Some(pace) = &mut pace {
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut interrupted = std::pin::pin!(signals::interrupt());
    for one in chosen {
        let letter = &one.letter;
        let revival = match revive(letter, rules, guarantee(config, letter), Now::read().unix_ms) {
            Ok(revival) => revival,
            Err(refusal) => {
                counts.refused += 1;
                refused(args.which.json, letter, &refusal);
                desk.put_back(one);
                continue;
            }
        };
        if args.which.dry_run {
            counts.replayed += 1;
            done(args, "would_replay", letter, &revival.queue);
            desk.put_back(one);
            continue;
        }
        let turn = async {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
        };
        tokio::select! {
            biased;
            () = &mut interrupted => return Ok(false),
            () = turn => {}
        }
        // What is not ours any more is in the queue, and putting it back would double it.
        if !desk.is_open() {
            bail!("the broker ended the look at the dead letters; those that are left are untouched");
        }
        let Revival { queue, envelope } = revival;
        let trouble = match desk.publish(&queue, envelope).await {
            Ok(true) => None,
            Ok(false) => Some(format!("there is no queue {queue:?}; --to QUEUE names another")),
            Err(error) => Some(error.to_string()),
        };
        match trouble {
            None => {
                counts.replayed += 1;
                done(args, "replayed", letter, &queue);
                desk.take(one).await?;
            }
            Some(trouble) => {
                counts.failed += 1;
                failed(args.which.json, letter, &trouble);
                desk.put_back(one);
            }
        }
    }
    Ok(true)
}

/// What counts for a job that says nothing itself.
fn guarantee(config: &Config, letter: &Letter) -> Guarantee {
    let of_profile = letter.profile.as_ref().and_then(|name| config.profiles.get(&**name)?.guarantee());
    of_profile.unwrap_or(config.worker.default_guarantee)
}

fn done(args: &Replay, what: &str, letter: &Letter, queue: &str) {
    if args.which.json {
        let replay = letter.replays + 1;
        print(json!({"id": letter.id, "outcome": what, "queue": queue, "replay": replay}));
    } else if args.which.dry_run {
        print(format_args!("{}: would go to {}", letter.id, Plain(queue)));
    }
}

fn refused(json: bool, letter: &Letter, refusal: &Refusal) {
    match json {
        true => print(
            json!({"id": letter.id, "outcome": "refused", "code": refusal.code(), "message": refusal.to_string()}),
        ),
        false => print(format_args!("{}: refused: {}", letter.id, Plain(&refusal.to_string()))),
    }
}

fn failed(json: bool, letter: &Letter, trouble: &str) {
    match json {
        true => print(json!({"id": letter.id, "outcome": "failed", "message": trouble})),
        false => print(format_args!("{}: failed: {}", letter.id, Plain(trouble))),
    }
}

fn sum_up(args: &Replay, counts: &Counts, selection: &Selection) {
    let Counts { replayed, refused, failed } = counts;
    if args.which.json {
        let (dry_run, missing) = (args.which.dry_run, selection.missing().collect::<Vec<_>>());
        let counted = json!({
            "replayed": replayed, "refused": refused, "failed": failed, "missing": missing, "dry_run": dry_run,
        });
        return print(json!({"summary": counted}));
    }
    let would = if args.which.dry_run { "would be " } else { "" };
    let mut sum = format!("{replayed} {would}put back");
    for (count, what) in [(refused, "refused"), (failed, "failed")] {
        if *count > 0 {
            sum.push_str(&format!(", {count} {what}"));
        }
    }
    print(sum);
}

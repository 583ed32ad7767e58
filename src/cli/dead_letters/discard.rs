//! `dead-letters discard`: gone for good.

use super::desk::Desk;
use super::{Discard, consent, say_missing};
use crate::cli::{FAILED, print, say};
use crate::config::Config;
use serde_json::json;
use std::process::ExitCode;

/// Throws away what is meant.
///
/// # Errors
///
/// The broker is not reached, or the connection is lost.
pub async fn run(config: &Config, args: &Discard) -> anyhow::Result<ExitCode> {
    let which = &args.which;
    let mut desk = Desk::open(config).await?;
    let mut selection = which.selection();
    let chosen = desk.choose(&mut selection).await?;
    let beyond = desk.has_more() && which.limit.is_none();
    let missing = say_missing(&selection, &desk);
    let (count, queue) = (chosen.len(), desk.queue());
    let question = format!("Throw away {count} dead letters of {queue:?}? They cannot be brought back.");
    if consent::is_needed(selection.is_of_all(), which.yes, which.dry_run, count) && !consent::given(&question).await {
        say("nothing was done");
        return Ok(FAILED.into());
    }
    let outcome = if which.dry_run { "would_discard" } else { "discarded" };
    for one in chosen {
        let id = one.letter.id.clone();
        match which.dry_run {
            true => desk.put_back(one),
            false => desk.take(one).await?,
        }
        match (which.json, which.dry_run) {
            (true, _) => print(json!({"id": id, "outcome": outcome})),
            (false, true) => print(format_args!("{id}: would be thrown away")),
            (false, false) => {}
        }
    }
    // Before the sum: until the broker has read it all, a lost connection would bring letters back.
    desk.close().await?;
    match which.json {
        true => {
            let missing = selection.missing().collect::<Vec<_>>();
            print(json!({"summary": {"discarded": count, "missing": missing, "dry_run": which.dry_run}}));
        }
        false if which.dry_run => print(format_args!("{count} would be thrown away")),
        false => print(format_args!("{count} thrown away")),
    }
    if beyond {
        say("there are more dead letters behind them; the same command again goes on with those");
    }
    Ok(missing)
}

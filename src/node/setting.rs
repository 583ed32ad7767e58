//! The commands that set something: events, rates, time limits.

use super::Book;
use super::answer::{Answer, Arguments};
use super::terms::per_second;
use std::time::Instant;

/// Switches the events of tasks; where they are not offered, says so.
pub(super) fn events(book: &Book, on: bool, offered: bool) -> Answer {
    if on && !offered {
        return Answer::error("event dispatcher unavailable: celery.events is off in the configuration");
    }
    Answer::ok(match (on, book.set_events(on)) {
        (true, false) => "task events enabled",
        (true, true) => "task events already enabled",
        (false, true) => "task events disabled",
        (false, false) => "task events already disabled",
    })
}

pub(super) fn rate_limit(book: &Book, arguments: &Arguments<'_>) -> Result<Answer, String> {
    arguments.need(&["task_name", "rate_limit"])?;
    let name = arguments.text("task_name")?.unwrap_or_default();
    let rate = arguments.text("rate_limit")?.unwrap_or_default();
    // An empty rate is none, as null is.
    let per_second = if rate.is_empty() { 0.0 } else { per_second(&rate)? };
    book.change(&name, |terms| terms.set_rate(&rate, per_second, Instant::now())).ok_or("unknown task")?;
    tracing::info!(task = name, rate, "rate limit set by remote control");
    Ok(Answer::ok(if per_second > 0.0 {
        "new rate limit set successfully"
    } else {
        "rate limit disabled successfully"
    }))
}

pub(super) fn time_limit(book: &Book, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = arguments.text("task_name")?.unwrap_or_default();
    // 0 is no limit, as null is.
    let limit = |name| arguments.seconds(name).map(|limit| limit.filter(|seconds| *seconds > 0.0));
    let (soft, hard) = (limit("soft")?, limit("hard")?);
    book.change(&name, |terms| (terms.soft, terms.hard) = (soft, hard)).ok_or("unknown task")?;
    tracing::info!(task = name, soft, hard, "time limits set by remote control");
    Ok(Answer::ok("time limits set successfully"))
}

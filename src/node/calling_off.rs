//! The commands that call tasks off: by id, by stamp, with or without ending what runs.

use super::Book;
use super::answer::{Answer, Arguments, texts};
use super::record::Terminate;
use crate::wire::celery::repr;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Signals by name. Nothing here is a process that they could be sent to: whichever it is, the task is ended.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("ALRM", 14),
    ("TERM", 15),
];

pub(super) fn revoke(book: &Book, arguments: &Arguments<'_>) -> Result<Answer, String> {
    arguments.need(&["task_id"])?;
    let terminate = arguments.flag("terminate").then(|| signal(arguments)).transpose()?;
    call_off(book, arguments, terminate)
}

pub(super) fn terminate(book: &Book, arguments: &Arguments<'_>) -> Result<Answer, String> {
    arguments.need(&["signal", "task_id"])?;
    call_off(book, arguments, Some(signal(arguments)?))
}

fn call_off(book: &Book, arguments: &Arguments<'_>, terminate: Option<Terminate>) -> Result<Answer, String> {
    let ids: Vec<Arc<str>> = arguments.list("task_id")?.into_iter().map(Arc::from).collect();
    let ended = book.revoke(&ids, terminate);
    tracing::info!(
        ids = ids.len(),
        terminate = terminate.is_some(),
        ended = ended.len(),
        "tasks revoked by remote control"
    );
    Ok(match terminate {
        None => Answer::ok(format!("tasks {} flagged as revoked", set(&ids))),
        Some(_) if ended.is_empty() => Answer::ok("terminate: tasks unknown"),
        Some(_) => Answer::ok(format!("terminate: {}", ended.join(", "))),
    })
}

pub(super) fn revoke_stamped(book: &Book, arguments: &Arguments<'_>) -> Result<Answer, String> {
    arguments.need(&["headers"])?;
    let terminate = arguments.flag("terminate").then(|| signal(arguments)).transpose()?;
    let headers = match arguments.get("headers") {
        Some(Value::Object(headers)) => headers.clone(),
        Some(Value::Array(pairs)) => {
            pairs.iter().map(pair).collect::<Option<Map<String, Value>>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let stamps: Option<Vec<(String, Vec<String>)>> =
        headers.iter().map(|(name, values)| Some((name.clone(), texts(values)?))).collect();
    let stamps = stamps.ok_or_else(wrong)?;
    let ended = book.revoke_stamped(&stamps, terminate);
    tracing::info!(
        terminate = terminate.is_some(),
        ended = ended.len(),
        "tasks revoked by their stamps by remote control"
    );
    let shown = repr::json(&Value::Object(headers).to_string());
    Ok(Answer::ok(match terminate {
        None => format!("headers {shown} flagged as revoked, but not terminated"),
        Some(_) if ended.is_empty() => format!("headers {shown} were not terminated"),
        Some(_) => format!("headers {shown} revoked"),
    }))
}

fn wrong() -> String {
    "revoke_by_stamped_headers(): headers is no object of names with their values, and no list of NAME=VALUE".to_owned()
}

fn pair(text: &Value) -> Option<(String, Value)> {
    let (name, value) = text.as_str()?.split_once('=')?;
    Some((name.to_owned(), value.into()))
}

/// The signal that was asked for, by name or number; SIGTERM where there is none.
fn signal(arguments: &Arguments<'_>) -> Result<Terminate, String> {
    let Some(name) = arguments.text("signal")?.filter(|name| !name.is_empty()) else {
        return Ok(Terminate { signum: 15 });
    };
    let known = SIGNALS.iter().find(|(known, _)| name.strip_prefix("SIG").unwrap_or(&name) == *known);
    let signum =
        known.map(|(_, number)| *number).or_else(|| name.parse().ok().filter(|number| (1..65).contains(number)));
    signum
        .map(|signum| Terminate { signum })
        .ok_or_else(|| format!("{}(): signal is {}; a name like SIGTERM is right", arguments.method, repr::text(&name)))
}

/// Ids as Python shows a set of them.
fn set(ids: &[Arc<str>]) -> String {
    match ids {
        [] => "set()".to_owned(),
        ids => format!("{{{}}}", ids.iter().map(|id| repr::text(id)).collect::<Vec<_>>().join(", ")),
    }
}

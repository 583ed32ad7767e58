//! What follows on a task's end, read while the task is: one that cannot be sent later is refused before anything runs.

use super::members::{self, Members, Shown};
use super::refusal::invalid;
use crate::wire::celery::{Embed, Exception, Signature};
use serde_json::value::RawValue;

/// Reads the four lists and signatures out of an object's members; others mean nothing.
///
/// # Errors
///
/// `InvalidTaskError` where one is no list of at most so many objects with a `task`; the chord is one such object.
pub(super) fn embed(members: &Members<'_>, most: usize) -> Result<Embed, Exception> {
    let list = |name| signatures(name, members.get(name), most);
    Ok(Embed {
        callbacks: list("callbacks")?,
        errbacks: list("errbacks")?,
        chain: list("chain")?,
        chord: match members.get("chord").filter(is_there) {
            Some(value) => Some(Box::new(signature("chord", value)?)),
            None => None,
        },
    })
}

fn is_there(value: &&RawValue) -> bool {
    value.get() != "null"
}

fn signatures(name: &str, value: Option<&RawValue>, most: usize) -> Result<Vec<Signature>, Exception> {
    let Some(value) = value.filter(is_there) else { return Ok(Vec::new()) };
    if !value.get().starts_with('[') {
        return Err(invalid(format!("{name} is {}; a list of signatures is right", Shown(value.get()))));
    }
    let items = members::items(value.get(), most).map_err(|problem| invalid(format!("{name}: {problem}")))?;
    items.iter().enumerate().map(|(at, item)| signature(&format!("{name}[{at}]"), item)).collect()
}

fn signature(name: &str, value: &RawValue) -> Result<Signature, Exception> {
    let right = "a signature, an object with a task's name as task, is right";
    if !value.get().starts_with('{') {
        return Err(invalid(format!("{name} is {}; {right}", Shown(value.get()))));
    }
    serde_json::from_str(value.get()).map_err(|problem| invalid(format!("{name} is no signature: {problem}; {right}")))
}

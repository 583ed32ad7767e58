//! What is written into signatures before they are handed on: their ids, and the chord whose parts they are.

use super::super::{Kind, Signature, id, signature::raw};
use super::shape;

/// The chord that a signature is a part of.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    /// The body, which is sent when all parts are done.
    pub(super) chord: Option<Box<Signature>>,
    /// The group that the parts are counted under.
    pub(super) group: Option<String>,
    /// The place among them.
    pub(super) index: Option<i64>,
}

/// Makes a signature a part of a chord: of a chain the last step is, of a group every member, of a chord the body.
pub(super) fn bind(sig: &mut Signature, to: &Membership) {
    match sig.kind() {
        Kind::Task => {}
        Kind::Group => {
            let mut members = shape::members(sig);
            for (index, member) in (0..).zip(&mut members) {
                bind(member, &Membership { index: Some(index), ..to.clone() });
            }
            sig.set_tasks(&members);
        }
        Kind::Chain => {
            let mut steps = shape::steps(sig);
            if let Some(last) = steps.last_mut() {
                bind(last, to);
            }
            sig.set_tasks(&steps);
            return;
        }
        Kind::Chord => {
            if let Some(mut body) = shape::body(sig) {
                bind(&mut body, to);
                sig.kwargs.insert("body".to_owned(), raw(&body));
            }
            return;
        }
    }
    if let Some(chord) = &to.chord {
        sig.set_option("chord", chord);
    }
    // A group that it was in before stays: something else counts by it.
    if let (Some(group), None) = (&to.group, sig.option::<String>("group_id")) {
        sig.set_option("group_id", group);
    }
    if let Some(index) = to.index {
        sig.set_option("group_index", &index);
    }
}

/// Gives ids to all that have none, so that whoever sends them, and however often, they are the same.
///
/// A chain's id is its last step's, a chord's its header's.
pub(super) fn freeze(sig: &mut Signature, seed: &str, place: &str, root: &str) {
    match sig.kind() {
        Kind::Task => give_id(sig, || id::task(seed, place)),
        Kind::Group => {
            give_id(sig, || id::task(seed, place));
            let mut members = shape::members(sig);
            for (index, member) in members.iter_mut().enumerate() {
                freeze(member, seed, &format!("{place}/{index}"), root);
            }
            sig.set_tasks(&members);
            return;
        }
        Kind::Chain => {
            let mut steps = shape::steps(sig);
            freeze_steps(&mut steps, sig.id(), seed, place, root);
            sig.set_tasks(&steps);
            return;
        }
        Kind::Chord => {
            let mut header = shape::header(sig);
            if header.id().is_none() {
                let id = sig.id().unwrap_or_else(|| id::task(seed, place));
                header.set_option("task_id", &id);
            }
            freeze(&mut header, seed, &format!("{place}/header"), root);
            if let Some(mut body) = shape::body(sig) {
                // The caller who chose the chord's id waits for its body, unless the header has it.
                if let Some(id) = sig.id().filter(|id| Some(id) != header.id().as_ref()) {
                    give_last_id(&mut body, &id);
                }
                freeze(&mut body, seed, &format!("{place}/body"), root);
                sig.kwargs.insert("body".to_owned(), raw(&body));
            }
            sig.kwargs.insert("header".to_owned(), raw(&header));
            return;
        }
    }
    sig.set_option("root_id", root);
}

/// The same for the steps of a chain, of which the last may have been given an id from outside.
pub(super) fn freeze_steps(steps: &mut [Signature], last_id: Option<String>, seed: &str, place: &str, root: &str) {
    if let (Some(last), Some(id)) = (steps.last_mut(), last_id) {
        give_last_id(last, &id);
    }
    for (index, step) in steps.iter_mut().enumerate() {
        freeze(step, seed, &format!("{place}/{index}"), root);
    }
}

fn give_last_id(sig: &mut Signature, id: &str) {
    give_id(sig, || id.to_owned());
}

fn give_id(sig: &mut Signature, id: impl FnOnce() -> String) {
    if sig.id().is_none() {
        sig.set_option("task_id", &id());
    }
}

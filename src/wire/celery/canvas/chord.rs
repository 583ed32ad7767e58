//! Chords: what is counted in Redis, and what follows when all of it is there.

use super::super::result::{Child, exception};
use super::super::signature::raw;
use super::super::{Embed, End, Exception, Head, Json, Kind, Signature, nonfinite, repr};
use super::bind::Membership;
use super::send::Plan;
use super::{After, Sender, Work, shape};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;

/// A chord that is begun: its counters are to be set before any of its tasks is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct ChordStart {
    /// The group that its parts are counted under.
    pub group: String,
    /// How many parts there will be.
    pub size: usize,
    /// The value of the key without an ending, where the results of the header are lists within lists.
    pub structure: Option<String>,
}

impl ChordStart {
    pub(super) fn new(group: String, size: usize, children: &[Child]) -> Self {
        let nested = children.iter().any(|child| matches!(child, Child::Group(..)));
        let structure = nested.then(|| {
            let mut json = String::from("{\"result\": ");
            Child::Group(group.clone(), children.to_vec()).write(&mut json);
            json + "}"
        });
        Self { group, size, structure }
    }
}

/// A part of a chord that is done.
#[derive(Clone, Debug)]
pub struct ChordPart {
    /// The group that it is counted under.
    pub group: String,
    /// The task's id.
    pub id: String,
    /// Its place in the list of results; last where it has none.
    pub index: Option<i64>,
    /// Celery's name of the state.
    pub state: &'static str,
    /// The value, or the exception as the client reads it.
    pub result: Json,
    /// What is sent when all parts are there.
    pub body: Signature,
    /// The first task of the workflow.
    pub root: String,
}

impl ChordPart {
    pub(super) fn new(group: String, id: String, index: Option<i64>, end: &End, body: Signature, root: &str) -> Self {
        let result = match end {
            End::Success(value) => value.clone(),
            End::Failure(why) | End::Revoked(why) => exception(why),
        };
        Self { group, id, index, state: end.state(), result, body, root: root.to_owned() }
    }

    /// The member of the sorted set of parts: `[1, id, state, result]`.
    pub fn member(&self) -> String {
        let member = format!("[1, {}, \"{}\", {}]", raw(self.id.as_str()), self.state, self.result);
        nonfinite::unmask(&member).into_owned()
    }
}

/// A task's own part, where it is in a chord's header.
pub(super) fn own_part(head: &Head, embed: &Embed, end: &End, root: &str) -> Option<ChordPart> {
    let (body, group) = (embed.chord.as_deref()?, head.group.clone().filter(|group| !group.is_empty())?);
    Some(ChordPart::new(group, head.id.to_string(), head.group_index, end, body.clone(), root))
}

/// The key of a chord's group, without prefix of the whole backend: with no ending its results' structure, with `.s` its
/// size, `.j` the parts, `.t` how many more there are, `.d` which are counted, `.c` who completes it.
pub fn key(group: &str, ending: &str) -> String {
    format!("celery-taskset-meta-{group}{ending}")
}

/// What follows when the last part is there: the body, with the list of results; or its failure, where a part failed.
///
/// `members` are the texts of all parts in their order, `structure` the value of the key without an ending, if there is
/// one. What follows can hold parts of other chords, whose header this one's body is in.
pub fn complete(part: &ChordPart, members: &[String], structure: Option<&str>, sender: &Sender<'_>) -> After {
    match results(members, structure) {
        Ok(list) => {
            let body = part.body.clone();
            let root = body.option::<String>("root_id").unwrap_or_else(|| part.root.clone());
            let mut work = Work::new(sender, &part.group, &part.id, &root);
            let child = work.send(body, Plan { args: vec![list], place: "body".to_owned(), ..Plan::default() });
            work.after.children.extend(child);
            work.after
        }
        Err(why) => broken(part, why, sender),
    }
}

/// What follows when a chord cannot be completed: its body and everything behind it fail, and the body's errbacks run.
pub fn broken(part: &ChordPart, why: String, sender: &Sender<'_>) -> After {
    let body = &part.body;
    let root = body.option::<String>("root_id").unwrap_or_else(|| part.root.clone());
    let mut work = Work::new(sender, &part.group, &part.id, &root);
    work.body_errbacks(body, &[]);
    let end = End::Failure(Exception::new("celery.exceptions", "ChordError", why));
    work.fail(body, Membership::default(), true, &end);
    work.after
}

impl Work<'_> {
    /// The errbacks of a body that will not run: its own, or those of each task that would have been first.
    fn body_errbacks(&mut self, sig: &Signature, outer: &[Signature]) {
        let mut errbacks = sig.linked("link_error");
        errbacks.extend(outer.iter().cloned());
        match sig.kind() {
            Kind::Task => {
                let id = sig.id().unwrap_or_default();
                self.errbacks(&errbacks, &id);
            }
            Kind::Group => shape::members(sig).iter().for_each(|member| self.body_errbacks(member, &errbacks)),
            Kind::Chain => shape::steps(sig).iter().take(1).for_each(|first| self.body_errbacks(first, &errbacks)),
            Kind::Chord => shape::body(sig).iter().for_each(|body| self.body_errbacks(body, &errbacks)),
        }
    }
}

/// A part as it stands in Redis.
#[derive(Deserialize)]
struct Part(serde::de::IgnoredAny, String, String, Json);

/// The list of results, as one JSON text; or why there is none.
fn results(members: &[String], structure: Option<&str>) -> Result<Json, String> {
    let mut parts = Vec::with_capacity(members.len());
    for member in members {
        let part: Part = serde_json::from_str(&masked(member))
            .map_err(|error| format!("Join error: a part cannot be read: {error}"))?;
        if part.2 != "SUCCESS" {
            return Err(format!("Dependency {} raised {}", part.1, raised(part.3.get())));
        }
        parts.push(part);
    }
    match structure {
        None => Ok(raw(&parts.iter().map(|part| &part.3).collect::<Vec<_>>())),
        Some(structure) => {
            #[derive(Deserialize)]
            struct Kept {
                result: Tuple,
            }
            let kept: Kept = serde_json::from_str(&masked(structure))
                .map_err(|error| format!("Join error: the group's result cannot be read: {error}"))?;
            let by_id = parts.iter().map(|part| (part.1.as_str(), &part.3)).collect();
            kept.result.join(&by_id)
        }
    }
}

/// What others wrote, with the numbers masked that only Python knows.
fn masked(text: &str) -> Cow<'_, str> {
    nonfinite::mask(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Celery's result tuple: `[[id, parent], members]`.
#[derive(Deserialize)]
struct Tuple((String, serde::de::IgnoredAny), Option<Vec<Tuple>>);

impl Tuple {
    fn join(&self, by_id: &HashMap<&str, &Json>) -> Result<Json, String> {
        match &self.1 {
            None => match by_id.get(self.0.0.as_str()) {
                Some(result) => Ok((*result).clone()),
                None => Err(format!("Join error: no part is the result of {}", self.0.0)),
            },
            Some(members) => {
                let members = members.iter().map(|member| member.join(by_id)).collect::<Result<Vec<_>, _>>()?;
                Ok(raw(&members))
            }
        }
    }
}

/// An exception as Python shows it: `ValueError('bad thing', 42)`.
fn raised(result: &str) -> String {
    #[derive(Deserialize)]
    struct Raised {
        exc_type: String,
        exc_message: Json,
    }
    match serde_json::from_str::<Raised>(result) {
        Ok(Raised { exc_type, exc_message }) => {
            let shown = match serde_json::from_str::<Vec<Json>>(exc_message.get()) {
                Ok(list) => {
                    let list: Vec<_> = list.iter().map(|argument| repr::json(argument.get())).collect();
                    list.join(", ")
                }
                Err(_) => repr::json(exc_message.get()),
            };
            format!("{exc_type}({shown})")
        }
        Err(_) => repr::json(result),
    }
}

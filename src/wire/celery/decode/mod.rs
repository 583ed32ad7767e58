//! From an AMQP message to a task.

mod body;
mod compression;
mod dates;
mod embed;
mod fields;
mod kind;
mod members;
mod msgpack;
mod refusal;
mod routing;
mod told;
pub mod typed;
mod work;

pub use kind::is_task;
pub use refusal::Refusal;
pub use routing::routing_key;

use super::{Exception, Head, Task};
use crate::envelope::{Envelope, Headers, Value};
use crate::excerpt::Excerpt;
use fields::{Fields, Shown};
use members::Parts;
use refusal::{invalid, not_registered};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use work::Work;

/// The longest id, in bytes: what AMQP has room for in `correlation_id`.
const MAX_ID_BYTES: usize = 255;
/// The longest wait for an `eta`: what Celery's own delayed delivery has binary digits for, some eight and a half years.
const LONGEST_WAIT: Duration = Duration::from_secs((1 << 28) - 1);
/// How often deeper than its arguments what follows on a task may nest: protocol 1 nests four levels per step of a chain.
const EMBED_DEPTHS: usize = 4;

/// What a task may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest body in bytes: as it arrives, inflated, and as JSON where it is MessagePack. Python writes each
    /// character that is not ASCII in six bytes, so a payload may have a sixth of this in every language.
    pub max_body_bytes: usize,
    /// How deep the list of arguments may nest. A result that quotes an argument is some levels deeper, and readers of JSON
    /// give up at 128.
    pub max_depth: usize,
    /// The most positional arguments, named arguments, and signatures in one list. Many small ones take far more room than
    /// their text.
    pub max_items: usize,
    /// An `eta` after this instant is refused, in milliseconds since the Unix epoch.
    pub latest_eta: u64,
}

impl Default for Bounds {
    /// 2 MiB, 100 levels, 10,000 items, and 2^28 − 1 seconds from now on. Against that wait it does not matter that a program which keeps
    /// the value for months refuses a little more.
    fn default() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest_eta = u64::try_from((now + LONGEST_WAIT).as_millis()).unwrap_or(u64::MAX);
        Self { max_body_bytes: 2 * 1024 * 1024, max_depth: 100, max_items: 10_000, latest_eta }
    }
}

impl Bounds {
    /// How deep a whole body may nest.
    pub(super) fn deepest(&self) -> usize {
        self.max_depth.saturating_mul(EMBED_DEPTHS)
    }
}

/// Reads a task from a message of protocol 2, of protocol 1, or of both at once.
///
/// Whether its name is served, and whether its time has come or is over, is for the caller to say.
///
/// # Errors
///
/// [`Refusal`] with the first thing that is wrong, in Celery's order: content type, compression, body, shape, id, dates,
/// name.
pub fn decode(envelope: &Envelope, bounds: &Bounds) -> Result<Task, Box<Refusal>> {
    let headers = Fields::of(&envelope.headers);
    let text = match body::text(envelope, headers.compression, bounds) {
        Ok(text) => text,
        Err(exception) => return Err(refusal(envelope, &headers, exception)),
    };
    let mut masked = None;
    let parts = body::depth(&text, bounds.deepest())
        .and_then(|depth| Ok((depth > bounds.max_depth, body::parts(&text, &mut masked, bounds)?)));
    let (deep, parts) = match parts {
        Ok(parts) => parts,
        Err(exception) => return Err(refusal(envelope, &headers, exception)),
    };
    let told;
    let (fields, in_body) = match &parts {
        Parts::Object(members) if headers.task.is_none() || members.get("args").is_some() => {
            told = told::headers(members);
            let mut fields = Fields::of(&told);
            fields.override_with(&envelope.headers);
            fields.extra = headers.extra;
            (fields, true)
        }
        _ => (headers, false),
    };
    let read = work::work(parts, in_body, deep, bounds).and_then(|work| task(envelope, &fields, in_body, work, bounds));
    read.map_err(|exception| refusal(envelope, &fields, exception))
}

fn refusal(envelope: &Envelope, fields: &Fields<'_>, exception: Exception) -> Box<Refusal> {
    let id = id(envelope, fields, true).unwrap_or_else(|_| correlation_id(envelope).unwrap_or_default().into());
    Box::new(Refusal { head: head(envelope, fields, id), exception })
}

fn task(
    envelope: &Envelope,
    fields: &Fields<'_>,
    in_body: bool,
    work: Work,
    bounds: &Bounds,
) -> Result<Task, Exception> {
    // Celery's own worker ends over a task without the header, and runs one in which it is null.
    let id = id(envelope, fields, in_body)?;
    let eta = fields::instant("eta", fields.eta)?;
    if eta.is_some_and(|eta| eta > bounds.latest_eta) {
        let shown = fields.eta.map_or(String::new(), |eta| Shown(eta).to_string());
        let longest = LONGEST_WAIT.as_secs();
        return Err(invalid(format!("eta is {shown}; a time within the next {longest} seconds (2^28 - 1) is right")));
    }
    let expires = fields::instant("expires", fields.expires)?;
    let (soft_limit, hard_limit) = fields.limits()?;
    match fields.task {
        Some(value) if fields::text(value).is_some() => {}
        Some(value) => return Err(not_registered(fields::json(value))),
        None => {
            return Err(invalid("the message names no task; a header task, or a member task of its body, is right"));
        }
    }
    let text = |value: Option<&Value>| value.and_then(fields::text).unwrap_or_default().to_owned();
    Ok(Task {
        head: head(envelope, fields, id),
        shadow: fields.shadow.and_then(fields::text).map(str::to_owned),
        args: work.args,
        kwargs: work.kwargs,
        embed: work.embed,
        eta,
        expires,
        retries: fields::integer(fields.retries).unwrap_or(0),
        soft_limit,
        hard_limit,
        args_repr: text(fields.args_repr),
        kwargs_repr: text(fields.kwargs_repr),
        stamps: fields.stamps(),
        extra: Headers(fields.extra.iter().map(|header| (*header).clone()).collect()),
    })
}

fn correlation_id(envelope: &Envelope) -> Option<&str> {
    envelope.correlation_id.as_deref().filter(|id| !id.is_empty())
}

/// The task's id. The correlation id stands for it where it is null, and where `may_miss` also where it is missing.
fn id(envelope: &Envelope, fields: &Fields<'_>, may_miss: bool) -> Result<Arc<str>, Exception> {
    let right = format!("text of 1 to {MAX_ID_BYTES} bytes is right");
    let id: Arc<str> = match fields.id {
        Some(Value::Text(id)) if !id.is_empty() => id.as_str().into(),
        Some(Value::Int(id)) => id.to_string().into(),
        None if !may_miss => return Err(invalid(format!("the header id is missing; {right}"))),
        None | Some(Value::Null | Value::Text(_)) => match correlation_id(envelope) {
            Some(id) => id.into(),
            None => return Err(invalid(format!("the task has neither an id nor a correlation id; {right}"))),
        },
        Some(other) => return Err(invalid(format!("id is {}; {right}", Shown(other)))),
    };
    if id.len() > MAX_ID_BYTES {
        return Err(invalid(format!("id has {} bytes; {right}", id.len())));
    }
    // It goes into logs and headers.
    match id.chars().find(|c| c.is_control()) {
        Some(c) => Err(invalid(format!(
            "id {} contains the control character U+{:04X}; printable characters are right",
            Excerpt(&id),
            u32::from(c)
        ))),
        None => Ok(id),
    }
}

fn head(envelope: &Envelope, fields: &Fields<'_>, id: Arc<str>) -> Head {
    let text = |value: Option<&Value>| value.and_then(fields::text).map(str::to_owned);
    Head {
        name: fields.task.and_then(fields::text).unwrap_or_default().into(),
        correlation_id: correlation_id(envelope).unwrap_or(&id).to_owned(),
        reply_to: envelope.reply_to.clone().filter(|queue| !queue.is_empty()),
        ignore_result: fields::is_true(fields.ignore_result),
        from_beat: fields::is_true(fields.beat),
        group: text(fields.group),
        group_index: fields::integer(fields.group_index),
        root_id: text(fields.root_id).or_else(|| Some(id.as_ref().to_owned()).filter(|id| !id.is_empty())),
        parent_id: text(fields.parent_id),
        id,
    }
}

#[cfg(test)]
mod tests;

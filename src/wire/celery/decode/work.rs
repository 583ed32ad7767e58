//! What a task is to do: its arguments and what follows, out of the parts of a body.

use super::Bounds;
use super::members::{self, Parts, Shown};
use super::refusal::{invalid, undecodable};
use super::{body, embed};
use crate::wire::celery::{Embed, Exception, Json};
use serde_json::value::RawValue;

/// What a task is to do, and what then.
pub(super) struct Work {
    pub(super) args: Vec<Json>,
    pub(super) kwargs: Vec<(String, Json)>,
    pub(super) embed: Embed,
}

/// Reads the work out of a body. In a deep one it is still to be checked how deep the arguments nest.
pub(super) fn work(parts: Parts<'_>, in_body: bool, deep: bool, bounds: &Bounds) -> Result<Work, Exception> {
    let right = "[args, kwargs, embed] is right";
    let (args, kwargs, embed) = match parts {
        Parts::Object(members) if in_body => {
            let embed = embed::embed(&members, bounds.max_items)?;
            (members.get("args"), members.get("kwargs"), embed)
        }
        Parts::Object(_) => return Err(invalid(format!("the body is an object without args; {right}"))),
        Parts::List(items, count) => match items[..] {
            [args, kwargs, embed] if count == 3 => (Some(args), Some(kwargs), follows(embed, bounds)?),
            _ => return Err(invalid(format!("the body is a list of {count}; {right}"))),
        },
        Parts::Other => return Err(invalid(format!("the body is neither a list nor an object; {right}"))),
    };
    for part in [args, kwargs].into_iter().flatten().filter(|_| deep) {
        body::depth(part.get(), bounds.max_depth)?;
    }
    Ok(Work {
        args: match args {
            Some(args) if args.get().starts_with('[') => {
                let items = members::items(args.get(), bounds.max_items).map_err(|problem| unread("args", &problem))?;
                items.into_iter().map(RawValue::to_owned).collect()
            }
            Some(args) => return Err(wrong("args", args, "a list")),
            None => Vec::new(),
        },
        kwargs: match kwargs {
            Some(kwargs) if kwargs.get().starts_with('{') => {
                let members = members::members(kwargs.get(), bounds.max_items);
                let members = members.map_err(|problem| unread("kwargs", &problem))?;
                members.0.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
            }
            Some(kwargs) => return Err(wrong("kwargs", kwargs, "an object")),
            None => Vec::new(),
        },
        embed,
    })
}

/// What a client writes of a task on whose end nothing follows.
const NOTHING: &str = r#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#;

fn follows(value: &RawValue, bounds: &Bounds) -> Result<Embed, Exception> {
    if value.get() == NOTHING {
        return Ok(Embed::default());
    }
    match members::parts(value.get(), bounds.max_items).map_err(|problem| unread("embed", &problem))? {
        Parts::Object(members) => embed::embed(&members, bounds.max_items),
        Parts::List(_, 0) => Ok(Embed::default()),
        Parts::Other if value.get() == "null" => Ok(Embed::default()),
        _ => Err(wrong("embed", value, "an object")),
    }
}

fn wrong(name: &str, value: &RawValue, right: &str) -> Exception {
    invalid(format!("{name} is {}; {right} is right", Shown(value.get())))
}

/// The syntax was checked, so there are too many parts, or one has a name that is no Unicode.
fn unread(name: &str, problem: &serde_json::Error) -> Exception {
    match problem.is_data() {
        true => invalid(format!("{name}: {problem}")),
        false => undecodable(format!("{name} has a name that is no Unicode: {problem}")),
    }
}

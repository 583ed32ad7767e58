//! The tasks of our own: a command to one device, one without an answer, one to many devices.

use super::argument;
use super::arguments::{Bound, Parameters};
use super::fault::Fault;
use super::{Asked, Named, Returns};
use crate::job::{Bulk, BulkResults, Mode, Payload, Targets};
use crate::wire::celery::Json;
use crate::wire::native::Limits;
use serde_json::value::RawValue;
use std::sync::{Arc, LazyLock};

/// A task of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Request,
    Publish,
    Bulk,
}

/// The parameters of each, in the order of [`Builtin::ALL`].
static PARAMETERS: LazyLock<[Parameters; 3]> = LazyLock::new(|| {
    let many = ["rate", "concurrency", "abort", "timeout", "profile", "guarantee"];
    [
        Parameters::of(&["device", "command"], &["payload"], &["profile", "timeout", "guarantee"]),
        Parameters::of(&["device", "command"], &["payload"], &["profile"]),
        Parameters::of(&["devices", "command"], &["payload"], &many),
    ]
});

impl Builtin {
    pub(super) const ALL: [Self; 3] = [Self::Request, Self::Publish, Self::Bulk];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Request => "switchboard.request",
            Self::Publish => "switchboard.publish",
            Self::Bulk => "switchboard.bulk",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    pub(super) fn returns(self) -> Returns {
        match self {
            Self::Request => Returns::Answer,
            Self::Publish => Returns::Nothing,
            Self::Bulk => Returns::Summary,
        }
    }

    /// What these arguments ask for.
    pub(super) fn read(self, args: &[Json], kwargs: &[(String, Json)], limits: &Limits) -> Result<Asked, Fault> {
        let bound = PARAMETERS[self as usize].bind(self.name(), args, kwargs)?;
        Ok(Asked {
            targets: match self {
                Self::Request | Self::Publish => Targets::One(argument::text("device", required(&bound, 0))?),
                Self::Bulk => Targets::Many(many(&bound, limits)?),
            },
            command: argument::text("command", required(&bound, 1))?,
            payload: match bound.get("payload") {
                Some(value) => argument::payload("payload", value, limits)?,
                None => Payload::Empty,
            },
            mode: if self == Self::Publish { Mode::Publish } else { Mode::Request },
            profile: match bound.get("profile") {
                Some(value) => argument::profile(value)?,
                None => default_profile(),
            },
            timeout: bound.get("timeout").map(|value| argument::seconds("timeout", value)).transpose()?,
            guarantee: bound.get("guarantee").map(argument::guarantee).transpose()?,
        })
    }

    /// What a call is about, as far as that can be read.
    pub(super) fn named(self, args: &[Json], kwargs: &[(String, Json)]) -> Named {
        let bound = PARAMETERS[self as usize].bind_some(args, kwargs);
        let text = |name| bound.get(name).and_then(|value| argument::text(name, value).ok()).unwrap_or_default();
        // A bulk has no argument of that name.
        (text("device"), text("command"))
    }
}

/// The profile of a call that names none.
pub(super) fn default_profile() -> Arc<str> {
    "default".into()
}

/// A required argument: without it there is nothing bound.
fn required<'t>(bound: &Bound<'t>, index: usize) -> &'t RawValue {
    bound.at(index).unwrap_or(RawValue::NULL)
}

fn many(bound: &Bound<'_>, limits: &Limits) -> Result<Bulk, Fault> {
    Ok(Bulk {
        targets: argument::devices("devices", required(bound, 0), limits)?,
        rate_per_second: bound.get("rate").map(argument::rate).transpose()?,
        concurrency: bound.get("concurrency").map(argument::concurrency).transpose()?,
        abort: bound.get("abort").map(argument::abort).transpose()?,
        results: BulkResults::Summary,
    })
}

//! A task of the application's own, compiled, and how a call of it is read.

use super::arguments::{Absence, Bound, Parameter, Parameters};
use super::builtin::{Builtin, default_profile};
use super::fault::Fault;
use super::mapping::{Mapping, Problem, Wait};
use super::template::{Shape, Text};
use super::{Asked, Named, Returns, argument};
use crate::excerpt::Excerpt;
use crate::job::{Abort, Bulk, BulkResults, Guarantee, Mode, Payload, Targets};
use crate::wire::celery::Json;
use crate::wire::native::Limits;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use std::time::Duration;

/// A task's name and the command it stands for.
#[derive(Clone, Debug)]
pub struct Mapped {
    name: Arc<str>,
    parameters: Parameters,
    who: Who,
    command: Text,
    payload: Option<Shape>,
    profile: Arc<str>,
    mode: Mode,
    timeout: Option<Timeout>,
    guarantee: Option<Guarantee>,
    returns: Returns,
}

#[derive(Clone, Debug)]
enum Who {
    One(Text),
    Many { argument: usize, rate: Option<f64>, concurrency: Option<usize>, abort: Option<Abort> },
}

#[derive(Clone, Debug)]
enum Timeout {
    Fixed(Duration),
    Argument(usize),
}

impl Mapped {
    /// Compiles a mapping.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it. That its profile exists is for the caller to check.
    pub fn compile(name: &str, mapping: &Mapping) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if Builtin::of(name).is_some() {
            problems.push(Problem::new("", "is a task of Switchboard's own; right is a name of the application's"));
        } else if name.is_empty() || name.starts_with("celery.") {
            let right = "right is the name of a task of the application's";
            problems.push(Problem::new("", format!("is no name that a task can have here; {right}")));
        }
        let parameters = parameters(mapping, &mut problems);
        let find = |name: &str| {
            parameters.find(name).ok_or_else(|| {
                format!("names the argument {}, which is not there; there are {parameters}", Excerpt(name))
            })
        };
        let who = who(mapping, &find, &mut problems);
        let command = text("command", &mapping.command, &find, &mut problems);
        let payload = match &mapping.payload {
            Some(value) => {
                let mut wrong = Vec::new();
                let shape = Shape::parse("payload", value, &find, &mut wrong);
                problems.extend(wrong.into_iter().map(|(key, problem)| Problem { key, problem }));
                Some(shape)
            }
            None => parameters.find("payload").map(Shape::Argument),
        };
        let timeout = match &mapping.timeout {
            None => None,
            Some(Wait::Fixed(time)) => Some(Timeout::Fixed(*time)),
            Some(Wait::Argument(template)) => {
                let template = text("timeout", template, &find, &mut problems);
                let argument = template.as_ref().and_then(Text::whole);
                if let (Some(_), None, Some(Wait::Argument(given))) = (&template, argument, &mapping.timeout) {
                    let problem = format!("is {}; right is one argument, \"{{timeout}}\"", Excerpt(given));
                    problems.push(Problem::new("timeout", problem));
                }
                argument.map(Timeout::Argument)
            }
        };
        let returns = match (&who, mapping.returns, mapping.mode) {
            (Some(Who::Many { .. }), None, _) => Returns::Summary,
            (Some(Who::Many { .. }), Some(Returns::Answer), _) => {
                problems
                    .push(Problem::new("result", "is \"answer\" for many devices; right is \"summary\" or \"none\""));
                Returns::Summary
            }
            (Some(Who::One(_)), Some(Returns::Summary), _) => {
                problems.push(Problem::new("result", "is \"summary\" for one device; right is \"answer\" or \"none\""));
                Returns::Answer
            }
            (Some(Who::One(_)), Some(Returns::Answer), Mode::Publish) => {
                problems.push(Problem::new(
                    "result",
                    "is \"answer\" with mode \"publish\", which awaits none; right is \"none\"",
                ));
                Returns::Nothing
            }
            (Some(Who::One(_)), _, Mode::Publish) => Returns::Nothing,
            (_, returns, _) => returns.unwrap_or_default(),
        };
        match (who, command) {
            (Some(who), Some(command)) if problems.is_empty() => Ok(Self {
                name: name.into(),
                parameters,
                who,
                command,
                payload,
                profile: mapping.profile.as_deref().map_or_else(default_profile, Arc::from),
                mode: mapping.mode,
                timeout,
                guarantee: mapping.guarantee,
                returns,
            }),
            _ => Err(problems),
        }
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device profile that its commands go by.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// What its caller gets.
    pub(super) fn returns(&self) -> Returns {
        self.returns
    }

    /// What these arguments ask for.
    pub(super) fn read(&self, args: &[Json], kwargs: &[(String, Json)], limits: &Limits) -> Result<Asked, Fault> {
        let bound = self.parameters.bind(&self.name, args, kwargs)?;
        Ok(Asked {
            targets: self.targets(&bound, limits)?,
            command: self.command.fill(&bound)?.into(),
            payload: self.payload.as_ref().map_or(Ok(Payload::Empty), |payload| payload.payload(&bound, limits))?,
            mode: self.mode,
            profile: self.profile.clone(),
            timeout: match self.timeout {
                None => None,
                Some(Timeout::Fixed(time)) => Some(time),
                Some(Timeout::Argument(index)) => bound
                    .at(index)
                    .filter(|value| value.get() != "null")
                    .map(|value| argument::seconds(bound.name(index), value))
                    .transpose()?,
            },
            guarantee: self.guarantee,
        })
    }

    /// What a call is about, as far as that can be read.
    pub(super) fn named(&self, args: &[Json], kwargs: &[(String, Json)]) -> Named {
        let bound = self.parameters.bind_some(args, kwargs);
        let fill = |text: &Text| text.fill(&bound).ok().map(Arc::from).unwrap_or_default();
        let device = match &self.who {
            Who::One(device) => fill(device),
            Who::Many { .. } => Arc::default(),
        };
        (device, fill(&self.command))
    }

    fn targets(&self, bound: &Bound<'_>, limits: &Limits) -> Result<Targets, Fault> {
        Ok(match &self.who {
            Who::One(device) => Targets::One(device.fill(bound)?.into()),
            Who::Many { argument, rate, concurrency, abort } => Targets::Many(Bulk {
                targets: {
                    let list = bound.at(*argument).unwrap_or(RawValue::NULL);
                    argument::devices(bound.name(*argument), list, limits)?
                },
                rate_per_second: *rate,
                concurrency: *concurrency,
                abort: *abort,
                results: BulkResults::Summary,
            }),
        })
    }
}

/// The parameters that a mapping speaks of, each once.
fn parameters(mapping: &Mapping, problems: &mut Vec<Problem>) -> Parameters {
    let default_args = ["device".to_owned(), "payload".to_owned()];
    let args = mapping.args.as_deref().unwrap_or(&default_args);
    let mut names: Vec<&str> = Vec::new();
    for (key, listed) in [("args", args), ("kwargs", &mapping.kwargs[..])] {
        for name in listed {
            if names.contains(&name.as_str()) {
                problems.push(Problem::new(key, format!("has the argument {} twice; once is right", Excerpt(name))));
            } else if name.is_empty() || name.contains(['{', '}']) {
                problems.push(Problem::new(key, format!("has {}, which is no argument's name", Excerpt(name))));
            } else {
                names.push(name);
            }
        }
    }
    let positional = args.iter().filter(|name| names.contains(&name.as_str())).count().min(names.len());
    // Whatever has a default or is ignored may come by name too.
    for name in mapping.defaults.iter().map(|(name, _)| name).chain(&mapping.ignore) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let parameter = |name: &&str| {
        let default = mapping.defaults.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let may_be_absent = mapping.ignore.iter().any(|ignored| ignored == name)
            // Without `args` a call is what our own tasks take, and their payload may be left out.
            || mapping.args.is_none() && *name == "payload";
        let absence = match default.map(to_raw_value) {
            Some(Ok(value)) => Absence::Default(value),
            _ if may_be_absent => Absence::None,
            _ => Absence::Wrong,
        };
        Parameter { name: (*name).into(), absence }
    };
    let (positional, by_name) = names.split_at(positional);
    Parameters::new(positional.iter().map(parameter).collect(), by_name.iter().map(parameter).collect())
}

fn who(mapping: &Mapping, find: super::template::Find<'_>, problems: &mut Vec<Problem>) -> Option<Who> {
    let bulk = [
        ("bulk.rate", mapping.rate.is_some()),
        ("bulk.concurrency", mapping.concurrency.is_some()),
        ("bulk.abort", mapping.abort.is_some()),
    ];
    match (&mapping.device, &mapping.devices) {
        (Some(_), Some(_)) => {
            problems.push(Problem::new("devices", "is there together with device; right is one of the two"));
            None
        }
        (device, None) => {
            for (key, _) in bulk.into_iter().filter(|(_, given)| *given) {
                problems.push(Problem::new(key, "is for many devices, and there is one; right is devices, or no bulk"));
            }
            text("device", device.as_deref().unwrap_or("{device}"), find, problems).map(Who::One)
        }
        (None, Some(devices)) => {
            let template = text("devices", devices, find, problems)?;
            let argument = template.whole();
            if argument.is_none() {
                let problem =
                    format!("is {}; right is one argument that holds a list, \"{{devices}}\"", Excerpt(devices));
                problems.push(Problem::new("devices", problem));
            }
            let (rate, concurrency, abort) = (mapping.rate, mapping.concurrency, mapping.abort);
            argument.map(|argument| Who::Many { argument, rate, concurrency, abort })
        }
    }
}

fn text(key: &str, text: &str, find: super::template::Find<'_>, problems: &mut Vec<Problem>) -> Option<Text> {
    match Text::parse(text, find) {
        Ok(text) => Some(text),
        Err(problem) => {
            problems.push(Problem::new(key, problem));
            None
        }
    }
}

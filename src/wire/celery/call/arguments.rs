//! The arguments of a call, given to the parameters of a task as Python gives them.

use super::fault::Fault;
use crate::excerpt::Excerpt;
use crate::wire::celery::Json;
use serde_json::value::RawValue;
use std::fmt;

/// The parameters of a task: those by position or name, then those by name alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    all: Vec<Parameter>,
    /// How many of them may come by position.
    positional: usize,
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) absence: Absence,
}

/// What it means that a call leaves an argument out.
#[derive(Clone, Debug)]
pub(super) enum Absence {
    /// The call is wrong.
    Wrong,
    /// There is none.
    None,
    /// This value.
    Default(Json),
}

/// What a call gives to each parameter.
#[derive(Debug)]
pub(super) struct Bound<'t> {
    parameters: &'t Parameters,
    given: Vec<Option<&'t RawValue>>,
}

impl Parameters {
    pub(super) fn new(positional: Vec<Parameter>, by_name: Vec<Parameter>) -> Self {
        let count = positional.len();
        Self { all: [positional, by_name].concat(), positional: count }
    }

    /// Of the tasks of our own: the first so many are required, the other ones may be left out.
    pub(super) fn of(required: &[&str], optional: &[&str], by_name: &[&str]) -> Self {
        let parameter =
            |absence: fn() -> Absence| move |name: &&str| Parameter { name: (*name).into(), absence: absence() };
        let required = required.iter().map(parameter(|| Absence::Wrong));
        let positional = required.chain(optional.iter().map(parameter(|| Absence::None))).collect();
        Self::new(positional, by_name.iter().map(parameter(|| Absence::None)).collect())
    }

    /// The place of a parameter.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|parameter| *parameter.name == *name)
    }

    /// Gives each argument to its parameter.
    ///
    /// Faults come in the order in which Python looks for them, and in its words.
    pub(super) fn bind<'t>(
        &'t self,
        task: &str,
        args: &'t [Json],
        kwargs: &'t [(String, Json)],
    ) -> Result<Bound<'t>, Fault> {
        let mut given: Vec<Option<&RawValue>> = vec![None; self.all.len()];
        for (place, value) in given[..self.positional].iter_mut().zip(args) {
            *place = Some(value);
        }
        let fault = |problem: fmt::Arguments<'_>| Fault::Said(format!("{task}() {problem}; right is {task}({self})"));
        for (name, value) in kwargs {
            let Some(index) = self.find(name) else {
                return Err(fault(format_args!("got an unexpected keyword argument {}", Quoted(name))));
            };
            if given[index].replace(value).is_some() {
                return Err(fault(format_args!("got multiple values for argument {}", Quoted(name))));
            }
        }
        if args.len() > self.positional {
            let least = self.all[..self.positional].iter().filter(|one| one.is_required()).count();
            let plural = if self.positional == 1 { "" } else { "s" };
            let were = if args.len() == 1 { "was" } else { "were" };
            let takes = match least == self.positional {
                true => format!("{least}"),
                false => format!("from {least} to {}", self.positional),
            };
            return Err(fault(format_args!(
                "takes {takes} positional argument{plural} but {} {were} given",
                args.len()
            )));
        }
        let missing = |range: std::ops::Range<usize>| -> Vec<&str> {
            let parameters = self.all[range.clone()].iter().zip(&given[range]);
            parameters.filter(|(one, given)| given.is_none() && one.is_required()).map(|(one, _)| &*one.name).collect()
        };
        for (range, kind) in [(0..self.positional, "positional"), (self.positional..self.all.len(), "keyword-only")] {
            let names = missing(range);
            if !names.is_empty() {
                let plural = if names.len() == 1 { "" } else { "s" };
                return Err(fault(format_args!(
                    "missing {} required {kind} argument{plural}: {}",
                    names.len(),
                    listed(&names)
                )));
            }
        }
        Ok(Bound { parameters: self, given })
    }

    /// What can be given to its parameter, of a call that may be wrong.
    pub(super) fn bind_some<'t>(&'t self, args: &'t [Json], kwargs: &'t [(String, Json)]) -> Bound<'t> {
        let mut given: Vec<Option<&RawValue>> = vec![None; self.all.len()];
        for (name, value) in kwargs {
            if let Some(index) = self.find(name) {
                given[index] = Some(value);
            }
        }
        for (place, value) in given[..self.positional].iter_mut().zip(args) {
            *place = Some(value);
        }
        Bound { parameters: self, given }
    }
}

impl Parameter {
    fn is_required(&self) -> bool {
        matches!(self.absence, Absence::Wrong)
    }
}

impl fmt::Display for Parameters {
    /// As Python writes a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, parameter) in self.all.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(if index == self.positional { "*, " } else { "" })?;
            f.write_str(&parameter.name)?;
            match &parameter.absence {
                Absence::Wrong => {}
                Absence::None => f.write_str("=None")?,
                Absence::Default(value) => write!(f, "={}", python(value.get()))?,
            }
        }
        Ok(())
    }
}

/// A default as Python shows it, where that differs in a way that one sees.
fn python(json: &str) -> &str {
    match json {
        "null" => "None",
        "true" => "True",
        "false" => "False",
        json => json,
    }
}

impl<'t> Bound<'t> {
    /// The argument at that place, or its default; none where the call leaves it out.
    pub(super) fn at(&self, index: usize) -> Option<&'t RawValue> {
        let default = || match &self.parameters.all[index].absence {
            Absence::Default(value) => Some(&**value),
            Absence::Wrong | Absence::None => None,
        };
        self.given[index].or_else(default)
    }

    /// The argument of that name; none where there is no such argument, and where it is `None`.
    pub(super) fn get(&self, name: &str) -> Option<&'t RawValue> {
        self.at(self.parameters.find(name)?).filter(|value| value.get() != "null")
    }

    /// The name of the parameter at that place.
    pub(super) fn name(&self, index: usize) -> &'t str {
        &self.parameters.all[index].name
    }
}

/// A name of the caller's own in the quotes that Python uses.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = self.0.len() <= 64 && self.0.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
        if is_plain { write!(f, "'{}'", self.0) } else { Excerpt(self.0).fmt(f) }
    }
}

/// `'a'`, `'a' and 'b'`, `'a', 'b', and 'c'`.
fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    match &quoted[..] {
        [one, other] => format!("{one} and {other}"),
        [first @ .., last] if !first.is_empty() => format!("{}, and {last}", first.join(", ")),
        _ => quoted.concat(),
    }
}

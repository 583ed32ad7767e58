//! The configuration: defaults, then a file, then the environment, then flags; checked as a whole, or refused as a whole.

mod bulk;
mod celery;
mod document;
pub mod duration;
mod file;
mod json;
mod keys;
mod kind;
mod memory;
mod problem;
mod profiles;
mod rules;
mod schedules;
mod sections;
mod settings;
mod suggest;
mod tasks;
pub mod url;

pub use bulk::BulkSection;
pub use celery::{CelerySection, ExchangeType};
pub use document::{commented_file, schema};
pub use file::File;
pub use memory::{Memory, Part};
pub use problem::{Invalid, Problem, Source};
pub use profiles::Profiles;
pub use sections::{
    AmqpSection, Config, HttpSection, LogSection, MqttSection, Protocol, QueueType, Scheduling, TlsSection,
    WorkerSection,
};
pub use url::{Secret, Url};

use keys::KEYS;
use sections::Values;
use settings::Settings;
use std::env;
use std::path::{Path, PathBuf};

/// The file that is read where neither a flag nor the environment names one.
pub const DEFAULT_FILE: &str = "config/switchboard.toml";
/// The variable that names the file.
pub const FILE_VARIABLE: &str = "SWITCHBOARD_CONFIG";
/// What every variable that sets a key begins with; the rest is section and key, joined by `__`.
pub const VARIABLE_PREFIX: &str = "SWITCHBOARD__";

/// A command-line flag that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The key: `amqp.url`.
    pub key: &'static str,
    /// The flag as the user wrote it: `--amqp-url`.
    pub name: &'static str,
    /// Its value as text.
    pub value: String,
}

/// Everything that a configuration is made from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file, if there is one.
    pub file: Option<File>,
    /// The variables that begin with [`VARIABLE_PREFIX`], each with its value.
    pub environment: Vec<(String, String)>,
    /// The flags that were given.
    pub flags: Vec<Flag>,
}

impl Inputs {
    /// Finds and reads the file (`path`, else the one [`FILE_VARIABLE`] names, else [`DEFAULT_FILE`] where it exists)
    /// and takes the environment of this process.
    pub fn of_process(path: Option<&Path>, flags: Vec<Flag>) -> Result<Self, Invalid> {
        let named = path.map(Path::to_owned).or_else(|| env::var_os(FILE_VARIABLE).map(PathBuf::from));
        let path = named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        let file = path.map(|path| File::read(&path)).transpose().map_err(|problem| Invalid(vec![problem]))?;
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let mut environment: Vec<(String, String)> = env::vars_os()
            .map(|(name, value)| (lossy(name), lossy(value)))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect();
        // The system keeps them in no order; problems are easier to compare in one.
        environment.sort();
        Ok(Self { file, environment, flags })
    }
}

/// Checks everything that was set, all at once, and reads the files it names for that.
pub fn load(inputs: &Inputs) -> Result<Config, Invalid> {
    let mut settings = Settings::default();
    if let Some(file) = &inputs.file {
        file.add_to(&mut settings);
    }
    for (name, value) in &inputs.environment {
        let path: Vec<String> = name[VARIABLE_PREFIX.len()..].split("__").map(str::to_owned).collect();
        settings.add_text(&path, value, Source::Environment(name.clone()));
    }
    for flag in &inputs.flags {
        let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
        settings.add_text(&path, &flag.value, Source::Flag(flag.name));
    }
    let values = checked(&mut settings);
    let (profiles, problems) = profiles::compile(std::mem::take(&mut settings.profiles));
    settings.problems.extend(problems);
    let mut config = Config::build(&values, profiles);
    rules::check(&mut config, &mut settings);
    if settings.problems.is_empty() { Ok(config) } else { Err(Invalid(settings.problems)) }
}

/// Each key's value, or its default where there is none or it is wrong.
fn checked(settings: &mut Settings) -> Values {
    let mut values = Values::new();
    for key in KEYS {
        if let Some(given) = settings.values.get(key.path) {
            match key.kind.check(&given.value) {
                Ok(value) => {
                    values.insert(key.path, value);
                    continue;
                }
                Err(problem) => settings.problems.push(Problem::new(given.source.clone(), key.path, problem)),
            }
        }
        let default = key.default.and_then(|default| format!("x = {default}").parse::<toml::Table>().ok());
        if let Some(Ok(value)) = default.map(|table| key.kind.check(&table["x"])) {
            values.insert(key.path, value);
        }
    }
    values
}

#[cfg(test)]
mod tests;

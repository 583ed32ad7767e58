//! What a key takes: the check of a value, the reading of a variable's text, and both in words and as JSON Schema.

use super::duration;
use super::url::{Url, redact};
use crate::telemetry::logging;
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number between two bounds.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A duration between two bounds, in milliseconds.
    Time {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A duration between two bounds, in seconds, without a fraction of one: where a protocol counts them whole.
    Seconds {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An address with one of these schemes.
    Url(&'static [&'static str]),
    /// One or more addresses, of which the first has one of these schemes.
    Urls(&'static [&'static str]),
    /// A text of so many bytes, without control characters.
    Text {
        /// The least bytes.
        min: usize,
        /// The most bytes.
        max: usize,
    },
    /// The name of an AMQP queue: 1 to 255 bytes, not one of the broker's own (`amq.`).
    Queue,
    /// The path of a file.
    File,
    /// An IP address and a port.
    Listen,
    /// A log level or filter.
    Level,
    /// A table whose keys are the user's own.
    Table,
}

/// A value of the right kind.
#[derive(Clone, Debug)]
pub(super) enum Checked {
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Count`].
    Count(u64),
    /// Of [`Kind::Time`] and [`Kind::Seconds`].
    Time(Duration),
    /// Of [`Kind::OneOf`], [`Kind::Text`], [`Kind::Queue`], [`Kind::Level`].
    Text(String),
    /// Of [`Kind::Url`] and [`Kind::Urls`].
    Url(Url),
    /// Of [`Kind::File`].
    File(PathBuf),
    /// Of [`Kind::Listen`].
    Listen(SocketAddr),
    /// Of [`Kind::Table`]: its keys are checked elsewhere.
    Table,
}

impl Kind {
    /// Checks a value; the error is a sentence without its subject: what it is, and what would be right.
    pub(super) fn check(self, value: &toml::Value) -> Result<Checked, String> {
        use toml::Value::{Boolean, Integer, String as Text, Table};
        match (self, value) {
            (Self::Flag, Boolean(flag)) => Ok(Checked::Flag(*flag)),
            (Self::Count { min, max }, Integer(number)) => match u64::try_from(*number) {
                Ok(number) if (min..=max).contains(&number) => Ok(Checked::Count(number)),
                _ => Err(self.wrong(value)),
            },
            (Self::Table, Table(_)) => Ok(Checked::Table),
            (Self::Flag | Self::Count { .. } | Self::Table, _) => Err(self.wrong(value)),
            (kind, Text(text)) => kind.check_text(text),
            _ => Err(self.wrong(value)),
        }
    }

    fn check_text(self, text: &str) -> Result<Checked, String> {
        let wrong = || self.wrong(&toml::Value::String(text.to_owned()));
        let plain = |min, max| (min..=max).contains(&text.len()) && !text.contains(char::is_control);
        match self {
            Self::Time { .. } | Self::Seconds { .. } => match duration::parse(text) {
                Ok(time) if self.takes(time) => Ok(Checked::Time(time)),
                _ => Err(wrong()),
            },
            Self::OneOf(words) if words.contains(&text) => Ok(Checked::Text(text.to_owned())),
            Self::Text { min, max } if plain(min, max) => Ok(Checked::Text(text.to_owned())),
            Self::Queue if plain(1, 255) && !text.starts_with("amq.") => Ok(Checked::Text(text.to_owned())),
            Self::File if !text.is_empty() && !text.contains('\0') => Ok(Checked::File(PathBuf::from(text))),
            Self::Url(schemes) => Url::parse(text, schemes).map(Checked::Url),
            Self::Urls(schemes) => Url::parse_list(text, schemes).map(Checked::Url),
            Self::Listen => text.parse().map(Checked::Listen).map_err(|_| wrong()),
            Self::Level => match logging::check_level(text) {
                Ok(()) => Ok(Checked::Text(text.to_owned())),
                Err(_) => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }

    /// The TOML value that a variable's or flag's text stands for; the check comes after.
    pub(super) fn read(self, text: &str) -> toml::Value {
        match self {
            Self::Flag | Self::Count { .. } | Self::Table => read_any(text),
            _ => toml::Value::String(text.to_owned()),
        }
    }

    /// Whether it takes a duration.
    fn takes(self, time: Duration) -> bool {
        match self {
            Self::Time { min, max } => (u128::from(min)..=u128::from(max)).contains(&time.as_millis()),
            Self::Seconds { min, max } => time.subsec_nanos() == 0 && (min..=max).contains(&time.as_secs()),
            _ => false,
        }
    }

    /// Durations that it takes, as the end of a sentence.
    fn examples(self) -> String {
        let taken = |text: &&str| duration::parse(text).is_ok_and(|time| self.takes(time));
        let fitting: Vec<String> =
            ["250ms", "5s", "2m", "1h"].iter().filter(|text| taken(text)).map(|text| format!("{text:?}")).collect();
        match &fitting[..] {
            [] => String::new(),
            [one] => format!(", such as {one}"),
            [others @ .., last] => format!(", such as {} or {last}", others.join(", ")),
        }
    }

    fn wrong(self, value: &toml::Value) -> String {
        format!("is {}; right is {}", describe(value), self.right())
    }

    /// What would be right, in words.
    pub(super) fn right(self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Time { min, max } => {
                let bounds = [min, max].map(Duration::from_millis).map(duration::format);
                format!("a duration from \"{}\" to \"{}\"{}", bounds[0], bounds[1], self.examples())
            }
            Self::Seconds { min, max } => {
                let bounds = [min, max].map(Duration::from_secs).map(duration::format);
                format!("a duration of whole seconds from \"{}\" to \"{}\"{}", bounds[0], bounds[1], self.examples())
            }
            Self::OneOf(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "),
            Self::Url(schemes) | Self::Urls(schemes) => {
                let like: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
                format!("an address in quotes that begins with {}", like.join(", "))
            }
            Self::Text { min, max } => format!("a text of {min} to {max} bytes without control characters"),
            Self::Queue => "a queue's name of 1 to 255 bytes that does not begin with \"amq.\"".into(),
            Self::File => "the path of a file, in quotes".into(),
            Self::Listen => "an IP address and a port, such as \"127.0.0.1:9464\" or \"0.0.0.0:9464\"".into(),
            Self::Level => {
                "error, warn, info, debug, trace, off, or a filter by module: \"info,switchboard::mqtt=debug\"".into()
            }
            Self::Table => "a table: { name = value }".into(),
        }
    }

    /// The JSON Schema of its values.
    pub(super) fn schema(self) -> Json {
        match self {
            Self::Flag => json!({"type": "boolean"}),
            Self::Count { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Self::Time { .. } => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}),
            Self::Seconds { .. } => json!({"type": "string", "pattern": "^([0-9]+(s|m|h|d)|(0|[0-9]*000)ms)$"}),
            Self::OneOf(words) => json!({"type": "string", "enum": words}),
            Self::Url(schemes) | Self::Urls(schemes) => {
                json!({"type": "string", "pattern": format!("^({})://", schemes.join("|"))})
            }
            Self::Text { min, max } => json!({"type": "string", "minLength": min, "maxLength": max}),
            Self::Queue => json!({"type": "string", "minLength": 1, "maxLength": 255, "not": {"pattern": "^amq\\."}}),
            Self::File | Self::Listen | Self::Level => json!({"type": "string", "minLength": 1}),
            Self::Table => json!({"type": "object"}),
        }
    }
}

/// A variable's text where nothing says what kind it is of: TOML if it reads as that, else the text itself.
pub(super) fn read_any(text: &str) -> toml::Value {
    let table = format!("x = {text}").parse::<toml::Table>().ok().filter(|table| table.len() == 1);
    table.and_then(|mut table| table.remove("x")).unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// A value for an error message: its type, and what it is where that can be no secret.
pub(super) fn describe(value: &toml::Value) -> String {
    match value {
        // Anything may hold a password by mistake, an address most of all.
        toml::Value::String(text) => format!("{:?}", redact(text)),
        toml::Value::Integer(number) => format!("the number {number}"),
        toml::Value::Float(number) => format!("the number {number}"),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Datetime(_) => "a date".into(),
        toml::Value::Array(_) => "a list".into(),
        toml::Value::Table(_) => "a table".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_variable_becomes_what_its_key_takes() {
        let count = Kind::Count { min: 1, max: 10 };
        assert!(matches!(count.check(&count.read("7")), Ok(Checked::Count(7))));
        assert_eq!(
            count.check(&count.read("11")).unwrap_err(),
            "is the number 11; right is a whole number from 1 to 10"
        );
        assert_eq!(count.check(&count.read("many")).unwrap_err(), "is \"many\"; right is a whole number from 1 to 10");
        assert!(matches!(Kind::Flag.check(&Kind::Flag.read("false")), Ok(Checked::Flag(false))));
        let protocol = Kind::OneOf(&["5", "3.1.1"]);
        assert!(protocol.check(&protocol.read("5")).is_ok());
        assert_eq!(
            protocol.check(&toml::Value::Integer(5)).unwrap_err(),
            "is the number 5; right is \"5\" or \"3.1.1\""
        );
        assert!(matches!(Kind::Table.check(&Kind::Table.read("{ a = 1 }")), Ok(Checked::Table)));
    }

    #[test]
    fn a_text_of_no_known_kind_is_toml_or_itself() {
        assert_eq!(read_any("0"), toml::Value::Integer(0));
        assert_eq!(read_any("true"), toml::Value::Boolean(true));
        assert_eq!(read_any("[1, 2]"), toml::Value::Array(vec![1.into(), 2.into()]));
        assert_eq!(read_any("devices/{device}/x"), toml::Value::String("devices/{device}/x".into()));
        assert_eq!(read_any("1\ny = 2"), toml::Value::String("1\ny = 2".into()));
    }

    #[test]
    fn a_password_in_the_wrong_place_is_not_repeated() {
        for kind in [Kind::Flag, Kind::Listen, Kind::Level, Kind::OneOf(&["a"]), Kind::Url(&["amqp"])] {
            let problem = kind.check(&toml::Value::String("mqtt://u:canary@h".into())).unwrap_err();
            assert!(!problem.contains("canary"), "{problem}");
        }
    }
}

//! Log lines on standard error, as text or JSON, which no logged value can forge.

use std::fmt::{self, Write};
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// How long a logged value may be in text, in bytes; the rest is cut off, so that one job cannot fill a log.
const VALUE_BYTES: usize = 256;
/// The same for the message itself, which also carries the chain of an error's causes.
const MESSAGE_BYTES: usize = 4096;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged, and how it looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// How a log line looks.
    pub format: Format,
    /// A level (`info`), or a filter by module: `info,switchboard::mqtt=debug`.
    pub level: String,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is neither a level nor a filter.
    #[error("{0}")]
    Level(String),
    /// Another subscriber was installed in this process before.
    #[error("logging cannot begin: this process has a log subscriber already")]
    AlreadyInstalled,
}

/// Checks a level or filter and says what would be right.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(drop)
}

/// Makes the subscriber that every log line of this process goes through.
pub fn install(options: &Options) -> Result<(), Error> {
    let filter = filter(&options.level).map_err(Error::Level)?;
    let ansi = std::io::stderr().is_terminal();
    let subscriber = subscriber(options.format, filter, std::io::stderr, ansi);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadyInstalled)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let right = || {
        format!(
            "{level:?} is no log level; right are error, warn, info, debug, trace, off, or a filter by module: \"info,switchboard::mqtt=debug\""
        )
    };
    // The filter's own grammar takes a lone word for a module's name, and would then log nothing without a word.
    for word in level.split(',').map(str::trim).filter(|part| !part.contains(['=', '['])) {
        // "" is a level to the parser: `error`.
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(right());
        }
    }
    // Nor does that grammar take a space after a comma.
    // The AMQP client logs every refusal as an error of its own, also those that are asked for; ours say what they mean.
    EnvFilter::builder().parse(format!("lapin=off,{}", level.replace(' ', ""))).map_err(|_| right())
}

fn subscriber<W>(format: Format, filter: EnvFilter, writer: W, ansi: bool) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    // Else a line that cannot be written is told on standard error, and where that is what cannot be written, whoever logged panics.
    let lines = lines.log_internal_errors(false);
    match format {
        // JSON strings cannot hold a line break: nothing to escape.
        Format::Json => Box::new(lines.json().flatten_event(true).with_span_list(false).finish()),
        Format::Text => Box::new(lines.fmt_fields(debug_fn(write_field).delimited(" ")).finish()),
    }
}

// The formatter that comes with the subscriber passes line breaks of the message and of `%` fields through.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let room = if field.name() == "message" {
        MESSAGE_BYTES
    } else {
        write!(writer, "{}=", field.name())?;
        VALUE_BYTES
    };
    write!(Escaping { writer, room, cut: false }, "{value:?}")
}

/// Shows a text with its control characters escaped, on one line.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaping { writer: f, room: usize::MAX, cut: false }.write_str(self.0)
    }
}

/// Passes text on with its control characters escaped, up to `room` bytes of it.
struct Escaping<'w, W> {
    writer: &'w mut W,
    room: usize,
    cut: bool,
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.cut {
                return Ok(());
            }
            if c.len_utf8() > self.room {
                self.cut = true;
                return self.writer.write_str("…");
            }
            self.room -= c.len_utf8();
            if c.is_control() || reorders(c) {
                write!(self.writer, "{}", c.escape_default())?;
            } else {
                self.writer.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Line and paragraph separators, and what changes the direction of the text around it: they can make one value look
/// like another line, though they are no control characters.
fn reorders(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, level: &str, events: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(format, filter(level).unwrap(), move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, events);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const EVIL: &str = "x\n{\"level\":\"fatal\"}\r\n\u{1b}[31m\u{9b}\u{2028}\u{202e}";

    fn evil_events() {
        let span = tracing::info_span!("job", device = %EVIL);
        let _entered = span.enter();
        tracing::info!(job_id = EVIL, command = %EVIL, error = &std::io::Error::other(EVIL) as &dyn std::error::Error, "took {EVIL}");
    }

    #[test]
    fn no_value_can_forge_a_line() {
        for format in [Format::Text, Format::Json] {
            let text = logged(format, "info", evil_events);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.ends_with('\n'));
            assert!(!text.trim_end().contains(['\u{1b}', '\r', '\n']), "{text:?}");
        }
        let text = logged(Format::Text, "info", evil_events);
        assert!(!text.trim_end().contains(|c: char| c.is_control() || reorders(c)), "{text:?}");
    }

    #[test]
    fn text_shows_message_fields_and_span() {
        let text = logged(Format::Text, "info", || {
            let span = tracing::info_span!("job", job_id = "j-1");
            let _entered = span.enter();
            tracing::warn!(device = %"garage-7", "no answer");
        });
        assert!(text.contains("WARN") && text.contains("no answer device=garage-7"), "{text}");
        assert!(text.contains("job{job_id=\"j-1\"}"), "{text}");
    }

    #[test]
    fn json_has_the_fields_at_the_top() {
        let text = logged(Format::Json, "info", || tracing::info!(job_id = "j-1", device = %"d", "done"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["job_id"], &line["device"]), (&"j-1".into(), &"d".into()));
        assert_eq!((&line["message"], &line["level"]), (&"done".into(), &"INFO".into()));
    }

    #[test]
    fn a_long_value_is_cut_and_the_line_goes_on() {
        let text =
            logged(Format::Text, "info", || tracing::info!(device = %"ä".repeat(10_000), command = %"open", "m"));
        assert!(text.len() < 600 && text.contains("ä… command=open"), "{text}");
    }

    #[test]
    fn the_level_filters_by_module_too() {
        let events = || {
            tracing::debug!(target: "switchboard::mqtt", "one");
            tracing::debug!(target: "switchboard::amqp", "two");
        };
        let text = logged(Format::Text, "info,switchboard::mqtt=debug", events);
        assert!(text.contains("one") && !text.contains("two"), "{text}");
    }

    #[test]
    fn a_level_that_is_none_says_what_would_be_right() {
        for bad in ["", "loud", "info,", "switchboard=loud", "info,switchboard"] {
            assert!(check_level(bad).unwrap_err().contains("right are error, warn"), "{bad:?}");
        }
        for good in ["info", "OFF", "warn,lapin=error", "debug, switchboard::mqtt=trace"] {
            assert_eq!(check_level(good), Ok(()), "{good:?}");
        }
    }
}

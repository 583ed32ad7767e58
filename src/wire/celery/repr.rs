//! JSON as Python shows it, for events and for the texts of exceptions.

use super::{Json, unmask};

/// How many characters of arguments Celery shows.
pub(super) const SHOWN: usize = 1024;

/// Positional arguments: `(1, 'a')`, `('alone',)`.
pub fn arguments(args: &[Json], limit: usize) -> String {
    let mut text = Text::new(limit);
    text.raw("(");
    for (index, arg) in args.iter().enumerate() {
        text.raw(if index > 0 { ", " } else { "" });
        text.json(arg.get());
        if text.is_full() {
            break;
        }
    }
    text.raw(if args.len() == 1 { ",)" } else { ")" });
    text.end()
}

/// Named arguments: `{'timeout': 5}`.
pub fn named<'a>(kwargs: impl Iterator<Item = (&'a str, &'a Json)>, limit: usize) -> String {
    let mut text = Text::new(limit);
    text.raw("{");
    for (index, (name, value)) in kwargs.enumerate() {
        text.raw(if index > 0 { ", " } else { "" });
        text.string(name);
        text.raw(": ");
        text.json(value.get());
        if text.is_full() {
            break;
        }
    }
    text.raw("}");
    text.end()
}

/// One value.
pub fn value(json: &str, limit: usize) -> String {
    let mut text = Text::new(limit);
    text.json(json);
    text.end()
}

/// Text up to a limit.
struct Text {
    text: String,
    limit: usize,
}

impl Text {
    fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    fn is_full(&self) -> bool {
        // Bytes, not characters: enough characters for certain.
        self.text.len() > self.limit * 4 + 4
    }

    fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Goes over JSON that is known to be well-formed, and stops when there is enough.
    fn json(&mut self, json: &str) {
        let mut rest = json;
        while let (Some(next), false) = (rest.chars().next(), self.is_full()) {
            let taken = match next {
                '"' => {
                    let end = string_end(rest);
                    let string = serde_json::from_str::<String>(&rest[..end]).unwrap_or_default();
                    match &*unmask(&rest[..end]) {
                        "NaN" => self.raw("nan"),
                        "Infinity" => self.raw("inf"),
                        "-Infinity" => self.raw("-inf"),
                        _ => self.string(&string),
                    }
                    end
                }
                ',' | ':' => {
                    self.text.extend([next, ' ']);
                    1
                }
                ' ' | '\n' | '\r' | '\t' => 1,
                _ => {
                    let words = [("true", "True"), ("false", "False"), ("null", "None")];
                    match words.iter().find(|(json, _)| rest.starts_with(json)) {
                        Some((json, python)) => {
                            self.raw(python);
                            json.len()
                        }
                        None => {
                            self.text.push(next);
                            next.len_utf8()
                        }
                    }
                }
            };
            rest = &rest[taken..];
        }
    }

    /// Python's quotes: single ones, unless there are only those within.
    fn string(&mut self, string: &str) {
        let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
        self.text.push(quote);
        for char in string.chars().take(self.limit) {
            match char {
                '\\' => self.raw("\\\\"),
                '\n' => self.raw("\\n"),
                '\r' => self.raw("\\r"),
                '\t' => self.raw("\\t"),
                _ if char == quote => self.text.extend(['\\', char]),
                _ if char.is_control() => self.raw(&format!("\\x{:02x}", u32::from(char))),
                _ => self.text.push(char),
            }
        }
        self.text.push(quote);
    }

    /// Cut to the limit, with three dots where something is missing.
    fn end(self) -> String {
        match self.text.char_indices().nth(self.limit) {
            None => self.text,
            Some(_) => {
                let cut = self.text.char_indices().nth(self.limit.saturating_sub(3)).map_or(0, |(index, _)| index);
                format!("{}...", &self.text[..cut])
            }
        }
    }
}

/// Where the string ends with which the text begins.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    #[test]
    fn values_look_as_in_python() {
        let json = r#"{"a":[true,false,null,1.5,"it's","\"\n\u00e9"],"b":{}}"#;
        assert_eq!(value(json, SHOWN), "{'a': [True, False, None, 1.5, \"it's\", '\"\\né'], 'b': {}}");
        let one = [RawValue::from_string("\"dev-1\"".to_owned()).unwrap()];
        assert_eq!(arguments(&one, SHOWN), "('dev-1',)");
        assert_eq!(arguments(&[], SHOWN), "()");
        assert_eq!(named([("timeout", &one[0])].into_iter(), SHOWN), "{'timeout': 'dev-1'}");
        // A number that no machine word holds.
        assert_eq!(value("123456789012345678901234567890", SHOWN), "123456789012345678901234567890");
    }

    #[test]
    fn no_text_is_longer_than_its_limit() {
        let long = format!("[{}\"é\"]", "\"é\",".repeat(5000));
        let shown = value(&long, SHOWN);
        assert_eq!(shown.chars().count(), SHOWN);
        assert!(shown.ends_with("..."));
        assert_eq!(value(&format!("\"{}\"", "x".repeat(1_000_000)), 10).chars().count(), 10);
    }
}

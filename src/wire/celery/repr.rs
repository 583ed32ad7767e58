//! JSON as Python would show it: what events and `celery inspect` display of arguments, results and exceptions.

use super::{Exception, Json, unmask};
use std::fmt::Write;

/// The longest text shown, in characters, as Celery cuts what it shows of arguments and results.
pub const LONGEST: usize = 1024;

/// A JSON text as Python's `repr` shows the value, cut at [`LONGEST`] with `...` at its end.
///
/// It works on the text from left to right and stops there, so a large value costs no more than a small one. What is no
/// JSON is shown as it is.
pub fn json(text: &str) -> String {
    let mut shown = Shown::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if shown.is_full() {
            return shown.cut();
        }
        rest = match first {
            '"' => shown.string(&rest[1..]),
            ':' | ',' => {
                shown.push(first);
                shown.push(' ');
                &rest[1..]
            }
            _ if first.is_whitespace() => &rest[first.len_utf8()..],
            _ => match [("true", "True"), ("false", "False"), ("null", "None"), ("NaN", "nan"), ("Infinity", "inf")]
                .into_iter()
                .find(|(word, _)| rest.starts_with(word))
            {
                Some((word, python)) => {
                    python.chars().for_each(|letter| shown.push(letter));
                    &rest[word.len()..]
                }
                None => {
                    shown.push(first);
                    &rest[first.len_utf8()..]
                }
            },
        };
    }
    if shown.is_full() { shown.cut() } else { shown.text }
}

/// A text as Python's `repr` shows it, cut like everything.
pub fn text(text: &str) -> String {
    let mut shown = Shown::default();
    shown.quoted(text.chars().take(LONGEST).map(u32::from));
    if shown.is_full() { shown.cut() } else { shown.text }
}

/// Positional arguments: `(1, 'a')`, `('alone',)`.
pub fn arguments(args: &[Json]) -> String {
    let end = if args.len() == 1 { ",)" } else { ")" };
    joined("(", args.iter().map(|arg| json(&unmask(arg.get()))), end)
}

/// Named arguments: `{'timeout': 5}`.
pub fn named<'a>(kwargs: impl Iterator<Item = (&'a str, &'a Json)>) -> String {
    joined("{", kwargs.map(|(name, value)| format!("{}: {}", text(name), json(&unmask(value.get())))), "}")
}

/// Goes on only until there is enough to be cut.
fn joined(begin: &str, parts: impl Iterator<Item = String>, end: &str) -> String {
    let mut shown = begin.to_owned();
    for (index, part) in parts.enumerate() {
        shown.push_str(if index > 0 { ", " } else { "" });
        shown.push_str(&part);
        // Bytes, not letters: of those there may be fewer, and then it goes on.
        if shown.len() > LONGEST && shown.chars().count() > LONGEST {
            break;
        }
    }
    shown.push_str(end);
    let length = shown.chars().count();
    if length > LONGEST { Shown { text: shown, length }.cut() } else { shown }
}

/// `Type('text', 42)`, as Celery's events show an exception.
pub fn exception(exception: &Exception) -> String {
    let args: Vec<String> = exception.args.iter().map(|arg| json(&arg.to_string())).collect();
    format!("{}({})", exception.kind, args.join(", "))
}

/// What is shown so far, and how long it is.
#[derive(Default)]
struct Shown {
    text: String,
    length: usize,
}

impl Shown {
    fn is_full(&self) -> bool {
        self.length > LONGEST
    }

    fn push(&mut self, letter: char) {
        self.text.push(letter);
        self.length += 1;
    }

    fn cut(mut self) -> String {
        let end = self.text.char_indices().nth(LONGEST - 3).map_or(self.text.len(), |(at, _)| at);
        self.text.truncate(end);
        self.text.push_str("...");
        self.text
    }

    /// A JSON string from behind its first quotation mark; returns what follows it.
    fn string<'a>(&mut self, rest: &'a str) -> &'a str {
        let mut letters = Vec::new();
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, letter)) = chars.next() {
            if letters.len() > LONGEST {
                end = at;
                break;
            }
            match letter {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((at, 'u')) => {
                        let code = rest.get(at + 1..at + 5).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                        letters.push(code.unwrap_or(0xFFFD));
                        for _ in 0..4 {
                            chars.next();
                        }
                        join_halves(&mut letters);
                    }
                    Some((_, escaped)) => letters.push(u32::from(match escaped {
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        other => other,
                    })),
                    None => {}
                },
                other => letters.push(u32::from(other)),
            }
        }
        self.quoted(letters.iter().copied());
        &rest[end..]
    }

    fn quoted(&mut self, letters: impl Iterator<Item = u32> + Clone) {
        let has = |mark: char| letters.clone().any(|letter| letter == u32::from(mark));
        let mark = if has('\'') && !has('"') { '"' } else { '\'' };
        self.push(mark);
        for code in letters {
            if self.is_full() {
                return;
            }
            let from = self.text.len();
            match char::from_u32(code) {
                Some('\n') => self.text.push_str("\\n"),
                Some('\r') => self.text.push_str("\\r"),
                Some('\t') => self.text.push_str("\\t"),
                Some('\\') => self.text.push_str("\\\\"),
                Some(letter) if letter == mark => {
                    self.text.push('\\');
                    self.text.push(letter);
                }
                Some(letter) if !letter.is_control() => self.text.push(letter),
                // Half of a letter, which Python's strings may hold; and what cannot be printed.
                _ if code > 0xff => self.escape(format_args!("\\u{code:04x}")),
                _ => self.escape(format_args!("\\x{code:02x}")),
            }
            self.length += self.text[from..].chars().count();
        }
        self.push(mark);
    }

    fn escape(&mut self, escape: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(escape);
    }
}

/// Two halves of a letter beyond 16 bits become the letter.
fn join_halves(letters: &mut Vec<u32>) {
    if let [.., high @ 0xD800..=0xDBFF, low @ 0xDC00..=0xDFFF] = letters[..] {
        letters.truncate(letters.len() - 2);
        letters.push(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_shown_as_python_shows_it() {
        let cases = [
            (r#"{"args":["dev-1"],"kwargs":{"timeout":5}}"#, "{'args': ['dev-1'], 'kwargs': {'timeout': 5}}"),
            ("[true, false ,null,1.5e3,-2]", "[True, False, None, 1.5e3, -2]"),
            (r#""it's""#, r#""it's""#),
            (r#""it's \"so\"""#, r#"'it\'s "so"'"#),
            (r#""a\nb\tc\\d\u0007 \u00e9 \ud83d\ude00 \ud800""#, r"'a\nb\tc\\d\x07 é 😀 \ud800'"),
            ("[NaN, -Infinity]", "[nan, -inf]"),
            ("", ""),
            (r#""not closed"#, "'not closed'"),
        ];
        for (given, shown) in cases {
            assert_eq!(json(given), shown);
        }
        let failed =
            Exception { args: vec!["bad thing".into(), 42.into()], ..Exception::new("builtins", "ValueError", "") };
        assert_eq!(exception(&failed), "ValueError('bad thing', 42)");
        assert_eq!(text("a'b"), "\"a'b\"");
    }

    #[test]
    fn arguments_look_as_in_python_and_are_cut_as_a_whole() {
        let raw = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
        let one = [raw("\"dev-1\"")];
        assert_eq!((arguments(&one), arguments(&[])), ("('dev-1',)".to_owned(), "()".to_owned()));
        assert_eq!(named([("timeout", &one[0])].into_iter()), "{'timeout': 'dev-1'}");
        let many = arguments(&vec![raw(&format!("\"{}\"", "é".repeat(600))); 100]);
        assert_eq!(many.chars().count(), LONGEST);
        assert!(many.ends_with("..."));
    }

    proptest! {
        #[test]
        fn whatever_it_is_given_it_shows_no_more_than_it_may(given in ".{0,3000}") {
            prop_assert!(json(&given).chars().count() <= LONGEST + 3);
            let quoted = serde_json::to_string(&given).unwrap();
            prop_assert!(json(&quoted).chars().count() <= LONGEST + 3);
            prop_assert!(text(&given).chars().count() <= LONGEST + 3);
        }
    }
}

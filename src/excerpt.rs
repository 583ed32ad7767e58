//! Foreign text quoted in a message: bounded and with its control characters escaped, so that it can forge no log line.

use std::fmt;

/// How many characters of foreign text a message repeats.
const QUOTED_CHARS: usize = 64;

/// A text from outside, shown in quotes, escaped, and cut after its first characters.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a>(pub &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(QUOTED_CHARS) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

/// The longest beginning of a text that has at most so many bytes and ends at a character.
pub fn truncate(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_escaped_and_bounded() {
        assert_eq!(Excerpt("a\n\"b\"\u{1b}").to_string(), r#""a\n\"b\"\u{1b}""#);
        let long = Excerpt(&"ü".repeat(1000)).to_string();
        assert!(long.ends_with("… (2000 bytes)") && long.chars().count() < 90, "{long}");
        assert_eq!(truncate("aü", 2), "a");
        assert_eq!(truncate("aü", 9), "aü");
    }
}

//! The numbers that Python writes into JSON and JSON does not know: masked while a text is read, and given back.
//!
//! A mask is a string that begins with a character of the private use area, written as an escape in capitals, which
//! Python's own encoder never writes.

use std::borrow::Cow;

/// The beginnings of a mask: as written here, and as a writer of JSON that has read it writes it again.
const MARKS: [&str; 2] = ["\"\\uE000", "\"\u{E000}"];

const WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The text with every `NaN`, `Infinity` and `-Infinity` that stands for a value replaced by its mask; `None` where there
/// is none. Whether the rest is JSON is for its reader to say.
pub(super) fn mask(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut masked = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'N' | b'I' | b'-' => match WORDS.iter().find(|word| bytes[at..].starts_with(word.as_bytes())) {
                // A mask before a colon would make a member's name of a number.
                Some(word) if !before_colon(&bytes[at + word.len()..]) => {
                    masked.push_str(&text[copied..at]);
                    push(&mut masked, word);
                    at += word.len();
                    copied = at;
                }
                _ => at += 1,
            },
            _ => at += 1,
        }
    }
    (copied > 0).then(|| masked + &text[copied..])
}

/// Writes a number that JSON does not know as its mask.
pub(super) fn push(text: &mut String, word: &str) {
    text.push_str(MARKS[0]);
    text.push_str(word);
    text.push('"');
}

/// The JSON as Python reads it, with the masked numbers standing as themselves again. Not valid JSON where there was one.
pub fn unmask(text: &str) -> Cow<'_, str> {
    let mut given = String::new();
    let (mut copied, mut from) = (0, 0);
    while let Some((at, behind)) = next_mark(text, from) {
        let word =
            WORDS.iter().find(|word| text[behind..].strip_prefix(**word).is_some_and(|rest| rest.starts_with('"')));
        // Behind a backslash the quote is part of a string.
        match word {
            Some(word) if !text[..at].ends_with('\\') => {
                given.push_str(&text[copied..at]);
                given.push_str(word);
                copied = behind + word.len() + 1;
                from = copied;
            }
            _ => from = behind,
        }
    }
    if copied == 0 { Cow::Borrowed(text) } else { Cow::Owned(given + &text[copied..]) }
}

fn next_mark(text: &str, from: usize) -> Option<(usize, usize)> {
    let finds = MARKS.iter().filter_map(|mark| text[from..].find(mark).map(|at| (from + at, from + at + mark.len())));
    finds.min()
}

/// Behind the string that begins here, or the end of a text that does not end it.
pub(super) fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        match bytes[at] {
            b'"' => return at + 1,
            _ => at += 2,
        }
    }
    bytes.len()
}

fn before_colon(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn what_json_does_not_know_is_masked_and_given_back() {
        let python = r#"[NaN, -Infinity,Infinity , {"NaN": NaN, "a \" NaN": "Infinity"}, -1]"#;
        let masked = mask(python).unwrap();
        serde_json::from_str::<Value>(&masked).unwrap();
        assert_eq!(unmask(&masked), python);
        let again: Value = serde_json::from_str(&masked).unwrap();
        assert!(unmask(&again.to_string()).starts_with("[NaN,-Infinity,Infinity,{"), "a reader that writes it again");
    }

    #[test]
    fn a_text_without_them_stays_as_it_is() {
        for text in ["", "NaN\"", "[\"NaN\"]", "{\"\\uE000\":1}", "\"a\\\"\\uE000NaN\"", "\"\\uE000NaN ", "\"\\"] {
            assert!(matches!(unmask(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(mask(r#"["NaN \" NaN", -1, "Infinity"]"#), None);
        assert_eq!(mask("{NaN : 1}"), None, "no name of a member");
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        for text in ["[1NaN]", "[NaNNaN]", "[+Infinity]", "[--Infinity]", "[nan]", "[xNaN]", "[-NaN]", "NaN NaN"] {
            let masked = mask(text).unwrap_or_default();
            assert!(serde_json::from_str::<Value>(&masked).is_err(), "{text} became {masked}");
        }
    }
}

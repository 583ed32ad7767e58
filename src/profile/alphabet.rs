//! What ids and command names a profile takes, checked before they touch a topic.

use super::Invalid;
use crate::excerpt::Excerpt;

/// The longest device id or command name, in bytes, where a profile says nothing else.
pub(super) const MAX_BYTES: usize = 256;

/// The rule for one kind of name.
#[derive(Clone, Debug)]
pub(super) struct Alphabet {
    /// What is checked, as jobs call it.
    pub(super) field: &'static str,
    /// Whether it becomes part of a topic, with the rules of topics.
    pub(super) in_topic: bool,
    /// How many topic levels it may span.
    pub(super) max_levels: usize,
    /// The longest one.
    pub(super) max_bytes: usize,
    /// The characters it may have beside the level separator; any where `None`.
    pub(super) characters: Option<Characters>,
}

/// A set of characters, as the user wrote it: `A-Za-z0-9_.:-`.
#[derive(Clone, Debug)]
pub(super) struct Characters {
    text: String,
    ranges: Vec<(char, char)>,
}

impl Characters {
    /// Reads single characters and ranges; a `-` first or last is itself.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let chars: Vec<char> = text.chars().collect();
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let (range, length) = match chars[at..] {
                [first, '-', last, ..] if first > last => {
                    return Err(format!("has the range \"{first}-{last}\", which runs backwards"));
                }
                [first, '-', last, ..] => ((first, last), 3),
                [first, ..] => ((first, first), 1),
                [] => break,
            };
            at += length;
            ranges.push(range);
        }
        match ranges.is_empty() {
            true => Err("is empty; a set of characters like \"A-Za-z0-9_-\" is right".to_owned()),
            false => Ok(Self { text: text.to_owned(), ranges }),
        }
    }

    fn have(&self, c: char) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
    }
}

impl Alphabet {
    /// Checks a name; the error names the character at fault and what would be right.
    pub(super) fn check(&self, name: &str) -> Result<(), Invalid> {
        match self.fault(name) {
            None => Ok(()),
            Some(fault) => {
                Err(Invalid { field: self.field, message: format!("{} {} {fault}", self.field, Excerpt(name)) })
            }
        }
    }

    fn fault(&self, name: &str) -> Option<String> {
        if name.is_empty() {
            return Some("is empty; at least one character is right".to_owned());
        }
        if name.len() > self.max_bytes {
            return Some(format!("has {} bytes; at most {} are right", name.len(), self.max_bytes));
        }
        if self.is_plain(name) {
            return None;
        }
        if let Some(c) = name.chars().find(|c| unprintable(*c)) {
            return Some(format!("contains the control character U+{:04X}; printable characters are right", c as u32));
        }
        if let Some(fault) = self.in_topic.then(|| self.topic_fault(name)).flatten() {
            return Some(fault);
        }
        let characters = self.characters.as_ref()?;
        let takes = |c: char| characters.have(c) || (c == '/' && self.max_levels > 1);
        let c = name.chars().find(|c| !takes(*c))?;
        Some(format!("contains {c:?}; characters out of {:?} are right", characters.text))
    }

    /// Whether it is of printable ASCII that means nothing to topics, as nearly every name is, and of those that it may have.
    fn is_plain(&self, name: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_graphic() & !matches!(byte, b'+' | b'#' | b'/' | b'$');
        name.bytes().fold(true, |plain, byte| plain & is_plain(byte))
            && self.characters.as_ref().is_none_or(|set| name.bytes().all(|byte| set.have(char::from(byte))))
    }

    fn topic_fault(&self, name: &str) -> Option<String> {
        if let Some(c) = name.chars().find(|c| matches!(c, '+' | '#')) {
            return Some(format!("contains {c:?}, a wildcard of MQTT filters; a name without '+' and '#' is right"));
        }
        if name.starts_with('$') {
            return Some("begins with '$', which is the broker's own; another first character is right".to_owned());
        }
        let levels = name.split('/').count();
        if levels > 1 && self.max_levels == 1 {
            return Some("contains '/', which separates topic levels; a name without it is right".to_owned());
        }
        if levels > self.max_levels {
            return Some(format!("has {levels} levels; at most {} are right", self.max_levels));
        }
        if name.split('/').any(str::is_empty) {
            return Some("has an empty level; a name without '/' first, last or doubled is right".to_owned());
        }
        None
    }
}

/// Control and non-characters, on which brokers close the connection (the same set as in topics).
fn unprintable(c: char) -> bool {
    c.is_control() || matches!(c as u32 & 0xFFFF, 0xFFFE | 0xFFFF) || ('\u{FDD0}'..='\u{FDEF}').contains(&c)
}

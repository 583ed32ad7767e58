//! Topic names and topic filters, valid by construction, and the rule by which one matches the other.

use std::fmt;
use std::sync::Arc;

/// A topic name: no wildcard, no NUL, 1 to 65,535 bytes (MQTT 5.0, section 4.7.3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// A topic filter: a topic name in which whole levels may be `+`, and the last one `#` (MQTT 5.0, section 4.7.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// Zero bytes.
    #[error("it is empty; a topic has at least one character")]
    Empty,
    /// Over 65,535 bytes.
    #[error("it has {0} bytes; a topic has at most 65535")]
    TooLong(usize),
    /// U+0000, or another control character: brokers close the connection on them.
    #[error("it contains the control character U+{0:04X}")]
    Control(u32),
    /// `+` or `#` in a topic name.
    #[error("it contains the wildcard {0:?}; a topic name has none")]
    Wildcard(char),
    /// `+` or `#` that is not a whole level, or `#` before the last level.
    #[error("the wildcard {0:?} must be a whole level, and '#' the last one")]
    Misplaced(char),
}

fn check_length(text: &str) -> Result<(), InvalidTopic> {
    if text.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(InvalidTopic::TooLong(text.len()));
    }
    Ok(())
}

/// Whether it is printable ASCII without wildcards, as nearly every topic is: one pass over many bytes at a time.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~') & (byte != b'+') & (byte != b'#'))
}

/// Whether brokers take a text: one of MQTT's own, a property's or a topic's.
pub(crate) fn check_characters(text: &str) -> Result<(), InvalidTopic> {
    // Beyond NUL the standard only says "SHOULD NOT", but mosquitto closes the connection on control and non-characters,
    // and with it every other command under way.
    match text.chars().find(|c| c.is_control() || matches!(*c as u32 & 0xFFFF, 0xFFFE | 0xFFFF) || is_noncharacter(*c))
    {
        Some(c) => Err(InvalidTopic::Control(c as u32)),
        None => Ok(()),
    }
}

fn is_noncharacter(c: char) -> bool {
    ('\u{FDD0}'..='\u{FDEF}').contains(&c)
}

/// The first so many levels of a topic or filter, and what is left of it, if anything is.
pub(crate) fn take_levels(text: &str, count: usize) -> (&str, Option<&str>) {
    let mut end = 0;
    for _ in 0..count.max(1) {
        match text.as_bytes()[end..].iter().position(|byte| *byte == b'/') {
            Some(at) => end += at + 1,
            None => return (text, None),
        }
    }
    (&text[..end - 1], Some(&text[end..]))
}

impl TopicName {
    /// Checks a text and makes it a topic name.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidTopic> {
        let text = text.as_ref();
        check_length(text)?;
        if !is_plain(text) {
            check_characters(text)?;
            if let Some(wildcard) = text.chars().find(|c| matches!(c, '+' | '#')) {
                return Err(InvalidTopic::Wildcard(wildcard));
            }
        }
        Ok(Self(text.into()))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicFilter {
    /// Checks a text and makes it a topic filter.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidTopic> {
        let text = text.as_ref();
        check_length(text)?;
        check_characters(text)?;
        let levels = text.split('/').count();
        for (index, level) in text.split('/').enumerate() {
            if let Some(c) = level.chars().find(|c| matches!(c, '+' | '#')) {
                let whole = level.len() == 1 && (c == '+' || index + 1 == levels);
                if !whole {
                    return Err(InvalidTopic::Misplaced(c));
                }
            }
        }
        Ok(Self(text.into()))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it contains a wildcard; without one it matches just the topic of the same text.
    pub fn has_wildcard(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// Whether a topic matches: the plain reading of the standard, against which the router is tested.
    pub fn matches(&self, topic: &str) -> bool {
        // Wildcards in the first level do not see topics that begin with `$` (section 4.7.2).
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for pattern in self.0.split('/') {
            match (pattern, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (pattern, Some(level)) if pattern == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl From<&TopicName> for TopicFilter {
    /// The filter that matches just this topic.
    fn from(topic: &TopicName) -> Self {
        Self(topic.0.clone())
    }
}

macro_rules! text_like {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidTopic;
            fn try_from(text: &str) -> Result<Self, InvalidTopic> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidTopic;
            fn try_from(text: String) -> Result<Self, InvalidTopic> {
                Self::new(text)
            }
        }

        impl TryFrom<&$name> for $name {
            type Error = InvalidTopic;
            fn try_from(topic: &$name) -> Result<Self, InvalidTopic> {
                Ok(topic.clone())
            }
        }
    };
}

text_like!(TopicName);
text_like!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_would_close_the_connection_for_is_no_topic() {
        for bad in ["", "a/+", "#", "a\0b", "a\r\nb", "\u{1}", "a\u{FFFF}", "\u{FDD0}", &"x".repeat(65_536)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "/", "a//b", "$SYS/x", "ü/é", " ", &"x".repeat(65_535)] {
            assert!(TopicName::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_wildcard_is_a_whole_level() {
        for bad in ["a+", "a/#/b", "#a", "+#", "a/b#"] {
            assert!(matches!(TopicFilter::new(bad), Err(InvalidTopic::Misplaced(_))), "{bad:?}");
        }
        for good in ["+", "#", "a/+/b", "+/+", "a/#", "a"] {
            assert!(TopicFilter::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn the_matching_rules_of_the_standard() {
        for (filter, topic, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/+", "/", true),
            ("+", "/", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/b", "a/b", true),
            ("a/b", "a/B", false),
        ] {
            assert_eq!(TopicFilter::new(filter).unwrap().matches(topic), expected, "{filter} {topic}");
        }
    }
}

//! Topic templates: topics with named gaps, rendered for a command and matched, strictly, against what arrives.

use super::slot::{Slot, Values};
use crate::topic::{TopicName, take_levels};

/// A topic whose levels may each have one gap: `devices/{device}/responses/{inbox}/{seq}`.
#[derive(Debug)]
pub(super) struct Template {
    levels: Vec<Level>,
    /// The level whose value may span several levels of a topic, and how many at most.
    wide: Option<(usize, usize)>,
}

/// `prefix{slot}suffix`; a level without a gap is all prefix.
#[derive(Debug)]
struct Level {
    prefix: Box<str>,
    slot: Option<Slot>,
    suffix: Box<str>,
}

/// What the gaps of a template held in a topic.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Captured<'t> {
    pub(super) device: Option<&'t str>,
    pub(super) command: Option<&'t str>,
    pub(super) attempt: Option<u128>,
    pub(super) code: Option<&'t str>,
}

impl Template {
    /// Reads a template; the error says what is wrong with it and what would be right.
    ///
    /// `allowed` are the gaps that make sense where it stands; `widths` says how many levels the value of a gap may span.
    pub(super) fn parse(text: &str, allowed: &[Slot], widths: impl Fn(Slot) -> usize) -> Result<Self, String> {
        TopicName::new(text).map_err(|problem| format!("is no topic template: {problem}"))?;
        let levels = text.split('/').map(|level| Level::parse(level, allowed)).collect::<Result<Vec<_>, _>>()?;
        let mut wide = None;
        for (index, level) in levels.iter().enumerate() {
            let width = level.slot.map_or(1, &widths);
            if width > 1 && wide.replace((index, width)).is_some() {
                return Err("has two gaps whose values may span several levels, so that nobody could tell where one \
                            ends; one at most is right"
                    .to_owned());
            }
        }
        Ok(Self { levels, wide })
    }

    /// Whether it has this gap.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.levels.iter().any(|level| level.slot == Some(slot))
    }

    /// Its gaps, in order.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Slot> {
        self.levels.iter().filter_map(|level| level.slot)
    }

    /// Whether a value in one of its gaps may span several levels.
    pub(super) fn is_wide(&self) -> bool {
        self.wide.is_some()
    }

    /// The topic for these values.
    pub(super) fn render(&self, values: &Values<'_>) -> String {
        self.fill(|slot, out| {
            values.write(slot, out);
            true
        })
    }

    /// The filter that matches the topic for every value of the gaps that `keep` refuses.
    pub(super) fn filter(&self, values: &Values<'_>, keep: impl Fn(Slot) -> bool) -> String {
        self.fill(|slot, out| {
            let kept = keep(slot);
            if kept {
                values.write(slot, out);
            }
            kept
        })
    }

    /// The topic with these values; a level whose gap gets none is `+`.
    pub(super) fn fill(&self, mut value: impl FnMut(Slot, &mut String) -> bool) -> String {
        let mut out = String::with_capacity(96);
        for (index, level) in self.levels.iter().enumerate() {
            if index > 0 {
                out.push('/');
            }
            let start = out.len();
            out.push_str(&level.prefix);
            if let Some(slot) = level.slot {
                if value(slot, &mut out) {
                    out.push_str(&level.suffix);
                } else {
                    out.truncate(start);
                    out.push('+');
                }
            }
        }
        out
    }

    /// What the gaps held, if this topic is one that the template can make with this inbox; allocates nothing.
    pub(super) fn capture<'t>(&self, topic: &'t str, inbox: &str) -> Option<Captured<'t>> {
        let mut captured = Captured::default();
        self.each_gap(topic, |slot, value| captured.put(slot, value, inbox))?;
        Some(captured)
    }

    /// Hands over what each gap holds in this topic, in order; `None` where the topic is none of the template's, or where
    /// `take` says so.
    pub(super) fn each_gap<'t>(&self, topic: &'t str, mut take: impl FnMut(Slot, &'t str) -> Option<()>) -> Option<()> {
        let extra = match self.wide {
            None => 0,
            Some((_, width)) => {
                let extra = (topic.split('/').count()).checked_sub(self.levels.len())?;
                (extra < width).then_some(extra)?
            }
        };
        let mut rest = Some(topic);
        for (index, level) in self.levels.iter().enumerate() {
            let span = if self.wide.is_some_and(|(wide, _)| wide == index) { 1 + extra } else { 1 };
            let (text, after) = take_levels(rest?, span);
            rest = after;
            let value = level.within(text)?;
            match level.slot {
                None if value.is_empty() => {}
                None => return None,
                Some(slot) => take(slot, value)?,
            }
        }
        rest.is_none().then_some(())
    }
}

impl<'t> Captured<'t> {
    fn put(&mut self, slot: Slot, value: &'t str, inbox: &str) -> Option<()> {
        match slot {
            Slot::Device => agree(&mut self.device, value),
            Slot::Command => agree(&mut self.command, value),
            Slot::Code => agree(&mut self.code, value),
            Slot::Inbox => (value == inbox).then_some(()),
            Slot::Seq => agree(&mut self.attempt, parse_decimal(value)?),
            Slot::Attempt => agree(&mut self.attempt, parse_hex(value)?),
            _ => (!value.is_empty()).then_some(()),
        }
    }
}

/// A gap that stands twice in a template holds the same value twice, and never nothing.
fn agree<T: PartialEq + Capturable>(known: &mut Option<T>, value: T) -> Option<()> {
    if value.is_nothing() || known.as_ref().is_some_and(|known| *known != value) {
        return None;
    }
    *known = Some(value);
    Some(())
}

trait Capturable {
    fn is_nothing(&self) -> bool;
}

impl Capturable for &str {
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl Capturable for u128 {
    fn is_nothing(&self) -> bool {
        false
    }
}

/// A decimal number as this program writes it: digits only, no leading zero, within 128 bits.
pub(super) fn parse_decimal(text: &str) -> Option<u128> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !canonical || text.is_empty() {
        return None;
    }
    // By as many digits as a word has room for: digit by digit it is the dearest step of an answer.
    let (first, rest) = text.split_at((text.len() - 1) % WORD.0 + 1);
    rest.as_bytes().chunks(WORD.0).try_fold(word(first.as_bytes()).into(), |number: u128, digits| {
        number.checked_mul(WORD.1.into())?.checked_add(word(digits).into())
    })
}

/// How many digits fit into 64 bits whatever they are, and ten to that power.
const WORD: (usize, u64) = (19, 10_u64.pow(19));

/// The number of at most so many digits.
fn word(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// 32 lower-case hex digits.
pub(super) fn parse_hex(text: &str) -> Option<u128> {
    let canonical = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u128::from_str_radix(text, 16).ok() } else { None }
}

impl Level {
    /// What stands in its gap.
    ///
    /// What is empty is not compared: its pointer leads nowhere, and where `memcmp` reads under a mask (glibc, AVX-512) the processor takes 116 ns
    /// to find out that nothing is to be read there, instead of 3. An answer would have eight of these.
    fn within<'t>(&self, text: &'t str) -> Option<&'t str> {
        let rest = if self.prefix.is_empty() { text } else { text.strip_prefix(&*self.prefix)? };
        if self.suffix.is_empty() { Some(rest) } else { rest.strip_suffix(&*self.suffix) }
    }

    fn parse(text: &str, allowed: &[Slot]) -> Result<Self, String> {
        let Some((prefix, rest)) = text.split_once('{') else {
            return match text.contains('}') {
                true => Err(format!("has a '}}' without its '{{' in the level {text:?}")),
                false => Ok(Self { prefix: text.into(), slot: None, suffix: "".into() }),
            };
        };
        let Some((name, suffix)) = rest.split_once('}') else {
            return Err(format!("has a '{{' without its '}}' in the level {text:?}"));
        };
        let slot = Slot::named(name, allowed)?;
        if suffix.contains(['{', '}']) {
            return Err(format!("has two placeholders in the level {text:?}; one to a level is right"));
        }
        Ok(Self { prefix: prefix.into(), slot: Some(slot), suffix: suffix.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_decimal_is_read_as_it_is_written_and_only_so() {
        for text in ["", "00", "01", "+1", "-1", "1 ", "1_0", "١", "340282366920938463463374607431768211456"] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
        assert_eq!(parse_decimal(&"9".repeat(200)), None);
        for number in [0, 1, u128::from(u64::MAX), 10_u128.pow(19) - 1, 10_u128.pow(19), 10_u128.pow(38), u128::MAX] {
            assert_eq!(parse_decimal(&number.to_string()), Some(number));
        }
    }

    proptest! {
        #[test]
        fn every_decimal_comes_back(number: u128, shift in 0u32..128) {
            prop_assert_eq!(parse_decimal(&(number >> shift).to_string()), Some(number >> shift));
        }
    }
}

//! When a schedule fires: a cron pattern in a time zone, or an interval.

use super::instant::timestamp;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

/// The shortest interval.
pub(super) const SHORTEST_MS: u64 = 1000;
/// The longest text that is taken for a pattern; no field needs more than its values one by one.
const MAX_PATTERN_BYTES: usize = 500;
/// How many times of day a pattern may list and still be read as that many fixed times.
const MAX_FIXED_TIMES: usize = 96;
/// How many instants are counted one by one.
const MAX_COUNTED: u64 = 1000;

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq)]
pub enum Calendar {
    /// At the times of a cron pattern.
    Cron(Pattern),
    /// At the Unix epoch, and ever so often since, in milliseconds: it knows no zone and no summer time.
    Every(u64),
}

/// A cron pattern in a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: Arc<str>,
    /// One pattern, or one for each of its fixed times of day.
    patterns: Vec<Cron>,
    zone: TimeZone,
    zone_name: Arc<str>,
}

/// What lies between two instants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// How many instants; of many, at least so many.
    pub count: u64,
    /// The latest of them.
    pub latest: Option<u64>,
}

impl Calendar {
    /// Reads a cron pattern of 5 fields, or of 6 with the seconds first, and a zone by its IANA name.
    ///
    /// A clock that is set forward leaves times out: a pattern with fixed times fires at the first moment after, any other
    /// goes on there. A clock that is set back repeats times: fixed ones fire at the first of the two, others at both.
    ///
    /// # Errors
    ///
    /// For the zone and the pattern what each is, and what would be right: sentences without their subject.
    pub fn cron(text: &str, zone: &str) -> Result<Self, Wrong> {
        let known = TimeZone::get(zone).map_err(|_| format!("is {zone:?}, which is no time zone"));
        let parsed = patterns(text);
        let (patterns, zone_of) = match (parsed, known) {
            (Ok(patterns), Ok(known)) => (patterns, known),
            (parsed, known) => return Err(Wrong { cron: parsed.err(), zone: known.err() }),
        };
        let calendar = Self::Cron(Pattern { text: text.into(), patterns, zone: zone_of, zone_name: zone.into() });
        match calendar.next_after(0) {
            Some(_) => Ok(calendar),
            None => {
                let cron = Some(format!("is {text:?}, a day that never comes; right is a day that its month has"));
                Err(Wrong { cron, zone: None })
            }
        }
    }

    /// An interval.
    ///
    /// # Errors
    ///
    /// It is shorter than a second: what would be right.
    pub fn every(interval: Duration) -> Result<Self, String> {
        match super::millis(interval) {
            ms @ SHORTEST_MS.. => Ok(Self::Every(ms)),
            ms => Err(format!("is {ms} ms; right is a second or more")),
        }
    }

    /// The first instant after that one, both in milliseconds since the Unix epoch. `None` at the end of time.
    pub fn next_after(&self, instant: u64) -> Option<u64> {
        match self {
            Self::Every(interval) => (instant / interval).checked_add(1)?.checked_mul(*interval),
            Self::Cron(pattern) => pattern.next_after(instant),
        }
    }

    /// The instants after `from` up to and including `to`, without walking over all of them.
    pub(super) fn between(&self, from: u64, to: u64) -> Passed {
        if let Self::Every(interval) = self {
            let count = (to / interval).saturating_sub(from / interval);
            return Passed { count, latest: (count > 0).then(|| to / interval * interval) };
        }
        let mut passed = Passed::default();
        let mut at = from;
        while let Some(next) = self.next_after(at).filter(|next| *next <= to) {
            at = next;
            passed = Passed { count: passed.count + 1, latest: Some(next) };
            if passed.count == MAX_COUNTED {
                return Passed { latest: self.latest(next, to), ..passed };
            }
        }
        passed
    }

    /// The latest instant from `low`, which is one, up to and including `to`, found by halving.
    fn latest(&self, low: u64, to: u64) -> Option<u64> {
        let (mut low, mut high) = (low, to);
        while low < high {
            match self.next_after(low + (high - low) / 2).filter(|next| *next <= to) {
                Some(next) => low = next,
                None => high = low + (high - low) / 2,
            }
        }
        Some(low)
    }

    /// The zone whose clock it follows.
    pub fn zone(&self) -> &str {
        match self {
            Self::Every(_) => "UTC",
            Self::Cron(pattern) => &pattern.zone_name,
        }
    }

    /// The pattern, as it was given; `None` for an interval.
    pub fn pattern(&self) -> Option<&str> {
        match self {
            Self::Every(_) => None,
            Self::Cron(pattern) => Some(&pattern.text),
        }
    }
}

/// What is wrong with a pattern and its zone, each a sentence without its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// With the pattern.
    pub cron: Option<String>,
    /// With the zone; what would be right is left to whoever knows what was meant.
    pub zone: Option<String>,
}

impl Pattern {
    fn next_after(&self, instant: u64) -> Option<u64> {
        // Instants of a pattern are whole seconds, and so is what the search starts from.
        let start = timestamp(instant / 1000 * 1000).to_zoned(self.zone.clone());
        let next = |cron: &Cron| {
            let next = cron.find_next_occurrence(&start, false).ok()?;
            u64::try_from(next.timestamp().as_millisecond()).ok().filter(|next| *next > instant)
        };
        self.patterns.iter().filter_map(next).min()
    }
}

/// The names of all zones.
pub fn zone_names() -> Vec<String> {
    jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
}

fn patterns(text: &str) -> Result<Vec<Cron>, String> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if !text.is_ascii() || text.len() > MAX_PATTERN_BYTES || !matches!(fields.len(), 5 | 6) {
        let fields = fields.len();
        return Err(format!(
            "has {fields} fields; right are 5, minute hour day month weekday, or 6 with the seconds first, such as \"0 3 * * *\""
        ));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let parse = |text: &str| {
        parser.parse(text).map_err(|problem| {
            format!("is {text:?}, which is no cron pattern: {problem}; right is a pattern such as \"0 3 * * MON-FRI\"")
        })
    };
    let whole = parse(text)?;
    let day = &whole.pattern;
    if !day.is_dom_wildcard() && !day.is_dow_wildcard() && !day.matches_dom_and_dow() {
        return Err(format!(
            "is {text:?}, with a day of the month and a day of the week, which some read as \"or\" and some as \"and\"; \
             right is one of them, the other *; for \"or\" two schedules, for \"and\" a + before the day of the week"
        ));
    }
    // For the library a fixed time is one time of day. A list of times means each of them just as much, so each becomes a
    // pattern of its own.
    let (times, days) = fields.split_at(fields.len() - 3);
    let lists: Vec<Vec<&str>> = times.iter().map(|field| field.split(',').collect()).collect();
    let plain = lists.iter().flatten().all(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let count: usize = lists.iter().map(Vec::len).product();
    if !plain || !(2..=MAX_FIXED_TIMES).contains(&count) {
        return Ok(vec![whole]);
    }
    let mut each = vec![String::new()];
    for list in lists {
        each = each.iter().flat_map(|before| list.iter().map(move |value| format!("{before}{value} "))).collect();
    }
    each.iter().map(|time| parse(&format!("{time}{}", days.join(" ")))).collect()
}

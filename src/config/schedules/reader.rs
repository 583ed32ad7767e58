//! One schedule: its times and its rules.

use crate::config::duration;
use crate::config::kind::{Checked, Kind, describe};
use crate::config::problem::Problem;
use crate::config::sections::Config;
use crate::config::suggest::{meant, nearest};
use crate::schedule::{Calendar, MAX_NAME_BYTES, Misfire, Overlap, Schedule, is_name, zone_names};
use std::time::Duration;
use toml::{Table, Value};

/// The keys of a schedule.
pub(in crate::config) const NAMES: [&str; 12] = [
    "name", "cron", "every", "timezone", "misfire", "grace", "catch_up", "overlap", "jitter", "enabled", "reply_to",
    "job",
];
const DAY_MS: u64 = 86_400_000;
/// The longest grace, catch-up and jitter.
const LONGEST: Kind = Kind::Time { min: 0, max: 7 * DAY_MS };
const EVERY: Kind = Kind::Time { min: 1000, max: 366 * DAY_MS };
/// How many fires are looked at for the shortest time between two of them.
const LOOKED_AT: usize = 60;
/// From when on: an instant of no meaning, so that what is right today is right tomorrow.
const LOOKED_FROM_MS: u64 = 1_767_225_600_000;

/// Reads one schedule and collects what is wrong with it.
pub(super) struct Reader<'a> {
    pub(super) config: &'a Config,
    /// What is wrong elsewhere.
    pub(super) elsewhere: &'a [Problem],
    problems: Vec<(String, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(config: &'a Config, elsewhere: &'a [Problem]) -> Self {
        Self { config, elsewhere, problems: Vec::new() }
    }

    /// What is wrong, as key and sentence without its subject.
    pub(super) fn into_problems(self) -> Vec<(String, String)> {
        self.problems
    }

    pub(super) fn wrong(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.push((key.to_owned(), problem.into()));
    }

    /// The schedule, if nothing is wrong that would leave a hole in it.
    pub(super) fn schedule(&mut self, value: &Value) -> Option<Schedule> {
        let Value::Table(table) = value else {
            self.wrong("", format!("is {}; right is a table", describe(value)));
            return None;
        };
        for key in table.keys().filter(|key| !NAMES.contains(&key.as_str())) {
            self.wrong(key, format!("is no key of a schedule; {}", meant("", key, &NAMES)));
        }
        let name = self.name(table);
        let calendar = self.calendar(table);
        let (grace, catch_up) = (self.time(table, "grace", 60), self.time(table, "catch_up", 3600));
        if let (Some(grace), Some(catch_up)) = (grace, catch_up)
            && grace > catch_up
        {
            let (long, short) = (duration::format(grace), duration::format(catch_up));
            let key = if table.contains_key("catch_up") { "catch_up" } else { "grace" };
            self.wrong(
                key,
                format!("contradicts: grace is {long} and catch_up {short}; right is a catch_up no shorter"),
            );
        }
        let jitter = self.time(table, "jitter", 0);
        if let (Some(calendar), Some(jitter)) = (&calendar, jitter) {
            self.jitter(calendar, jitter);
        }
        let misfires = Misfire::ALL.map(|misfire| (misfire.as_str(), misfire));
        let overlaps = Overlap::ALL.map(|overlap| (overlap.as_str(), overlap));
        let (misfire, overlap) = (self.word(table, "misfire", misfires), self.word(table, "overlap", overlaps));
        let enabled = self.checked(table, "enabled", Kind::Flag);
        let reply_to = self.checked(table, "reply_to", Kind::Queue);
        let work = self.work(table.get("job"));
        Some(Schedule {
            name: name?.into(),
            calendar: calendar?,
            misfire,
            grace: grace?,
            catch_up: catch_up?,
            overlap,
            jitter: jitter?,
            enabled: !matches!(enabled, Some(Checked::Flag(false))),
            reply_to: match reply_to {
                Some(Checked::Text(queue)) => Some(queue),
                _ => None,
            },
            work: work?,
        })
    }

    fn name(&mut self, table: &Table) -> Option<String> {
        let right = format!("a name of 1 to {MAX_NAME_BYTES} letters (A-Z, a-z), digits, \"_\", \".\" and \"-\"");
        match table.get("name") {
            None => self.wrong("name", format!("is missing; right is {right}")),
            Some(Value::String(name)) if is_name(name) => return Some(name.clone()),
            Some(other) => self.wrong("name", format!("is {}; right is {right}", describe(other))),
        }
        None
    }

    fn calendar(&mut self, table: &Table) -> Option<Calendar> {
        let zone = match table.get("timezone") {
            None => Some("UTC"),
            Some(Value::String(zone)) => Some(zone.as_str()),
            Some(other) => {
                self.wrong("timezone", format!("is {}; right is a text such as \"Europe/Berlin\"", describe(other)));
                None
            }
        };
        match (table.get("cron"), table.get("every")) {
            (None, None) => self.wrong("", "has neither cron nor every; right is one of them"),
            (Some(_), Some(_)) => self.wrong("", "has both cron and every; right is one of them"),
            (Some(Value::String(cron)), None) => match Calendar::cron(cron, zone.unwrap_or("UTC")) {
                Ok(calendar) => return Some(calendar).filter(|_| zone.is_some()),
                Err(wrong) => {
                    if let Some(problem) = wrong.cron {
                        self.wrong("cron", problem);
                    }
                    if let Some(problem) = wrong.zone {
                        let zones = zone_names();
                        let nearest = nearest_zone(zone.unwrap_or_default(), &zones);
                        let meant = nearest.map_or("right is a name such as \"Europe/Berlin\"".to_owned(), |zone| {
                            format!("did you mean {zone:?}?")
                        });
                        self.wrong("timezone", format!("{problem}; {meant}"));
                    }
                }
            },
            (Some(other), None) => {
                self.wrong("cron", format!("is {}; right is a text such as \"0 3 * * *\"", describe(other)))
            }
            (None, Some(_)) => {
                if table.contains_key("timezone") {
                    self.wrong("timezone", "is for cron, and every counts in UTC; right is to leave it out");
                }
                if let Some(Checked::Time(every)) = self.checked(table, "every", EVERY) {
                    return Calendar::every(every).map_err(|problem| self.wrong("every", problem)).ok();
                }
            }
        }
        None
    }

    /// A fire that is put off must not come after the next one.
    fn jitter(&mut self, calendar: &Calendar, jitter: Duration) {
        let mut fires = std::iter::successors(calendar.next_after(LOOKED_FROM_MS), |at| calendar.next_after(*at));
        let Some(mut before) = fires.next() else { return };
        let gaps = fires.take(LOOKED_AT).map(|at| at - std::mem::replace(&mut before, at));
        let Some(shortest) = gaps.min().map(Duration::from_millis) else { return };
        if jitter >= shortest {
            let (jitter, shortest) = (duration::format(jitter), duration::format(shortest));
            self.wrong("jitter", format!("is {jitter}, and fires come {shortest} apart; right is less than that"));
        }
    }

    fn time(&mut self, table: &Table, key: &str, default_s: u64) -> Option<Duration> {
        match (table.contains_key(key), self.checked(table, key, LONGEST)) {
            (false, _) => Some(Duration::from_secs(default_s)),
            (true, Some(Checked::Time(time))) => Some(time),
            _ => None,
        }
    }

    fn word<T: Copy + Default, const N: usize>(&mut self, table: &Table, key: &str, words: [(&str, T); N]) -> T {
        let Some(value) = table.get(key) else { return T::default() };
        let found = words.iter().find(|(word, _)| value.as_str() == Some(*word));
        found.map(|(_, meaning)| *meaning).unwrap_or_else(|| {
            let words = words.map(|(word, _)| format!("{word:?}")).join(" or ");
            self.wrong(key, format!("is {}; right is {words}", describe(value)));
            T::default()
        })
    }

    fn checked(&mut self, table: &Table, key: &str, kind: Kind) -> Option<Checked> {
        kind.check(table.get(key)?).map_err(|problem| self.wrong(key, problem)).ok()
    }
}

/// The zone that was probably meant: by its whole name, or by the name of its city.
fn nearest_zone<'z>(given: &str, zones: &'z [String]) -> Option<&'z str> {
    let lower: Vec<String> = zones.iter().map(|zone| zone.to_lowercase()).collect();
    let whole = nearest(given, lower.iter().map(String::as_str));
    let city = given.rsplit('/').next().unwrap_or_default().to_lowercase();
    let same_city = || lower.iter().find(|zone| zone.ends_with(&format!("/{city}"))).map(String::as_str);
    let found = same_city().or(whole)?;
    lower.iter().position(|zone| zone == found).map(|index| zones[index].as_str())
}

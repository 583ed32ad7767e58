//! A set of small numbers that mostly follow one another: the places of devices in the list of their bulk.

use serde::{Deserialize, Deserializer, Serialize};

/// Half-open ranges, ascending, with gaps between them: `[[0, 100], [250, 251]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// All numbers from `start` up to and without `end`.
    pub fn of(start: u32, end: u32) -> Self {
        Self(if start < end { vec![(start, end)] } else { Vec::new() })
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(start, end)| (end - start) as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every number, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(start, end)| *start..*end)
    }
}

/// In any order, each number once or more.
impl FromIterator<u32> for Ranges {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut sorted: Vec<u32> = numbers.into_iter().collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in sorted {
            match ranges.last_mut() {
                Some((_, end)) if number < *end => {}
                Some((_, end)) if number == *end => *end = number.saturating_add(1),
                _ => ranges.push((number, number.saturating_add(1))),
            }
        }
        Self(ranges)
    }
}

/// Only what [`Ranges`] writes is read: everything else could make a loop over it endless.
impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::<(u32, u32)>::deserialize(deserializer)?;
        let mut least = 0;
        for (index, (start, end)) in ranges.iter().enumerate() {
            if start >= end || (index > 0 && *start <= least) {
                return Err(serde::de::Error::custom("ranges ascend, are not empty and do not touch"));
            }
            least = *end;
        }
        Ok(Self(ranges))
    }
}

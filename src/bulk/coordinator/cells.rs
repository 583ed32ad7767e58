//! Where every device of a bulk stands, as numbers that only grow: pieces of any age add up to the same. Pure.

use crate::outcome::Status;
use crate::wire::native::Limits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Statuses from the least certain word to the best. Of two words about one device the better one stays, as a requester keeps it.
const RANKED: [Status; Status::ALL.len()] = [
    Status::Unknown,
    Status::TimedOut,
    Status::Expired,
    Status::Cancelled,
    Status::Undeliverable,
    Status::Invalid,
    Status::Rejected,
    Status::Succeeded,
];
/// One letter for each rank, and one for none.
const LETTERS: &[u8; Status::ALL.len() + 1] = b".utxcviro";

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// It was never released.
    Waiting,
    /// It is out with this release.
    Out(u32),
    /// This release brought it back: it was not begun.
    Back(u32),
    /// It has its outcome.
    Ended(Status),
}

/// All devices of a bulk, by their places. Places beyond the last one that something is known of are waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells {
    /// Twice the number of the last release, and one more where that brought it back.
    at: Vec<u32>,
    /// The rank of the outcome, from 1.
    ended: Vec<u8>,
}

impl Cells {
    pub(super) fn get(&self, place: u32) -> Cell {
        let place = place as usize;
        if let Some(status) = self.ended.get(place).and_then(|rank| RANKED.get(usize::from(*rank).checked_sub(1)?)) {
            return Cell::Ended(*status);
        }
        match self.at.get(place).copied().unwrap_or(0) {
            0 => Cell::Waiting,
            at if at % 2 == 1 => Cell::Back(at / 2),
            at => Cell::Out(at / 2),
        }
    }

    /// The last release that any device went out with, whatever came of it; 0 before the first.
    pub(super) fn last_release(&self) -> u32 {
        self.at.iter().max().map_or(0, |at| at / 2)
    }

    /// A device goes out with a release; releases are numbered from 1.
    pub(super) fn release(&mut self, place: u32, release: u32) {
        raise(&mut self.at, place, release.saturating_mul(2));
    }

    /// A release brings a device back.
    pub(super) fn bring_back(&mut self, place: u32, release: u32) {
        raise(&mut self.at, place, release.saturating_mul(2).saturating_add(1));
    }

    /// A device has an outcome.
    pub(super) fn end(&mut self, place: u32, status: Status) {
        let rank = RANKED.iter().position(|ranked| *ranked == status).map_or(0, |index| index + 1);
        raise(&mut self.ended, place, rank as u8);
    }

    /// Takes over everything that somebody else knows. Commutative, associative, idempotent.
    pub(super) fn merge(&mut self, other: &Self) {
        merge(&mut self.at, &other.at);
        merge(&mut self.ended, &other.ended);
    }
}

fn raise<T: Copy + Ord + Default>(cells: &mut Vec<T>, place: u32, to: T) {
    let place = place as usize;
    if cells.len() <= place {
        cells.resize(place + 1, T::default());
    }
    cells[place] = to.max(cells[place]);
}

fn merge<T: Copy + Ord + Default>(cells: &mut Vec<T>, others: &[T]) {
    if cells.len() < others.len() {
        cells.resize(others.len(), T::default());
    }
    for (cell, other) in cells.iter_mut().zip(others) {
        *cell = (*cell).max(*other);
    }
}

/// As runs: `{"at":[[100,2],[100,4]],"ended":"150o3u"}` is far shorter than a word for each device.
#[derive(Serialize, Deserialize)]
struct Runs {
    at: Vec<(u32, u32)>,
    ended: String,
}

fn runs<T: Copy + PartialEq>(cells: &[T]) -> impl Iterator<Item = (u32, T)> + '_ {
    cells.chunk_by(|a, b| a == b).filter_map(|run| Some((run.len() as u32, *run.first()?)))
}

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ended = String::new();
        for (count, rank) in runs(&self.ended) {
            ended.push_str(&count.to_string());
            ended.push(char::from(LETTERS[usize::from(rank)]));
        }
        Runs { at: runs(&self.at).collect(), ended }.serialize(serializer)
    }
}

/// More devices than any list has: a run that claims more is no snapshot of ours.
pub(super) const MOST: u32 = Limits::TAKEN.max_devices as u32;

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("these are no cells of a bulk");
        let runs = Runs::deserialize(deserializer)?;
        let mut cells = Self::default();
        for (count, at) in runs.at {
            let length = u32::try_from(cells.at.len()).unwrap_or(MOST).saturating_add(count);
            if length > MOST {
                return Err(wrong());
            }
            cells.at.resize(length as usize, at);
        }
        let mut count = 0_u32;
        for letter in runs.ended.bytes() {
            if letter.is_ascii_digit() {
                count = count.saturating_mul(10).saturating_add(u32::from(letter - b'0'));
                continue;
            }
            let rank = LETTERS.iter().position(|known| *known == letter).ok_or_else(wrong)?;
            let length = u32::try_from(cells.ended.len()).unwrap_or(MOST).saturating_add(count);
            if length > MOST {
                return Err(wrong());
            }
            cells.ended.resize(length as usize, rank as u8);
            count = 0;
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Word {
        Release(u32, u32),
        Back(u32, u32),
        End(u32, usize),
    }

    fn words() -> impl Strategy<Value = Vec<Word>> {
        let word = prop_oneof![
            (0u32..12, 1u32..6).prop_map(|(place, release)| Word::Release(place, release)),
            (0u32..12, 1u32..6).prop_map(|(place, release)| Word::Back(place, release)),
            (0u32..12, 0usize..8).prop_map(|(place, status)| Word::End(place, status)),
        ];
        prop::collection::vec(word, 0..40)
    }

    fn told(words: &[Word]) -> Cells {
        let mut cells = Cells::default();
        for word in words {
            match *word {
                Word::Release(place, release) => cells.release(place, release),
                Word::Back(place, release) => cells.bring_back(place, release),
                Word::End(place, status) => cells.end(place, Status::ALL[status]),
            }
        }
        cells
    }

    fn merged(a: &Cells, b: &Cells) -> Cells {
        let mut cells = a.clone();
        cells.merge(b);
        cells
    }

    proptest! {
        #[test]
        fn what_is_known_adds_up_in_any_order_and_however_often(a in words(), b in words(), c in words()) {
            let [ca, cb, cc] = [told(&a), told(&b), told(&c)];
            prop_assert_eq!(merged(&ca, &cb), merged(&cb, &ca));
            prop_assert_eq!(merged(&merged(&ca, &cb), &cc), merged(&ca, &merged(&cb, &cc)));
            prop_assert_eq!(merged(&ca, &ca), ca.clone());
            prop_assert_eq!(merged(&ca, &told(&[a.clone(), b.clone()].concat())), told(&[b, a].concat()));
        }

        #[test]
        fn they_are_read_as_they_were_written(words in words()) {
            let cells = told(&words);
            let again: Cells = serde_json::from_str(&serde_json::to_string(&cells).unwrap()).unwrap();
            prop_assert_eq!(again, cells);
        }
    }

    #[test]
    fn a_device_goes_out_comes_back_goes_out_again_and_ends_once() {
        let mut cells = Cells::default();
        assert_eq!(cells.get(3), Cell::Waiting);
        cells.release(3, 1);
        assert_eq!(cells.get(3), Cell::Out(1));
        cells.bring_back(3, 1);
        assert_eq!(cells.get(3), Cell::Back(1));
        cells.release(3, 2);
        cells.bring_back(3, 1);
        assert_eq!(cells.get(3), Cell::Out(2), "what an earlier release says again changes nothing");
        cells.end(3, Status::Unknown);
        cells.bring_back(3, 2);
        assert_eq!(cells.get(3), Cell::Ended(Status::Unknown));
        cells.end(3, Status::Succeeded);
        cells.end(3, Status::TimedOut);
        assert_eq!(cells.get(3), Cell::Ended(Status::Succeeded));
        assert_eq!(cells.get(2), Cell::Waiting);
    }

    #[test]
    fn a_run_that_no_bulk_can_have_is_not_read() {
        for wrong in [
            r#"{"at":[[4294967295,2]],"ended":""}"#,
            r#"{"at":[],"ended":"99999999999o"}"#,
            r#"{"at":[],"ended":"1z"}"#,
        ] {
            assert!(serde_json::from_str::<Cells>(wrong).is_err(), "{wrong}");
        }
    }
}

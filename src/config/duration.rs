//! Durations as people write them: `250ms`, `5s`, `2m`, `1h`, `1d`.

use std::time::Duration;

/// Milliseconds per unit, smallest first.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Why a text is no duration, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no duration; right is a whole number and its unit, such as \"250ms\", \"5s\", \"2m\", \"1h\" or \"1d\""
)]
pub struct NoDuration {
    given: String,
}

/// Reads a whole number and its unit, without a space between them.
pub fn parse(text: &str) -> Result<Duration, NoDuration> {
    let wrong = || NoDuration { given: text.to_owned() };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*factor).map(Duration::from_millis).ok_or_else(wrong)
}

/// Writes a duration in the largest unit that leaves a whole number; below a millisecond it is cut off.
pub fn format(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) =
        UNITS.iter().rev().find(|(_, factor)| ms >= *factor && ms % factor == 0).unwrap_or(&("s", 1_000));
    format!("{}{unit}", ms / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_written_back() {
        for (text, ms) in
            [("0s", 0), ("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)));
            assert_eq!(format(Duration::from_millis(ms)), text);
        }
        assert_eq!(format(Duration::from_millis(90_000)), "90s");
        assert_eq!(parse("90000ms"), parse("90s"));
    }

    #[test]
    fn a_number_without_unit_and_anything_else_is_none() {
        for bad in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5S",
            "5sec",
            "1h30m",
            "ä",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse("5").unwrap_err().to_string().starts_with("\"5\" is no duration; right is"));
    }
}

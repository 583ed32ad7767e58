//! Instants as Python's `datetime.isoformat` writes them and its `fromisoformat` reads them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The longest text that can be an instant.
const LONGEST: usize = 64;

/// An instant in ISO 8601 as milliseconds since the Unix epoch; one before the epoch is the epoch.
///
/// Without an offset it is in UTC, which is what Celery's clients write unless told otherwise. A space may stand for the
/// `T`, the time may be missing, and so may hyphens and colons.
pub(super) fn instant(text: &str) -> Option<u64> {
    // The annotation of a zone in brackets is no ISO 8601, and Python refuses it.
    if text.len() > LONGEST || text.contains('[') {
        return None;
    }
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let local = text.parse::<DateTime>().ok()?;
            // Only the last hours of the year 9999 are no instant.
            TimeZone::UTC.to_timestamp(local).unwrap_or(Timestamp::MAX)
        }
    };
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

/// A time of day in ISO 8601, with or without an offset.
pub(super) fn is_time(text: &str) -> bool {
    let text = text.strip_prefix('T').unwrap_or(text);
    text.starts_with(|first: char| first.is_ascii_digit()) && instant(&format!("2000-01-01T{text}")).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_python_reads() {
        let at = Some(1_767_323_045_000);
        for text in [
            "2026-01-02T03:04:05+00:00",
            "2026-01-02T03:04:05Z",
            "2026-01-02t03:04:05z",
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05",
            "2026-01-02T08:34:05+05:30",
            "2026-01-02T08:34:05+0530",
            "2026-01-01T22:04:05-05:00",
            "20260102T030405",
            "20260102T030405Z",
            "2026-01-02T030405",
            "2026-01-02T03:04:05,000001",
        ] {
            assert_eq!(instant(text), at, "{text}");
        }
        assert_eq!(instant("2026-01-02T03:04:05.678901+00:00"), Some(1_767_323_045_678));
        let midnight = Some(1_767_312_000_000);
        for text in ["2026-01-02", "20260102", "2026-01-02T00", "2026-01-02T00:00"] {
            assert_eq!(instant(text), midnight, "{text}");
        }
        assert_eq!(instant("1969-12-31T23:59:59"), Some(0));
        assert!(instant("9999-12-31T23:59:59-05:00").unwrap() > 253_000_000_000_000);
        assert!(instant("9999-12-31T23:59:59.999999").unwrap() > 253_000_000_000_000);
    }

    #[test]
    fn what_is_no_instant() {
        for text in [
            "",
            "soon",
            "2026-13-02",
            "2026-01-02T25:00:00",
            "2026-01-02T03:04:05+99:00",
            "2026-01-02T03:04:05Zulu",
            "2026-01-02T03:04:05[Europe/Berlin]",
            "1795330117",
            "03:04:05",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
        assert!(instant(&"2".repeat(10_000)).is_none());
    }

    #[test]
    fn times_of_day() {
        for text in ["03:04:05.000006", "03:04", "T030405", "03:04:05+05:30", "03"] {
            assert!(is_time(text), "{text}");
        }
        for text in ["", "noon", "24:61", "2026-01-02", "03:04:05 x"] {
            assert!(!is_time(text), "{text}");
        }
    }
}

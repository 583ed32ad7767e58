//! Instants in words: in UTC for ids, in a zone for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// An instant as RFC 3339 in UTC, with milliseconds only where there are some: `2026-11-29T02:30:00Z`.
pub fn in_utc(unix_ms: u64) -> String {
    let time = timestamp(unix_ms);
    if unix_ms.is_multiple_of(1000) { format!("{time:.0}") } else { format!("{time:.3}") }
}

/// The same instant in a zone, with its offset: `2026-11-29T03:30:00+01:00`.
///
/// `None` where there is no such zone.
pub fn in_zone(unix_ms: u64, zone: &str) -> Option<String> {
    let zone = TimeZone::get(zone).ok()?;
    let form = if unix_ms.is_multiple_of(1000) { "%Y-%m-%dT%H:%M:%S%:z" } else { "%Y-%m-%dT%H:%M:%S%.3f%:z" };
    Some(timestamp(unix_ms).to_zoned(zone).strftime(form).to_string())
}

/// The instant as the date-time library has it; the end of its time where it is beyond that.
pub(super) fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// A number made of a text that is the same in every process and every build (FNV-1a, its bits stirred).
pub(super) fn hash(text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // Ids differ in their last digits, which FNV alone leaves in the low bits.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_shown_only_where_there_are_some() {
        assert_eq!(in_utc(1_795_919_400_000), "2026-11-29T02:30:00Z");
        assert_eq!(in_utc(1_795_919_400_050), "2026-11-29T02:30:00.050Z");
        assert_eq!(in_zone(1_795_919_400_000, "Europe/Berlin").unwrap(), "2026-11-29T03:30:00+01:00");
        assert_eq!(in_zone(1_795_919_400_050, "UTC").unwrap(), "2026-11-29T02:30:00.050+00:00");
        assert_eq!(in_zone(0, "Europe/Nowhere"), None);
    }
}

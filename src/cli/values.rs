//! Values of options: durations and ranges of them, shares, thresholds, guarantees.

use crate::config::duration;
use crate::job::{Abort, Guarantee};
use crate::wire::native::MAX_ID_BYTES;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::time::Duration;

/// `5s`.
pub fn time(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// From one duration to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

/// `20ms..200ms`, or `20ms` for always the same.
pub fn range(text: &str) -> Result<Range, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let range = Range { from: time(from)?, to: time(to)? };
    if range.from > range.to {
        return Err(format!("{text:?} ends before it begins; right is the shorter duration first: \"20ms..200ms\""));
    }
    Ok(range)
}

/// `1%`, as a share of 1.
pub fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("{text:?} is no share; right is a number from 0 to 100 with its sign: \"1%\"")),
    }
}

/// `20%:100`: the share of failures, and after how many answers it counts.
pub fn abort(text: &str) -> Result<Abort, String> {
    let parts = text.split_once(':').and_then(|(percent, after)| {
        let failed_percent = percent.strip_suffix('%')?.parse().ok()?;
        Some(Abort { failed_percent, after: after.parse().ok()? })
    });
    match parts {
        Some(abort) if abort.failed_percent > 0.0 && abort.failed_percent <= 100.0 && abort.after > 0 => Ok(abort),
        _ => Err(format!(
            "{text:?} is no threshold; right is the share of failures and after how many answers it counts: \"20%:100\""
        )),
    }
}

/// A number of devices a second.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.001 => Ok(rate),
        _ => Err(format!("{text:?} is no rate; right is a number of devices a second from 0.001")),
    }
}

/// A whole number from 1.
pub fn number(text: &str) -> Result<usize, String> {
    match text.parse::<u32>() {
        Ok(number @ 1..) => Ok(number as usize),
        _ => Err(format!("{text:?} is no number; right is a whole number from 1 to {}", u32::MAX)),
    }
}

/// The id of a job: what can be carried and shown.
pub fn id(text: &str) -> Result<String, String> {
    if !(1..=MAX_ID_BYTES).contains(&text.len()) {
        return Err(format!("it has {} bytes; right are 1 to {MAX_ID_BYTES}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("it contains a control character; right are printable ones".to_owned());
    }
    Ok(text.to_owned())
}

/// `at_most_once` or `at_least_once`.
pub fn guarantee() -> impl TypedValueParser<Value = Guarantee> {
    let names = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce].map(Guarantee::as_str);
    PossibleValuesParser::new(names).map(|name| match name.as_str() {
        "at_least_once" => Guarantee::AtLeastOnce,
        _ => Guarantee::AtMostOnce,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_what_is_wrong_says_what_would_be_right() {
        let ms = Duration::from_millis;
        assert_eq!(range("20ms..2s"), Ok(Range { from: ms(20), to: ms(2000) }));
        assert_eq!(range("20ms"), Ok(Range { from: ms(20), to: ms(20) }));
        assert_eq!((share("1%"), share("0%"), share("100%")), (Ok(0.01), Ok(0.0), Ok(1.0)));
        assert_eq!(abort("20%:100"), Ok(Abort { failed_percent: 20.0, after: 100 }));
        assert_eq!((rate("0.5"), number("7")), (Ok(0.5), Ok(7)));
        for wrong in [
            range("2s..20ms").map(drop),
            range("20..30").map(drop),
            share("1").map(drop),
            share("101%").map(drop),
            share("NaN%").map(drop),
            abort("20%").map(drop),
            abort("0%:1").map(drop),
            abort("20%:0").map(drop),
            rate("0").map(drop),
            rate("inf").map(drop),
            number("0").map(drop),
            number("-1").map(drop),
            id("").map(drop),
            id(&"x".repeat(256)).map(drop),
            id("a\u{1b}").map(drop),
        ] {
            assert!(wrong.unwrap_err().contains("right "));
        }
    }
}

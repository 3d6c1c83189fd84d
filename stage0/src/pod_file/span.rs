//! Spans of time as systemd writes them (systemd.time(7), "Parsing Time Spans"). Pure.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Longest text of a span, in bytes.
const TEXT_MAX: usize = 256;

/// Units, in nanoseconds; a month and a year are means, as systemd has them.
const UNITS: &[(&[&str], u64)] = &[
    (&["ns", "nsec"], 1),
    (&["us", "usec", "µs", "μs"], 1_000),
    (&["ms", "msec"], 1_000_000),
    (&["s", "sec", "second", "seconds"], SECOND),
    (&["m", "min", "minute", "minutes"], 60 * SECOND),
    (&["h", "hr", "hour", "hours"], 3_600 * SECOND),
    (&["d", "day", "days"], 86_400 * SECOND),
    (&["w", "week", "weeks"], 604_800 * SECOND),
    (&["M", "month", "months"], 2_629_800 * SECOND),
    (&["y", "year", "years"], 31_557_600 * SECOND),
];

const SECOND: u64 = 1_000_000_000;

/// A span such as `1min 30s`; a number without a unit is of seconds. `infinity` is `None`.
///
/// # Errors
/// Where it is none, or longer than can be told.
pub fn parse(text: &str) -> Result<Option<Duration>> {
    let wrong = || {
        format!(
            "`{}` is no span of time, such as 90s or 1min 30s",
            text.escape_debug()
        )
    };
    ensure!(text.len() <= TEXT_MAX, "it is too long for a span of time");
    let mut rest = text.trim();
    if rest == "infinity" {
        return Ok(None);
    }
    ensure!(!rest.is_empty(), "{}", wrong());
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let factor = match unit {
            "" => Some(SECOND),
            unit => {
                let found = UNITS.iter().find(|(names, _)| names.contains(&unit));
                found.map(|(_, factor)| *factor)
            }
        };
        let factor = factor.with_context(wrong)?;
        let part = nanoseconds(number, factor).with_context(wrong)?;
        sum = sum.checked_add(part).with_context(wrong)?;
        rest = after.trim_start();
    }
    Ok(Some(Duration::from_nanos(sum)))
}

/// A decimal number of `factor`; `None` where it is none, or too large.
fn nanoseconds(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut sum = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let mut digit_worth = factor;
    for digit in fraction.chars() {
        digit_worth /= 10;
        sum = sum.checked_add(u64::from(digit.to_digit(10)?) * digit_worth)?;
    }
    Some(sum)
}

/// A span that ends.
///
/// # Errors
/// As [`parse`], and for `infinity`.
pub fn parse_finite(text: &str) -> Result<Duration> {
    match parse(text)? {
        Some(span) => Ok(span),
        None => bail!("it cannot be infinity"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_those_of_systemd() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("0", 0),
            ("1min 30s", 90_000),
            ("1min30s", 90_000),
            ("2 h", 7_200_000),
            ("1.5h", 5_400_000),
            ("300ms20s 5day", 432_020_300),
            ("1y 12month", 2 * 31_557_600_000),
            ("2weeks", 1_209_600_000),
            (" 5 ", 5_000),
        ] {
            let span = Some(Duration::from_millis(milliseconds));
            assert_eq!(parse(text).unwrap(), span, "{text}");
        }
        assert_eq!(parse("infinity").unwrap(), None);
        assert_eq!(parse("7us").unwrap(), Some(Duration::from_micros(7)));
        for bad in [
            "",
            "s",
            "-1",
            "1x",
            "1.2.3s",
            ".",
            "1,5s",
            "99999999999y",
            "1 s s",
            "infinity 1s",
        ] {
            let error = format!("{:#}", parse(bad).unwrap_err());
            assert!(error.contains("is no span of time"), "{bad}: {error}");
        }
        assert!(parse_finite("infinity").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn numbers_of_any_size_are_taken_or_refused(text in "[0-9.]{0,30}(s|y|ns|)") {
            let _ = parse(&text);
        }
    }
}

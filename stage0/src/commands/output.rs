//! What the verbs have in common in what they print.

use std::time::SystemTime;

use anyhow::Result;
use jiff::{Timestamp, Unit};
use stage1_skim::names::EXIT_ERROR;

/// Does `work` with each item, goes on after an error, and returns the exit code.
///
/// # Errors
/// None of `work`'s: they are printed.
pub fn for_each<T>(items: &[T], mut work: impl FnMut(&T) -> Result<()>) -> Result<u8> {
    let mut code = 0;
    for item in items {
        if let Err(error) = work(item) {
            log::error!("{error:#}");
            code = EXIT_ERROR;
        }
    }
    Ok(code)
}

/// A time as rkt prints it, in UTC: `2026-11-21 07:30:00.123 +0000 UTC`.
pub fn absolute(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S%.3f +0000 UTC").to_string(),
        Err(_) => String::new(),
    }
}

/// How long ago a time was, in its largest unit: `3 minutes ago`.
pub fn ago(time: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(time).unwrap_or_default().as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} ago")
}

/// Whole seconds since the epoch.
pub fn seconds(time: SystemTime) -> Option<i64> {
    Some(Timestamp::try_from(time).ok()?.as_second())
}

/// Nanoseconds since the epoch.
pub fn nanoseconds(time: SystemTime) -> Option<i64> {
    let time = Timestamp::try_from(time).ok()?;
    i64::try_from(time.round(Unit::Nanosecond).ok()?.as_nanosecond()).ok()
}

/// A number of bytes in its largest unit: `10B`, `2.9KiB`, `289MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        0..100 => format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{}{}", tenths / 10, UNITS[unit]),
    }
}

/// Text of others, with what would move the cursor or end the line escaped.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// A table: columns lined up, no lines drawn, no blanks at the ends.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect();
        let rows = [
            row(&["UUID", "APP"]),
            row(&["1", "web"]),
            row(&["", "longer"]),
        ];
        assert_eq!(table(&rows), "UUID  APP\n1     web\n      longer\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (10 * 1024 - 1, "9.9KiB"),
            (10 * 1024, "10KiB"),
            (1024 * 1024 - 1, "1023KiB"),
            (303_038_464, "289MiB"),
            (u64::MAX, "15EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn text_of_others_is_one_line() {
        assert_eq!(printable("grün\n\u{1b}[m"), "grün\\n\\u{1b}[m");
    }

    #[test]
    fn times() {
        let epoch = SystemTime::UNIX_EPOCH;
        let after = |seconds| epoch + Duration::from_secs(seconds);
        assert_eq!(absolute(after(1)), "1970-01-01 00:00:01.000 +0000 UTC");
        for (seconds, text) in [
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (61, "1 minute ago"),
            (7300, "2 hours ago"),
            (200_000, "2 days ago"),
        ] {
            assert_eq!(ago(epoch, after(seconds)), text);
        }
        assert_eq!(ago(after(9), epoch), "0 seconds ago");
        assert_eq!(seconds(after(7)), Some(7));
        assert_eq!(nanoseconds(after(7)), Some(7_000_000_000));
    }
}

//! The numbers in header fields (tar(5)).
//!
//! The crate `tar` reads them too, but drops the upper bytes of large ones, takes a sign, and
//! puts what is no number into its errors as it is.

use anyhow::{Context, Result};

/// Reads a number that is not negative: octal digits between blanks, ended by a zero byte or by
/// the field, or in base 256, as GNU tar writes large ones, where the first bit is set.
///
/// # Errors
/// Where the field holds no number, or one beyond 63 bits.
pub fn number(field: &[u8]) -> Result<u64> {
    let number = signed(field)?;
    u64::try_from(number).with_context(|| no_number(field))
}

/// As [`number`], but one in base 256 may be negative, in two's complement: a time before 1970.
///
/// # Errors
/// As [`number`].
pub fn signed(field: &[u8]) -> Result<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
    .with_context(|| no_number(field))
}

fn no_number(field: &[u8]) -> String {
    format!("\"{}\" is no number", field.escape_ascii())
}

fn octal(field: &[u8]) -> Option<i64> {
    let text = field.split(|byte| *byte == 0).next()?.trim_ascii();
    let digit = |byte: &u8| matches!(byte, b'0'..=b'7').then(|| i64::from(byte - b'0'));
    let number = text.iter().try_fold(0_i64, |number, byte| {
        number.checked_mul(8)?.checked_add(digit(byte)?)
    });
    number.filter(|_| !text.is_empty())
}

fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    // The second bit is the sign.
    let first = i64::from((first << 1).cast_signed() >> 1);
    rest.iter().try_fold(first, |number, byte| {
        number.checked_mul(256)?.checked_add(i64::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"644 \0xx", Some(0o644)),
            (b"  644\0", Some(0o644)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\x01\0\0\0\x02", Some((1 << 32) + 2)),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some(i64::MAX),
            ),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
                Some(-2),
            ),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            // A reader that drops the upper bytes takes these for 2.
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\x02", None),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\x02", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"7777777777777777777777777777", None),
            (b"+0000644", None),
            (b"-000001\0", None),
            (b"0000648\0", None),
            (b"64\n4\0", None),
            (b"\x000644\0", None),
            (b"        ", None),
            (b"", None),
        ] {
            let shown = field.escape_ascii();
            assert_eq!(signed(field).ok(), expected, "{shown}");
            let positive = expected.and_then(|number| u64::try_from(number).ok());
            assert_eq!(number(field).ok(), positive, "{shown}");
        }
    }

    #[test]
    fn what_is_no_number_is_shown_on_one_line() {
        let error = format!("{:#}", number(b"0\n\x1b[2J\0").unwrap_err());
        assert_eq!(error, "\"0\\n\\x1b[2J\\x00\" is no number");
    }
}

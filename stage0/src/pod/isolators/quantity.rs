//! Quantities as Kubernetes and appc write them: `1G`, `512Mi`, `1e9`, `500m`, `0.3`. Pure.

use anyhow::{Context, Result, bail, ensure};

/// The most digits that a number may have: with any suffix it then fits into 128 bits.
const DIGITS_MAX: usize = 20;

/// The most digits behind the point, and the largest exponent.
const POWER_MAX: u32 = 18;

/// A quantity that is not negative, exact: a fraction of two integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    numerator: u128,
    denominator: u128,
}

impl Quantity {
    /// Parses a quantity: digits with at most one point, then a suffix: `Ki` to `Ei` (powers of
    /// 1024), `k` or `K` to `E` (of 1000), `m`, `u`, `n` (thousandths and so on), or an exponent
    /// (`e9`).
    ///
    /// # Errors
    /// Where it is none, is negative, or has more digits than any real quantity.
    pub fn parse(text: &str) -> Result<Self> {
        let shown = || format!("`{}`", text.escape_debug());
        ensure!(
            !text.starts_with('-'),
            "the quantity {} is negative",
            shown()
        );
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = unsigned.split_at(end.unwrap_or(unsigned.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        ensure!(
            !digits.is_empty() && !fraction.contains('.'),
            "{} is no quantity, such as 512Mi, 1G or 500m",
            shown()
        );
        let significant = digits.trim_start_matches('0');
        let places = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
        ensure!(
            significant.len() <= DIGITS_MAX && places <= POWER_MAX,
            "the quantity {} has too many digits",
            shown()
        );
        let number = match significant {
            "" => 0,
            digits => digits.parse::<u128>().with_context(shown)?,
        };
        let (times, over) = factor(suffix)
            .with_context(|| format!("{} has an unknown suffix, or too large a one", shown()))?;
        Ok(Self {
            numerator: number * times,
            denominator: 10_u128.pow(places) * over,
        })
    }

    /// The quantity in whole units, rounded up; `None` where it is beyond 63 bits.
    pub fn units(self) -> Option<u64> {
        self.times(1)
    }

    /// The quantity in thousandths, rounded up; `None` where it is beyond 63 bits.
    pub fn thousandths(self) -> Option<u64> {
        self.times(1000)
    }

    fn times(self, factor: u128) -> Option<u64> {
        let scaled = self.numerator.checked_mul(factor)?;
        let signed = i64::try_from(scaled.div_ceil(self.denominator)).ok()?;
        u64::try_from(signed).ok()
    }
}

/// What a suffix multiplies by, and divides by.
fn factor(suffix: &str) -> Result<(u128, u128)> {
    let decimal = |power| (10_u128.pow(power), 1);
    let binary = |power| (1024_u128.pow(power), 1);
    let small = |power| (1, 10_u128.pow(power));
    Ok(match suffix {
        "" => decimal(0),
        "k" | "K" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "m" => small(3),
        "u" => small(6),
        "n" => small(9),
        other => {
            let Some(exponent) = other.strip_prefix(['e', 'E']) else {
                bail!("no suffix of a quantity");
            };
            let exponent: i8 = exponent.parse()?;
            let power = u32::from(exponent.unsigned_abs());
            ensure!(power <= POWER_MAX, "the exponent is too large");
            if exponent < 0 {
                small(power)
            } else {
                decimal(power)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes_mean_what_they_mean_to_kubernetes() {
        for (text, units, thousandths) in [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("+1", 1, 1000),
            ("007", 7, 7000),
            ("1.5", 2, 1500),
            (".5", 1, 500),
            ("5.", 5, 5000),
            ("0.3", 1, 300),
            ("500m", 1, 500),
            ("1500m", 2, 1500),
            ("1u", 1, 1),
            ("1n", 1, 1),
            ("1k", 1000, 1_000_000),
            ("1K", 1000, 1_000_000),
            ("1Ki", 1024, 1_024_000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("123Mi", 128_974_848, 128_974_848_000),
            ("125952Ki", 128_974_848, 128_974_848_000),
            ("1G", 1_000_000_000, 1_000_000_000_000),
            ("1e9", 1_000_000_000, 1_000_000_000_000),
            ("1E9", 1_000_000_000, 1_000_000_000_000),
            ("12E-1", 2, 1200),
            ("0.001E", 1_000_000_000_000_000, 1_000_000_000_000_000_000),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(quantity.units(), Some(units), "{text}");
            assert_eq!(quantity.thousandths(), Some(thousandths), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_and_not_wrapped() {
        assert_eq!(Quantity::parse("8Ei").unwrap().units(), None);
        assert_eq!(
            Quantity::parse("9223372036854775807").unwrap().units(),
            Some(i64::MAX.cast_unsigned())
        );
        let largest = Quantity::parse("99999999999999999999Ei").unwrap();
        assert_eq!((largest.units(), largest.thousandths()), (None, None));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "-1",
            ".",
            "1.2.3",
            "1 G",
            "1g",
            "1ki",
            "1GB",
            "1e",
            "1e+",
            "1e19",
            "1e-19",
            "1e999",
            "G",
            "0x10",
            "1_000",
            "٣",
            "1\n",
            "123456789012345678901",
            "0.1234567890123456789",
        ] {
            let error = format!("{:#}", Quantity::parse(text).unwrap_err());
            assert!(!error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9.eEimunkKMGTP]{0,40}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let _ = (quantity.units(), quantity.thousandths());
            }
        }

        #[test]
        fn integers_are_exact(number in 0..u64::MAX / 2) {
            let quantity = Quantity::parse(&number.to_string()).unwrap();
            prop_assert_eq!(quantity.units(), Some(number));
        }
    }
}

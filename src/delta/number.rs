//! Whole numbers in whatever way a writer spells them: `100`, `100.0`, `1e2`, `"100"`.

use super::json::Raw;

/// A field that should hold a whole number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Number {
    /// It is not there, or null.
    Absent,
    /// It holds this number.
    Whole(i64),
    /// It holds something else, spelled so.
    Odd(String),
}

/// Characters of an odd value that an error shows.
const SHOWN: usize = 40;

impl Number {
    /// What a field of JSON holds.
    pub(super) fn of(raw: Option<Raw<'_>>) -> Self {
        let Some(raw) = raw else {
            return Self::Absent;
        };
        let text = raw.text();
        let number = text.as_deref().and_then(whole);
        number.map_or_else(|| Self::odd(raw.spelling()), Self::Whole)
    }

    /// What a text says.
    pub(super) fn of_text(text: &str) -> Self {
        whole(text).map_or_else(|| Self::odd(text), Self::Whole)
    }

    /// Something that is not a whole number.
    pub(super) fn odd(spelling: &str) -> Self {
        let mut shown: String = spelling.chars().take(SHOWN).collect();
        if shown.len() < spelling.len() {
            shown.push('…');
        }
        Self::Odd(shown)
    }

    /// The number, where it is known: for what decides about no file.
    pub(super) fn known(&self) -> Option<i64> {
        match self {
            Self::Whole(number) => Some(*number),
            Self::Absent | Self::Odd(_) => None,
        }
    }
}

impl From<Option<i64>> for Number {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Absent, Self::Whole)
    }
}

/// The whole number that a decimal spelling stands for, exactly; `None` where it stands for no i64.
fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let power = u32::try_from(i64::from(exponent) - places + zeros).ok()?;
    let number: i128 = significant.parse().ok()?;
    let number = number.checked_mul(10_i128.checked_pow(power)?)?;
    i64::try_from(sign * number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(json: &str) -> Number {
        Number::of(Raw::parse(json))
    }

    #[test]
    fn a_whole_number_is_taken_in_any_spelling() {
        for (json, number) in [
            ("100", 100),
            ("100.0", 100),
            ("1e2", 100),
            ("1E+2", 100),
            ("10.00e1", 100),
            ("100000e-3", 100),
            ("\"100\"", 100),
            ("\" +1.0e2 \"", 100),
            ("-7", -7),
            ("-0.0", 0),
            ("0e999999", 0),
            ("0.000", 0),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775807", i64::MAX),
            ("-9.223372036854775808e18", i64::MIN),
        ] {
            assert_eq!(of(json), Number::Whole(number), "{json}");
        }
        assert_eq!(Number::of(None), Number::Absent);
    }

    #[test]
    fn anything_else_is_odd_and_shown_as_it_is_spelled() {
        for json in [
            "100.5",
            "1e-1",
            "9223372036854775808",
            "1e19",
            "1e400",
            "1e99999999999",
            "true",
            "{}",
            "[100]",
            "\"\"",
            "\"0x64\"",
            "\"1 0\"",
            "\"soon\"",
            "\"1_0\"",
            "\".\"",
            "\"--1\"",
        ] {
            assert_eq!(of(json), Number::Odd(json.to_owned()), "{json}");
        }
        let Number::Odd(shown) = of(&format!("\"{}\"", "ä".repeat(500))) else {
            panic!("a number");
        };
        assert_eq!(shown.chars().count(), SHOWN + 1);
    }

    proptest! {
        #[test]
        fn shifting_the_point_changes_nothing(number: i64, shift in 0_usize..25) {
            let zeros = "0".repeat(shift);
            prop_assert_eq!(of(&format!("{number}{zeros}e-{shift}")), Number::Whole(number));
            prop_assert_eq!(of(&format!("{number}.0{zeros}")), Number::Whole(number));
        }
    }
}

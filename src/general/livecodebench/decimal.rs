//! Numbers as texts, compared by value: `1.0` and `1` are equal, `50000000000000000` and
//! `50000000000000001` are not.

use crate::general::python_text::words;

/// Whether two lines hold the same numbers, where both hold nothing but numbers.
pub fn equal_numbers(line: &str, other: &str) -> bool {
    let (line, other): (Option<Vec<_>>, Option<Vec<_>>) =
        (words(line).map(Decimal::parse).collect(), words(other).map(Decimal::parse).collect());
    line.is_some() && line == other
}

/// A number as Python's `decimal` reads it.
#[derive(Debug)]
enum Decimal {
    Finite {
        is_negative: bool,
        /// Without zeros at either end; empty for zero.
        digits: String,
        /// Of the last digit.
        exponent: i64,
    },
    Infinite {
        is_negative: bool,
    },
    /// Equal to nothing.
    NotANumber,
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Finite { is_negative, digits, exponent },
                Self::Finite { is_negative: n, digits: d, exponent: e },
            ) => digits == d && (digits.is_empty() || (is_negative, exponent) == (n, e)),
            (Self::Infinite { is_negative }, Self::Infinite { is_negative: other }) => {
                is_negative == other
            }
            _ => false,
        }
    }
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let text = text.replace('_', "").to_ascii_lowercase();
        let is_negative = text.starts_with('-');
        let text = text.strip_prefix(['-', '+']).unwrap_or(&text);
        if matches!(text, "inf" | "infinity") {
            return Some(Self::Infinite { is_negative });
        }
        if let Some(payload) = text.strip_prefix("snan").or_else(|| text.strip_prefix("nan")) {
            return payload.bytes().all(|b| b.is_ascii_digit()).then_some(Self::NotANumber);
        }
        let (number, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !are_digits(whole) || !are_digits(fraction) || whole.len() + fraction.len() == 0 {
            return None;
        }
        if !are_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) {
            return None;
        }
        let exponent: i64 = exponent.parse().ok()?;
        let digits = format!("{whole}{fraction}");
        let trimmed = digits.trim_end_matches('0');
        let exponent = exponent
            .checked_sub(fraction.len() as i64)?
            .checked_add((digits.len() - trimmed.len()) as i64)?;
        let digits = trimmed.trim_start_matches('0').to_owned();
        Some(Self::Finite { is_negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_numbers_are_compared_by_value() {
        for (line, other, expected) in [
            ("1.0 2", "1 2.00", true),
            ("1e3", "1000", true),
            ("-0", "0", true),
            ("0.10", "1e-1", true),
            ("+5", "5", true),
            (".5", "0.5", true),
            ("5.", "5", true),
            ("1_000", "1000", true),
            ("inf", "Infinity", true),
            ("-inf", "inf", false),
            ("nan", "nan", false),
            ("50000000000000000", "50000000000000001", false),
            ("0.30000000000000004", "0.3", false),
            ("-1", "1", false),
            ("1 2", "1", false),
            ("1 2", "1 a", false),
            ("a", "a", false),
            ("", "1", false),
            ("0x1", "1", false),
            ("1e", "1", false),
            (".", "0", false),
            ("--1", "-1", false),
        ] {
            assert_eq!(equal_numbers(line, other), expected, "{line:?} {other:?}");
        }
    }
}

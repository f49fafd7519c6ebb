//! What stands without quotes in a plugin's own settings, as CloudQuery reads it: Highwater keeps `1.10` and `0755` as text
//! where nobody says what they are, and a plugin that wants a number would refuse the text.

use serde_json::Number;

use crate::tree::{Kind, Node, Scalar};

/// Rewrites numbers, booleans and nulls so that each prints as what it is.
pub(super) fn settle(node: &mut Node) {
    match &mut node.kind {
        Kind::Scalar(scalar) if scalar.is_plain && !scalar.is_text => settle_scalar(scalar),
        Kind::Scalar(_) => {}
        Kind::List(items) => items.iter_mut().for_each(settle),
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| settle(&mut entry.value)),
    }
}

fn settle_scalar(scalar: &mut Scalar) {
    let settled = match scalar.text.as_str() {
        "True" | "TRUE" => Some("true".to_owned()),
        "False" | "FALSE" => Some("false".to_owned()),
        "Null" | "NULL" => Some("null".to_owned()),
        text => number(text),
    };
    if let Some(settled) = settled {
        scalar.text = settled;
    }
}

/// The number that a text is, as JSON has it; whole ones without a fraction, as Go writes them.
fn number(text: &str) -> Option<String> {
    let first = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !first.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let plain = text.replace('_', "");
    if let Some(whole) = integer(&plain) {
        return Some(whole.to_string());
    }
    let is_float = plain.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c)) && !plain.ends_with(['e', 'E']);
    let float: f64 = plain.parse().ok().filter(|_| is_float)?;
    // Beyond 2^53 not every whole number is a float.
    if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
        return Some(format!("{}", float as i64));
    }
    Some(Number::from_f64(float)?.to_string())
}

/// `12`, `-0x1F`, `0o17`, `017`, `0b101`.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let radix = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (radix, digits) = match (radix(["0x", "0X"]), radix(["0o", "0O"]), radix(["0b", "0B"])) {
        (Some(digits), ..) => (16, digits),
        (_, Some(digits), _) => (8, digits),
        (.., Some(digits)) => (2, digits),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?.checked_mul(sign)?;
    // What JSON's readers take.
    (value >= i128::from(i64::MIN) && value <= i128::from(u64::MAX)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_read_as_cloudquery_reads_them() {
        for (written, read) in [
            ("12", "12"),
            ("-1_000", "-1000"),
            ("1.10", "1.1"),
            ("1.0", "1"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("0x1F", "31"),
            ("0755", "493"),
            ("08", "8"),
            ("18446744073709551615", "18446744073709551615"),
            ("True", "true"),
            ("NULL", "null"),
            ("NO", "NO"),
            ("2024-01-01", "2024-01-01"),
            ("1.2.3", "1.2.3"),
            ("10s", "10s"),
            ("v1", "v1"),
            ("-", "-"),
            ("...", "..."),
            ("0x", "0x"),
        ] {
            let mut scalar = Scalar::literal(written);
            settle_scalar(&mut scalar);
            assert_eq!(scalar.text, read, "{written}");
        }
    }
}

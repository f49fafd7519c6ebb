//! Floats as the server writes them: the shortest digits that read back to the same number.

use std::fmt::Write;

/// Writes a `double precision`: plain between 1e-4 and 1e15, with an exponent elsewhere.
pub(crate) fn write_f64(value: f64, out: &mut String) {
    if value.is_finite() {
        let is_value = |text: &str| text.parse() == Ok(value);
        let rounded = |precision: usize| format!("{value:.precision$e}");
        write_digits(&digits_of(format!("{value:e}"), is_value, rounded), 15, out);
    } else {
        write_special(value, out);
    }
}

/// Writes a `real`: plain between 1e-4 and 1e6, with an exponent elsewhere.
pub(crate) fn write_f32(value: f32, out: &mut String) {
    if value.is_finite() {
        let is_value = |text: &str| text.parse() == Ok(value);
        let rounded = |precision: usize| format!("{value:.precision$e}");
        write_digits(&digits_of(format!("{value:e}"), is_value, rounded), 6, out);
    } else {
        write_special(f64::from(value), out);
    }
}

/// The digits that the server takes, which are Rust's but for two cases:
///
/// - two shortest ones are equally near: the server takes the even one;
/// - the shortest lies exactly in the middle between two floats: it reads back to the one with the even mantissa, but the
///   server takes more digits (1e23 is written 9.999999999999999e+22).
fn digits_of(shortest: String, is_value: impl Fn(&str) -> bool, rounded: impl Fn(usize) -> String) -> String {
    let fits = |text: &str| is_value(text) && !is_in_the_middle(text, &is_value);
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let after_point = mantissa.bytes().filter(u8::is_ascii_digit).count() - 1;
    let nearest = rounded(after_point);
    if fits(&nearest) {
        return nearest;
    }
    if fits(&shortest) {
        return shortest;
    }
    let longer = (after_point + 1..17).map(rounded).find(|text| fits(text));
    longer.unwrap_or(shortest)
}

/// Whether a hair more, or a hair less, reads as another float. No decimal of 17 digits is closer to a middle than a hair of
/// 60 digits without being it.
fn is_in_the_middle(text: &str, is_value: &impl Fn(&str) -> bool) -> bool {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let point = if mantissa.contains('.') { "" } else { "." };
    let more = format!("{mantissa}{point}{:0>60}e{exponent}", 1);
    if !is_value(&more) {
        return true;
    }
    // One less in the last digit that is not zero, then nines.
    let kept = mantissa.trim_end_matches(['0', '.']);
    let Some(last) = kept.bytes().last().filter(|byte| (b'1'..=b'9').contains(byte)) else {
        return false;
    };
    let point = if kept.contains('.') { "" } else { "." };
    let less = format!(
        "{}{}{point}{:9>60}e{exponent}",
        &kept[..kept.len() - 1],
        char::from(last - 1),
        9
    );
    !is_value(&less)
}

fn write_special(value: f64, out: &mut String) {
    out.push_str(match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    });
}

/// `scientific` is `-d.ddde-n`; from an exponent of `plain_end` on it stays that way.
fn write_digits(scientific: &str, plain_end: i32, out: &mut String) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..plain_end).contains(&exponent) {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "{mantissa}e{}{:02}",
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        );
        return;
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    out.push_str(sign);
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', whole - digits.len()));
    } else {
        out.push_str(&digits[..whole]);
        out.push('.');
        out.push_str(&digits[whole..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_the_server_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (100.0, "100"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123456789012345.6, "123456789012345.6"),
            (5e-324, "5e-324"),
            (1e23, "9.999999999999999e+22"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut out = String::new();
            write_f64(value, &mut out);
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        write_f32(1e6, &mut out);
        assert_eq!(out, "1e+06");
    }
}

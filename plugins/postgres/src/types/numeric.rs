//! Exact decimals: base-10,000 digits on the wire, text, and Arrow's integers with a scale.
//!
//! Binary form: `ndigits i16, weight i16, sign u16, dscale i16, digit i16 * ndigits`; the first digit counts
//! `10000 ^ weight`. `dscale` is how many digits stand after the point in the text.

use arrow::datatypes::i256;
use bytes::{BufMut, BytesMut};

use super::Misfit;
use super::wire_form::WireForm;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// Digits after the point that a `numeric` may have, and before it.
const SCALE_MAX: usize = 16_383;
const WHOLE_MAX: usize = 131_072;

/// An integer that digits are pushed into; Arrow's two decimals.
pub(crate) trait Unscaled: Copy + PartialEq {
    const ZERO: Self;
    /// `self * times + plus`, unless that overflows.
    fn push(self, times: u32, plus: u32) -> Option<Self>;
    fn negated(self) -> Self;
}

impl Unscaled for i128 {
    const ZERO: Self = 0;

    fn push(self, times: u32, plus: u32) -> Option<Self> {
        self.checked_mul(i128::from(times))?.checked_add(i128::from(plus))
    }

    fn negated(self) -> Self {
        -self
    }
}

impl Unscaled for i256 {
    const ZERO: Self = i256::ZERO;

    fn push(self, times: u32, plus: u32) -> Option<Self> {
        self.checked_mul(i256::from_i128(i128::from(times)))?
            .checked_add(i256::from_i128(i128::from(plus)))
    }

    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

fn wanted(precision: u8, scale: i8) -> String {
    format!("a decimal of {precision} digits, {scale} of them after the point")
}

fn too_long(precision: u8, scale: i8) -> Misfit {
    Misfit::new("a number with more digits", wanted(precision, scale))
}

/// Reads the binary form as an integer of 10^-scale. The caller checks the precision.
pub(crate) fn decimal_from_binary<T: Unscaled>(bytes: &[u8], precision: u8, scale: i8) -> Result<T, Misfit> {
    let mut form = WireForm::new(bytes, "numeric");
    let digits = form.u16()?;
    let weight = i32::from(form.i16()?);
    let sign = form.u16()?;
    form.u16()?;
    if !matches!(sign, POSITIVE | NEGATIVE) {
        return Err(Misfit::new(special_name(sign, &form)?, wanted(precision, scale)));
    }
    let mut value = T::ZERO;
    // The power of ten that one unit of the digit counts, in units of the result.
    let mut power = weight * 4 + i32::from(scale);
    let mut shift = 0;
    for _ in 0..digits {
        let digit = u32::from(form.u16()?);
        value = match power {
            0.. => value.push(10_000, digit),
            -3..0 => {
                let cut = 10_u32.pow(power.unsigned_abs());
                (digit % cut == 0)
                    .then_some(())
                    .and_then(|()| value.push(10_000 / cut, digit / cut))
            }
            _ => (digit == 0).then_some(value),
        }
        .ok_or_else(|| too_long(precision, scale))?;
        shift = power.max(0);
        power -= 4;
    }
    form.end()?;
    for _ in 0..if value == T::ZERO { 0 } else { shift } {
        value = value.push(10, 0).ok_or_else(|| too_long(precision, scale))?;
    }
    Ok(if sign == NEGATIVE { value.negated() } else { value })
}

fn special_name(sign: u16, form: &WireForm<'_>) -> Result<&'static str, Misfit> {
    match sign {
        NAN => Ok("NaN"),
        POSITIVE_INFINITY | NEGATIVE_INFINITY => Ok("an infinite number"),
        _ => Err(form.malformed()),
    }
}

/// Reads text as an integer of 10^-scale. The caller checks the precision.
pub(crate) fn decimal_from_text<T: Unscaled>(text: &str, precision: u8, scale: i8) -> Result<T, Misfit> {
    let number = match Number::parse(text)? {
        Number::Finite(number) => number,
        Number::NaN => return Err(Misfit::new("NaN", wanted(precision, scale))),
        Number::Infinite { .. } => return Err(Misfit::new("an infinite number", wanted(precision, scale))),
    };
    let mut value = T::ZERO;
    let mut power = number.point + i32::from(scale);
    for digit in number.digits() {
        power -= 1;
        value = if power >= 0 {
            value.push(10, digit)
        } else {
            (digit == 0).then_some(value)
        }
        .ok_or_else(|| too_long(precision, scale))?;
    }
    for _ in 0..if value == T::ZERO { 0 } else { power.max(0) } {
        value = value.push(10, 0).ok_or_else(|| too_long(precision, scale))?;
    }
    Ok(if number.is_negative { value.negated() } else { value })
}

/// Text, taken apart.
enum Number<'a> {
    Finite(Digits<'a>),
    NaN,
    Infinite { is_negative: bool },
}

struct Digits<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
    /// How many digits stand before the point, after the exponent has moved it.
    point: i32,
    exponent: i32,
}

impl Digits<'_> {
    fn digits(&self) -> impl Iterator<Item = u32> + '_ {
        self.whole
            .bytes()
            .chain(self.fraction.bytes())
            .map(|byte| u32::from(byte - b'0'))
    }
}

impl<'a> Number<'a> {
    fn parse(text: &'a str) -> Result<Self, Misfit> {
        let malformed = || Misfit::malformed("numeric");
        let (is_negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case("nan") {
            return Ok(Number::NaN);
        }
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Ok(Number::Infinite { is_negative });
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| malformed())?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = all_digits(whole) && all_digits(fraction) && whole.len() + fraction.len() > 0;
        let limit = (WHOLE_MAX + SCALE_MAX) as i32;
        if !is_number || !(-limit..=limit).contains(&exponent) || whole.len() + fraction.len() > limit as usize {
            return Err(malformed());
        }
        Ok(Number::Finite(Digits {
            is_negative,
            whole,
            fraction,
            point: whole.len() as i32 + exponent,
            exponent,
        }))
    }
}

/// The type modifier's precision and scale: the server would round to them in silence.
pub(crate) type Bounds = Option<(u16, i16)>;

/// Writes the binary form of a decimal in text, also with an exponent.
pub(crate) fn text_to_binary(text: &str, bounds: Bounds, out: &mut BytesMut) -> Result<(), Misfit> {
    let (sign, number) = match Number::parse(text)? {
        Number::Finite(number) => (if number.is_negative { NEGATIVE } else { POSITIVE }, Some(number)),
        Number::NaN => (NAN, None),
        Number::Infinite { .. } if bounds.is_some() => {
            return Err(Misfit::new("an infinite number", "a `numeric` with a precision"));
        }
        Number::Infinite { is_negative: false } => (POSITIVE_INFINITY, None),
        Number::Infinite { is_negative: true } => (NEGATIVE_INFINITY, None),
    };
    let Some(number) = number else {
        for field in [0, 0, sign, 0] {
            out.put_u16(field);
        }
        return Ok(());
    };
    let scale = (number.fraction.len() as i32 - number.exponent).max(0);
    if scale as usize > SCALE_MAX || number.point > WHOLE_MAX as i32 {
        return Err(Misfit::new("a number with more digits", "`numeric`"));
    }
    // Position of each digit before (0 and up) or after (below 0) the point.
    let mut power = number.point;
    let mut first: Option<i32> = None;
    let mut last_power = 0;
    let start = out.len();
    out.put_bytes(0, 8);
    let mut group = 0_u16;
    let mut group_power = i32::MIN;
    let mut pushed = 0_u16;
    let mut kept_len = out.len();
    let mut kept = 0_u16;
    for digit in number.digits() {
        power -= 1;
        if first.is_none() && digit == 0 {
            continue;
        }
        let of_group = power.div_euclid(4);
        if first.is_none() {
            first = Some(of_group);
            group_power = of_group;
            check_bounds_whole(power, bounds)?;
        }
        if of_group != group_power {
            out.put_u16(group);
            pushed += 1;
            if group != 0 {
                (kept_len, kept) = (out.len(), pushed);
            }
            group = 0;
            group_power = of_group;
        }
        group += digit as u16 * 10_u16.pow(power.rem_euclid(4) as u32);
        if digit != 0 {
            last_power = power;
        }
    }
    if group != 0 {
        out.put_u16(group);
        (kept_len, kept) = (out.len(), pushed + 1);
    }
    out.truncate(kept_len);
    if let (Some((precision, allowed)), Some(_)) = (bounds, first)
        && last_power < -i32::from(allowed)
    {
        out.truncate(start);
        return Err(Misfit::new(
            "a number with more digits",
            format!("`numeric({precision},{allowed})`"),
        ));
    }
    let weight = first.unwrap_or(0) as i16;
    // Negative zero is zero.
    let sign = if first.is_none() { POSITIVE } else { sign };
    // With bounds the server writes its own scale.
    let header = [kept, weight as u16, sign, scale as u16];
    for (i, field) in header.into_iter().enumerate() {
        out[start + 2 * i..start + 2 * i + 2].copy_from_slice(&field.to_be_bytes());
    }
    Ok(())
}

/// The server itself refuses a number that is too large, but by failing the whole COPY.
fn check_bounds_whole(first_power: i32, bounds: Bounds) -> Result<(), Misfit> {
    match bounds {
        Some((precision, scale)) if first_power + 1 > i32::from(precision) - i32::from(scale) => Err(Misfit::new(
            "a larger number",
            format!("`numeric({precision},{scale})`"),
        )),
        _ => Ok(()),
    }
}

/// Writes the text of the binary form.
pub(crate) fn binary_to_text(bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, "numeric");
    let count = usize::from(form.u16()?);
    let weight = i32::from(form.i16()?);
    let sign = form.u16()?;
    let scale = i32::from(form.i16()?);
    match sign {
        POSITIVE => {}
        NEGATIVE => out.push('-'),
        NAN => out.push_str("NaN"),
        POSITIVE_INFINITY => out.push_str("Infinity"),
        NEGATIVE_INFINITY => out.push_str("-Infinity"),
        _ => return Err(form.malformed()),
    }
    if !matches!(sign, POSITIVE | NEGATIVE) {
        return Ok(());
    }
    let digits = form.take(2 * count)?;
    form.end()?;
    let digit = |group: i32| -> u16 {
        let at = weight - group;
        match usize::try_from(at) {
            Ok(at) if at < count => u16::from_be_bytes([digits[2 * at], digits[2 * at + 1]]),
            _ => 0,
        }
    };
    let start = out.len();
    for group in (0..=weight.max(0)).rev() {
        let four = four_digits(digit(group));
        if out.len() == start {
            let text = std::str::from_utf8(&four).unwrap_or_default().trim_start_matches('0');
            out.push_str(text);
        } else {
            out.extend(four.iter().map(|byte| char::from(*byte)));
        }
    }
    if out.len() == start {
        out.push('0');
    }
    if scale > 0 {
        out.push('.');
        let mut left = scale as usize;
        let mut group = -1;
        while left > 0 {
            let four = four_digits(digit(group));
            out.extend(four.iter().take(left).map(|byte| char::from(*byte)));
            left = left.saturating_sub(4);
            group -= 1;
        }
    }
    Ok(())
}

fn four_digits(value: u16) -> [u8; 4] {
    [1000, 100, 10, 1].map(|unit| b'0' + (value / unit % 10) as u8)
}

/// `unscaled` digits (with a sign) and a scale as plain decimal text.
pub(crate) fn write_scaled(unscaled: &str, scale: i8, out: &mut String) {
    let (sign, digits) = unscaled
        .strip_prefix('-')
        .map_or(("", unscaled), |digits| ("-", digits));
    out.push_str(sign);
    if scale <= 0 {
        out.push_str(digits);
        if digits != "0" {
            out.extend(std::iter::repeat_n('0', usize::from(scale.unsigned_abs())));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    if digits.len() > scale {
        out.push_str(&digits[..digits.len() - scale]);
        out.push('.');
        out.push_str(&digits[digits.len() - scale..]);
    } else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', scale - digits.len()));
        out.push_str(digits);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(text: &str) -> BytesMut {
        let mut out = BytesMut::new();
        text_to_binary(text, None, &mut out).unwrap();
        out
    }

    fn check_text(text: &str) {
        let mut back = String::new();
        binary_to_text(&binary(text), &mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn decimals_survive_the_binary_form() {
        for text in [
            "0",
            "0.00",
            "1",
            "-1",
            "10000",
            "99999",
            "0.0001",
            "0.00001",
            "123456789.987654321",
            "1.50",
            "NaN",
            "Infinity",
            "-Infinity",
            "100000000",
            "10000.0001",
            "-0.000000000000001",
        ] {
            check_text(text);
        }
        let mut back = String::new();
        binary_to_text(&binary("1.5e3"), &mut back).unwrap();
        assert_eq!(back, "1500");
    }

    #[test]
    fn digits_that_would_be_lost_are_refused() {
        let refused = |text| text_to_binary(text, Some((5, 2)), &mut BytesMut::new()).is_err();
        assert!(refused("1.005"));
        assert!(refused("1000"));
        assert!(refused("Infinity"));
        assert!(!refused("999.99"));
        assert!(!refused("1.500"));
        assert!(decimal_from_text::<i128>("1.005", 5, 2).is_err());
        assert_eq!(decimal_from_text::<i128>("1.5e1", 5, 2), Ok(1500));
        assert_eq!(decimal_from_text::<i128>("1200", 5, -2), Ok(12));
    }

    proptest! {
        #[test]
        fn text_and_binary_read_as_the_same_decimal(value in any::<i128>(), scale in 0_i8..=38) {
            let value = value % 10_i128.pow(38);
            let mut text = String::new();
            write_scaled(&value.to_string(), scale, &mut text);
            check_text(&text);
            prop_assert_eq!(decimal_from_text::<i128>(&text, 38, scale), Ok(value));
            prop_assert_eq!(decimal_from_binary::<i128>(&binary(&text), 38, scale), Ok(value));
            prop_assert_eq!(decimal_from_binary::<i256>(&binary(&text), 38, scale), Ok(i256::from_i128(value)));
        }
    }
}

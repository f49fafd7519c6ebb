//! Intervals: months, days and microseconds on the wire; ISO 8601 as text (`IntervalStyle` is pinned to it).

use std::fmt::Write;

use super::Misfit;
use super::date_time::write_fraction;
use super::wire_form::WireForm;

/// The three parts, which do not convert into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: i64,
}

impl Span {
    const INFINITY: Span = Span {
        months: i32::MAX,
        days: i32::MAX,
        micros: i64::MAX,
    };
    const MINUS_INFINITY: Span = Span {
        months: i32::MIN,
        days: i32::MIN,
        micros: i64::MIN,
    };

    pub(crate) fn from_binary(bytes: &[u8]) -> Result<Self, Misfit> {
        let mut form = WireForm::new(bytes, "interval");
        let (micros, days, months) = (form.i64()?, form.i32()?, form.i32()?);
        form.end()?;
        Ok(Span { months, days, micros })
    }

    pub(crate) fn is_infinite(self) -> bool {
        self == Self::INFINITY || self == Self::MINUS_INFINITY
    }

    /// The time part in nanoseconds, which reach 292 years only.
    pub(crate) fn nanos(self) -> Result<i64, Misfit> {
        let wanted = "months, days and nanoseconds in 64 bits";
        if self.is_infinite() {
            return Err(Misfit::new("an infinite interval", wanted));
        }
        self.micros
            .checked_mul(1000)
            .ok_or_else(|| Misfit::new("an interval of more than 292 years of hours", wanted))
    }

    pub(crate) fn write(self, out: &mut String) {
        match self {
            Self::INFINITY => return out.push_str("infinity"),
            Self::MINUS_INFINITY => return out.push_str("-infinity"),
            _ => {}
        }
        let start = out.len();
        out.push('P');
        let mut part = |value: i64, unit: char| {
            if value != 0 {
                let _ = write!(out, "{value}{unit}");
            }
        };
        part(i64::from(self.months / 12), 'Y');
        part(i64::from(self.months % 12), 'M');
        part(i64::from(self.days), 'D');
        if self.micros != 0 {
            out.push('T');
            let seconds = self.micros / 1_000_000;
            let mut part = |value: i64, unit: char| {
                if value != 0 {
                    let _ = write!(out, "{value}{unit}");
                }
            };
            part(seconds / 3600, 'H');
            part(seconds / 60 % 60, 'M');
            let (seconds, micros) = (seconds % 60, self.micros % 1_000_000);
            if seconds != 0 || micros != 0 {
                if seconds < 0 || micros < 0 {
                    out.push('-');
                }
                let _ = write!(out, "{}", seconds.abs());
                write_fraction(micros.abs(), out);
                out.push('S');
            }
        }
        if out.len() == start + 1 {
            out.push_str("T0S");
        }
    }

    /// From `[-]P..Y..M..W..DT..H..M..S`, where each number may have a sign and only the seconds a fraction.
    pub(crate) fn from_text(text: &str) -> Result<Self, Misfit> {
        match text {
            "infinity" => return Ok(Self::INFINITY),
            "-infinity" => return Ok(Self::MINUS_INFINITY),
            _ => {}
        }
        Self::parse(text).ok_or_else(|| Misfit::new("a value that is not ISO 8601", "`interval`"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (sign, body) = text.strip_prefix('-').map_or((1, text), |body| (-1, body));
        let body = body.strip_prefix('P')?;
        let (mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i128);
        let (mut is_time, mut any) = (false, false);
        let mut rest = body;
        while !rest.is_empty() {
            if let Some(time) = rest.strip_prefix('T') {
                if is_time {
                    return None;
                }
                is_time = true;
                rest = time;
                continue;
            }
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, tail) = rest.split_at(end);
            let unit = tail.as_bytes()[0];
            rest = &tail[1..];
            any = true;
            if is_time && unit == b'S' {
                micros = micros.checked_add(seconds(number)?)?;
                continue;
            }
            let value: i64 = number.parse().ok()?;
            match (is_time, unit) {
                (false, b'Y') => months = months.checked_add(value.checked_mul(12)?)?,
                (false, b'M') => months = months.checked_add(value)?,
                (false, b'W') => days = days.checked_add(value.checked_mul(7)?)?,
                (false, b'D') => days = days.checked_add(value)?,
                (true, b'H') => micros = micros.checked_add(i128::from(value) * 3_600_000_000)?,
                (true, b'M') => micros = micros.checked_add(i128::from(value) * 60_000_000)?,
                _ => return None,
            }
        }
        any.then_some(())?;
        Some(Span {
            months: i32::try_from(sign * months).ok()?,
            days: i32::try_from(sign * days).ok()?,
            micros: i64::try_from(i128::from(sign) * micros).ok()?,
        })
    }
}

/// Seconds with a sign and at most six digits after the point, as microseconds.
fn seconds(text: &str) -> Option<i128> {
    let (sign, unsigned) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let unsigned = unsigned.strip_prefix('+').unwrap_or(unsigned);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole: u64 = whole.parse().ok()?;
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros: u32 = format!("{fraction:0<6}").parse().ok()?;
    Some(sign * (i128::from(whole) * 1_000_000 + i128::from(micros)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_survive_their_text(months in any::<i32>(), days in any::<i32>(), micros in any::<i64>()) {
            let span = Span { months, days, micros };
            let mut text = String::new();
            span.write(&mut text);
            prop_assert_eq!(Span::from_text(&text), Ok(span));
        }
    }

    #[test]
    fn intervals_are_written_as_the_server_does() {
        for (months, days, micros, expected) in [
            (0, 0, 0, "PT0S"),
            (14, 3, 14_706_700_000, "P1Y2M3DT4H5M6.7S"),
            (-14, 0, -500_000, "P-1Y-2MT-0.5S"),
        ] {
            let mut out = String::new();
            Span { months, days, micros }.write(&mut out);
            assert_eq!(out, expected);
        }
        assert!(Span::from_text("1 day").is_err());
        assert!(Span::from_text("P").is_err());
    }
}

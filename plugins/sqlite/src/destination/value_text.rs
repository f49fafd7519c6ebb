//! Values whose form is text: dates, times, intervals, decimals, UUIDs. Each function appends to a buffer that the caller
//! reuses, so that a row costs no allocation.

use std::fmt::Write as _;

/// Appends to a `String`, which cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let _infallible = write!($out, $($arg)*);
    }};
}
pub(super) use put;

const SECONDS_PER_DAY: i64 = 86_400;

/// `YYYY-MM-DD` of a day counted from 1970-01-01 in the proleptic Gregorian calendar. Years outside 0000-9999 have a sign.
pub(crate) fn put_date(out: &mut String, days: i64) {
    let (year, month, day) = civil(days);
    match year {
        0..=9999 => put_padded(out, year as u64, 4),
        10_000.. => put!(out, "+{year}"),
        _ => put!(out, "-{:04}", -year),
    }
    out.push('-');
    put_padded(out, month, 2);
    out.push('-');
    put_padded(out, day, 2);
}

/// `YYYY-MM-DD HH:MM:SS.fff` of a count of `10^-digits` seconds since 1970-01-01; `Z` behind it for UTC.
pub(crate) fn put_timestamp(out: &mut String, value: i64, digits: u8, is_utc: bool) {
    let per_second = 10_i64.pow(digits.into());
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    put_date(out, seconds.div_euclid(SECONDS_PER_DAY));
    out.push(' ');
    put_clock(out, seconds.rem_euclid(SECONDS_PER_DAY) as u64, fraction as u64, digits);
    if is_utc {
        out.push('Z');
    }
}

/// `HH:MM:SS.fff` of a count of `10^-digits` seconds since midnight. Beyond a day the hours go on; negative has a sign.
pub(crate) fn put_time(out: &mut String, value: i64, digits: u8) {
    if value < 0 {
        out.push('-');
    }
    let (value, per_second) = (value.unsigned_abs(), 10_u64.pow(digits.into()));
    put_clock(out, value / per_second, value % per_second, digits);
}

fn put_clock(out: &mut String, seconds: u64, fraction: u64, digits: u8) {
    put_padded(out, seconds / 3600, 2);
    out.push(':');
    put_padded(out, seconds / 60 % 60, 2);
    out.push(':');
    put_padded(out, seconds % 60, 2);
    if digits > 0 {
        out.push('.');
        put_padded(out, fraction, digits.into());
    }
}

fn put_padded(out: &mut String, value: u64, width: usize) {
    put!(out, "{value:0width$}");
}

/// Year, month, day of a day counted from 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, u64, u64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u64, day as u64)
}

/// ISO 8601 with months, days and time kept apart, each with its own sign: `P14M-3DT0.5S`; nothing at all is `PT0S`.
pub(crate) fn put_interval(out: &mut String, months: i32, days: i32, nanoseconds: i64) {
    out.push('P');
    if months != 0 {
        put!(out, "{months}M");
    }
    if days != 0 {
        put!(out, "{days}D");
    }
    if nanoseconds != 0 || (months == 0 && days == 0) {
        out.push('T');
        if nanoseconds < 0 {
            out.push('-');
        }
        let (whole, fraction) = (
            nanoseconds.unsigned_abs() / 1_000_000_000,
            nanoseconds.unsigned_abs() % 1_000_000_000,
        );
        put!(out, "{whole}");
        if fraction != 0 {
            let digits = format!("{fraction:09}");
            put!(out, ".{}", digits.trim_end_matches('0'));
        }
        out.push('S');
    }
}

/// A decimal from its unscaled digits (with sign): exactly `scale` digits after the point, or `-scale` zeros at the end.
pub(crate) fn put_decimal(out: &mut String, unscaled: &str, scale: i8) {
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", unscaled),
    };
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
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        put!(out, "{whole}.{fraction}");
    } else {
        put!(out, "0.{digits:0>scale$}");
    }
}

/// Hyphenated lower case; `bytes` are 16.
pub(crate) fn put_uuid(out: &mut String, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        put_hex(out, *byte);
    }
}

/// Two lower-case hexadecimal digits.
pub(crate) fn put_hex(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[usize::from(byte >> 4)].into());
    out.push(DIGITS[usize::from(byte & 15)].into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        put(&mut out);
        out
    }

    #[test]
    fn date_is_written_in_the_proleptic_gregorian_calendar() {
        let check = |days, want: &str| assert_eq!(text(|out| put_date(out, days)), want);
        check(0, "1970-01-01");
        check(-1, "1969-12-31");
        check(11_016, "2000-02-29");
        check(20_783, "2026-11-26");
        check(2_932_896, "9999-12-31");
        check(2_932_897, "+10000-01-01");
        check(-719_528, "0000-01-01");
        check(-719_529, "-0001-12-31");
    }

    #[test]
    fn timestamp_has_the_digits_of_its_unit_also_before_the_epoch() {
        let check = |value, digits, utc, want: &str| {
            assert_eq!(text(|out| put_timestamp(out, value, digits, utc)), want);
        };
        check(0, 0, false, "1970-01-01 00:00:00");
        check(-1, 6, true, "1969-12-31 23:59:59.999999Z");
        check(1_000_000_001, 9, false, "1970-01-01 00:00:01.000000001");
        check(i64::MAX, 9, true, "2262-04-11 23:47:16.854775807Z");
        check(i64::MIN, 9, true, "1677-09-21 00:12:43.145224192Z");
        check(i64::MIN, 0, false, "-292277022657-01-27 08:29:52");
    }

    #[test]
    fn time_keeps_its_digits() {
        assert_eq!(text(|out| put_time(out, 86_399_999_999, 6)), "23:59:59.999999");
        assert_eq!(text(|out| put_time(out, 86_400_000_000, 6)), "24:00:00.000000");
        assert_eq!(text(|out| put_time(out, -1, 9)), "-00:00:00.000000001");
    }

    #[test]
    fn interval_keeps_months_days_and_time_apart() {
        let check = |m, d, n, want: &str| assert_eq!(text(|out| put_interval(out, m, d, n)), want);
        check(0, 0, 0, "PT0S");
        check(14, -3, 500_000_000, "P14M-3DT0.5S");
        check(0, 1, 0, "P1D");
        check(0, 0, -1, "PT-0.000000001S");
        check(0, 0, i64::MIN, "PT-9223372036.854775808S");
    }

    #[test]
    fn decimal_has_exactly_its_scale() {
        let check = |digits, scale, want: &str| assert_eq!(text(|out| put_decimal(out, digits, scale)), want);
        check("12345", 2, "123.45");
        check("-5", 2, "-0.05");
        check("0", 3, "0.000");
        check("-123", 3, "-0.123");
        check("7", 0, "7");
        check("-7", -3, "-7000");
        check("0", -3, "0");
    }
}

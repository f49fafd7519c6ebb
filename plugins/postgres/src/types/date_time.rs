//! Dates and times: the server counts from 2000-01-01, Arrow from 1970-01-01; text is ISO with ` BC` behind.

use std::fmt::Write;

use super::Misfit;

/// Days from 1970 to 2000.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970 to 2000.
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// Days since 2000 of the server's own limits, `[4714-11-24 BC, 5874898-01-01)`.
const DATE_MIN: i64 = -2_451_545;
const DATE_END: i64 = 2_145_031_949;
/// The end of the server's timestamps, 294277-01-01, in microseconds since 2000.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
const TIMESTAMP_MIN: i64 = DATE_MIN * DAY_MICROS;

/// Days since 1970 of a date of the proleptic Gregorian calendar; year 0 is 1 BC.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = i64::from((month + 9) % 12);
    let of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// What a date or timestamp is that is not a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment<T> {
    At(T),
    Infinity,
    MinusInfinity,
}

impl<T> Moment<T> {
    /// The point in time; an infinite one does not fit.
    pub(crate) fn finite(self, found: &'static str, wanted: &'static str) -> Result<T, Misfit> {
        match self {
            Moment::At(value) => Ok(value),
            Moment::Infinity | Moment::MinusInfinity => Err(Misfit::new(found, wanted)),
        }
    }

    fn write_infinite(&self, out: &mut String) {
        match self {
            Moment::At(_) => {}
            Moment::Infinity => out.push_str("infinity"),
            Moment::MinusInfinity => out.push_str("-infinity"),
        }
    }
}

fn infinite<T>(text: &str) -> Option<Moment<T>> {
    match text {
        "infinity" => Some(Moment::Infinity),
        "-infinity" => Some(Moment::MinusInfinity),
        _ => None,
    }
}

/// From the server's count of days since 2000.
pub(crate) fn date_from_wire(days: i32) -> Moment<i32> {
    match days {
        i32::MAX => Moment::Infinity,
        i32::MIN => Moment::MinusInfinity,
        // The server's last date is 1,451,698 days below the maximum.
        days => Moment::At(days.saturating_add(EPOCH_DAYS)),
    }
}

/// To the server's count of days since 2000.
pub(crate) fn date_to_wire(unix_days: i32) -> Result<i32, Misfit> {
    let days = i64::from(unix_days) - i64::from(EPOCH_DAYS);
    if (DATE_MIN..DATE_END).contains(&days) {
        Ok(days as i32)
    } else {
        Err(Misfit::new("a day outside 4714 BC to 5874897", "`date`"))
    }
}

/// From the server's count of microseconds since 2000 to those since 1970, which end 30 years earlier.
pub(crate) fn timestamp_from_wire(micros: i64) -> Result<Moment<i64>, Misfit> {
    match micros {
        i64::MAX => Ok(Moment::Infinity),
        i64::MIN => Ok(Moment::MinusInfinity),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .map(Moment::At)
            .ok_or_else(|| Misfit::new("a time after the year 294246", "microseconds since 1970 in 64 bits")),
    }
}

/// To the server's count of microseconds since 2000.
pub(crate) fn timestamp_to_wire(unix_micros: i64) -> Result<i64, Misfit> {
    match unix_micros.checked_sub(EPOCH_MICROS) {
        Some(micros) if (TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros) => Ok(micros),
        _ => Err(Misfit::new("a time outside 4714 BC to 294276", "`timestamp`")),
    }
}

fn number(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// `YYYY-MM-DD` as days since 1970.
fn civil_date(text: &str, is_bc: bool) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let year = if is_bc { 1 - year } else { year };
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day);
    valid.then(|| days_from_civil(year, month as u32, day as u32))
}

fn without_bc(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// `HH:MM[:SS[.ffffff]]` as microseconds.
pub(crate) fn clock_from_text(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.splitn(3, ':');
    let (hours, minutes) = (number(parts.next()?)?, number(parts.next()?)?);
    let seconds = parts.next().map_or(Some(0), number)?;
    let micros = match fraction.len() {
        0 => 0,
        len @ 1..=6 => number(fraction)? * 10_i64.pow(6 - len as u32),
        // From other systems: more digits, if they are zeros.
        _ if fraction[6..].bytes().all(|byte| byte == b'0') => number(&fraction[..6])?,
        _ => return None,
    };
    (minutes < 60 && seconds <= 60).then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// `Z`, `+HH`, `+HH:MM` or `+HH:MM:SS` as seconds east.
fn offset_from_text(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in text[1..].split(':') {
        seconds += number(part)? * unit;
        unit /= 60;
    }
    Some(sign * seconds)
}

/// A clock and the offset behind it, if there is one.
fn clock_and_offset(text: &str) -> (&str, Option<&str>) {
    match text.find(['+', '-', 'Z']) {
        Some(at) => (text[..at].trim_end(), Some(&text[at..])),
        None => (text, None),
    }
}

/// Days since 1970.
pub(crate) fn date_from_text(text: &str) -> Result<Moment<i32>, Misfit> {
    if let Some(infinite) = infinite(text) {
        return Ok(infinite);
    }
    let (text, is_bc) = without_bc(text);
    civil_date(text, is_bc)
        .and_then(|days| i32::try_from(days).ok())
        .map(Moment::At)
        .ok_or_else(|| Misfit::malformed("date"))
}

/// Microseconds since 1970, in UTC where an offset stands; `is_zoned` wants one, others must not have one.
pub(crate) fn timestamp_from_text(text: &str, is_zoned: bool) -> Result<Moment<i64>, Misfit> {
    if let Some(infinite) = infinite(text) {
        return Ok(infinite);
    }
    let malformed = || Misfit::malformed(if is_zoned { "timestamptz" } else { "timestamp" });
    let (text, is_bc) = without_bc(text);
    let (date, clock) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let (clock, offset) = clock_and_offset(clock);
    let offset = match (offset, is_zoned) {
        (Some(offset), true) => offset_from_text(offset).ok_or_else(malformed)?,
        (None, false) => 0,
        _ => return Err(malformed()),
    };
    let days = civil_date(date, is_bc).ok_or_else(malformed)?;
    let clock = clock_from_text(clock).ok_or_else(malformed)?;
    // In 128 bits: the sum ends above what 64 hold.
    let micros = i128::from(days) * i128::from(DAY_MICROS) + i128::from(clock) - i128::from(offset) * 1_000_000;
    i64::try_from(micros)
        .map(Moment::At)
        .map_err(|_| Misfit::new("a time after the year 294246", "microseconds since 1970 in 64 bits"))
}

/// Microseconds since midnight; 24:00:00 is one of them.
pub(crate) fn time_from_text(text: &str) -> Result<i64, Misfit> {
    clock_from_text(text)
        .filter(|micros| (0..=DAY_MICROS).contains(micros))
        .ok_or_else(|| Misfit::malformed("time"))
}

fn write_civil(days: i64, out: &mut String) -> bool {
    let (year, month, day) = civil_from_days(days);
    let is_bc = year <= 0;
    let year = if is_bc { 1 - year } else { year };
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
    is_bc
}

/// `.ffffff` without the zeros behind; nothing for none.
pub(crate) fn write_fraction(micros: i64, out: &mut String) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// Writes `HH:MM:SS[.ffffff]`.
pub(crate) fn write_clock(micros: i64, out: &mut String) {
    let seconds = micros / 1_000_000;
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    write_fraction(micros % 1_000_000, out);
}

/// Writes a date of the server.
pub(crate) fn write_date(wire_days: i32, out: &mut String) {
    match date_from_wire(wire_days) {
        Moment::At(days) => {
            if write_civil(i64::from(days), out) {
                out.push_str(" BC");
            }
        }
        infinite => infinite.write_infinite(out),
    }
}

/// Writes a timestamp of the server, with `+00` if it has a zone.
pub(crate) fn write_timestamp(wire_micros: i64, is_zoned: bool, out: &mut String) {
    match wire_micros {
        i64::MAX => return out.push_str("infinity"),
        i64::MIN => return out.push_str("-infinity"),
        _ => {}
    }
    let days = wire_micros.div_euclid(DAY_MICROS) + i64::from(EPOCH_DAYS);
    let is_bc = write_civil(days, out);
    out.push(' ');
    write_clock(wire_micros.rem_euclid(DAY_MICROS), out);
    if is_zoned {
        out.push_str("+00");
    }
    if is_bc {
        out.push_str(" BC");
    }
}

/// To the server's count since 2000 from text; wider than what 1970 allows.
pub(crate) fn timestamp_text_to_wire(text: &str, is_zoned: bool) -> Result<i64, Misfit> {
    if let Some(infinite) = infinite::<i64>(text) {
        return Ok(if infinite == Moment::Infinity {
            i64::MAX
        } else {
            i64::MIN
        });
    }
    // The last 30 years do not fit a count since 1970: read those with a year that does, and add the difference.
    let shifted = ["294276-", "294275-"].iter().any(|year| text.starts_with(year)) || {
        let year = text.split('-').next().and_then(number).unwrap_or(0);
        year > 290_000
    };
    if !shifted {
        let moment = timestamp_from_text(text, is_zoned)?;
        return timestamp_to_wire(moment.finite("an infinite time", "`timestamp`")?);
    }
    // The calendar repeats every 400 years, which are 146,097 days.
    let (year, rest) = text.split_once('-').ok_or_else(|| Misfit::malformed("timestamp"))?;
    let year = number(year).ok_or_else(|| Misfit::malformed("timestamp"))?;
    let earlier = format!("{:04}-{rest}", year - 4_000);
    let micros = timestamp_from_text(&earlier, is_zoned)?.finite("an infinite time", "`timestamp`")?;
    let micros = micros - EPOCH_MICROS;
    micros
        .checked_add(10 * 146_097 * DAY_MICROS)
        .filter(|micros| *micros < TIMESTAMP_END)
        .ok_or_else(|| Misfit::new("a time outside 4714 BC to 294276", "`timestamp`"))
}

/// To the server's count of days since 2000 from text.
pub(crate) fn date_text_to_wire(text: &str) -> Result<i32, Misfit> {
    match date_from_text(text)? {
        Moment::At(days) => date_to_wire(days),
        Moment::Infinity => Ok(i32::MAX),
        Moment::MinusInfinity => Ok(i32::MIN),
    }
}

/// Writes a `timetz`: the clock, and the offset, which the server keeps in seconds *west*.
pub(crate) fn write_timetz(micros: i64, west_seconds: i32, out: &mut String) {
    write_clock(micros, out);
    out.push(if west_seconds > 0 { '-' } else { '+' });
    let seconds = west_seconds.unsigned_abs();
    let _ = write!(out, "{:02}", seconds / 3600);
    if !seconds.is_multiple_of(3600) {
        let _ = write!(out, ":{:02}", seconds / 60 % 60);
    }
    if !seconds.is_multiple_of(60) {
        let _ = write!(out, ":{:02}", seconds % 60);
    }
}

/// Microseconds and seconds west of a `timetz`.
pub(crate) fn timetz_from_text(text: &str) -> Result<(i64, i32), Misfit> {
    let malformed = || Misfit::malformed("timetz");
    let (clock, offset) = clock_and_offset(text);
    let offset = offset.and_then(offset_from_text).ok_or_else(malformed)?;
    let micros = time_from_text(clock).map_err(|_| malformed())?;
    Ok((micros, -offset as i32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn timestamps_survive_their_text(micros in TIMESTAMP_MIN..TIMESTAMP_END, is_zoned in any::<bool>()) {
            let mut text = String::new();
            write_timestamp(micros, is_zoned, &mut text);
            prop_assert_eq!(timestamp_text_to_wire(&text, is_zoned), Ok(micros));
            match timestamp_from_wire(micros) {
                Ok(moment) => prop_assert_eq!(timestamp_from_text(&text, is_zoned), Ok(moment)),
                Err(misfit) => prop_assert_eq!(timestamp_from_text(&text, is_zoned), Err(misfit)),
            }
        }

        #[test]
        fn dates_survive_their_text(days in DATE_MIN as i32..DATE_END as i32) {
            let mut text = String::new();
            write_date(days, &mut text);
            prop_assert_eq!(date_text_to_wire(&text), Ok(days));
            prop_assert_eq!(date_from_text(&text), Ok(date_from_wire(days)));
        }
    }

    #[test]
    fn limits_are_written_as_the_server_does() {
        let mut out = String::new();
        write_timestamp(TIMESTAMP_END - 1, true, &mut out);
        assert_eq!(out, "294276-12-31 23:59:59.999999+00");
        out.clear();
        write_timestamp(TIMESTAMP_MIN, false, &mut out);
        assert_eq!(out, "4714-11-24 00:00:00 BC");
        assert_eq!(time_from_text("24:00:00"), Ok(DAY_MICROS));
        assert_eq!(timetz_from_text("12:00:00-00:01:15"), Ok((DAY_MICROS / 2, 75)));
        assert!(timestamp_from_text("2024-01-01 00:00:00", true).is_err());
    }
}

//! Durations (`10s`, `1h30m`) and sizes (`64MiB`): always a number *and* a unit.

use std::time::Duration;

const DURATION_UNITS: [(&str, f64); 6] = [
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
];

/// Binary and decimal units are different numbers, and both are spelled as the standard spells them.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A century. Longer than anything that waits, short enough that adding it to a clock cannot overflow.
const DURATION_MAX_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

/// Reads a duration: one or more numbers with a unit each, `us`, `ms`, `s`, `m`, `h` or `d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (_, factor) = DURATION_UNITS.iter().find(|(unit, _)| *unit == &after[..unit_end])?;
        seconds += number * factor;
        rest = &after[unit_end..];
    }
    // Nanoseconds are rounded, so that `0.1s` is exactly 100 ms.
    (!text.is_empty() && seconds <= DURATION_MAX_SECONDS).then(|| Duration::from_nanos((seconds * 1e9).round() as u64))
}

/// Reads a size in bytes: a number and `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB` or `TB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number(text)?;
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    let bytes = number * *factor as f64;
    // Exact up to 2^53 bytes, which is 8 PiB.
    (bytes <= (1u64 << 53) as f64).then_some(bytes.round() as u64)
}

fn number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.ends_with(|c: char| c.is_ascii_digit());
    is_number
        .then(|| digits.parse().ok())
        .flatten()
        .map(|number| (number, rest))
}

/// What somebody probably meant who wrote `64mb`, `64M` or `10 s`.
pub(crate) fn nearest_size(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (_, unit) = number(&compact)?;
    let digits = &compact[..compact.len() - unit.len()];
    let unit = match unit.to_lowercase().as_str() {
        "b" => "B",
        "k" | "kb" | "ki" | "kib" => "KiB",
        "m" | "mb" | "mi" | "mib" => "MiB",
        "g" | "gb" | "gi" | "gib" => "GiB",
        "t" | "tb" | "ti" | "tib" => "TiB",
        _ => return None,
    };
    Some(format!("{digits}{unit}"))
}

/// What somebody probably meant who wrote `10 sec` or `5min`.
pub(crate) fn nearest_duration(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (_, unit) = number(&compact)?;
    let digits = &compact[..compact.len() - unit.len()];
    let unit = match unit.to_lowercase().as_str() {
        "us" | "µs" | "micros" | "microseconds" => "us",
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    Some(format!("{digits}{unit}"))
}

/// A size for a message, in the largest unit that divides it.
pub fn render_size(bytes: u64) -> String {
    let units = &SIZE_UNITS[..5];
    let (unit, factor) = units
        .iter()
        .rev()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(&units[0]);
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("200ms"), Some(200));
        assert_eq!(ms("10s"), Some(10_000));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("0.1s"), Some(100));
        for bad in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.s",
            ".5s",
            "1S",
            "10sec",
            "1e3s",
            "99999999d",
            "1..5s",
            "5mm",
        ] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_need_a_number_and_a_unit() {
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("900KiB"), Some(900 << 10));
        assert_eq!(parse_size("1.5GiB"), Some(3 << 29));
        assert_eq!(parse_size("5MB"), Some(5_000_000));
        for bad in ["", "64", "64MB0", "64M", "64mib", "64 MiB", "-1B", "99999TiB", "MiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn nearest_spelling_is_one_that_parses() {
        assert_eq!(nearest_size("64 mb").as_deref(), Some("64MiB"));
        assert_eq!(nearest_size("64MB0"), None);
        assert_eq!(nearest_duration("10 sec").as_deref(), Some("10s"));
        assert_eq!(nearest_duration("10"), None);
    }

    #[test]
    fn render_size_takes_the_largest_unit_that_is_exact() {
        assert_eq!(render_size(64 << 20), "64MiB");
        assert_eq!(render_size((64 << 20) + 1), "67108865B");
        assert_eq!(render_size(0), "0B");
    }
}

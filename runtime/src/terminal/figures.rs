//! Numbers as people read them.

/// `12 714`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `3 files`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// `0.4 s`, `14 m 20 s`, `3 h 05 m`.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 59.95 => format!("{:.1} s", seconds.max(0.0)),
        _ if whole < 3_600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ if whole < 86_400 => format!("{} h {:02} m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// `00:00:14`.
pub(crate) fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    format!("{:02}:{:02}:{:02}", whole / 3_600, whole / 60 % 60, whole % 60)
}

/// `3d 04:12`, `04:12:33`.
pub(crate) fn uptime(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole / 86_400 {
        0 => clock(seconds),
        days => format!("{days}d {:02}:{:02}", whole / 3_600 % 24, whole / 60 % 60),
    }
}

/// `12.4k`, `310`, `0`, `1.2M`.
pub(crate) fn short(number: f64) -> String {
    match number {
        n if n < 9.95 && n > 0.0 && n.fract() > 0.0 => format!("{n:.1}"),
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 999_950.0 => format!("{:.1}k", n / 1e3),
        n if n < 999_950_000.0 => format!("{:.1}M", n / 1e6),
        n => format!("{:.1}G", n / 1e9),
    }
}

/// `1.2 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 {
        format!("{number} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units_and_grouped_digits() {
        assert_eq!(
            [0, 999, 1_000, 12_714, 1_000_000].map(count),
            ["0", "999", "1 000", "12 714", "1 000 000"]
        );
        assert_eq!(
            [0.04, 59.9, 59.96, 860.0, 11_100.0, 273_600.0].map(seconds),
            ["0.0 s", "59.9 s", "1 m 00 s", "14 m 20 s", "3 h 05 m", "3 d 04 h"]
        );
        assert_eq!(
            [14.2, 3_661.0, 274_320.0].map(uptime),
            ["00:00:14", "01:01:01", "3d 04:12"]
        );
        assert_eq!(
            [0.0, 0.4, 310.0, 12_400.0, 999_999.0].map(short),
            ["0", "0.4", "310", "12.4k", "1.0M"]
        );
        assert_eq!([512, 1_536, 1 << 30].map(bytes), ["512 B", "1.5 KiB", "1.0 GiB"]);
        assert_eq!(counted(1, "file") + ", " + &counted(2_000, "row"), "1 file, 2 000 rows");
    }
}

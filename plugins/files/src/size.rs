//! Sizes as the config writes them: a number and a unit.

const UNITS: [(&str, u64); 9] = [
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

/// Reads a size in bytes (`64MiB`); `None` if it is none.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = number.parse().ok().filter(|n: &f64| *n >= 0.0)?;
    let bytes = number * *factor as f64;
    (bytes <= (1u64 << 53) as f64).then_some(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn size_needs_a_number_and_a_unit() {
        assert_eq!(parse_size("8MiB"), Some(8 << 20));
        assert_eq!(parse_size("1.5kB"), Some(1_500));
        for bad in ["", "8", "MiB", "8 MiB", "8mib", "-1MiB", "1e99GB", "infB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}

//! The same trouble is said once in a while, with the number of times in between.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sdk::log::Line;

/// More kinds of trouble than this are not told apart by age; the oldest make room.
const KINDS_MAX: usize = 1_000;

pub(super) struct Repeats {
    interval: Duration,
    seen: HashMap<String, Seen>,
}

struct Seen {
    said: Instant,
    suppressed: u64,
}

impl Repeats {
    pub(super) fn new(interval: Duration) -> Self {
        Repeats {
            interval,
            seen: HashMap::new(),
        }
    }

    /// `Some` with the number left out since the last time, or `None`: it was said a moment ago.
    pub(super) fn admit(&mut self, key: String, now: Instant) -> Option<u64> {
        if let Some(seen) = self.seen.get_mut(&key) {
            if now.duration_since(seen.said) < self.interval {
                seen.suppressed += 1;
                return None;
            }
            seen.said = now;
            return Some(std::mem::take(&mut seen.suppressed));
        }
        if self.seen.len() >= KINDS_MAX {
            let interval = self.interval;
            self.seen.retain(|_, seen| now.duration_since(seen.said) < interval);
        }
        if self.seen.len() < KINDS_MAX {
            self.seen.insert(
                key,
                Seen {
                    said: now,
                    suppressed: 0,
                },
            );
        }
        Some(0)
    }
}

/// What makes two events the same trouble; none without a code.
pub(super) fn repeat_key(line: &Line) -> Option<String> {
    let field = |name: &str| {
        let found = line
            .fields
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value);
        found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let code = field("code")?;
    let of = ["pipeline", "component", "destination", "stream"].map(|name| field(name).unwrap_or_default());
    Some(format!("{code}\n{}\n{}", line.message, of.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_trouble_is_said_once_in_the_interval_and_counted() {
        let mut repeats = Repeats::new(Duration::from_secs(10));
        let start = Instant::now();
        let mut at = |key: &str, seconds: u64| repeats.admit(key.to_owned(), start + Duration::from_secs(seconds));
        assert_eq!(at("a", 0), Some(0));
        assert_eq!(at("a", 1), None);
        assert_eq!(at("b", 1), Some(0), "another component has its own");
        assert_eq!(at("a", 9), None);
        assert_eq!(at("a", 10), Some(2));
        assert_eq!(at("a", 25), Some(0));
    }
}

//! `${time:WHEN|LAYOUT}`: a time, in UTC, as text.
//!
//! | `WHEN` | means |
//! |---|---|
//! | `now` | now |
//! | `10 days ago`, `1 month 2 weeks ago`, `3 hours from now` | so far from now; months and years as the calendar has them |
//! | `2026-01-02T03:04:05Z`, `2026-01-02` | that time, or the beginning of that day |
//!
//! `LAYOUT` is one of Go's (`2006-01-02 15:04`); without it the text is RFC 3339.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::layout;

/// The text of an expression; `Err` is what is wrong with it.
pub(super) fn render(expression: &str, now: Timestamp) -> Result<String, String> {
    let (when, layout) = match expression.split_once('|') {
        Some((when, layout)) => (when, Some(layout)),
        None => (expression, None),
    };
    let time = parse(when.trim(), now).ok_or_else(|| format!("`{}` is no time", when.trim()))?;
    Ok(match layout {
        Some(layout) => layout::render(layout, &time),
        None => layout::render(layout::RFC_3339, &time),
    })
}

fn parse(when: &str, now: Timestamp) -> Option<Zoned> {
    let now = now.to_zoned(TimeZone::UTC);
    if when == "now" {
        return Some(now);
    }
    if let Some(distance) = when.strip_suffix("ago") {
        return now.checked_sub(span(distance)?).ok();
    }
    if let Some(distance) = when.strip_suffix("from now") {
        return now.checked_add(span(distance)?).ok();
    }
    let at = when.parse::<Timestamp>().map(|time| time.to_zoned(TimeZone::UTC));
    let on = || when.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    at.ok().or_else(on)
}

/// `1 month, 2 weeks`.
fn span(text: &str) -> Option<Span> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let words: Vec<&str> = words.filter(|word| !word.is_empty() && *word != "and").collect();
    if words.is_empty() || !words.len().is_multiple_of(2) {
        return None;
    }
    let mut sum = Span::new();
    for pair in words.chunks(2) {
        let count: i64 = pair[0].parse().ok().filter(|count| *count >= 0)?;
        sum = match pair[1].strip_suffix('s').unwrap_or(pair[1]) {
            "second" => sum.try_seconds(sum.get_seconds().checked_add(count)?),
            "minute" => sum.try_minutes(sum.get_minutes().checked_add(count)?),
            "hour" => sum.try_hours(i64::from(sum.get_hours()).checked_add(count)?),
            "day" => sum.try_days(i64::from(sum.get_days()).checked_add(count)?),
            "week" => sum.try_weeks(i64::from(sum.get_weeks()).checked_add(count)?),
            "month" => sum.try_months(i64::from(sum.get_months()).checked_add(count)?),
            "year" => sum.try_years(i64::from(sum.get_years()).checked_add(count)?),
            _ => return None,
        }
        .ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(expression: &str) -> String {
        let now = "2026-03-31T12:34:56.789Z".parse().expect("a time");
        render(expression, now).unwrap_or_else(|wrong| wrong)
    }

    #[test]
    fn times_are_relative_or_absolute_and_in_utc() {
        for (expression, text) in [
            ("now", "2026-03-31T12:34:56Z"),
            ("10 days ago", "2026-03-21T12:34:56Z"),
            ("1 month ago", "2026-02-28T12:34:56Z"),
            ("1 week, 1 day and 2 hours ago", "2026-03-23T10:34:56Z"),
            ("90 minutes from now", "2026-03-31T14:04:56Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("yesterday", "`yesterday` is no time"),
            ("-1 days ago", "`-1 days ago` is no time"),
            ("days ago", "`days ago` is no time"),
            ("9999999999 years ago", "`9999999999 years ago` is no time"),
        ] {
            assert_eq!(at(expression), text, "{expression}");
        }
    }

    #[test]
    fn layouts_are_gos() {
        for (layout, text) in [
            ("2006-01-02", "2026-03-31"),
            ("02 Jan 06 15:04 MST", "31 Mar 26 12:34 UTC"),
            (
                "Monday, 2 January 2006 at 3:04:05.000 PM",
                "Tuesday, 31 March 2026 at 12:34:56.789 PM",
            ),
            ("2006/002 15h -0700", "2026/090 12h +0000"),
            ("no time at all", "no time at all"),
        ] {
            assert_eq!(at(&format!("now|{layout}")), text, "{layout}");
        }
        assert_eq!(at("2026-01-02T03:04:05.5Z|3:4:5.999pm _2"), "3:4:5.5am  2");
    }
}

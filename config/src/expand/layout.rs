//! Go's layouts: a time is written as the time `Mon Jan 2 15:04:05 2006` would be. Source: package `time` of Go's library.

use jiff::Zoned;

/// RFC 3339 without fractions.
pub(super) const RFC_3339: &str = "2006-01-02T15:04:05Z07:00";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// What stands for a part of the time. A longer one comes before those that it begins with.
const PARTS: [&str; 29] = [
    "January", "Jan", "Monday", "Mon", "MST", "2006", "-07:00", "-0700", "-07", "Z07:00", "Z0700", "Z07", "002", "01",
    "02", "03", "04", "05", "06", "15", "_2", "PM", "pm", "1", "2", "3", "4", "5", ".",
];

/// A time, which is in UTC, in a layout.
pub(super) fn render(layout: &str, time: &Zoned) -> String {
    let mut text = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let taken = match PARTS.iter().find(|part| rest.starts_with(**part)) {
            Some(&".") => fraction(rest, time, &mut text),
            Some(part) => {
                text.push_str(&render_part(part, time));
                part.len()
            }
            None => 0,
        };
        if taken == 0 {
            text.push(first);
        }
        rest = &rest[if taken == 0 { first.len_utf8() } else { taken }..];
    }
    text
}

fn render_part(part: &str, time: &Zoned) -> String {
    let month = MONTHS[(time.month() as usize).saturating_sub(1) % 12];
    let day = DAYS[time.weekday().to_sunday_zero_offset() as usize % 7];
    let hour_of_half = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let is_morning = time.hour() < 12;
    match part {
        "January" => month.to_owned(),
        "Jan" => month[..3].to_owned(),
        "Monday" => day.to_owned(),
        "Mon" => day[..3].to_owned(),
        "MST" => "UTC".to_owned(),
        "2006" => format!("{:04}", time.year()),
        "06" => format!("{:02}", time.year() % 100),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "002" => format!("{:03}", time.day_of_year()),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{hour_of_half:02}"),
        "3" => hour_of_half.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => if is_morning { "AM" } else { "PM" }.to_owned(),
        "pm" => if is_morning { "am" } else { "pm" }.to_owned(),
        "-07:00" => "+00:00".to_owned(),
        "-0700" => "+0000".to_owned(),
        "-07" => "+00".to_owned(),
        "Z07:00" | "Z0700" | "Z07" => "Z".to_owned(),
        other => other.to_owned(),
    }
}

/// `.000` is that many digits, `.999` as many as there are without zeros at the end; how much of the layout that took.
fn fraction(layout: &str, time: &Zoned, text: &mut String) -> usize {
    let digits = &layout[1..];
    let is_fixed = digits.starts_with('0');
    let digit = if is_fixed { '0' } else { '9' };
    let count = digits.len() - digits.trim_start_matches(digit).len();
    let ends = !digits[count..].starts_with(|c: char| c.is_ascii_digit());
    if count == 0 || count > 9 || !ends {
        return 0;
    }
    let all = format!("{:09}", time.subsec_nanosecond());
    let shown = &all[..count];
    let shown = if is_fixed { shown } else { shown.trim_end_matches('0') };
    if !shown.is_empty() {
        text.push('.');
        text.push_str(shown);
    }
    1 + count
}

//! `sync_group_id`: a text made of a template and a sync.

use jiff::tz::TimeZone;
use model::Timestamp;
use sha2::{Digest as _, Sha256};

const PARTS: [&str; 6] = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SYNC_ID"];

/// Fails if a template names something else.
pub(super) fn check(template: &str) -> Result<(), String> {
    let named = template.split("{{").skip(1);
    for part in named.filter_map(|rest| rest.split_once("}}")).map(|(part, _)| part) {
        if !PARTS.contains(&part) {
            let known = PARTS.map(|part| format!("`{{{{{part}}}}}`")).join(", ");
            return Err(format!(
                "`{{{{{part}}}}}` is nothing that a sync has: there are {known}"
            ));
        }
    }
    Ok(())
}

/// The text for a sync of a source that began at that time.
///
/// `{{SYNC_ID}}` is a UUID made of both: every destination has the same, also after a crash.
pub(super) fn render(template: &str, source: &str, sync: Timestamp) -> String {
    let time = jiff::Timestamp::from_microsecond(sync.micros())
        .unwrap_or_default()
        .to_zoned(TimeZone::UTC);
    let value = |part: &str| match part {
        "YEAR" => format!("{:04}", time.year()),
        "MONTH" => format!("{:02}", time.month()),
        "DAY" => format!("{:02}", time.day()),
        "HOUR" => format!("{:02}", time.hour()),
        "MINUTE" => format!("{:02}", time.minute()),
        _ => sync_id(source, sync),
    };
    let with = |text: String, part: &str| text.replace(&format!("{{{{{part}}}}}"), &value(part));
    PARTS.into_iter().fold(template.to_owned(), with)
}

fn sync_id(source: &str, sync: Timestamp) -> String {
    let mut hash = Sha256::new();
    hash.update(sync.micros().to_be_bytes());
    hash.update(source);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_has_the_parts_of_the_syncs_time() {
        // 2026-01-02 03:04:05 UTC.
        let sync = Timestamp(1_767_323_045_000_000);
        let render = |template: &str, source: &str| render(template, source, sync);
        assert_eq!(
            render("{{YEAR}}-{{MONTH}}-{{DAY}}_{{HOUR}}{{MINUTE}}", "a"),
            "2026-01-02_0304"
        );
        assert_eq!(render("{{SYNC_ID}}", "a"), render("{{SYNC_ID}}", "a"));
        assert_ne!(render("{{SYNC_ID}}", "a"), render("{{SYNC_ID}}", "b"));
        assert_eq!(render("{{SYNC_ID}}", "a").len(), 36);
    }

    #[test]
    fn template_names_nothing_else() {
        assert_eq!(check("x{{YEAR}}/{{SYNC_ID}}{"), Ok(()));
        assert!(check("{{YEER}}").is_err_and(|what| what.starts_with("`{{YEER}}` is nothing that a sync has")));
    }
}

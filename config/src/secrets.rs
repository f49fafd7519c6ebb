//! Values that must never be seen again, and the scrubbing of every text that might carry one.

use std::borrow::Cow;
use std::fmt;

/// Shorter values are not looked for: replacing each `ab` in a log would destroy it and protect nobody.
pub const SCRUBBED_LENGTH_MIN: usize = 4;

/// What stands in the place of a secret.
pub const STARS: &str = "***";

/// The secrets that the configuration brought in.
///
/// Scrubbing is by value, so it also catches what a driver or a server echoes. Hand it to the log layer.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Longest first, so that a secret inside another one leaves no remains.
    values: Vec<Box<str>>,
}

impl Secrets {
    /// Remembers a value. Of a URL with a password the password is remembered too.
    pub fn register(&mut self, value: &str) {
        if let Some((start, end)) = url_password(value) {
            self.remember(&value[start..end]);
        }
        self.remember(value);
        // A file's value may be several lines, and a log line carries one of them.
        if value.contains('\n') {
            value
                .lines()
                .filter(|line| line.trim().len() >= 8)
                .for_each(|line| self.remember(line.trim()));
        }
    }

    fn remember(&mut self, value: &str) {
        if value.chars().count() < SCRUBBED_LENGTH_MIN || self.values.iter().any(|known| **known == *value) {
            return;
        }
        let at = self.values.partition_point(|known| known.len() >= value.len());
        self.values.insert(at, value.into());
    }

    /// Replaces every known secret, and the password of every URL, by `***`.
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut scrubbed = Cow::Borrowed(text);
        for value in &self.values {
            if scrubbed.contains(&**value) {
                scrubbed = Cow::Owned(scrubbed.replace(&**value, STARS));
            }
        }
        let mut from = 0;
        while let Some((start, end)) = url_password(&scrubbed[from..]) {
            let (start, end) = (from + start, from + end);
            if &scrubbed[start..end] == STARS {
                from = end;
                continue;
            }
            scrubbed.to_mut().replace_range(start..end, STARS);
            from = start + STARS.len();
        }
        scrubbed
    }

    /// Byte ranges of known secrets and URL passwords in a text, for masking it in place.
    pub(crate) fn find_in(&self, text: &str) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for value in &self.values {
            found.extend(text.match_indices(&**value).map(|(at, hit)| (at, at + hit.len())));
        }
        let mut from = 0;
        while let Some((start, end)) = url_password(&text[from..]) {
            // `${...}` in the place of a password is the cure, not the disease.
            if !text[from + start..from + end].starts_with("${") {
                found.push((from + start, from + end));
            }
            from += end;
        }
        found
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.values.len())
    }
}

/// Byte range of the password in the first `scheme://user:password@host` of a text.
///
/// The password ends at the *last* `@` of the authority, as a password may hold an unescaped one.
pub(crate) fn url_password(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let start = from + found + 3;
        let authority_end = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`'))
            .map_or(text.len(), |length| start + length);
        let authority = &text[start..authority_end];
        if let Some(at) = authority.rfind('@')
            && let Some(colon) = authority[..at].find(':')
            && colon + 1 < at
        {
            return Some((start + colon + 1, start + at));
        }
        from = start;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrub_replaces_the_longest_secret_first_and_leaves_short_ones() {
        let mut secrets = Secrets::default();
        secrets.register("hunter");
        secrets.register("hunter2000");
        secrets.register("abc");
        assert_eq!(secrets.scrub("hunter2000, hunter, abc"), "***, ***, abc");
        assert!(matches!(secrets.scrub("nothing here"), Cow::Borrowed(_)));
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }

    #[test]
    fn scrub_hides_url_passwords_that_nobody_registered() {
        let secrets = Secrets::default();
        assert_eq!(
            secrets.scrub("cannot open postgres://u:p@ss@h:5432/d?x=1 nor http://h/ nor amqp://a:b@c"),
            "cannot open postgres://u:***@h:5432/d?x=1 nor http://h/ nor amqp://a:***@c"
        );
    }

    #[test]
    fn register_remembers_the_password_inside_a_url_and_each_line_of_a_file() {
        let mut secrets = Secrets::default();
        secrets.register("postgres://u:s3cret@h/d");
        secrets.register("-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----");
        assert_eq!(
            secrets.scrub("login with s3cret failed, MIIEvQIBADANBg"),
            "login with *** failed, ***"
        );
    }
}

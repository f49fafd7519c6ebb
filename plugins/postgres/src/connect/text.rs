//! The two texts that PostgreSQL users know: a URL, and libpq's `key=value`.
//!
//! Both become the same list of libpq keywords. An error never shows the text: it may hold a password.

/// libpq keywords and their values, in the order of the text; later ones win.
pub(super) type Keywords = Vec<(String, String)>;

/// Reads either form.
pub(super) fn parse(text: &str) -> Result<Keywords, String> {
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"));
    match rest {
        Some(rest) => parse_url(rest),
        None if text.contains("://") => Err("the URL does not begin with `postgres://`".to_owned()),
        None => parse_keywords(text),
    }
}

fn parse_url(rest: &str) -> Result<Keywords, String> {
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (rest, ""),
    };
    // People paste passwords with an unescaped `@` or `/`: the user's part ends at the last `@` of the authority, or of all
    // if there is none before the first `/`.
    let first_slash = rest.find('/').unwrap_or(rest.len());
    let at = rest[..first_slash].rfind('@').or_else(|| rest.rfind('@'));
    let (user_info, rest) = match at {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let (hosts, database) = match rest.split_once('/') {
        Some((hosts, database)) => (hosts, Some(database)),
        None => (rest, None),
    };
    let mut keywords = Keywords::new();
    if let Some(user_info) = user_info {
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user_info, None),
        };
        if !user.is_empty() {
            keywords.push(("user".to_owned(), percent_decoded(user, "user")?));
        }
        if let Some(password) = password {
            keywords.push(("password".to_owned(), percent_decoded(password, "password")?));
        }
    }
    if !hosts.is_empty() {
        keywords.push(("host".to_owned(), percent_decoded(hosts, "host")?));
    }
    if let Some(database) = database.filter(|database| !database.is_empty()) {
        keywords.push(("dbname".to_owned(), percent_decoded(database, "database")?));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| "a parameter behind `?` has no `=`".to_owned())?;
        let key = percent_decoded(key, "parameter")?;
        let value = percent_decoded(value, &key)?;
        // JDBC's word for it, which libpq takes as well.
        match (key.as_str(), value.as_str()) {
            ("ssl", "true") => keywords.push(("sslmode".to_owned(), "require".to_owned())),
            _ => keywords.push((key, value)),
        }
    }
    Ok(keywords)
}

fn percent_decoded(text: &str, what: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| {
            byte.and_then(|byte| (byte as char).to_digit(16))
                .map(|digit| digit as u8)
        };
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => {
                return Err(format!(
                    "the {what} in the URL has a `%` without two hexadecimal digits: write `%25` for a percent sign"
                ));
            }
        }
    }
    if bytes.contains(&0) {
        return Err(format!("the {what} in the URL has a zero byte"));
    }
    String::from_utf8(bytes).map_err(|_| format!("the {what} in the URL is not UTF-8"))
}

/// `key = value`, or `key='it\'s'`, separated by space.
fn parse_keywords(text: &str) -> Result<Keywords, String> {
    let mut keywords = Keywords::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or_else(|| "it is neither a URL nor `key=value`".to_owned())?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("it is neither a URL nor `key=value`".to_owned());
        }
        let (value, after) = keyword_value(after.trim_start(), key)?;
        keywords.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(keywords)
}

fn keyword_value<'t>(text: &'t str, key: &str) -> Result<(String, &'t str), String> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some((_, escaped)) => value.push(escaped),
                None => return Err(format!("the value of `{key}` ends with a backslash")),
            },
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            char if quoted.is_none() && char.is_ascii_whitespace() => return Ok((value, &body[at..])),
            char => value.push(char),
        }
    }
    match quoted {
        Some(_) => Err(format!("the value of `{key}` has no closing quote")),
        None => Ok((value, "")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let keywords = parse(text).unwrap();
        let keywords: Vec<(&str, &str)> = keywords.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(keywords, expected, "{text}");
    }

    #[test]
    fn url_has_user_password_hosts_database_and_parameters() {
        check(
            "postgres://u:p@h1:5432,h2/db?sslmode=verify-full&target_session_attrs=primary",
            &[
                ("user", "u"),
                ("password", "p"),
                ("host", "h1:5432,h2"),
                ("dbname", "db"),
                ("sslmode", "verify-full"),
                ("target_session_attrs", "primary"),
            ],
        );
        check("postgresql://h", &[("host", "h")]);
        check("postgres://", &[]);
        check("postgres:///db?host=/tmp", &[("dbname", "db"), ("host", "/tmp")]);
        check("postgres://[::1]:5433/db", &[("host", "[::1]:5433"), ("dbname", "db")]);
        check("postgres://%2Fvar%2Frun/db", &[("host", "/var/run"), ("dbname", "db")]);
        check(
            "postgres://u@h?ssl=true",
            &[("user", "u"), ("host", "h"), ("sslmode", "require")],
        );
    }

    #[test]
    fn url_decodes_percent_and_forgives_what_people_paste() {
        check(
            "postgres://a%40b:p%2Fw%3A%25@h/d%20b",
            &[("user", "a@b"), ("password", "p/w:%"), ("host", "h"), ("dbname", "d b")],
        );
        check(
            "postgres://u:p@ss@h/db",
            &[("user", "u"), ("password", "p@ss"), ("host", "h"), ("dbname", "db")],
        );
        check(
            "postgres://u:p/w@h/db",
            &[("user", "u"), ("password", "p/w"), ("host", "h"), ("dbname", "db")],
        );
    }

    #[test]
    fn keywords_are_separated_by_space_and_may_be_quoted() {
        check(
            "host=h  port = 5433 password='it\\'s \\\\ a' dbname=d\\ b user=''",
            &[
                ("host", "h"),
                ("port", "5433"),
                ("password", "it's \\ a"),
                ("dbname", "d b"),
                ("user", ""),
            ],
        );
        check("", &[]);
    }

    #[test]
    fn refusal_says_why_and_never_shows_the_text() {
        for text in [
            "mysql://u:s3cret@h",
            "postgres://u:s3cret%zz@h",
            "postgres://u:s3cret%00@h",
            "postgres://u:s3cret@h?x",
            "s3cret",
            "password='s3cret",
            "password=s3cret\\",
            "s3 cret=x",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("s3"), "{error}");
        }
    }
}
